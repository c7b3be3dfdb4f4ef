//! What is asked for, and the answer to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};

use super::{Desk, House, Way, hosts, scrape, sessions};
use crate::config;

/// How long the loop that accepts may take to answer.
const ALIVE: Duration = Duration::from_secs(2);

/// What there is.
const PAGES: [(&str, &str); 6] = [
    ("/", "this list"),
    ("/metrics", "metrics for Prometheus"),
    ("/healthz", "whether the daemon works"),
    ("/readyz", "whether it can serve one more client"),
    ("/sessions", "sessions, upstreams and totals, as JSON; over the unix socket DELETE /sessions/ID cuts one"),
    ("/config", "the settings in force, without secrets"),
];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer that is not written yet.
struct Page {
    status: StatusCode,
    kind: &'static str,
    text: String,
    /// The methods that are allowed, where another one was used.
    allow: Option<&'static str>,
}

impl Page {
    fn new(status: StatusCode, text: impl Into<String>) -> Page {
        Page { status, kind: TEXT, text: text.into(), allow: None }
    }
}

/// Answers one request.
pub(super) async fn answer(
    desk: Arc<Desk>,
    way: Way,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let page = page(desk, way, request).await;
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() = page.status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    // nobody else's page shows it, keeps it, or takes it for something else
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if let Some(allow) = page.allow {
        fields.insert(ALLOW, HeaderValue::from_static(allow));
    }
    Ok(response)
}

async fn page(desk: Arc<Desk>, way: Way, request: Request<Incoming>) -> Page {
    let setup = desk.house.gateway.setup();
    // only a connection by name can be somebody else's idea
    if way == Way::Tcp && !hosts::are_ours(&request, &setup.config.admin_hosts) {
        let why = "the Host field names neither an address nor localhost nor one of admin-hosts\n";
        return Page::new(StatusCode::MISDIRECTED_REQUEST, why);
    }
    let path = request.uri().path();
    if let Some(id) = path.strip_prefix("/sessions/") {
        return cut(&desk.house, way, request.method(), id);
    }
    if !PAGES.iter().any(|(known, _)| *known == path) {
        return Page::new(StatusCode::NOT_FOUND, format!("there is no such page; there is:\n{}", list()));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let page = Page::new(StatusCode::METHOD_NOT_ALLOWED, "this page is only read\n");
        return Page { allow: Some("GET, HEAD"), ..page };
    }
    match path {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|field| field.to_str().ok());
            let form = scrape::Form::wanted(accept);
            apart(form.kind(), move || form.write(&desk.house, &desk.registry)).await
        }
        "/healthz" => health(&desk.house).await,
        "/readyz" => readiness(&desk.house).await,
        "/sessions" => apart(JSON, move || sessions::shown(&desk.house)).await,
        "/config" => {
            let standings: Vec<_> = setup.upstreams.iter().flat_map(|upstream| upstream.standings()).collect();
            let text = config::shown(&setup.config, |proxy| {
                let proxy = proxy.to_string();
                let is_down = standings.iter().any(|standing| standing.proxy == proxy && !standing.up);
                if is_down { "down".to_owned() } else { "up".to_owned() }
            });
            Page::new(StatusCode::OK, text)
        }
        _ => Page::new(StatusCode::OK, list()),
    }
}

/// Makes a page of this kind on a thread that no session waits for.
async fn apart(kind: &'static str, make: impl FnOnce() -> String + Send + 'static) -> Page {
    match tokio::task::spawn_blocking(make).await {
        Ok(text) => Page { kind, ..Page::new(StatusCode::OK, text) },
        // a panic was told already, and its words are nobody else's business
        Err(_) => Page::new(StatusCode::INTERNAL_SERVER_ERROR, "this page could not be made, the log says why\n"),
    }
}

fn list() -> String {
    PAGES.iter().map(|(path, what)| format!("{path:<10} {what}\n")).collect()
}

fn cut(house: &House, way: Way, method: &Method, id: &str) -> Page {
    if *method != Method::DELETE {
        let page = Page::new(StatusCode::METHOD_NOT_ALLOWED, "a session is only cut; /sessions tells of it\n");
        return Page { allow: Some("DELETE"), ..page };
    }
    if way == Way::Tcp {
        let why = "sessions are cut over a unix socket only, since whoever reaches an address has said no password\n";
        return Page::new(StatusCode::FORBIDDEN, why);
    }
    let watch = house.gateway.watch.as_ref();
    let found = id.parse().is_ok_and(|id| watch.is_some_and(|watch| watch.live.kill(id)));
    if !found {
        return Page::new(StatusCode::NOT_FOUND, "no open session has this number\n");
    }
    tracing::info!("admin: session {id} is cut");
    Page::new(StatusCode::OK, format!("session {id} is cut\n"))
}

/// What the loop that accepts is doing.
enum Accepting {
    Yes,
    /// It has ended: the daemon is about to.
    Ended,
    /// It does not answer.
    Hangs,
}

impl Accepting {
    async fn of(house: &House) -> Accepting {
        match tokio::time::timeout(ALIVE, (house.accepts)()).await {
            Ok(true) => Accepting::Yes,
            Ok(false) => Accepting::Ended,
            Err(_) => Accepting::Hangs,
        }
    }
}

async fn health(house: &House) -> Page {
    match Accepting::of(house).await {
        Accepting::Yes => Page::new(StatusCode::OK, "ok\n"),
        Accepting::Ended => Page::new(StatusCode::OK, "draining: no more clients, open sessions go on\n"),
        Accepting::Hangs => {
            let why = format!("not ok: clients are not accepted, no answer within {}s\n", ALIVE.as_secs());
            Page::new(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

async fn readiness(house: &House) -> Page {
    let mut reasons = Vec::new();
    match Accepting::of(house).await {
        Accepting::Yes => {}
        Accepting::Ended => reasons.push("draining".to_owned()),
        Accepting::Hangs => reasons.push("clients are not accepted".to_owned()),
    }
    let seats = (house.seats)();
    if house.gateway.stats.live() >= seats.count as u64 {
        reasons.push(format!("all {} seats are taken", seats.count));
    }
    let setup = house.gateway.setup();
    let upstream = &setup.upstreams[setup.config.default_upstream];
    let standings = upstream.standings();
    if standings.iter().all(|standing| !standing.held.is_zero()) {
        let whys = standings.iter().filter_map(|standing| standing.why.as_deref());
        let whys: Vec<&str> = whys.collect();
        reasons.push(format!("upstream {}: {}", upstream.name(), whys.join("; ")));
    }
    if reasons.is_empty() {
        return Page::new(StatusCode::OK, "ready\n");
    }
    Page::new(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", reasons.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_that_cannot_be_made_is_no_empty_one() {
        let page = apart(JSON, || panic!("as asked")).await;
        assert_eq!((page.status, page.kind), (StatusCode::INTERNAL_SERVER_ERROR, TEXT));
        let page = apart(JSON, || "{}".to_owned()).await;
        assert_eq!((page.status, page.kind, page.text.as_str()), (StatusCode::OK, JSON, "{}"));
    }
}
