//! A firewall of the gateway that drops what its rules hand to the daemon: named, and let in by the command that is told.

use std::net::SocketAddr;

use super::stage::Stage;
use crate::support::each_row;
use crate::support::topology::V4;

const IPTABLES: &str = "iptables -w -A INPUT -i lo -j ACCEPT
    iptables -w -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables -w -A INPUT -p tcp --dport 22 -j ACCEPT
    iptables -w -A INPUT -j REJECT";
const NFT: &str = "nft 'table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state vmap { invalid : drop, established : accept, related : accept }
        iif lo accept
        icmp type echo-request accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        tcp dport { 22, 80 } accept
        jump rest
    }
    chain rest {
        udp dport 53 accept
        meta l4proto tcp counter reject with tcp reset
    }
    }'";

/// What the firewall is, what is captured how, and how the command begins.
type Row = (&'static str, &'static str, &'static str);

#[test]
fn a_firewall_that_drops_what_is_captured_is_named_with_what_lets_it_in() {
    let rows: [Row; 4] = [
        (IPTABLES, "redirect", "iptables -t filter -I INPUT "),
        (IPTABLES, "tproxy", "iptables -t filter -I INPUT -m mark "),
        (NFT, "redirect", "nft insert rule inet filter input tcp dport "),
        (NFT, "tproxy", "nft insert rule inet filter input meta mark "),
    ];
    each_row(
        &rows,
        |(_, capture, command)| format!("{capture}: {command}"),
        |(firewall, capture, command)| {
            let stage = Stage::with(&format!("capture = '{capture}'\n{}", Stage::settings()), Default::default());
            stage.examine("").is_well();
            stage.sh(&format!("set -e; {firewall}"));
            let connected = stage.net.client.try_connect(SocketAddr::new(V4, 443));
            assert!(connected.is_err(), "it lets in: {firewall}");
            let told = stage.examine("");
            told.names(&["warn input"], command);
            let fix = &told.of("input")[0].fix;
            stage.sh(fix.split_once(", and").expect("two parts").0);
            drop(stage.net.client.connect(SocketAddr::new(V4, 443)));
            stage.examine("").is_well();
        },
    );
}
