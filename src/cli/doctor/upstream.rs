//! The proxies, asked one after the other as a session would ask them: by the same code, with the same mark and source.
//!
//! Tunnels are asked for to one host, by name to ports 443 and 80 and by address; nothing is sent through them.
//! Credentials that were refused once are tried nowhere again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::tool;
use super::case::Case;
use super::finding::Finding;
use super::policy::{Terms, Verdict};
use super::{clock, loops, names};
use crate::addr::{Host, Target};
use crate::config::{Credentials, PlainHttp, Proxy, Speaks, UpstreamSettings};
use crate::sys::socket;
use crate::upstream::{Answer, Deadline, Link, Retries, Upstream};

/// The host that proxies are asked for, unless another one was given: it is there for such purposes (RFC 6761).
const TARGET: &str = "example.com";
/// Where its address is not known: reserved for documents (RFC 5737), so that nobody is there.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// How long a proxy may take to be connected to.
const DIAL: Duration = Duration::from_secs(5);
/// How long it may take over a tunnel.
const REPLY: Duration = Duration::from_secs(15);
/// How long over a greeting, which it answers by itself.
const GREETING: Duration = Duration::from_secs(5);
/// How long over one by address: a refusal comes at once, and nobody may be there.
const BY_ADDRESS: Duration = Duration::from_secs(3);

/// Asks all of them.
pub(super) async fn check(case: &Case<'_>) -> Vec<Finding> {
    if let Some(finding) = captured(case) {
        return vec![finding];
    }
    let mut findings = Vec::new();
    let host = case.how.target.clone().or_else(|| Host::parse(TARGET.as_bytes())).expect("example.com is a name");
    let known = names::address_of(&host).await;
    let mut round = Round { case, host, known, refused: Vec::new(), clocks: Vec::new() };
    for settings in &case.config.upstreams {
        for proxy in &settings.proxies {
            findings.extend(round.proxy(settings, proxy).await);
        }
    }
    findings.push(clock::check(&round.clocks));
    findings
}

/// Where our own dials would be captured, nothing can be learned by them.
fn captured(case: &Case) -> Option<Finding> {
    let mark = case.config.mark;
    if !case.is_local() || (mark != 0 && socket::may_mark(mark).is_ok()) {
        return None;
    }
    let seen = "not asked: our own connections are captured, since the rules leave only the daemon alone";
    Some(if mark == 0 {
        Finding::note("reach", seen, "run handyproxy doctor as the daemon's user, to see this")
    } else {
        Finding::warn("reach", seen, "run handyproxy doctor as root")
    })
}

/// One round through all proxies.
struct Round<'a> {
    case: &'a Case<'a>,
    host: Host,
    /// The host's address, where it resolves here.
    known: Option<IpAddr>,
    /// Credentials that were refused.
    refused: Vec<Credentials>,
    /// What the clocks of proxies say.
    clocks: Vec<clock::Reading>,
}

impl Round<'_> {
    async fn proxy(&mut self, settings: &UpstreamSettings, proxy: &Proxy) -> Vec<Finding> {
        let one = UpstreamSettings { proxies: vec![proxy.clone()], ..settings.clone() };
        let upstream = match Upstream::new(&one, self.case.config) {
            Ok(upstream) => upstream,
            Err(why) => {
                let fix = format!("ca = FILE{}, or apt install ca-certificates", place(settings, self.case));
                return vec![Finding::fail("reach", format!("{proxy}: {why}"), fix)];
            }
        };
        let (mut findings, addrs) = names::of_proxy(proxy, &upstream).await;
        let mut link = None;
        for addr in addrs {
            if let Some(finding) = loops::of_address(addr, self.case) {
                findings.push(finding);
                continue;
            }
            findings.extend(route(addr, self.case));
            let (finding, reached) = reach(proxy, &upstream, addr).await;
            findings.push(finding);
            link = link.or(reached);
        }
        if let Some(link) = link {
            findings.extend(self.ask(settings, proxy, &upstream, link).await);
        }
        findings
    }

    /// All that is asked of a proxy that can be reached.
    async fn ask(
        &mut self,
        settings: &UpstreamSettings,
        proxy: &Proxy,
        upstream: &Upstream,
        link: Link,
    ) -> Vec<Finding> {
        let terms = Terms {
            proxy: proxy.to_string(),
            place: place(settings, self.case),
            is_socks: proxy.speaks == Speaks::Socks5,
            auth: &settings.auth,
            plain_http: settings.plain_http,
            sniffs: self.case.config.sniff_timeout.is_some(),
        };
        let mut asker = Asker { upstream, addr: link.addr, named: terms.is_socks };
        let host = self.host.clone();
        let target = Target::Name(&host, 443);
        let (mut verdict, answer) = if terms.is_socks {
            // one that does not know this language would be waited for at every question
            if let Err(failure) = upstream.greet(link, Deadline::after(GREETING)).await {
                return vec![terms.no_greeting(failure.why())];
            }
            (self.told(settings, asker.ask(&target, REPLY)).await, None)
        } else {
            asker.ask_unnamed(link, &target).await
        };
        let mut offered = None;
        if let Some(answer) = answer {
            self.clocks.extend(clock::Reading::new(proxy.to_string(), answer.date.as_deref()));
            if answer.status == 407 {
                let has = |offer: &String| settings.auth.iter().any(|own| own.to_string().eq_ignore_ascii_case(offer));
                if answer.schemes.iter().any(has) {
                    asker.named = true;
                    verdict = self.told(settings, asker.ask(&target, REPLY)).await;
                }
                offered = Some(answer.schemes);
            }
        }
        let mut findings = vec![terms.login(offered.as_deref(), Some(&verdict))];
        if matches!(verdict, Verdict::Login(_)) {
            return findings;
        }
        findings.push(terms.port_443(&target.to_string(), &verdict));
        if matches!(verdict, Verdict::Broken(_)) {
            // whatever else it is asked it would not understand either
            findings.remove(0);
            return findings;
        }
        findings.push(if settings.plain_http == PlainHttp::Relay {
            Finding::ok("connect-80", format!("{proxy}: not asked, since plain-http = \"relay\" needs none"))
        } else {
            let target = Target::Name(&host, 80);
            terms.port_80(&target.to_string(), &asker.ask(&target, REPLY).await)
        });
        let target = Target::Addr(SocketAddr::new(self.known.unwrap_or(NOWHERE), 443));
        let by_address = asker.ask(&target, BY_ADDRESS).await;
        // of one that says nothing at all, nothing can be told
        if !matches!((verdict, &by_address), (Verdict::Silent(_), Verdict::Silent(_))) {
            findings.push(terms.by_address(&target.to_string(), self.known.is_some(), &by_address));
        }
        findings
    }

    /// A question that says who we are, unless that was refused before.
    async fn told(&mut self, settings: &UpstreamSettings, asking: impl Future<Output = Verdict>) -> Verdict {
        if self.refused.contains(&settings.credentials) {
            return Verdict::Login("the same credentials were refused before, and are not tried again".to_owned());
        }
        let verdict = asking.await;
        if matches!(verdict, Verdict::Login(_)) {
            self.refused.push(settings.credentials.clone());
        }
        verdict
    }
}

/// Where the settings of an upstream stand.
fn place(settings: &UpstreamSettings, case: &Case) -> String {
    match &case.config.file {
        Some(file) if settings.is_named() => format!(" under [upstream.{}] of {file}", settings.name),
        Some(file) => format!(" in {file}"),
        None => String::new(),
    }
}

/// Who asks, each time over a new connection.
struct Asker<'a> {
    upstream: &'a Upstream,
    addr: SocketAddr,
    /// Whether it says who we are.
    named: bool,
}

impl Asker<'_> {
    async fn ask(&self, target: &Target<'_>, limit: Duration) -> Verdict {
        let link = match tokio::time::timeout(DIAL, self.upstream.reach(self.addr)).await {
            Ok(Ok(link)) => link,
            Ok(Err(failure)) => return Verdict::of_failure(&failure),
            Err(_) => return Verdict::Broken(format!("connect once more: nothing within {}s", DIAL.as_secs())),
        };
        if self.named {
            return self.ask_on(link, target, limit).await;
        }
        let asked = self.upstream.ask_unnamed(link, target, Deadline::after(limit)).await;
        asked.map_or_else(|failure| Verdict::of_failure(&failure), |answer| Verdict::of_answer(&answer))
    }

    async fn ask_on(&self, link: Link, target: &Target<'_>, limit: Duration) -> Verdict {
        match self.upstream.open(link, target, false, Deadline::after(limit), &Retries::default()).await {
            Ok(_) => Verdict::Open,
            Err(failure) => Verdict::of_failure(&failure),
        }
    }

    /// The first question, of which more is of interest than the verdict.
    async fn ask_unnamed(&self, link: Link, target: &Target<'_>) -> (Verdict, Option<Answer>) {
        match self.upstream.ask_unnamed(link, target, Deadline::after(REPLY)).await {
            Ok(answer) => (Verdict::of_answer(&answer), Some(answer)),
            Err(failure) => (Verdict::of_failure(&failure), None),
        }
    }
}

fn route(addr: SocketAddr, case: &Case) -> Option<Finding> {
    let (ip, mark) = (addr.ip().to_string(), case.config.mark.to_string());
    let ran = tool::run("ip", &["route", "get", &ip, "mark", &mark]);
    match ran {
        tool::Ran::Ended { status: 0, stdout, .. } => {
            let line = stdout.lines().next().unwrap_or_default();
            // the mark is ours, and the user that of the doctor
            let words: Vec<&str> =
                line.split_whitespace().take_while(|word| !matches!(*word, "mark" | "uid")).collect();
            Some(Finding::ok("route", words.join(" ")))
        }
        tool::Ran::Ended { stderr, .. } => {
            let why = stderr.trim().trim_start_matches("RTNETLINK answers: ").to_owned();
            Some(Finding::fail("route", format!("{ip}: {why}"), format!("ip route add {ip} via GATEWAY")))
        }
        // without the tool, connecting tells
        tool::Ran::Missing | tool::Ran::Failed(_) => None,
    }
}

async fn reach(proxy: &Proxy, upstream: &Upstream, addr: SocketAddr) -> (Finding, Option<Link>) {
    let start = Instant::now();
    let tls = if proxy.speaks == Speaks::Https { ", TLS included" } else { "" };
    let wrong_kind = "see to its port and its certificate (ca = FILE), or is it http://?".to_owned();
    let (why, fix) = match tokio::time::timeout(DIAL, upstream.reach(addr)).await {
        Ok(Ok(link)) => {
            let took = start.elapsed().as_millis();
            return (Finding::ok("reach", format!("{proxy} at {addr} within {took} ms{tls}")), Some(link));
        }
        Ok(Err(failure)) => {
            let (ip, port) = (addr.ip(), addr.port());
            let usual = || format!("is the proxy running, and is {port} its port? nc -vz {ip} {port}");
            let fix = if proxy.speaks == Speaks::Https { wrong_kind } else { usual() };
            (failure.why().to_owned(), fix)
        }
        Err(_) => {
            let why = format!("dial {addr}{tls}: nothing within {}s", DIAL.as_secs());
            let usual = "a firewall on the way, or another address: traceroute tells how far it gets".to_owned();
            (why, if proxy.speaks == Speaks::Https { wrong_kind } else { usual })
        }
    };
    (Finding::fail("reach", format!("{proxy}: {why}"), fix), None)
}
