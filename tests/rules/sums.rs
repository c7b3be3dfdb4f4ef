//! The sums of what was asked for: the same for the same settings, and others for others.

use crate::net::Net;
use std::collections::BTreeSet;

/// The variant of iptables that the machine has, and the backend that is asked for.
const WAYS: [(&str, &str); 3] = [("nft", "iptables"), ("legacy", "iptables"), ("nft", "nft")];

/// A line's words but for those that count, and for what is found out.
fn steady(lines: &str) -> Vec<Vec<String>> {
    const OTHERS: [&str; 5] = ["interfaces", "captured", "quic_rejected", "dns_captured", "confirm"];
    let is_steady = |word: &&str| !OTHERS.contains(&word.split('=').next().unwrap_or_default());
    lines.lines().map(|line| line.split(' ').filter(is_steady).map(str::to_owned).collect()).collect()
}

fn sums(net: &Net, words: &str) -> String {
    let printed = net
        .rules(&format!(
            "{} print --porcelain {}",
            words.split(' ').next().unwrap_or_default(),
            &words[words.find(' ').unwrap_or(words.len())..]
        ))
        .ok()
        .stdout;
    let sums: Vec<&str> = printed.lines().filter_map(|line| line.rsplit(" sums=").next()).collect();
    assert!(!sums.is_empty() && sums.iter().all(|sums| sums.split(',').count() == 8), "{printed}");
    sums.join(" ")
}

#[test]
fn what_is_up_has_the_words_of_what_would_be() {
    // the longest that there is: no comment of nft has more than 128 bytes
    let long = "--port 65535 --name abcdefghij-_12 --dns 65534 --dns-pool 198.18.0.0/15 --dns-pool fd00::/8 --dports 80,443,1-2 \
         --exclude 10.0.0.1 --exclude fd01::1 --private";
    let gateway = "-i eth0 -i wlan+ --from 10.0.0.0/8 --from fd02::/16 --capture tproxy";
    for (variant, backend) in WAYS {
        for (mode, options) in [
            ("gateway", String::new()),
            ("gateway", format!("{long} {gateway}")),
            ("gateway", "--from 10.0.0.0/8 --dports 80 --quic leave".to_owned()),
            ("local", String::new()),
            ("local", format!("{long} --uid 4294967294 --mark 0xffffffff")),
            ("local", "-6 --uid nobody --mark 0".to_owned()),
        ] {
            let net = Net::new(variant);
            net.rules(&format!("{mode} up --backend {backend} {options}")).ok();
            let up = net.rules("status --porcelain").ok().stdout;
            let printed = net.rules(&format!("{mode} print --porcelain {options}")).ok().stdout;
            assert_eq!(steady(&up), steady(&printed), "{variant} {backend} {mode} {options}");
            // a backend that is asked for is told as it would be
            let other = if backend == "nft" { "iptables" } else { "nft" };
            let printed = net.rules(&format!("{mode} print --porcelain --backend {other} {options}")).ok().stdout;
            assert!(
                printed.lines().count() > 0 && printed.lines().all(|line| line.contains(&format!(" backend={other}"))),
                "{printed}"
            );
        }
    }
}

#[test]
fn the_same_settings_have_the_same_sums() {
    let net = Net::new("nft");
    for [one, other] in [
        ["gateway --dports 80,443,9-10", "gateway --dports 443,9:10 --dports 443,80-80,9-10,80"],
        ["gateway -i a -i b", "gateway -i b -i a -i b"],
        ["gateway --from 10.0.0.1 --from 10.1.0.0/16", "gateway --from 10.1.0.0/16 --from 10.0.0.1/32"],
        ["gateway --exclude fd00::ab --exclude fd00::/32", "gateway --exclude FD00::/32 --exclude fd00::AB/128"],
        [
            "gateway --dns-pool fd00::/8 --dns-pool 198.18.0.0/15",
            "gateway --dns-pool 198.18.0.0/15 --dns-pool fd00::/8",
        ],
        ["local --mark 104 --uid root", "local --mark 0x68 --uid 0"],
        ["local --name x --backend iptables", "local --port 9 --quic leave --dns 10 --backend nft"],
    ] {
        assert_eq!(sums(&net, one), sums(&net, other), "{one}");
    }
    // what is for one family does not change the other one
    assert_eq!(sums(&net, "gateway -4 --exclude fd00::/8"), sums(&net, "gateway -4"));
}

#[test]
fn other_settings_have_other_sums() {
    let net = Net::new("nft");
    let settings = [
        "gateway",
        "gateway -i a",
        "gateway -i A",
        "gateway -i a -i b",
        "gateway -i ab",
        "gateway --from 10.0.0.0/8 --from fd00::/8",
        "gateway --from 10.0.0.0/9 --from fd00::/9",
        "gateway --dports 80",
        "gateway --dports 443",
        "gateway --dports 80,443",
        "gateway --dports 80-443",
        "gateway --exclude 192.0.2.0/24",
        "gateway --exclude fd00::/32",
        "gateway --private",
        "gateway --dns-pool 192.0.2.0/24",
        "local",
        "local --mark 7",
        "local --uid 7",
        "local --mark 0 --uid 7",
    ];
    let all: BTreeSet<String> = settings.iter().map(|words| sums(&net, words)).collect();
    assert_eq!(all.len(), settings.len(), "{all:?}");
}

#[test]
fn without_cksum_nothing_is_said_of_the_settings() {
    let net = Net::new("nft");
    net.rules("gateway up --dports 80").ok();
    let with = net.rules("status --porcelain").ok().stdout;
    net.sh(": >/run/none; mount --bind /run/none $(command -v cksum)");
    net.rules("gateway up --dports 80").ok().silent();
    let without = net.rules("status --porcelain").ok().stdout;
    assert!(without.lines().count() == 2 && without.lines().all(|line| line.contains(" sums=unknown ")), "{without}");
    assert!(!with.contains("unknown"), "{with}");
    assert!(net.rules("gateway print --porcelain").ok().stdout.lines().all(|line| line.ends_with(" sums=unknown")));
}
