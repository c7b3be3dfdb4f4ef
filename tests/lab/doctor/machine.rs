//! What is wrong with the rules, the kernel and the daemon.

use super::each_is_named;
use super::stage::Stage;
use crate::support::daemon::Launch;
use crate::support::each_row;
use crate::support::topology::{PORT, UPSTREAM};

/// The usual settings with one more line at their top, or under `[rules]`.
fn changed(top: &str, rules: &str) -> String {
    format!("{top}\n{}{rules}\n", Stage::settings())
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
            "nothing that leads to the rules for IPv4",
            |stage| {
                stage.sh("iptables -w -t nat -F PREROUTING");
                stage.examine("")
            },
            &["FAIL rules"],
            "handyproxy rules up -config",
        ),
        (
            "the same without a word of them in the file",
            |stage| {
                stage.sh("iptables -w -t nat -F PREROUTING");
                stage.doctor(&format!("-local-port {PORT} -upstream-proxy {UPSTREAM} -sniff-timeout 1s"))
            },
            &["FAIL rules"],
            "handyproxy-rules gateway up",
        ),
        (
            "nothing that leads to any rules",
            |stage| {
                stage.sh("iptables -w -t nat -F PREROUTING; ip6tables -w -t nat -F PREROUTING");
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
            "interfaces that are not there",
            |stage| {
                let named = |names: &str| Stage::settings().replace("['lan']", names);
                stage.write(&named("['la+', 'wan']"));
                stage.rules("up");
                stage.examine("-no-net").is_well();
                stage.write(&named("['la+', 'eth9', 'br-+']"));
                stage.rules("up");
                let told = stage.examine("-no-net");
                assert!(told.text.contains("warn  rules: there is no interface br-+, eth9:"), "{}", told.text);
                // without the file it is the rules that name them
                let blank = stage.doctor(&format!("-local-port {PORT} -sniff-timeout 1s -no-net"));
                blank.names(&["warn rules"], "handyproxy-rules gateway up");
                // they may come
                stage.sh("ip link add eth9 type veth peer name br-7");
                stage.examine("-no-net").is_well();
                told
            },
            &["warn rules"],
            "interfaces = [\"NAME\"] under [rules]",
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
            "nothing that leads to the rules for QUIC",
            |stage| {
                stage.sh("iptables -w -F FORWARD");
                stage.examine("")
            },
            &["warn quic"],
            "handyproxy rules up -config",
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

/// Whoever has the family in the file needs no word of it.
#[test]
fn rules_for_ipv6_that_were_taken_away_come_back_as_the_file_says() {
    let stage = Stage::well();
    stage.sh("ip6tables -w -t nat -F");
    let told = stage.examine("-no-net");
    told.names(&["warn ipv6"], &format!("handyproxy rules up -config {}, or ", stage.file));
    assert!(!told.of("ipv6")[0].fix.contains("family"), "{}", told.text);
    stage.rules("up");
    stage.examine("-no-net").is_well();
}

/// Where nobody asked for IPv4, or somebody else's rule catches it, nothing is wrong with its absence.
#[test]
fn rules_that_are_meant_for_ipv6_alone_are_well() {
    let stage = Stage::well();
    stage.rules("down");
    stage.write(&changed("", "family = '6'"));
    stage.rules("up");
    stage.examine("").is_well();
    stage.doctor(&format!("-local-port {PORT} -upstream-proxy {UPSTREAM} -sniff-timeout 1s")).is_well();
    stage.write(&changed("", "from = ['fd10:1::/64']"));
    stage.rules("up");
    stage.examine("").is_well();
    stage.write(&changed("", "family = '6'"));
    stage.rules("up");
    stage.write(&Stage::settings());
    stage.examine("").names(&["FAIL rules", "FAIL rules-match"], "handyproxy rules up -config");
    stage.sh(&format!("iptables -w -t nat -A PREROUTING -i lan -p tcp -j REDIRECT --to-ports {PORT}"));
    stage.examine("").is_well();
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
            stage.sh("ip route add default dev wan; ip -6 route add default dev wan");
            let told = stage.examine("");
            told.is_well();
            assert!(told.of("rules")[0].seen.contains("local IPv4"), "{}", told.text);
            assert!(told.of("loop")[0].seen.contains("mark 0x68"), "{}", told.text);
            assert_eq!(told.of("connect-443")[0].status, "ok", "{}", told.text);
            stage.examine("-mark 7").names(&["FAIL rules-match", "FAIL loop"], "handyproxy rules up");
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

/// Programs hear that there is no route before netfilter sees what they send.
#[test]
fn this_machine_needs_a_default_route_for_its_own_connections() {
    let mut stage = Stage::well();
    stage.rules("down");
    stage.write(&Stage::settings().replace("mode = 'gateway'\ninterfaces = ['lan']", "mode = 'local'"));
    stage.rules("up");
    stage.start();
    let told = stage.examine("-no-net");
    told.names(&["FAIL route"], "ip route add default via GATEWAY");
    assert!(told.of("route")[0].seen.contains("Network is unreachable"), "{}", told.text);
    stage.sh("ip route add default dev wan");
    // programs fall back to IPv4
    let told = stage.examine("");
    told.is_well();
    let six = told.of("route").into_iter().find(|found| found.status == "note").expect("IPv6 has none");
    assert!(six.fix.starts_with("ip -6 route add default via GATEWAY"), "{}", told.text);
    // nobody sends IPv6 then, but to neighbours
    stage.sh("ip -6 addr flush scope global");
    let told = stage.examine("");
    told.is_well();
    assert!(told.of("route").iter().all(|found| found.status == "ok"), "{}", told.text);
    // as some who build private networks do it
    stage.sh("ip route del default; ip route add 0.0.0.0/1 dev wan; ip route add 128.0.0.0/1 dev wan");
    stage.examine("").is_well();
    // without a file it is the rules that tell
    let blank = format!("-local-port {PORT} -upstream-proxy {UPSTREAM} -sniff-timeout 1s -no-net");
    stage.doctor(&blank).is_well();
    stage.sh("ip route del 128.0.0.0/1");
    stage.doctor(&blank).names(&["FAIL route"], "ip route add default via GATEWAY");
    // and so it is before they are up
    stage.rules("down");
    stage.examine("-no-net").names(&["FAIL rules", "FAIL route"], "handyproxy rules up");
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

/// It is known by its program, whatever that is called.
#[test]
fn a_daemon_by_another_name_is_no_stranger() {
    let mut stage = Stage::well();
    let [short, versioned] = ["hp", "handyproxy-2"].map(|name| format!("{}/{name}", stage.folder.path()));
    stage.sh(&format!("cp {} {short} && ln {short} {versioned}", env!("CARGO_BIN_EXE_handyproxy")));
    let run = format!("-config {}", stage.file);
    let start = |stage: &mut Stage, program: &str| {
        stage.gateway = None;
        stage.start_as(Launch::of(program, &run));
    };
    start(&mut stage, &short);
    let told = stage.told(&short, &format!("doctor {run}"));
    told.is_well();
    assert!(told.of("daemon")[0].seen.starts_with("hp (process "), "{}", told.text);
    // another file with another name may be anything
    stage.examine("").names(&["FAIL daemon"], "unless it is handyproxy by another name");
    start(&mut stage, &versioned);
    stage.examine("").is_well();
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
            "a daemon from before the file got another port",
            |stage| {
                stage.write(&Stage::settings().replace(&format!("local-port = {PORT}"), "local-port = 8044"));
                let told = stage.examine("");
                assert_eq!(told.of("daemon")[0].fix, "restart handyproxy", "{}", told.text);
                assert!(told.of("daemon")[0].seen.contains("has older settings"), "{}", told.text);
                told
            },
            &["FAIL rules-match", "FAIL daemon"],
            "restart handyproxy, then handyproxy rules up -config",
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
                stage.sh("iptables -w -A OUTPUT -p udp --dport 443 -j REJECT; ip route add 0.0.0.0/0 dev wan");
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
