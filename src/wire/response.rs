//! A response that is relayed: its head parsed, and written anew for the client.
//!
//! A response that two recipients could read differently is none (RFC 9112 section 6.3): the client gets
//! an answer of ours instead.

use super::body::Extent;
use super::fields::{self, Framing, Misframed, Options, Room};

/// A response head.
#[derive(Debug)]
pub struct Response<'r, 'b> {
    reason: &'b str,
    fields: &'r [httparse::Header<'b>],
    options: Options<'b>,
    framing: Framing,
    old: bool,
    /// Its status, 100 to 999.
    pub status: u16,
    /// The length of the head, the empty line included.
    pub length: usize,
    /// How its body ends.
    pub extent: Extent,
    /// Whether the proxy's connection may go on after it.
    pub keep: bool,
}

/// Parses a whole head; `head` says that it answers a HEAD request.
///
/// # Errors
/// It is no valid response.
pub fn parse<'r, 'b>(bytes: &'b [u8], head: bool, room: &'r mut Room<'b>) -> Result<Response<'r, 'b>, &'static str> {
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, bytes, room);
    let Ok(httparse::Status::Complete(length)) = parsed else { return Err("the head is not valid") };
    let (Some(status), Some(minor)) = (response.code, response.version) else { return Err("the head is not valid") };
    if length != bytes.len() || status < 100 {
        return Err("the head is not valid");
    }
    let fields: &'r [httparse::Header<'b>] = response.headers;
    let old = minor == 0;
    let framing = fields::framing(fields).map_err(|misframed| match misframed {
        Misframed::Ambiguous(why) => why,
        Misframed::Coded => "a transfer coding other than chunked",
    })?;
    let extent = match framing {
        _ if head || matches!(status, 100..=199 | 204 | 304) => Extent::Length(0),
        Framing::Chunked if old => return Err("chunks in HTTP/1.0"),
        Framing::Chunked => Extent::Chunked,
        Framing::Length(length) => Extent::Length(length),
        Framing::Unsaid => Extent::UntilClose,
    };
    let options = Options::read(fields, true).ok_or("too many connection options")?;
    let keep = !options.close && (!old || options.keep_alive) && extent != Extent::UntilClose;
    Ok(Response {
        reason: response.reason.unwrap_or_default(),
        fields,
        options,
        framing,
        old,
        status,
        length,
        extent,
        keep,
    })
}

/// To whom a response goes.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Whether it speaks HTTP/1.0.
    pub old: bool,
    /// Whether its connection goes on.
    pub keep: bool,
}

impl Response<'_, '_> {
    /// What a proxy wants to know: the values of all Proxy-Authenticate fields.
    pub fn challenges(&self) -> Vec<Vec<u8>> {
        let fields = self.fields.iter().filter(|f| f.name.eq_ignore_ascii_case("proxy-authenticate"));
        fields.map(|f| f.value.to_vec()).collect()
    }

    /// Whether it goes on in another protocol.
    pub fn switches(&self) -> bool {
        self.status == 101
    }

    /// Writes the head for the client. Chunks for an old client must be taken out of their frames.
    pub fn write(&self, client: Client, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        fields::write_number(out, self.status.into());
        out.extend_from_slice(b" ");
        out.extend_from_slice(self.reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        // 426 says which protocol it would like (RFC 9110 section 15.5.22)
        let upgrade = matches!(self.status, 101 | 426);
        for field in self.fields {
            if !self.options.ends_here(field.name) || (upgrade && field.name.eq_ignore_ascii_case("upgrade")) {
                fields::write(out, field);
            }
        }
        let interim = matches!(self.status, 100..=199);
        match self.framing {
            // neither may say anything about a body (RFC 9110 section 8.6)
            _ if interim || self.status == 204 => {}
            Framing::Chunked if client.old || self.extent != Extent::Chunked => {}
            framing => fields::write_framing(out, framing),
        }
        match (upgrade, interim) {
            (true, true) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
            (true, false) if !client.keep => out.extend_from_slice(b"Connection: Upgrade, close\r\n"),
            (true, false) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
            (false, true) => {}
            (false, false) if !client.keep => out.extend_from_slice(b"Connection: close\r\n"),
            (false, false) if client.old => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (false, false) => {}
        }
        if !interim {
            out.extend_from_slice(if self.old { b"Via: 1.0 handyproxy\r\n" } else { b"Via: 1.1 handyproxy\r\n" });
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Client = Client { old: false, keep: true };

    fn written(head: &str, client: Client) -> String {
        let mut room = fields::room();
        let response = parse(head.as_bytes(), false, &mut room).expect("valid");
        let mut out = Vec::new();
        response.write(client, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn extent(head: &str, answers_head: bool) -> Result<(Extent, bool), &'static str> {
        let mut room = fields::room();
        parse(head.as_bytes(), answers_head, &mut room).map(|r| (r.extent, r.keep))
    }

    #[test]
    fn a_body_ends_as_the_rfc_says() {
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (Extent::Length(5), true)),
            ("HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", (Extent::Length(5), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", (Extent::Length(5), false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nProxy-Connection: close\r\n\r\n", (Extent::Length(5), false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", (Extent::Length(5), false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nProxy-Connection: Keep-Alive\r\n\r\n", (Extent::Length(5), true)),
            ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", (Extent::Chunked, true)),
            ("HTTP/1.1 200 OK\r\n\r\n", (Extent::UntilClose, false)),
            ("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", (Extent::Length(0), true)),
            ("HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", (Extent::Length(0), true)),
            ("HTTP/1.1 103 Early\r\n\r\n", (Extent::Length(0), true)),
        ] {
            assert_eq!(extent(head, false), Ok(wanted), "{head:?}");
        }
        assert_eq!(extent("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Ok((Extent::Length(0), true)));
    }

    #[test]
    fn a_response_that_can_be_read_in_two_ways_is_none() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(extent(head, false).is_err(), "{head:?}");
        }
    }

    #[test]
    fn fields_of_the_hop_to_the_proxy_stay_there() {
        let head = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                    Proxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTrailer: Sum\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let kept = "HTTP/1.1 200 Fine\r\nServer: x\r\nTrailer: Sum\r\n";
        let via = "Via: 1.1 handyproxy\r\n\r\n";
        assert_eq!(written(head, NEW), format!("{kept}Transfer-Encoding: chunked\r\n{via}"));
        let old = Client { old: true, keep: false };
        assert_eq!(written(head, old), format!("{kept}Connection: close\r\n{via}"));
    }

    #[test]
    fn the_client_is_told_of_its_own_connection() {
        let head = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
        let answer =
            |connection| format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{connection}Via: 1.0 handyproxy\r\n\r\n");
        assert_eq!(written(head, NEW), answer(""));
        assert_eq!(written(head, Client { old: true, keep: true }), answer("Connection: keep-alive\r\n"));
        assert_eq!(written(head, Client { old: false, keep: false }), answer("Connection: close\r\n"));
    }

    #[test]
    fn interim_responses_keep_what_they_need() {
        let switch = "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";
        assert_eq!(
            written(switch, NEW),
            "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\n\r\n"
        );
        assert_eq!(written("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", NEW), "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
    }

    #[test]
    fn all_challenges_are_handed_out() {
        let mut room = fields::room();
        let head = b"HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Basic realm=\"x\"\r\n\r\n";
        let response = parse(head, false, &mut room).expect("valid");
        assert_eq!(response.challenges(), [b"NTLM".to_vec(), b"Basic realm=\"x\"".to_vec()]);
    }
}
