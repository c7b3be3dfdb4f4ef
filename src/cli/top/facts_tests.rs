use super::*;

/// A session as the admin tells of it; what is given besides wins.
pub(in super::super) fn session(id: u64, besides: &str) -> String {
    let comma = if besides.is_empty() { "" } else { "," };
    let usual = r#""started":50.0,"name_source":"sni","target":"www.example.org:443","via":"corp",
        "route":"gateway.toml:12","upstream":"10.2.0.2:3128","stage":"relay","status":200,"requests":0,
        "up":517,"down":4100,"origin":"192.0.2.7:443","name":"www.example.org""#;
    format!(r#"{{"id":{id},"client":"10.0.0.{}:{}",{usual}{comma}{besides}}}"#, id % 250 + 1, 40000 + id % 20000)
}

/// An answer with these sessions open.
pub(in super::super) fn answer(now: f64, open: &[String]) -> String {
    whole(now, open, &[], "")
}

/// An answer with these open, those ended, and what is given besides.
pub(in super::super) fn whole(now: f64, open: &[String], ended: &[String], besides: &str) -> String {
    let comma = if besides.is_empty() { "" } else { "," };
    format!(
        r#"{{"version":"0.1.0","instance":"gateway","now":{now:?},"started":10.0,"open":[{}],"ended":[{}],
        "totals":{{"opened":20,"open":{},"ended":{{"done":8,"reset":1,"refused":2,"timeout":0}},"up":5000,"down":90000}},
        "upstreams":[{{"name":"corp","proxy":"10.2.0.2:3128","up":true,"held_s":0.0,"why":null}}],
        "limits":{{"sessions":9744,"descriptors":20000}}{comma}{besides}}}"#,
        open.join(","),
        ended.join(","),
        open.len()
    )
}

pub(in super::super) fn parsed(text: &str) -> Snapshot {
    Snapshot::parse(text.as_bytes()).expect("an answer")
}

fn rates(before: &str, now: &str) -> Snapshot {
    let mut snapshot = parsed(now);
    snapshot.compare(&parsed(before));
    snapshot
}

#[test]
fn an_answer_becomes_facts() {
    let ended = session(3, r#""ended":90.5,"end":"refused","by":"upstream","error":"403 no","name":null"#);
    let snapshot = parsed(&whole(100.0, &[session(7, "")], &[ended], ""));
    assert_eq!((snapshot.version.as_str(), snapshot.instance.as_deref()), ("0.1.0", Some("gateway")));
    assert_eq!((snapshot.totals.opened, snapshot.limit), (20, Some(9744)));
    assert!(snapshot.totals.ended.contains(&("refused".to_owned(), 2)));
    let open = &snapshot.open[0];
    assert_eq!((open.id, open.client.as_str(), open.place()), (7, "10.0.0.8:40007", "www.example.org"));
    assert_eq!((open.client_host().as_str(), open.way(), open.up, open.down), ("10.0.0.8", "corp", 517, 4100));
    assert!(open.ending.is_none());
    let failed = &snapshot.ended[0];
    let ending = failed.ending.as_ref().expect("it has ended");
    assert_eq!((failed.place(), ending.at, ending.end.as_str()), ("192.0.2.7:443", 90.5, "refused"));
    assert_eq!((ending.by.as_str(), ending.error.as_deref()), ("upstream", Some("403 no")));
}

#[test]
fn what_is_no_answer_is_refused_and_what_is_missing_is_unknown() {
    for (text, wanted) in [("", "no JSON"), ("[]", "no list"), ("{\"open\":[]}", "no time"), ("{\"now\":1}", "no list")]
    {
        let why = Snapshot::parse(text.as_bytes()).expect_err(text);
        assert!(why.contains(wanted), "{text}: {why}");
    }
    let snapshot = parsed(r#"{"now":5,"open":[{"id":1}, {}, 7, null],"later":{}}"#);
    assert_eq!((snapshot.open.len(), snapshot.totals.open, snapshot.limit), (4, 4, None));
    assert_eq!((snapshot.open[0].id, snapshot.open[0].way()), (1, "-"));
}

#[test]
fn hostile_text_is_clean_in_every_fact() {
    let hostile = |key: &str| format!(r#""{key}":"a\u001b[2J\u202e\n""#);
    let keys = [
        "client",
        "origin",
        "name",
        "name_source",
        "target",
        "via",
        "route",
        "upstream",
        "stage",
        "end",
        "by",
        "error",
    ];
    let all = keys.map(hostile).join(",");
    let upstream = format!("[{{{},{},{},\"up\":false}}]", hostile("name"), hostile("proxy"), hostile("why"));
    let besides = format!(
        "{},{},\"upstreams\":{upstream},\"totals\":{{\"ended\":{{\"\\u001b]0;x\":3}}}}",
        hostile("version"),
        hostile("instance")
    );
    let snapshot = parsed(&whole(1.0, &[session(1, &all)], &[session(2, &all)], &besides));
    let shown = format!("{snapshot:?}");
    // Debug escapes controls too, but then writes the backslash of what is clean twice
    assert_eq!(shown.matches("\\\\u{1b}").count(), shown.matches("\\u{1b}").count(), "{shown}");
    assert!(shown.matches("\\\\u{1b}").count() >= 2 * keys.len() + 6, "{shown}");
    assert!(snapshot.open[0].sought.contains("a\\u{1b}[2j"));
}

#[test]
fn rates_are_differences_by_the_daemons_clock() {
    let before = whole(100.0, &[session(1, "\"up\":1000,\"down\":0")], &[], "");
    let now = whole(
        102.0,
        &[session(1, "\"up\":3000,\"down\":500"), session(2, "\"started\":101.0,\"up\":20,\"down\":40")],
        &[],
        r#""totals":{"opened":21,"open":2,"ended":{},"up":9000,"down":91000}"#,
    );
    let snapshot = rates(&before, &now);
    assert_eq!(snapshot.open[0].rate, Some(Rate { up: 1000.0, down: 250.0 }));
    assert_eq!(snapshot.open[1].rate, Some(Rate { up: 10.0, down: 20.0 }), "a new one moved all of it since");
    assert_eq!(snapshot.rate, Some(Rate { up: 2000.0, down: 500.0 }));
}

#[test]
fn after_a_restart_or_a_counter_that_runs_backwards_no_rate_is_known() {
    let before = whole(100.0, &[session(1, "\"up\":1000"), session(2, "")], &[], "");
    let restarted = rates(&before, &whole(102.0, &[session(1, "\"up\":1")], &[], "\"started\":101.0"));
    assert_eq!((restarted.open[0].rate, restarted.rate), (None, None));
    let backwards =
        rates(&before, &whole(102.0, &[session(1, "\"up\":1"), session(2, "")], &[], "\"totals\":{\"up\":4}"));
    assert_eq!((backwards.open[0].rate, backwards.rate), (None, None));
    assert_eq!(backwards.open[1].rate, Some(Rate::default()), "the others are known");
    let other = rates(&before, &whole(102.0, &[session(1, "\"started\":52.0")], &[], ""));
    assert_eq!(other.open[0].rate, None, "the same number, and another session that was there before");
    let later = rates(&before, &whole(102.0, &[session(1, "\"started\":101.0,\"up\":4,\"down\":0")], &[], ""));
    assert_eq!(later.open[0].rate, Some(Rate { up: 2.0, down: 0.0 }), "the same number, and it is new");
    let moved = rates(&before, &whole(102.0, &[session(2, "\"started\":50.000001")], &[], "\"started\":10.000001"));
    assert!(moved.open[0].rate.is_some() && moved.rate.is_some(), "times are reckoned anew, and differ a bit");
    assert_eq!(rates(&before, &before).open[0].rate, None, "no time has passed");
}
