//! `handyproxy explain`: how a connection would be routed, and the lines that say so.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::wait_for;
use crate::addr::{Name, Source};
use crate::config::{Config, PlainHttp, Question, Via, route_shown};
use crate::dns;
use crate::flow::Flow;
use crate::session::{Setup, race, route};

/// What is to be printed.
pub(super) fn run(config: Config, question: Question) -> Result<String, String> {
    let setup = Setup::new(config, None)?;
    let config = &setup.config;
    let mut flow = Flow::new(SocketAddr::new(question.client, 0));
    let port = question.origin.port();
    flow.origin = Some(SocketAddr::new(question.origin.ip().to_canonical(), port));
    let hidden = question.name.clone().filter(|_| race(config, question.origin).is_none());
    flow.name = question.name.clone().filter(|_| hidden.is_none()).map(|host| Name { host, source: Source::Sni });
    let stands = config.dns.as_ref().and_then(|settings| dns::remembered(settings, question.origin.ip()));
    let mut hidden = hidden;
    if let Some(known) = &stands {
        let given = question.name.clone();
        let host = given.or_else(|| known.as_deref().cloned()).ok_or_else(|| {
            format!("{} stands for a name, which is not known here: say which one", question.origin.ip())
        })?;
        flow.name = Some(Name { host, source: Source::Dns });
        hidden = None;
    }
    let outcome = wait_for(route(&setup, &mut flow))?;
    let target = flow.target().expect("the origin is given");
    let mut text = match &outcome {
        Ok(decision) => match decision.via {
            Via::Upstream(number) => {
                let upstream = &config.upstreams[number];
                let plain = match upstream.plain_http {
                    PlainHttp::Connect => "",
                    PlainHttp::Relay => "; HTTP without TLS is handed over request by request",
                    PlainHttp::Auto => "; HTTP without TLS is handed over request by request where CONNECT is refused",
                };
                format!("via {}, CONNECT {target}{plain}\n", upstream.name)
            }
            Via::Direct => format!("direct to {target}\n"),
            Via::Reject => unreachable!("a decision to reject is an error"),
        },
        Err(failure) => format!("refused: {}\n", failure.close.error.as_deref().unwrap_or_default()),
    };
    if let (Some(agrees), Some(name)) = (flow.verified, &flow.name) {
        let (does, so) = if agrees { ("resolves", "believed") } else { ("does not resolve", "not believed") };
        let _ = writeln!(text, "{} {does} to {} here, so it is {so}", name.host, question.origin.ip());
    }
    let matched = flow.led.as_ref().and_then(|led| led.route.as_deref());
    match config.routes.iter().find(|route| Some(route.place.to_string().as_str()) == matched) {
        Some(route) => {
            let _ = write!(text, "{}: [[route]]\n{}", route.place, route_shown(route, config));
        }
        None => {
            let place = &config.upstreams[config.default_upstream].place;
            let _ = writeln!(text, "no route matches: upstream-proxy ({place})");
        }
    }
    if let Some(name) = flow.meant() {
        let _ = writeln!(text, "note: {} is of dns-pool and stands for {name}", question.origin.ip());
    }
    if let Some(name) = hidden {
        let _ = writeln!(text, "note: {name} is left out, since no name is looked for on port {port}");
    }
    for remark in config.remarks() {
        let _ = writeln!(text, "note: {remark}");
    }
    Ok(text)
}
