//! `handyproxy doctor`: where all is well it says so, and whatever is broken it names, with what to do.

mod proxy;
mod stage;

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::topology::{PORT, UPSTREAM};
use proxy::Manners;
use stage::{Stage, Told};

/// A way to break a stage on which all is well: what is done, what is wrong then, and what the fix says.
type Row = (&'static str, fn(&mut Stage) -> Told, &'static [&'static str], &'static str);

fn each_is_named(rows: &[Row]) {
    each_row(
        rows,
        |(what, ..)| (*what).to_owned(),
        |(_, break_it, wrong, fix)| {
            let mut stage = Stage::well();
            break_it(&mut stage).names(wrong, fix);
        },
    );
}

/// The usual settings with one more line at their top, or under `[rules]`.
fn changed(top: &str, rules: &str) -> String {
    format!("{top}\n{}{rules}\n", Stage::settings())
}

#[test]
fn where_all_is_well_it_says_so() {
    let stage = Stage::well();
    let told = stage.examine("");
    told.is_well();
    let checks = [
        "settings",
        "rules",
        "rules-match",
        "captured",
        "quic",
        "ipv6",
        "loop",
        "forwarding",
        "conntrack",
        "ports",
        "pipes",
        "daemon",
        "descriptors",
        "route",
        "reach",
        "login",
        "connect-443",
        "connect-80",
        "by-address",
        "clock",
    ];
    for check in checks {
        let found = told.of(check);
        assert!(!found.is_empty() && found.iter().all(|f| f.status == "ok"), "{check}: {}", told.text);
    }
    let pid = stage.gateway.as_ref().expect("it runs").pid();
    assert!(told.of("daemon")[0].seen.contains(&format!("process {pid}")), "{}", told.text);
    // without its file, by its port
    stage.doctor(&format!("-local-port {PORT} -upstream-proxy {UPSTREAM} -sniff-timeout 1s")).is_well();
    // nobody is asked
    let asked = stage.proxy.as_ref().expect("it runs").asked().len();
    let told = stage.examine("-no-net");
    told.is_well();
    assert!(told.of("connect-443").is_empty() && told.of("reach")[0].status == "note", "{}", told.text);
    assert_eq!(stage.proxy.as_ref().expect("it runs").asked().len(), asked);
}

#[test]
fn rules_that_are_wrong_are_named() {
    each_is_named(&[
        (
            "no rules",
            |stage| {
                stage.rules("down");
                stage.examine("")
            },
            &["FAIL rules"],
            "handyproxy rules up -config",
        ),
        (
            "rules for another port",
            |stage| {
                stage.sh(&format!("handyproxy-rules gateway up --name {} --port 9999 -i lan", stage.name));
                stage.examine("")
            },
            &["FAIL rules-match"],
            "handyproxy rules up -config",
        ),
        (
            "rules for another interface",
            |stage| {
                stage.sh(&format!("handyproxy-rules gateway up --name {} --port {PORT} -i wan", stage.name));
                stage.examine("")
            },
            &["FAIL rules-match"],
            "handyproxy rules up",
        ),
        (
            "rules that wait for a confirmation",
            |stage| {
                stage.rules("up -confirm 60s");
                stage.examine("")
            },
            &["warn confirm"],
            "handyproxy-rules confirm --name",
        ),
        (
            "QUIC left alone",
            |stage| {
                stage.write(&changed("", "quic = 'leave'"));
                stage.rules("up");
                stage.examine("")
            },
            &["warn quic"],
            "quic = \"reject\" under [rules]",
        ),
        (
            "rules for IPv4 only",
            |stage| {
                stage.rules("down");
                stage.write(&changed("", "family = '4'"));
                stage.rules("up");
                stage.examine("")
            },
            &["warn ipv6"],
            "family = \"both\" under [rules]",
        ),
    ]);
}

#[test]
fn a_kernel_that_is_told_the_wrong_things_is_named() {
    each_is_named(&[
        (
            "no forwarding",
            |stage| {
                stage.net.gateway.sysctl("ipv4/ip_forward", "0");
                stage.examine("")
            },
            &["warn forwarding"],
            "sysctl -w net.ipv4.ip_forward=1",
        ),
        (
            "no forwarding of IPv6",
            |stage| {
                stage.net.gateway.sysctl("ipv6/conf/all/forwarding", "0");
                stage.examine("")
            },
            &["warn forwarding"],
            "sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
        (
            "a full table of connections",
            |stage| stage.examine_with("/proc/sys/net/netfilter/nf_conntrack_max", "1\n"),
            &["FAIL conntrack"],
            "nf_conntrack_max=4",
        ),
        (
            "few local ports",
            |stage| {
                stage.net.gateway.sysctl("ipv4/ip_local_port_range", "20000 20049");
                stage.examine("")
            },
            &["warn ports"],
            "source = ADDRESSES",
        ),
        (
            "few pages for pipes",
            |stage| {
                stage.gateway = None;
                let less = format!(
                    "--bounding-set -sys_admin,-sys_resource {} -config {}",
                    env!("CARGO_BIN_EXE_handyproxy"),
                    stage.file
                );
                stage.start_as(Launch::of("setpriv", &less));
                stage.examine_with("/proc/sys/fs/pipe-user-pages-soft", "1024\n")
            },
            &["warn pipes"],
            "sysctl -w fs.pipe-user-pages-soft=",
        ),
        (
            "DNAT to loopback without route_localnet",
            |stage| {
                stage.rules("down");
                stage.sh(&format!(
                    "iptables -w -t nat -A PREROUTING -i lan -p tcp -j DNAT --to-destination 127.0.0.1:{PORT}"
                ));
                stage.examine("")
            },
            &["warn quic", "warn ipv6", "FAIL route-localnet"],
            "refuse UDP to port 443",
        ),
        (
            "TPROXY where senders are looked for by mark",
            |stage| {
                stage.rules("down");
                stage.write(&changed("capture = 'tproxy'", ""));
                stage.rules("up");
                stage.start();
                stage.examine("").is_well();
                stage.net.gateway.sysctl("ipv4/conf/all/src_valid_mark", "1");
                stage.examine("")
            },
            &["FAIL tproxy"],
            "src_valid_mark=0",
        ),
        (
            "TPROXY without its policy routing",
            |stage| {
                stage.rules("down");
                stage.write(&changed("capture = 'tproxy'", ""));
                stage.rules("up");
                stage.sh("ip rule del fwmark 0x6869/0xffff lookup 26729");
                stage.examine("")
            },
            &["FAIL tproxy"],
            "handyproxy rules up",
        ),
    ]);
}

#[test]
fn rules_for_this_machine_must_leave_our_own_mark_alone() {
    each_row(
        &["nft", "iptables"],
        |backend| (*backend).to_owned(),
        |backend| {
            let mut stage = Stage::well();
            stage.rules("down");
            let local = format!("mode = 'local'\nbackend = '{backend}'");
            stage.write(&Stage::settings().replace("mode = 'gateway'\ninterfaces = ['lan']", &local));
            stage.rules("up");
            stage.start();
            let told = stage.examine("");
            told.is_well();
            assert!(told.of("rules")[0].seen.contains("local IPv4"), "{}", told.text);
            assert!(told.of("loop")[0].seen.contains("mark 0x68"), "{}", told.text);
            assert_eq!(told.of("connect-443")[0].status, "ok", "{}", told.text);
            stage.examine("-mark 7").names(&["FAIL loop"], "handyproxy rules up");
            // the daemon sets no mark without the right to do so
            let less = format!(
                "--bounding-set -net_admin,-net_raw {} -config {}",
                env!("CARGO_BIN_EXE_handyproxy"),
                stage.file
            );
            stage.gateway = None;
            stage.start_as(Launch::of("setpriv", &less));
            stage.examine("").names(&["FAIL loop"], "AmbientCapabilities=CAP_NET_ADMIN");
        },
    );
}

#[test]
fn rules_made_by_hand_are_rules_too() {
    let stage = Stage::well();
    stage.rules("down");
    for tool in ["iptables", "ip6tables"] {
        stage.sh(&format!("{tool} -w -t nat -A PREROUTING -i lan -p tcp -j REDIRECT --to-ports {PORT}"));
        stage.sh(&format!("{tool} -w -A FORWARD -i lan -p udp --dport 443 -j REJECT"));
    }
    let told = stage.examine("");
    told.is_well();
    assert!(told.of("rules")[0].seen.starts_with("made by hand, 2 in all"), "{}", told.text);
    assert_eq!(told.of("captured")[0].status, "note", "{}", told.text);
    drop(stage.net.client.connect("203.0.113.9:443".parse().expect("an address")));
    assert_eq!(stage.examine("").of("captured")[0].status, "ok");
    assert_eq!(stage.examine("").of("ipv6")[0].status, "ok");
}

#[test]
fn a_daemon_that_is_not_there_or_too_small_is_named() {
    each_is_named(&[
        (
            "no daemon",
            |stage| {
                stage.gateway = None;
                stage.examine("")
            },
            &["FAIL daemon"],
            "handyproxy -config",
        ),
        (
            "another program",
            |stage| {
                stage.gateway = None;
                let _other = stage.net.gateway.listen(&format!("0.0.0.0:{PORT}"));
                stage.examine("")
            },
            &["FAIL daemon"],
            "stop process",
        ),
        (
            "few descriptors",
            |stage| {
                let launch = Launch::words(&format!("-config {}", stage.file)).descriptors(100);
                stage.start_as(launch);
                stage.examine("")
            },
            &["warn descriptors"],
            "LimitNOFILE=",
        ),
        (
            "our own connections captured",
            |stage| {
                stage.rules("down");
                stage.sh(&format!("iptables -w -t nat -A OUTPUT -p tcp --dport 443 -j REDIRECT --to-ports {PORT}"));
                stage.write(&Stage::settings().replace("mode = 'gateway'\ninterfaces = ['lan']", "mode = 'local'"));
                stage.examine("-mark 0")
            },
            &["FAIL loop"],
            "mark = 0x68 in ",
        ),
        (
            "the proxy is our own listener",
            |stage| stage.examine(&format!("-upstream-proxy 10.1.0.1:{PORT}")),
            &["FAIL loop"],
            "upstream-proxy = ",
        ),
    ]);
}

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
            "it speaks something else",
            |stage| stage.examine("-upstream-proxy socks5://10.2.0.2:3128"),
            &["FAIL connect-443"],
            "http://, https:// or socks5://",
        ),
        (
            "dns is set and nobody answers",
            |stage| stage.examine("-dns 127.0.0.1:5399"),
            &["FAIL client-dns"],
            "handyproxy -config",
        ),
    ]);
}

/// What a proxy does, with which flags it is examined, what is wrong then, and what the fix says.
type Conduct = (&'static str, Manners, &'static str, &'static [&'static str], &'static str);

#[test]
fn what_a_proxy_refuses_is_named() {
    const FORBIDDEN: &str = "403 Forbidden";
    let refuses = |what: &'static str, how: &'static str| Manners { refusals: vec![(what, how)], ..Manners::default() };
    let asks = |challenge: &'static str| Manners { challenge: Some(challenge), ..Manners::default() };
    let rows: [Conduct; 13] = [
        (
            "port 443",
            refuses("example.com:443", FORBIDDEN),
            "",
            &["FAIL connect-443"],
            "have the proxy allow CONNECT to port 443",
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
            "auth = [\"basic\"], with user and password-file",
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
        // two proxies of one upstream, for which the same password would be wrong
        let told = stage.examine(&format!("{flags} -upstream-proxy {UPSTREAM},{UPSTREAM}"));
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

#[test]
fn whoever_is_not_root_hears_what_cannot_be_seen() {
    let stage = Stage::well();
    let told = stage.told(
        "setpriv",
        &format!(
            "--reuid 65534 --regid 65534 --clear-groups -- {} doctor -local-port {PORT} -upstream-proxy {UPSTREAM}",
            env!("CARGO_BIN_EXE_handyproxy")
        ),
    );
    told.names(&["warn rules", "warn daemon"], "run handyproxy doctor as root");
    for check in ["rules", "loop", "daemon"] {
        let found = told.of(check)[0];
        assert!(found.status != "ok" && found.seen.contains("root"), "{}", told.text);
    }
}

#[test]
fn programs_read_it_as_json() {
    let stage = Stage::well();
    stage.rules("down");
    let told = stage.examine("-json");
    assert_eq!(told.exit, 1);
    let script = "import json,sys; found = json.load(sys.stdin); \
        assert all(set(f) == {'file', 'check', 'status', 'seen', 'fix'} for f in found), found; \
        print(*sorted(f['check'] for f in found if f['status'] in ('warn', 'fail')))";
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), told.text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rules\n", "{}", told.text);
}

#[test]
fn without_settings_every_instance_of_the_machine_is_examined() {
    let stage = Stage::well();
    let etc = format!("{}/etc", stage.folder.path());
    stage.sh(&format!(
        "mkdir -p {etc}/handyproxy && cp {} {etc}/handyproxy/ && echo 'local-prot = 1' >{etc}/handyproxy/bad.toml",
        stage.file
    ));
    let script = format!("mount --bind {etc} /etc && exec {} doctor -no-net", env!("CARGO_BIN_EXE_handyproxy"));
    let script = stage.folder.write("script", &script);
    let told = stage.told("unshare", &format!("-m sh {script}"));
    told.names(&["FAIL settings"], "handyproxy check -config /etc/handyproxy/bad.toml");
    let heads: Vec<&str> = told.text.lines().filter(|line| line.starts_with('/')).collect();
    assert_eq!(heads, ["/etc/handyproxy/bad.toml".to_owned(), format!("/etc/handyproxy/{}.toml", stage.name)]);
    assert!(told.of("rules")[0].status == "ok", "{}", told.text);
}
