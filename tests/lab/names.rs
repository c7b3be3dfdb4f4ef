//! Names: what is a valid host name goes into the CONNECT, everything else never does, wherever it stands.

use crate::connect::{Carries, Row, http, play, tls};
use crate::support::each_row;
use crate::support::hello::Hello;
use crate::support::journal::printable;
use crate::support::scene::Scene;
use crate::support::topology::V4;

/// Names that are none, whether in a ClientHello, a Host field or an absolute target.
fn odd() -> Vec<Vec<u8>> {
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = format!("{}example", "abcdefg.".repeat(32));
    let words = [
        "",
        ".",
        "..",
        "a..example",
        ".example",
        "a.example..",
        "a example",
        "a\texample",
        "a\0.example",
        "\x1b[31mred.example",
        "a.example\x7f",
        "a.example/b@c",
        "b@c/a.example",
        "a\\example",
        "a%2eexample",
        "a,b.example",
        "*.example",
        "\"a\".example",
        "b\u{fc}cher.example",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "[::1]",
        "::1",
        "[2001:db8::1]:443",
        "a.example:port",
        "a.example:99999",
        "a.example:22:22",
        &long_label,
        &long_name,
    ];
    let mut names: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
    names.push(b"\xff\xfe.example".to_vec());
    names.push(vec![b'a'; 4000]);
    names
}

/// Names that must be carried, and how.
fn good() -> Vec<(String, String)> {
    let longest = format!("{}a", "abcdefg.".repeat(31));
    let label = format!("{}.example", "a".repeat(63));
    [
        ("Name.Example.", "name.example"),
        ("WWW.BENCH.EXAMPLE", "www.bench.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_dmarc.a_b.example", "_dmarc.a_b.example"),
        ("r3---sn-x.example", "r3---sn-x.example"),
        ("1e100.net", "1e100.net"),
        ("7.example", "7.example"),
        ("intranet", "intranet"),
        (&label, &label),
        (&longest, &longest),
    ]
    .map(|(given, carried)| (given.to_owned(), carried.to_owned()))
    .to_vec()
}

fn get(host: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat()
}

fn get_absolute(host: &[u8]) -> Vec<u8> {
    let target = [b"GET http://", host, b"/ HTTP/1.1\r\nHost: "].concat();
    [&target, host, b"\r\n\r\n"].concat()
}

fn play_all(rows: &[Row]) {
    let scene = Scene::new("-sniff-timeout 5s");
    each_row(rows, Row::name, |row| play(&scene, V4, row));
    printable(&scene.gateway.log.bytes());
}

#[test]
fn odd_server_names_never_reach_the_connect_line() {
    let mut names = odd();
    // these two are harmless in a head: one ends the line, the other is a port that is not used
    names.push(b"a.example\r\nX-Injected: yes".to_vec());
    names.push(b"a.example:22".to_vec());
    let row = |name: &Vec<u8>| tls(&show(name), Hello::to(name).bytes(), Carries::Address);
    play_all(&names.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn odd_hosts_never_reach_the_connect_line() {
    let row = |name: &Vec<u8>| http(&show(name), get(name), Carries::Address);
    play_all(&odd().iter().map(row).collect::<Vec<_>>());
}

#[test]
fn odd_targets_never_reach_the_connect_line() {
    let row = |name: &Vec<u8>| http(&show(name), get_absolute(name), Carries::Address);
    play_all(&odd().iter().map(row).collect::<Vec<_>>());
}

#[test]
fn valid_names_are_carried_in_lower_case_without_the_trailing_dot() {
    let mut rows = Vec::new();
    for (given, carried) in good() {
        let carries = |source| Carries::Name(carried.clone(), source);
        let bytes = given.as_bytes();
        rows.push(tls(&format!("SNI {given}"), Hello::to(bytes).bytes(), carries("sni")));
        rows.push(http(&format!("Host {given}"), get(bytes), carries("host")));
        rows.push(http(&format!("target {given}"), get_absolute(bytes), carries("authority")));
    }
    play_all(&rows);
}

fn show(name: &[u8]) -> String {
    let start = &name[..name.len().min(40)];
    format!("`{}`", start.escape_ascii())
}
