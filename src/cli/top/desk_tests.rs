use super::super::facts::tests::{parsed, session, whole};
use super::*;

/// A desk that had two answers: sessions 1 to 5, of which 3 is the fastest; 8 and 9 have failed.
pub(in super::super) fn desk() -> Desk {
    let mut desk = Desk::new("/run/handyproxy/gateway.sock".to_owned());
    desk.take(Ok(parsed(&answer(100.0, 0))));
    desk.take(Ok(parsed(&answer(102.0, 1))));
    desk
}

/// An answer after so many steps.
pub(in super::super) fn answer(now: f64, steps: u64) -> String {
    let open = [
        session(1, &format!("\"up\":{},\"down\":41000", 517 + 100 * steps)),
        session(
            2,
            "\"client\":\"[2001:db8:10:20:30:40:50:60]:41234\",\"origin\":\"[2001:db8:ffff::443]:443\",\"name\":null,\
             \"name_source\":null,\"started\":98.5,\"stage\":\"connect\",\"status\":null,\"up\":0,\"down\":0",
        ),
        session(3, &format!("\"name\":\"cdn.downloads.example.com\",\"down\":{}", 900_000 + 4_000_000 * steps)),
        session(4, "\"name\":null,\"via\":null,\"route\":null,\"started\":-90000.0,\"origin\":\"198.51.100.20:22\""),
        session(5, "\"via\":\"direct\",\"upstream\":null,\"name\":\"intranet.corp.example\""),
    ];
    let ended = [
        session(9, "\"ended\":99.0,\"end\":\"refused\",\"by\":\"upstream\",\"error\":\"403 Forbidden \\u001b[31mno\""),
        session(8, "\"ended\":-3600.0,\"end\":\"error\",\"by\":\"us\",\"error\":\"no descriptors left\""),
    ];
    whole(
        now,
        &open,
        &ended,
        &format!(
            r#""totals":{{"opened":20,"open":5,"ended":{{"done":8,"refused":2,"error":1}},"up":{},"down":{}}}"#,
            5000 + 100 * steps,
            90000 + 4_000_000 * steps
        ),
    )
}

fn ids(desk: &Desk) -> Vec<u64> {
    (0..desk.rows.len()).filter_map(|row| desk.session_at(row)).map(|session| session.id).collect()
}

#[test]
fn the_selection_stays_with_its_session_while_rows_move() {
    let mut desk = desk();
    assert_eq!(ids(&desk), [3, 1, 2, 4, 5]);
    desk.go_to(1);
    desk.sort_by_next(1);
    assert_eq!(ids(&desk), [1, 2, 3, 4, 5], "behind the last column is the first");
    assert_eq!((desk.row(), desk.selected().map(|session| session.id)), (0, Some(1)));
    desk.turn();
    assert_eq!((desk.row(), desk.selected().map(|session| session.id)), (4, Some(1)));
    desk.set_filter("nobody".to_owned());
    assert_eq!((desk.row(), desk.selected().is_none()), (0, true));
}

#[test]
fn a_selection_that_has_ended_leaves_the_cursor_where_it_was() {
    let mut desk = desk();
    desk.go_to(3);
    let rest = whole(104.0, &[session(1, ""), session(2, "")], &[], "");
    desk.take(Ok(parsed(&rest)));
    assert_eq!((ids(&desk), desk.row()), (vec![1, 2], 1));
    desk.take(Ok(parsed(&whole(106.0, &[], &[], ""))));
    assert_eq!((desk.row(), desk.selected().is_none()), (0, true));
}

#[test]
fn the_first_row_is_a_place_and_no_session() {
    let mut desk = desk();
    desk.go_to(2);
    desk.go_to(0);
    desk.turn();
    assert_eq!(desk.row(), 0);
}

#[test]
fn the_row_of_the_cursor_is_always_seen() {
    let mut desk = desk();
    for row in (0..5).chain((0..5).rev()) {
        desk.go_to(row);
        for page in [1, 2, 3, 10, 2] {
            let first = desk.fit(page);
            assert!((first..first + page).contains(&row), "row {row} of {page} from {first}");
        }
    }
    desk.go_to(99);
    assert_eq!((desk.row(), desk.fit(3)), (4, 2));
}

#[test]
fn a_daemon_that_is_gone_leaves_what_was_seen() {
    let mut desk = desk();
    desk.take(Err("connect: refused".to_owned()));
    assert_eq!((desk.rows.len(), desk.lost.as_deref()), (5, Some("connect: refused")));
    desk.take(Ok(parsed(&answer(104.0, 2))));
    assert_eq!(desk.lost, None);
    assert!(desk.session_at(0).is_some_and(|session| session.rate.is_some()));
}

#[test]
fn every_screen_has_an_order_and_a_cursor_of_its_own() {
    let mut desk = desk();
    desk.go_to(3);
    desk.show(Screen::Clients);
    assert_eq!((desk.row(), desk.rows.len()), (0, 5));
    desk.sort_by_next(-1);
    desk.show(Screen::Sessions);
    assert_eq!((desk.row(), desk.order()), (3, Screen::Sessions.usual()));
    desk.show(Screen::Clients);
    assert_eq!(desk.order().column, 3);
}
