//! The answer to an HTTP/1 client whose tunnel could not be opened.

/// The longest page of the upstream's that is passed on, in bytes.
pub const MAX_PAGE: usize = 16 * 1024;

/// A page of the upstream's, passed on to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Whether it is HTML; plain text otherwise.
    pub html: bool,
    /// Its charset, if it named one.
    pub charset: Option<String>,
    /// Its bytes, [`MAX_PAGE`] at most.
    pub body: Vec<u8>,
}

/// Writes a whole answer: `status` is one that is named here, `why` one line of ours, printable ASCII.
/// An answer to HEAD has no body.
pub fn response(status: u16, why: &str, page: Option<&Page>, head: bool) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Bad Gateway",
    };
    let (mut kind, body) = match page {
        Some(Page { html: true, body, .. }) => {
            let line = why.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            ("text/html".to_owned(), [format!("<p>handyproxy: {line}</p><hr>\n").as_bytes(), body].concat())
        }
        Some(Page { body, .. }) => {
            ("text/plain".to_owned(), [format!("handyproxy: {why}\n\n").as_bytes(), body].concat())
        }
        None => ("text/plain".to_owned(), format!("handyproxy: {why}\n").into_bytes()),
    };
    if let Some(charset) = page.and_then(|page| page.charset.as_ref()) {
        kind.push_str("; charset=");
        kind.push_str(charset);
    }
    let mut answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n{}\r\n",
        body.len(),
        // RFC 9110 section 15.5.6 wants to hear which ones are
        if status == 405 { "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" } else { "" },
    )
    .into_bytes();
    if !head {
        answer.extend(body);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: u16, why: &str, page: Option<&Page>, head: bool) -> String {
        String::from_utf8(response(status, why, page, head)).expect("ASCII in, ASCII out")
    }

    #[test]
    fn the_answer_closes_is_not_stored_and_counts_its_body() {
        let answer = text(502, "the reason", None, false);
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.contains("\r\nCache-Control: no-store\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body, "handyproxy: the reason\n");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn a_head_request_gets_no_body() {
        assert!(text(504, "x", None, true).ends_with("\r\n\r\n"));
    }

    #[test]
    fn our_line_cannot_break_a_page() {
        let page = Page { html: true, charset: Some("utf-8".to_owned()), body: b"<h1>Denied</h1>".to_vec() };
        let answer = text(503, "<script>&", Some(&page), false);
        assert!(answer.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
        assert!(answer.ends_with("<p>handyproxy: &lt;script&gt;&amp;</p><hr>\n<h1>Denied</h1>"));
    }
}
