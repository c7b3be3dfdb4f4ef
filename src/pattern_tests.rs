//! Entries of lists: what is read, what is refused and with which hint, what is printed.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

type Reader = fn(&str) -> Result<Pattern, String>;

fn read(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|why| panic!("{why}"))
}

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a valid name")
}

fn nets(texts: &[&str]) -> Subject {
    Subject::Nets(texts.iter().map(|text| text.parse().expect("a network")).collect())
}

#[test]
fn every_form_is_read() {
    for (text, subject, ports) in [
        ("*", Subject::Any, None),
        ("*:25", Subject::Any, Some("25")),
        ("www.Corp.example.", Subject::Host(host("www.corp.example")), None),
        ("a-b.example:8000-8999", Subject::Host(host("a-b.example")), Some("8000-8999")),
        ("192.0.2.1-static.isp.example", Subject::Host(host("192.0.2.1-static.isp.example")), None),
        (".corp.example", Subject::Suffix(host("corp.example")), None),
        (".corp:443", Subject::Suffix(host("corp")), Some("443")),
        ("10.1.2.3", nets(&["10.1.2.3/32"]), None),
        ("10.1.2.3:22", nets(&["10.1.2.3/32"]), Some("22")),
        ("10.0.0.0/8", nets(&["10.0.0.0/8"]), None),
        ("0.0.0.0/0:80", nets(&["0.0.0.0/0"]), Some("80")),
        ("10.0.0.1-10.0.0.6", nets(&["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]), None),
        ("10.0.0.0 - 10.0.0.255:1-65535", nets(&["10.0.0.0/24"]), Some("1-65535")),
        ("0.0.0.0-255.255.255.255", nets(&["0.0.0.0/0"]), None),
        ("2001:db8::1", nets(&["2001:db8::1/128"]), None),
        ("[2001:db8::1]", nets(&["2001:db8::1/128"]), None),
        ("[2001:db8::1]:443", nets(&["2001:db8::1/128"]), Some("443")),
        ("2001:db8::/32", nets(&["2001:db8::/32"]), None),
        ("[2001:db8::/32]:1-2", nets(&["2001:db8::/32"]), Some("1-2")),
        ("2001:db8::1-2001:db8::2", nets(&["2001:db8::1/128", "2001:db8::2/128"]), None),
        ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", nets(&["::/0"]), None),
        ("::ffff:10.1.2.3", nets(&["10.1.2.3/32"]), None),
        ("::ffff:10.0.0.0/104", nets(&["10.0.0.0/8"]), None),
        ("::ffff:10.0.0.0-::ffff:10.255.255.255", nets(&["10.0.0.0/8"]), None),
    ] {
        let ports = ports.map(|ports| Ports::parse(ports).expect("ports"));
        assert_eq!(read(text), Pattern { negated: false, subject: subject.clone(), ports: ports.clone() }, "{text}");
        assert_eq!(read(&format!("! {text} ")), Pattern { negated: true, subject, ports }, "!{text}");
    }
}

#[test]
fn what_is_no_entry_is_refused_with_a_hint() {
    for (text, why) in [
        ("", "\"\" is empty"),
        ("!", "\"!\" is empty"),
        ("!!a", "\"!!a\" has two exclamation marks"),
        ("http://a.example", "is a URL; write the name or the address alone"),
        ("10.1.2.3/8", "\"10.1.2.3/8\" has host bits set, write 10.0.0.0/8"),
        ("2001:db8::1/32", "has host bits set, write 2001:db8::/32"),
        ("::ffff:10.1.2.3/104", "has host bits set, write 10.0.0.0/8"),
        ("10.0.0.0/33", "has \"33\" where a prefix length up to 32 should stand"),
        ("10.0.0.0/", "has \"\" where a prefix length up to 32 should stand"),
        ("10.0.0.0/+8", "has \"+8\" where"),
        ("2001:db8::/129", "has \"129\" where a prefix length up to 128 should stand"),
        ("10.1.0.0/255.0.0.0", "has a mask, write 10.0.0.0/8"),
        ("10.0.0/8", "has \"10.0.0\" where an address should stand"),
        ("10.", "is no whole address; the network is 10.0.0.0/8"),
        ("10", "is no whole address; the network is 10.0.0.0/8"),
        ("10.1", "is no whole address; the network is 10.1.0.0/16"),
        ("192.168.1.*", "is no whole address; the network is 192.168.1.0/24"),
        ("192.168.*", "is no whole address; the network is 192.168.0.0/16"),
        ("10.*.*.*", "is no whole address; the network is 10.0.0.0/8"),
        ("127.0.0.01", "is no address: four numbers up to 255 without leading zeros"),
        ("256.0.0.1", "is no address: four numbers up to 255 without leading zeros"),
        ("1.2.3.4.5", "is no address: four numbers"),
        ("0x7f.1", "is no address: four numbers"),
        ("2130706433", "is no address: four numbers"),
        ("10.0.0.1-20", "has \"20\" where a whole address should stand"),
        ("10.0.0.9-10.0.0.1", "counts down, write 10.0.0.1-10.0.0.9"),
        ("::1-10.0.0.1", "goes from IPv4 to IPv6 or back"),
        ("fe80::1%eth0", "has an interface in it"),
        ("2001:db8::1]:443", "is no IPv6 address"),
        ("2001:db8:1:443", "in brackets, [2001:db8::1]:443"),
        ("a.example:80:81", "is no IPv6 address"),
        ("[2001:db8::1", "lacks the closing bracket"),
        ("[2001:db8::]/32", "has the prefix length behind the bracket, write [2001:db8::/32]"),
        ("[::1]x", "has \"x\" behind the bracket where only a port may stand"),
        ("[a.example]:80", "has something other than IPv6 in brackets"),
        ("a.example:", "has \"\" where a port or a range such as 8000-8999 should stand"),
        ("a.example:http", "has \"http\" where a port"),
        ("a.example:0", "has \"0\" where a port"),
        ("a.example:+80", "has \"+80\" where a port"),
        ("a.example:65536", "has \"65536\" where a port"),
        ("a.example:-1", "has \"-1\" where a port"),
        ("a.example:9-8", "has ports that count down, write 8-9"),
        (":80", "has no name in it"),
        (".", "has no name in it"),
        ("..corp", "is no name and no address"),
        ("*.corp.example", "has a star in it, write .corp.example for corp.example and all names below it"),
        ("www.*.example", "has a star in it, which can only stand alone"),
        ("b\u{fc}cher.example", "is no name: write it as punycode"),
        ("a b", "looks like several entries"),
        ("a,b", "looks like several entries"),
        ("a;b", "looks like several entries"),
        ("a/8", "is no name and no network"),
        ("<local>", "is for names without a dot"),
        ("user@host", "is no name and no address"),
    ] {
        let error = Pattern::parse(text).expect_err(text);
        assert!(error.starts_with(&format!("{text:?} ")) && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn clients_are_addresses() {
    for text in ["10.0.5.0/24", "10.0.0.1", "!10.0.0.1-10.0.0.9", "2001:db8::/32", "*"] {
        assert_eq!(Pattern::parse_client(text), Pattern::parse(text));
    }
    for (text, why) in [("a.example", "is a name"), (".corp", "is a name"), ("10.0.0.1:80", "has a port"), ("x/", "")] {
        let error = Pattern::parse_client(text).expect_err(text);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_no_proxy_list_means_what_curl_and_go_mean_by_it() {
    for (text, same) in [
        ("localhost", ".localhost"),
        (".corp", ".corp"),
        ("corp.example", ".corp.example"),
        ("corp.example:8080", ".corp.example:8080"),
        ("*.corp", ".corp"),
        ("*", "*"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("::1", "::1"),
        ("[::1]:80", "[::1]:80"),
        ("!vpn.corp", "!.vpn.corp"),
    ] {
        assert_eq!(Pattern::parse_no_proxy(text), Pattern::parse(same), "{text}");
    }
    for text in ["10.", "192.168.1.*", "10.1.2.3/8", "<local>", "http://a", ""] {
        assert!(Pattern::parse_no_proxy(text).is_err(), "{text}");
    }
}

#[test]
fn entries_print_as_they_are_best_written() {
    for (text, printed) in [
        ("! WWW.example.", "!www.example"),
        ("10.0.0.0-10.255.255.255", "10.0.0.0/8"),
        ("10.0.0.1 - 10.0.0.6:80-80", "10.0.0.1-10.0.0.6:80"),
        ("10.0.0.1/32", "10.0.0.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1-2001:db8::9]:1-2", "[2001:db8::1-2001:db8::9]:1-2"),
        ("!*:25", "!*:25"),
    ] {
        assert_eq!(read(text).to_string(), printed);
    }
}

fn texts() -> impl Strategy<Value = String> {
    let v4 = any::<u32>().prop_map(Ipv4Addr::from);
    let v6 = prop_oneof![any::<u128>(), 0..0x1_0000_0000_0000_u128].prop_map(Ipv6Addr::from);
    let net = |addr: IpNet| addr.trunc().to_string();
    let v4_net = (v4, 0..=32_u8).prop_map(move |(addr, len)| net(IpNet::new(addr.into(), len).expect("a net")));
    let v6_net =
        (v6.clone(), 0..=128_u8).prop_map(move |(addr, len)| net(IpNet::new(addr.into(), len).expect("a net")));
    let v4_range = (any::<u32>(), any::<u32>())
        .prop_map(|(a, b)| format!("{}-{}", Ipv4Addr::from(a.min(b)), Ipv4Addr::from(a.max(b))));
    let v6_range = (v6.clone(), v6).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let name = "\\.?[a-z][a-z0-9_-]{0,9}(\\.[a-z][a-z0-9]{0,9}){0,3}";
    let plain = prop_oneof![Just("*".to_owned()), v4_net, v4_range, name];
    let bracketed = prop_oneof![v6_net, v6_range].prop_map(|text| format!("[{text}]"));
    let ports = prop_oneof![
        Just(String::new()),
        (1..=u16::MAX).prop_map(|port| format!(":{port}")),
        (1..=u16::MAX, 1..=u16::MAX).prop_map(|(a, b)| format!(":{}-{}", a.min(b), a.max(b))),
    ];
    ("!?", prop_oneof![plain, bracketed], ports).prop_map(|(not, what, ports)| format!("{not}{what}{ports}"))
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_to_the_same_entry(text in texts()) {
        // a range of IPv6 with one end in ::ffff:0:0/96 goes from IPv4 to IPv6
        let Ok(pattern) = Pattern::parse(&text) else {
            prop_assume!(text.contains('-') && text.contains("::"));
            return Ok(());
        };
        prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
    }

    #[test]
    fn any_text_is_read_or_refused_in_one_line(text in "\\PC{0,40}|[0-9a-f.:/\\[\\]!*-]{0,30}") {
        for reader in [Pattern::parse as Reader, Pattern::parse_client, Pattern::parse_no_proxy] {
            match reader(&text) {
                Ok(pattern) => prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern)),
                Err(why) => prop_assert!(!why.contains('\n')),
            }
        }
    }
}

#[test]
fn an_error_stays_on_its_line_whatever_it_quotes() {
    for text in ["[2001:db8::1]/2\n0", "a\nb", "[a:b\n]/8\n1", "10.0.0.0/\n8", "1.2.3.4-\n5"] {
        for parse in [Pattern::parse, Pattern::parse_client, Pattern::parse_no_proxy] {
            assert!(parse(text).is_err_and(|why| !why.contains('\n')), "{text:?}");
        }
    }
}
