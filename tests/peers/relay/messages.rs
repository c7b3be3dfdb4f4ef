//! One connection, many messages: each ends where it ends, and goes where it says.

use super::{TELL, relay};
use crate::lab::support::each_row;
use crate::world::AT_ONCE;
use crate::world::program::tool;

#[test]
fn each_request_of_a_connection_goes_to_its_own_host() {
    let relay = relay();
    let connects = "-w connects:%{num_connects}\\n";
    let got = relay.curl(&format!(
        "{connects} {TELL}/one --next {connects} -H Host:git.bench.example:8080 {TELL}/two --next {connects} {TELL}/three"
    ));
    let count = |words: &str| got.matches(words).count();
    assert_eq!((count("connects:1"), count("connects:0")), (1, 2), "{got}");
    assert_eq!((count("Host: tell.bench.example:8080"), count("Host: git.bench.example:8080")), (2, 1), "{got}");
    relay.gateway.session_line().expect("end=done by=client requests=3 name=tell.bench.example");
    let targets: Vec<String> = relay.squid.requests_in_all(3).into_iter().map(|r| r.target).collect();
    assert_eq!(
        targets,
        [format!("{TELL}/one"), "http://git.bench.example:8080/two".to_owned(), format!("{TELL}/three")]
    );
}

#[test]
fn every_kind_of_message_leaves_the_connection_in_step() {
    let relay = relay();
    let upload = relay.stage.scratch().path("www/big.bin");
    let upload = upload.to_str().expect("a plain path");
    let sum = tool(&relay.stage.scratch().path(""), &["sha256sum", "www/big.bin"]);
    let hashed = format!("{} {}", relay.stage.origin.big.len(), sum.split(' ').next().expect("a hash"));
    // what curl is told to do, and what it must print
    let rows = [
        ("-I", "/fields", "HTTP/1.1 200 OK".to_owned()),
        ("-w %{http_code}", "/204", "204".to_owned()),
        ("-w %{http_code}", "/304", "304".to_owned()),
        ("--raw", "/chunked", "four".to_owned()),
        ("", "/chunked", "foursix".to_owned()),
        ("", "/hints", "hinted".to_owned()),
        (&format!("--data-binary @{upload}"), "/hash", hashed.clone()),
        (&format!("--expect100-timeout 20 -H Expect:100-continue --data-binary @{upload}"), "/hash", hashed.clone()),
        (&format!("-H Transfer-Encoding:chunked --data-binary @{upload}"), "/hash", hashed.clone()),
        (&format!("-H Transfer-Encoding:chunked -H Expect:100-continue -T {upload}"), "/hash", hashed),
        ("-X OPTIONS -w %{http_code}", "/fields", "501".to_owned()),
        ("-X DELETE -w %{http_code}", "/fields", "501".to_owned()),
    ];
    each_row(
        &rows,
        |row| format!("{} {}", row.0, row.1),
        |(options, path, wanted)| {
            let mark = "-w (%{num_connects}) -o /dev/null";
            let outcome =
                relay.stage.client(&format!("curl -sS {options} {TELL}{path} --next -sS {mark} {TELL}/fields"));
            let outcome = outcome.outcome();
            let got = String::from_utf8_lossy(&outcome.out);
            assert!(got.contains(wanted.as_str()) && got.ends_with("(0)"), "{got}\n{}", outcome.err);
            assert!(outcome.took < AT_ONCE, "took {:?}", outcome.took);
            relay.gateway.session_line().expect("end=done requests=2");
        },
    );
}

#[test]
fn a_client_of_http_1_0_gets_what_it_can_read() {
    let relay = relay();
    let got = relay.curl(&format!("-0 --raw {TELL}/chunked"));
    assert_eq!(got, "foursix", "no chunks");
    relay.gateway.session_line().expect("requests=1");
    let got = relay.curl(&format!("-0 -H Connection:keep-alive -w (%{{num_connects}}) {TELL}/204 {TELL}/zeros/3"));
    assert!(got.starts_with("(1)\0\0\0("), "{got:?}");
}

#[test]
fn an_answer_may_come_before_the_body_is_there() {
    let relay = relay();
    let upload = relay.stage.scratch().path("www/big.bin");
    let line =
        format!("curl -sS -w %{{http_code}} -H Expect:100-continue --data-binary @{} {TELL}/early", upload.display());
    let outcome = relay.stage.client(&line).outcome();
    let got = String::from_utf8_lossy(&outcome.out);
    assert!(got.contains("too much") && got.ends_with("413"), "{got} {}", outcome.err);
    assert!(outcome.took < AT_ONCE, "took {:?}", outcome.took);
    // one that has been sent half way
    let line = format!("curl -sS -w %{{http_code}} -H Expect: --data-binary @{} {TELL}/early", upload.display());
    let outcome = relay.stage.client(&line).outcome();
    let got = String::from_utf8_lossy(&outcome.out);
    assert!(got.ends_with("413"), "{got} {}", outcome.err);
}
