use super::super::facts::tests::{parsed, session, whole};
use super::*;

fn snapshot() -> Snapshot {
    let open = [
        session(1, "\"client\":\"10.0.0.10:1\",\"up\":10,\"down\":1,\"started\":30.0"),
        session(2, "\"client\":\"10.0.0.9:2\",\"up\":20,\"down\":2,\"name\":null,\"via\":null"),
        session(3, "\"client\":\"[2001:db8::5]:3\",\"up\":5,\"down\":3,\"name\":\"a.example\",\"stage\":\"dial\""),
        session(
            4,
            "\"client\":\"10.0.0.9:4\",\"up\":5,\"down\":9,\"name\":\"A.example\",\"upstream\":\"10.2.0.3:3128\"",
        ),
    ];
    let ended = [
        session(9, "\"ended\":90.0,\"end\":\"refused\",\"by\":\"upstream\",\"error\":\"403 no\""),
        session(8, "\"ended\":80.0,\"end\":\"dial\",\"by\":\"us\",\"error\":\"no route\""),
        session(7, "\"ended\":70.0,\"end\":\"reset\",\"by\":\"client\",\"error\":null"),
    ];
    parsed(&whole(100.0, &open, &ended, ""))
}

fn ids(screen: Screen, order: Order, filter: &str) -> Vec<u64> {
    let snapshot = snapshot();
    match screen.rows(&snapshot, order, filter) {
        Rows::Open(places) => places.into_iter().map(|at| snapshot.open[at].id).collect(),
        Rows::Ended(places) => places.into_iter().map(|at| snapshot.ended[at].id).collect(),
        Rows::Groups(_) => panic!("no sessions"),
    }
}

fn groups(screen: Screen, filter: &str) -> Vec<(String, u64, u64, u64)> {
    match screen.rows(&snapshot(), Order { column: 0, falling: false }, filter) {
        Rows::Groups(groups) => groups.into_iter().map(|g| (g.who, g.sessions, g.up, g.down)).collect(),
        _ => panic!("no groups"),
    }
}

fn by(screen: Screen, fact: Fact) -> Order {
    let column = screen.columns().iter().position(|column| column.fact == fact).expect("it has that column");
    Order::by(screen, column)
}

#[test]
fn sessions_are_sorted_by_every_column() {
    for (fact, wanted) in [
        (Fact::Id, [1, 2, 3, 4]),
        (Fact::Client, [2, 4, 1, 3]),
        (Fact::Name, [2, 4, 3, 1]),
        (Fact::Via, [2, 1, 3, 4]),
        (Fact::Stage, [3, 1, 2, 4]),
        (Fact::Age, [1, 2, 3, 4]),
        (Fact::Up, [2, 1, 3, 4]),
        (Fact::Down, [4, 3, 2, 1]),
        (Fact::Rate, [1, 2, 3, 4]),
    ] {
        let order = by(Screen::Sessions, fact);
        assert_eq!(ids(Screen::Sessions, order, ""), wanted, "{fact:?}");
        let other = Order { falling: !order.falling, ..order };
        let turned = ids(Screen::Sessions, other, "");
        assert_eq!(turned.len(), 4);
        assert!(fact == Fact::Rate || turned != wanted, "{fact:?}");
    }
}

#[test]
fn failures_are_sorted_by_every_column() {
    for (fact, wanted) in [
        (Fact::Ended, [9, 8, 7]),
        (Fact::Id, [7, 8, 9]),
        (Fact::Client, [7, 8, 9]),
        (Fact::Name, [9, 8, 7]),
        (Fact::End, [8, 9, 7]),
        (Fact::By, [7, 9, 8]),
        (Fact::Error, [7, 9, 8]),
    ] {
        assert_eq!(ids(Screen::Failures, by(Screen::Failures, fact), ""), wanted, "{fact:?}");
    }
}

#[test]
fn a_filter_wants_all_of_its_words_anywhere() {
    let all = |filter| ids(Screen::Sessions, by(Screen::Sessions, Fact::Id), filter);
    assert_eq!(all(""), [1, 2, 3, 4]);
    assert_eq!(all("A.EXAMPLE"), [3, 4]);
    assert_eq!(all("10.0.0.9"), [2, 4]);
    assert_eq!(all("a.example 10.0.0.9"), [4]);
    assert_eq!(all("192.0.2.7"), [1, 2, 3, 4], "the origin");
    assert_eq!((all("corp"), all("10.2.0.3")), (vec![1, 3, 4], vec![4]));
    assert_eq!(all("nobody"), [0; 0]);
    assert_eq!(all("client=10.0.0.1"), [0; 0], "all of it");
    assert_eq!((all("client=10.0.0.10"), all("client=2001:db8::5")), (vec![1], vec![3]));
    assert_eq!((all("name=a.example"), all("name=192.0.2.7")), (vec![3, 4], vec![2]));
    assert_eq!(ids(Screen::Failures, Screen::Failures.usual(), "refused"), [9]);
}

#[test]
fn talkers_are_sums_of_what_they_have_in_common() {
    let row = |who: &str, sessions, up, down| (who.to_owned(), sessions, up, down);
    assert_eq!(
        groups(Screen::Clients, ""),
        [row("10.0.0.10", 1, 10, 1), row("10.0.0.9", 2, 25, 11), row("2001:db8::5", 1, 5, 3)]
    );
    assert_eq!(
        groups(Screen::Names, ""),
        [
            row("192.0.2.7", 1, 20, 2),
            row("A.example", 1, 5, 9),
            row("a.example", 1, 5, 3),
            row("www.example.org", 1, 10, 1)
        ]
    );
    assert_eq!(
        groups(Screen::Upstreams, ""),
        [row("10.2.0.2:3128", 1, 20, 2), row("corp 10.2.0.2:3128", 2, 15, 4), row("corp 10.2.0.3:3128", 1, 5, 9)]
    );
    assert_eq!(groups(Screen::Clients, "a.example").len(), 2, "the filter is for sessions");
}

#[test]
fn the_filter_of_a_group_leaves_its_sessions() {
    let mut looked_at = 0;
    for screen in [Screen::Clients, Screen::Names, Screen::Upstreams] {
        let Rows::Groups(groups) = screen.rows(&snapshot(), screen.usual(), "") else { panic!("no groups") };
        for group in groups {
            let left = ids(Screen::Sessions, Screen::Sessions.usual(), &screen.filter(&group));
            // names are not told apart by how they are written
            let wanted = if group.who.eq_ignore_ascii_case("a.example") { 2 } else { group.sessions };
            assert_eq!(left.len() as u64, wanted, "{}", group.who);
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 10);
}

#[test]
fn rates_of_a_group_are_added_up() {
    let mut now = snapshot();
    let mut before = snapshot();
    before.now -= 1.0;
    before.open.iter_mut().for_each(|session| session.up -= session.id);
    now.compare(&before);
    let Rows::Groups(groups) = Screen::Clients.rows(&now, by(Screen::Clients, Fact::Rate), "") else {
        panic!("groups")
    };
    assert_eq!((groups[0].who.as_str(), groups[0].rate), ("10.0.0.9", Some(Rate { up: 6.0, down: 0.0 })));
}
