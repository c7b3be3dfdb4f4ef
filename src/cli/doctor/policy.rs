//! What a proxy lets us do, judged: its answers to CONNECT, and what it wants to know of us.

use super::finding::Finding;
use crate::close::End;
use crate::config::{PlainHttp, Scheme};
use crate::upstream::{Answer, Failure};

/// What became of one CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The tunnel was opened.
    Open,
    /// The proxy's rules forbid it.
    Forbidden(String),
    /// The proxy does not know the name.
    Unresolved(String),
    /// The proxy allows it, and did not get through.
    Failed(String),
    /// Nothing was heard in time.
    Silent(String),
    /// Something else was heard, or an end.
    Broken(String),
    /// Who we are was not accepted.
    Login(String),
    /// What web servers answer, which know no CONNECT, and some proxies where they forbid it: the status, and all of it.
    Unfit(u16, String),
}

impl Verdict {
    pub(super) fn of_answer(answer: &Answer) -> Verdict {
        let text = format!("answered {}", answer.text);
        match answer.status {
            200..300 => Verdict::Open,
            403 => Verdict::Forbidden(text),
            407 => Verdict::Login(text),
            status @ (400 | 404 | 405 | 501) => Verdict::Unfit(status, text),
            _ => Verdict::Failed(text),
        }
    }

    pub(super) fn of_failure(failure: &Failure) -> Verdict {
        let why = failure.why().to_owned();
        match (failure.close.end, failure.status) {
            (End::Auth, _) | (_, Some(407)) => Verdict::Login(why),
            (_, Some(status @ (400 | 404 | 405 | 501))) if !failure.unresolved => Verdict::Unfit(status, why),
            _ if failure.forbidden => Verdict::Forbidden(why),
            _ if failure.unresolved => Verdict::Unresolved(why),
            (End::Timeout, _) => Verdict::Silent(why),
            (End::Refused, _) => Verdict::Failed(why),
            _ => Verdict::Broken(why),
        }
    }

    /// What it means of one that is a proxy.
    fn of_proxy(&self) -> Verdict {
        match self {
            Verdict::Unfit(405 | 501, why) => Verdict::Forbidden(why.clone()),
            Verdict::Unfit(_, why) => Verdict::Failed(why.clone()),
            other => other.clone(),
        }
    }
}

/// What the settings of an upstream say of it.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    /// The proxy, for people.
    pub(super) proxy: String,
    /// Where its settings stand: ` under [upstream.corp] of FILE`.
    pub(super) place: String,
    pub(super) is_socks: bool,
    pub(super) auth: &'a [Scheme],
    pub(super) plain_http: PlainHttp,
    /// Whether names are looked for.
    pub(super) sniffs: bool,
}

impl Terms<'_> {
    /// A tunnel by name to port 443.
    pub(super) fn port_443(&self, asked: &str, verdict: &Verdict) -> Finding {
        let seen = |what: &str| format!("{}: CONNECT {asked}: {what}", self.proxy);
        let other = "handyproxy doctor -target HOST, with a host that this proxy reaches";
        let kind = self.kind();
        match verdict {
            Verdict::Open => Finding::ok("connect-443", seen("opened")),
            Verdict::Forbidden(why) => {
                let fix = format!("have the proxy allow CONNECT to port 443; or ask for another host: {other}");
                Finding::fail("connect-443", seen(why), fix)
            }
            Verdict::Unfit(_, why) => {
                let fix = format!(
                    "it may be no proxy at all, but a web server: see to its address and its port{}; if it is one, \
                     have it allow CONNECT to port 443, or ask for another host: {other}",
                    self.place
                );
                Finding::fail("connect-443", seen(why), fix)
            }
            Verdict::Unresolved(why) | Verdict::Failed(why) => {
                Finding::warn("connect-443", seen(&format!("not forbidden, and did not get through: {why}")), other)
            }
            Verdict::Silent(why) => Finding::warn("connect-443", seen(why), format!("{kind}; if it is, {other}")),
            Verdict::Broken(why) | Verdict::Login(why) => Finding::fail("connect-443", seen(why), kind),
        }
    }

    /// It does not speak SOCKS5, which it was to.
    pub(super) fn no_greeting(&self, why: &str) -> Finding {
        let seen = format!("{} does not answer a SOCKS5 greeting: {why}", self.proxy);
        Finding::fail("connect-443", seen, self.kind())
    }

    /// What to ask oneself of a proxy that is not understood.
    fn kind(&self) -> String {
        format!("is it a proxy, and of this kind? http://, https:// or socks5://{}", self.place)
    }

    /// A tunnel by name to port 80.
    pub(super) fn port_80(&self, asked: &str, verdict: &Verdict) -> Finding {
        let seen = |what: &str| format!("{}: CONNECT {asked}: {what}", self.proxy);
        let sniff = if self.sniffs { "" } else { ", with sniff-timeout = \"1s\"" };
        match &verdict.of_proxy() {
            Verdict::Open => Finding::ok("connect-80", seen("opened")),
            Verdict::Forbidden(why) if self.is_socks => {
                Finding::warn("connect-80", seen(why), "have the proxy allow port 80")
            }
            Verdict::Forbidden(why) if self.plain_http == PlainHttp::Auto && self.sniffs => {
                Finding::ok("connect-80", seen(&format!("{why}; plain-http = \"auto\" hands it requests instead")))
            }
            Verdict::Forbidden(why) => {
                let fix = format!("plain-http = \"auto\"{}{sniff}", self.place);
                Finding::warn("connect-80", seen(&format!("{why}: HTTP without TLS does not work")), fix)
            }
            Verdict::Silent(why) => Finding::note("connect-80", seen(why), ""),
            Verdict::Unresolved(why) | Verdict::Failed(why) | Verdict::Unfit(_, why) => {
                Finding::note("connect-80", seen(&format!("not forbidden, and did not get through: {why}")), "")
            }
            Verdict::Broken(why) | Verdict::Login(why) => {
                let fix = format!("plain-http = \"relay\"{}{sniff}", self.place);
                Finding::warn("connect-80", seen(why), fix)
            }
        }
    }

    /// A tunnel by address; `real` where somebody is there.
    pub(super) fn by_address(&self, asked: &str, real: bool, verdict: &Verdict) -> Finding {
        let seen = |what: &str| format!("{}: CONNECT {asked}: {what}", self.proxy);
        match &verdict.of_proxy() {
            Verdict::Open => Finding::ok("by-address", seen("opened")),
            Verdict::Forbidden(why) if !self.sniffs => {
                let fix = "sniff-timeout = \"1s\", so that names are found and sent".to_owned();
                let seen = seen(&format!("{why}, and without sniff-timeout no name is sent"));
                // what is reserved for documents may be refused for that alone
                if real { Finding::fail("by-address", seen, fix) } else { Finding::warn("by-address", seen, fix) }
            }
            Verdict::Forbidden(why) => {
                let seen = seen(&format!("{why}: connections without a name are refused"));
                Finding::note("by-address", seen, "")
            }
            Verdict::Broken(why) | Verdict::Login(why) => Finding::note("by-address", seen(why), ""),
            Verdict::Unresolved(why) | Verdict::Failed(why) | Verdict::Silent(why) | Verdict::Unfit(_, why) => {
                Finding::ok("by-address", seen(&format!("not forbidden: {why}")))
            }
        }
    }

    /// Who we are to it: what it offers when it asks, and what it said to our credentials.
    pub(super) fn login(&self, offered: Option<&[String]>, said: Option<&Verdict>) -> Finding {
        let proxy = &self.proxy;
        let ours: Vec<String> = self.auth.iter().map(ToString::to_string).collect();
        let wrong = match said {
            Some(Verdict::Login(why)) => Some(why),
            _ => None,
        };
        let Some(offered) = offered else {
            return match (wrong, self.auth.is_empty()) {
                (Some(why), _) => Finding::fail("login", format!("{proxy}: {why}"), self.who()),
                _ if matches!(said, Some(Verdict::Silent(_))) => {
                    Finding::note("login", format!("{proxy}: not seen, for it has said nothing"), "")
                }
                (None, true) => Finding::ok("login", format!("{proxy} lets us in without")),
                (None, false) => Finding::ok("login", format!("{proxy} lets us in, with our credentials if it asks")),
            };
        };
        let offers = if offered.is_empty() { "nothing that we know".to_owned() } else { offered.join(", ") };
        let known = |name: &&String| ["basic", "digest", "ntlm", "negotiate"].contains(&&name.to_ascii_lowercase()[..]);
        let usable: Vec<String> =
            offered.iter().filter(known).map(|name| format!("\"{}\"", name.to_ascii_lowercase())).collect();
        let has_ours = offered.iter().any(|offer| ours.iter().any(|own| own.eq_ignore_ascii_case(offer)));
        let seen = |what: &str| format!("{proxy} asks who we are and offers {offers}; {what}");
        let ours = ours.join(", ");
        match (self.auth.is_empty(), has_ours, wrong) {
            (true, ..) => Finding::fail("login", seen("auth is none"), self.auth_for(&usable)),
            (false, false, _) => Finding::fail("login", seen(&format!("auth is {ours}")), self.auth_for(&usable)),
            (_, _, Some(why)) => Finding::fail("login", seen(why), self.who()),
            (_, _, None) => Finding::ok("login", seen(&format!("auth is {ours}, and it lets us in"))),
        }
    }

    fn auth_for(&self, usable: &[String]) -> String {
        if usable.is_empty() {
            return "have the proxy offer basic, digest, ntlm or negotiate".to_owned();
        }
        let keytab = if usable.iter().any(|name| name == "\"negotiate\"") { " (or keytab)" } else { "" };
        format!("auth = [{}], with user and password-file{keytab}{}", usable.join(", "), self.place)
    }

    fn who(&self) -> String {
        let ticket =
            if self.auth.contains(&Scheme::Negotiate) { ", or the ticket (klist, keytab) and the clock" } else { "" };
        format!(
            "see to user and password-file{}{ticket}; they are tried no more, so that no account is locked",
            self.place
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status::{self, Fail, Note, Ok, Warn};
    use super::*;
    use crate::close::{By, Close};

    fn terms(auth: &[Scheme]) -> Terms<'_> {
        let (proxy, place) = ("http://proxy:3128".to_owned(), " under [upstream.corp] of a.toml".to_owned());
        Terms { proxy, place, is_socks: false, auth, plain_http: PlainHttp::Connect, sniffs: true }
    }

    /// What is configured, what is offered, what was said, what that is, and how the fix begins.
    type Row<'a> = (&'a [Scheme], Option<&'a [String]>, Option<&'a Verdict>, Status, &'a str);

    fn verdicts() -> [Verdict; 9] {
        let why = || "why".to_owned();
        [
            Verdict::Open,
            Verdict::Forbidden(why()),
            Verdict::Unresolved(why()),
            Verdict::Failed(why()),
            Verdict::Silent(why()),
            Verdict::Broken(why()),
            Verdict::Login(why()),
            Verdict::Unfit(501, why()),
            Verdict::Unfit(404, why()),
        ]
    }

    fn judged(judge: impl Fn(&Verdict) -> Finding) -> [Status; 9] {
        verdicts().map(|verdict| {
            let found = judge(&verdict);
            assert!(matches!(found.status, Ok | Note) || !found.fix.is_empty(), "{found:?}");
            assert!(verdict == Verdict::Open || found.seen.contains("why"), "{found:?}");
            found.status
        })
    }

    #[test]
    fn what_is_forbidden_is_told_from_what_does_not_get_through() {
        let usual = terms(&[]);
        let at_443 = [Ok, Fail, Warn, Warn, Warn, Fail, Fail, Fail, Fail];
        assert_eq!(judged(|verdict| usual.port_443("a:443", verdict)), at_443);
        let at_80 = [Ok, Warn, Note, Note, Note, Warn, Warn, Warn, Note];
        assert_eq!(judged(|verdict| usual.port_80("a:80", verdict)), at_80);
        let by_address = [Ok, Note, Ok, Ok, Ok, Note, Note, Note, Ok];
        assert_eq!(judged(|verdict| usual.by_address("1:443", true, verdict)), by_address);
        let auto = Terms { plain_http: PlainHttp::Auto, ..usual.clone() };
        assert_eq!(judged(|verdict| auto.port_80("a:80", verdict))[1], Ok);
        let blind = Terms { sniffs: false, ..auto };
        assert_eq!(judged(|verdict| blind.port_80("a:80", verdict))[1], Warn);
        assert_eq!(judged(|verdict| blind.by_address("1:443", true, verdict))[1], Fail);
        assert_eq!(judged(|verdict| blind.by_address("1:443", false, verdict))[1], Warn);
        assert!(usual.port_80("a:80", &verdicts()[1]).fix.starts_with("plain-http = \"auto\" under [upstream.corp]"));
    }

    #[test]
    fn whoever_does_not_answer_a_greeting_is_no_socks_proxy() {
        let found = terms(&[]).no_greeting("10.0.0.1:3128: nothing within 5s");
        assert_eq!((found.check, found.status), ("connect-443", Fail));
        assert!(found.seen.contains("does not answer a SOCKS5 greeting: 10.0.0.1:3128: nothing"), "{found:?}");
        assert!(["http://", "https://", "socks5://"].iter().all(|kind| found.fix.contains(kind)), "{found:?}");
    }

    #[test]
    fn what_answers_as_a_web_server_may_be_no_proxy() {
        let answer = |status| {
            let (text, schemes) = (format!("{status} No"), Vec::new());
            Verdict::of_answer(&Answer { status, text, schemes, date: None })
        };
        let failure = |status| {
            let close = Close::because(End::Refused, By::Upstream, format_args!("answered {status} No"));
            let mut failure = Failure::new(close);
            (failure.status, failure.forbidden) = (Some(status), matches!(status, 403 | 405 | 501));
            Verdict::of_failure(&failure)
        };
        for (status, says) in [(400, true), (404, true), (405, true), (501, true), (403, false), (503, false)] {
            for verdict in [answer(status), failure(status)] {
                let found = terms(&[]).port_443("a:443", &verdict);
                assert_eq!(found.fix.contains("no proxy at all"), says, "{found:?}");
                assert!(found.seen.ends_with(&format!("answered {status} No")), "{found:?}");
            }
            // what it means of a proxy is the same
            assert_eq!(answer(status).of_proxy(), failure(status).of_proxy());
        }
    }

    #[test]
    fn what_is_offered_is_compared_with_what_we_have() {
        let offers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let both = offers(&["NTLM", "Basic"]);
        let wrong = Verdict::Login("credentials refused: user me by basic".to_owned());
        let silent = Verdict::Silent("nothing within 15s".to_owned());
        let tickets = offers(&["Negotiate"]);
        let rows: [Row<'_>; 9] = [
            (&[], None, Some(&silent), Note, ""),
            (&[], None, None, Ok, ""),
            (&[Scheme::Basic], None, Some(&Verdict::Open), Ok, ""),
            (&[], Some(&both), None, Fail, "auth = [\"ntlm\", \"basic\"], with user and password-file under "),
            (&[], Some(&tickets), None, Fail, "auth = [\"negotiate\"], with user and password-file (or keytab) under "),
            (&[Scheme::Digest], Some(&both), None, Fail, "auth = [\"ntlm\", \"basic\"]"),
            (&[Scheme::Basic], Some(&both), Some(&Verdict::Open), Ok, ""),
            (&[Scheme::Basic], Some(&both), Some(&wrong), Fail, "see to user and password-file under [upstream.corp]"),
            (&[], Some(&[]), None, Fail, "have the proxy offer"),
        ];
        for (auth, offered, said, status, fix) in rows {
            let found = terms(auth).login(offered, said);
            assert_eq!(found.status, status, "{found:?}");
            assert!(found.fix.starts_with(fix) && found.fix.is_empty() == fix.is_empty(), "{found:?}");
        }
    }
}
