//! What is wrong with the proxies, their names and their clocks.

use std::thread;
use std::time::Duration;

use super::each_is_named;
use super::proxy::Manners;
use super::stage::{Stage, Told};
use crate::support::each_row;
use crate::support::topology::UPSTREAM;

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    each_is_named(&[
        (
            "no route",
            |stage| stage.examine("-upstream-proxy 192.0.2.77"),
            &["FAIL route", "FAIL reach"],
            "ip route add 192.0.2.77",
        ),
        (
            "nobody listens",
            |stage| stage.examine("-upstream-proxy 10.2.0.2:3129"),
            &["FAIL reach"],
            "is 3129 its port?",
        ),
        (
            "no TLS there",
            |stage| stage.examine("-upstream-proxy https://10.2.0.2:3128"),
            &["FAIL reach"],
            "or is it http://?",
        ),
        ("no such name", |stage| stage.examine("-upstream-proxy proxy.invalid"), &["FAIL names"], "/etc/resolv.conf"),
        (
            "it says nothing to SOCKS5",
            |stage| {
                let _silent = stage.net.upstream.listen("10.2.0.2:3129");
                no_socks(stage, "10.2.0.2:3129", "nothing within 5s")
            },
            &["FAIL connect-443"],
            "http://, https:// or socks5://",
        ),
        (
            "it says something else to SOCKS5",
            |stage| {
                let other = stage.net.upstream.listen("10.2.0.2:3129");
                let told = thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut wire = other.accept_asked();
                        wire.expect([5, 1, 0]);
                        wire.send("HTTP/1.1 400 No\r\n\r\n");
                    });
                    no_socks(stage, "10.2.0.2:3129", "\"HTTP/1.1 400 No\\r\\n\\r\\n\"; an HTTP proxy is http://")
                });
                other.expect_no_connection(Duration::ZERO);
                told
            },
            &["FAIL connect-443"],
            "http://, https:// or socks5://",
        ),
        (
            "dns is set and nobody answers",
            |stage| {
                stage.write(&format!("dns = ['127.0.0.1:5399']\n{}", Stage::settings()));
                stage.rules("up");
                stage.examine("")
            },
            &["FAIL client-dns"],
            "handyproxy -config",
        ),
    ]);
}

/// What is said of one that does not speak SOCKS5, and that it is all.
fn no_socks(stage: &Stage, at: &str, why: &str) -> Told {
    let told = stage.examine(&format!("-upstream-proxy socks5://{at}"));
    let seen = &told.of("connect-443")[0].seen;
    let wanted = format!("socks5://{at} does not answer a SOCKS5 greeting: {at}: ");
    assert!(seen.starts_with(&wanted) && seen.contains(why), "{}", told.text);
    for check in ["login", "connect-80", "by-address"] {
        assert!(told.of(check).is_empty(), "{check}: {}", told.text);
    }
    told
}

/// What a proxy does, with which flags it is examined, what is wrong then, and what the fix says.
type Conduct = (&'static str, Manners, &'static str, &'static [&'static str], &'static str);

#[test]
fn what_a_proxy_refuses_is_named() {
    const FORBIDDEN: &str = "403 Forbidden";
    let refuses = |what: &'static str, how: &'static str| Manners { refusals: vec![(what, how)], ..Manners::default() };
    let asks = |challenge: &'static str| Manners { challenge: Some(challenge), ..Manners::default() };
    let rows: [Conduct; 15] = [
        (
            "port 443",
            refuses("example.com:443", FORBIDDEN),
            "",
            &["FAIL connect-443"],
            "have the proxy allow CONNECT to port 443",
        ),
        (
            "CONNECT, as a web server",
            refuses("", "501 Unsupported method"),
            "",
            &["FAIL connect-443", "warn connect-80"],
            "it may be no proxy at all",
        ),
        (
            "what it does not understand",
            refuses(":443", "400 Bad Request"),
            "",
            &["FAIL connect-443"],
            "it may be no proxy at all",
        ),
        ("port 80", refuses(":80", FORBIDDEN), "", &["warn connect-80"], "plain-http = \"auto\" in "),
        ("port 80, relayed", refuses(":80", "405 No"), "-plain-http auto", &[], ""),
        ("port 80, not asked", refuses(":80", "501 No"), "-plain-http relay", &[], ""),
        (
            "addresses",
            refuses("192.0.2.1", FORBIDDEN),
            "-sniff-timeout -1ns",
            &["warn by-address"],
            "sniff-timeout = \"1s\"",
        ),
        ("addresses, but names are found", refuses("192.0.2.1", FORBIDDEN), "", &[], ""),
        ("an address that nobody has", refuses("192.0.2.1", "504 Late"), "-sniff-timeout -1ns", &[], ""),
        ("another host than ours", refuses("example.com", FORBIDDEN), "-target www.bench.example", &[], ""),
        ("a host that it does not reach", refuses("example.com", "503 No"), "", &["warn connect-443"], "-target HOST"),
        (
            "whoever says nothing",
            asks("Basic realm=\"x\""),
            "",
            &["FAIL login"],
            "auth = [\"basic\"], with user and password-file in ",
        ),
        (
            "our scheme",
            asks("NTLM"),
            "-auth basic -user me -password-file PASSWORD",
            &["FAIL login"],
            "auth = [\"ntlm\"]",
        ),
        (
            "our password",
            asks("Basic realm=\"x\""),
            "-auth basic -user me -password-file PASSWORD",
            &["FAIL login"],
            "see to user and password-file",
        ),
        (
            "a clock that is late",
            Manners { ahead: Duration::from_secs(3600), ..Manners::default() },
            "",
            &["warn clock"],
            "timedatectl",
        ),
    ];
    each_row(
        &rows,
        |(what, ..)| (*what).to_owned(),
        |(_, manners, flags, wrong, fix)| {
            let stage = Stage::before(manners.clone());
            let password = stage.folder.write("password", "secret\n");
            let told = stage.examine(&flags.replace("PASSWORD", &password));
            if wrong.is_empty() {
                told.is_well()
            } else {
                told.names(wrong, fix)
            }
            assert!(!told.text.contains("secret") && !told.text.contains("bWU6"), "{}", told.text);
        },
    );
}

#[test]
fn credentials_are_tried_once_and_serve_for_all_that_is_asked() {
    // me:secret
    const RIGHT: &str = "Basic bWU6c2VjcmV0";
    let asks = Manners { challenge: Some("Basic realm=\"x\""), ..Manners::default() };
    for (credentials, tried) in [(None, 1), (Some(RIGHT), 3)] {
        let stage = Stage::before(Manners { credentials, ..asks.clone() });
        let password = stage.folder.write("password", "secret\n");
        let flags = format!("-auth basic -user me -password-file {password}");
        // two proxies of one upstream, for which the same password would be wrong: here they are one with two addresses
        let second = stage.net.address(4);
        let to = format!("-p tcp -d {second} --dport 3128 -j DNAT --to-destination {UPSTREAM}");
        stage.net.upstream.run(&format!("iptables -w -t nat -A PREROUTING {to}"));
        let told = stage.examine(&format!("{flags} -upstream-proxy {UPSTREAM},{second}"));
        let asked = stage.proxy.as_ref().expect("it runs").asked();
        let with = asked.iter().filter(|(_, value)| value.as_deref() == Some(RIGHT)).count();
        match credentials {
            None => told.names(&["FAIL login", "FAIL login"], "see to user"),
            Some(_) => told.is_well(),
        }
        let proxies = if credentials.is_some() { 2 } else { 1 };
        assert_eq!(with, tried * proxies, "{asked:?}");
    }
}

#[test]
fn a_socks_proxy_is_asked_in_its_own_words() {
    let stage = Stage::before(Manners { socks: Some(80), ..Manners::default() });
    let told = stage.examine(&format!("-upstream-proxy socks5://{UPSTREAM}"));
    told.names(&["warn connect-80"], "have the proxy allow port 80");
    assert!(told.of("connect-80")[0].seen.contains("not allowed by its rules"), "{}", told.text);
    assert_eq!(told.of("connect-443")[0].status, "ok", "{}", told.text);
}
