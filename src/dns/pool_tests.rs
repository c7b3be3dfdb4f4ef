//! The pool against a plain model of what it promises.

use super::*;
use proptest::prelude::*;

fn host(text: &str) -> Host {
    Host::parse(text.as_bytes()).expect("a valid name")
}

fn named(pool: &Pool, number: u32) -> Option<&str> {
    pool.name(number).map(|name| name.as_str())
}

#[test]
fn a_name_keeps_its_number_whatever_its_case() {
    let mut pool = Pool::new(10);
    assert_eq!(pool.ask(&host("a.example")), Some(1));
    assert_eq!(pool.ask(&host("b.example")), Some(2));
    assert_eq!(pool.ask(&host("A.Example.")), Some(1));
    assert_eq!((named(&pool, 1), named(&pool, 3), named(&pool, 0)), (Some("a.example"), None, None));
    assert_eq!(pool.count(), (2, 10));
}

#[test]
fn the_least_recently_asked_goes_first_and_used_ones_last() {
    let mut pool = Pool::new(40);
    for n in 0..40 {
        assert_eq!(pool.ask(&host(&format!("n{n}.example"))), Some(n + 1));
    }
    // 1 was used, 2 is in use, 3 was asked for again
    pool.hold(1).expect("a name");
    pool.let_go(1);
    pool.hold(2).expect("a name");
    pool.ask(&host("n2.example"));
    let mut given: Vec<u32> = (0..36).filter_map(|n| pool.ask(&host(&format!("m{n}.example")))).collect();
    assert_eq!(given, (4..40).collect::<Vec<_>>());
    given = (0..200).filter_map(|n| pool.ask(&host(&format!("flood{n}.example")))).collect();
    assert!(given.len() == 200 && !given.contains(&1) && !given.contains(&2), "{given:?}");
    assert_eq!((named(&pool, 1), named(&pool, 2)), (Some("n0.example"), Some("n1.example")));
    assert_eq!(named(&pool, 4), Some("flood192.example"));
}

#[test]
fn new_names_do_not_push_each_other_out_where_all_others_were_used() {
    let mut pool = Pool::new(64);
    for n in 0..64 {
        let number = pool.ask(&host(&format!("n{n}.example"))).expect("a free one");
        pool.hold(number).expect("a name");
        pool.let_go(number);
    }
    let new: Vec<u32> = (0..4).filter_map(|n| pool.ask(&host(&format!("new{n}.example")))).collect();
    assert_eq!(new, [1, 2, 3, 4]);
    for (n, number) in new.into_iter().enumerate() {
        assert_eq!(named(&pool, number), Some(format!("new{n}.example").as_str()));
    }
}

#[test]
fn what_sessions_hold_is_never_given_away() {
    let mut pool = Pool::new(3);
    for name in ["a", "b", "c"] {
        let number = pool.ask(&host(name)).expect("a free one");
        pool.hold(number).expect("a name");
    }
    pool.hold(2).expect("a second session");
    assert_eq!(pool.ask(&host("d")), None);
    pool.let_go(2);
    assert_eq!(pool.ask(&host("d")), None);
    pool.let_go(2);
    assert_eq!(pool.ask(&host("d")), Some(2));
    assert_eq!(pool.ask(&host("b")), Some(2), "the only one that nobody holds");
    assert_eq!(pool.hold(7), None);
    pool.let_go(7);
}

#[test]
fn what_was_remembered_comes_back_and_gaps_are_filled() {
    let record = |number, name: &str, was_used| Record { number, name: Arc::new(host(name)), was_used };
    let mut pool = Pool::new(20);
    assert!(pool.restore(record(5, "old.example", true)));
    assert!(pool.restore(record(2, "a.example", false)));
    assert!(pool.restore(record(2, "b.example", false)), "later words count more");
    assert!(pool.restore(record(6, "a.example", false)));
    assert!(pool.restore(record(7, "a.example", true)));
    for number in [0, 21, u32::MAX] {
        assert!(!pool.restore(record(number, "c.example", false)), "{number}");
    }
    assert_eq!(pool.ask(&host("old.example")), Some(5));
    assert_eq!((named(&pool, 2), named(&pool, 6), named(&pool, 7)), (Some("b.example"), None, Some("a.example")));
    assert_eq!(pool.count(), (3, 20));
    let mut given: Vec<u32> = (0..17).filter_map(|n| pool.ask(&host(&format!("n{n}.example")))).collect();
    given.sort_unstable();
    let free: Vec<u32> = (1..=20).filter(|number| ![2, 5, 7].contains(number)).collect();
    assert_eq!(given, free, "gaps come before what is taken");
}

#[test]
fn the_journal_gets_each_change_once() {
    let mut pool = Pool::new(4);
    for name in ["a", "b", "a"] {
        pool.ask(&host(name));
    }
    let first = pool.unsaved(1);
    assert_eq!((first.len(), first[0].name.as_str(), first[0].was_used), (1, "a", false));
    pool.hold(1).expect("a name");
    pool.hold(1).expect("a name");
    let rest = pool.unsaved(9);
    assert_eq!(rest.iter().map(|r| (r.number, r.was_used)).collect::<Vec<_>>(), [(2, false), (1, true)]);
    assert!(pool.unsaved(9).is_empty());
    assert_eq!(pool.all().iter().map(|r| r.number).collect::<Vec<_>>(), [2, 1]);
}

/// The processor time of this thread, which other programs do not lengthen, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("proc(5)");
    // the name in parentheses may hold spaces: count behind it
    let (_, fields) = stat.rsplit_once(") ").expect("proc(5): stat");
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("proc(5): a number")).sum()
}

#[test]
fn a_hundred_thousand_names_take_little_time_and_room() {
    let mut pool = Pool::new(MOST);
    let start = cpu_ticks();
    for n in 0..300_000 {
        assert!(pool.ask(&host(&format!("n{n}.example"))).is_some());
    }
    assert_eq!(pool.count(), (MOST, MOST));
    // one that looked through a list would take many minutes
    let ticks = cpu_ticks() - start;
    assert!(ticks < 60 * 100, "{ticks} ticks of 10 ms");
    assert!(pool.unsaved.len() <= MOST as usize && std::mem::size_of::<Entry>() <= 32);
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    Hold(u32),
    LetGo(u32),
    Save(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<u8>().prop_map(|n| Step::Ask(n % 40)),
        2 => (0..12u32).prop_map(Step::Hold),
        2 => (0..12u32).prop_map(Step::LetGo),
        1 => (0..5usize).prop_map(Step::Save),
    ]
}

proptest! {
    #[test]
    fn names_and_numbers_are_one_to_one_and_what_is_held_stays(steps in proptest::collection::vec(step(), 1..300)) {
        let mut pool = Pool::new(9);
        let mut held: HashMap<u32, (u32, String)> = HashMap::new();
        for step in steps {
            match step {
                Step::Ask(n) => match pool.ask(&host(&format!("n{n}.example"))) {
                    Some(number) => {
                        prop_assert!((1..=9).contains(&number));
                        let name = format!("n{n}.example");
                        prop_assert_eq!(named(&pool, number), Some(name.as_str()));
                    }
                    None => prop_assert_eq!(held.len(), 9),
                },
                Step::Hold(number) => {
                    let before = named(&pool, number).map(str::to_owned);
                    let name = pool.hold(number).map(|name| name.as_str().to_owned());
                    prop_assert_eq!(&before, &name);
                    if let Some(name) = name {
                        held.entry(number).or_insert((0, name)).0 += 1;
                    }
                }
                Step::LetGo(number) => {
                    if let Some((count, _)) = held.get_mut(&number) {
                        *count -= 1;
                        if *count == 0 {
                            held.remove(&number);
                        }
                        pool.let_go(number);
                    }
                }
                Step::Save(most) => prop_assert!(pool.unsaved(most).len() <= most),
            }
            for (number, (_, name)) in &held {
                prop_assert_eq!(named(&pool, *number), Some(name.as_str()));
            }
            let listed = pool.asked.count + pool.used.count + held.len() as u32;
            prop_assert_eq!(listed as usize, pool.entries.len() - 1);
            prop_assert_eq!(pool.all().len(), pool.numbers.len());
            for (name, number) in &pool.numbers {
                prop_assert_eq!(pool.name(*number), Some(name));
            }
        }
    }
}
