//! What setup changed and takes back: when a step fails, when nobody confirms, when it is killed, and by -undo.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::proxy::Policy;
use super::stage::{LONG, Stage};
use super::{PROXY, browse, contains, gateway, local, with_questions};
use crate::support::in_time;
use crate::support::topology::UPSTREAM;

#[test]
fn what_is_not_accepted_changes_nothing() {
    let stage = Stage::new(Policy::default());
    stage.write("etc/other.toml", "upstream-proxy = \"p\"\n");
    stage.net.gateway.run("iptables -w -t nat -A PREROUTING -p tcp --dport 9 -j ACCEPT");
    let before = (stage.tree(), stage.ruleset());
    for (answers, why) in [
        (String::new(), "the input has ended; nothing was changed"),
        (format!("\n{UPSTREAM}\n\n"), "the input has ended; nothing was changed"),
        (format!("\n{UPSTREAM}\n\n\n\n\n\n\n"), "the input has ended; nothing was changed"),
        (format!("\n{UPSTREAM}\n\n\n\n\n\n\nno\n"), "not accepted; nothing was changed"),
    ] {
        let mut setup = stage.setup("-target www.bench.example");
        setup.answer(&answers).hang_up();
        let (code, said) = setup.ends();
        assert_eq!(code, Some(1), "{said}");
        contains(&said, &[why]);
        assert_eq!((stage.tree(), stage.ruleset()), before, "{said}");
    }
    let mut setup = stage.setup(&format!("-interfaces lan {PROXY}"));
    setup.hears("Name of the instance").signal(Signal::SIGINT);
    let (code, said) = setup.ends();
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["stopped by SIGINT; nothing was changed"]);
    assert_eq!((stage.tree(), stage.ruleset()), before);
    assert!(!stage.is_active() && !stage.is_enabled());
}

#[test]
fn a_step_that_fails_takes_all_back() {
    for fail in ["mask.handyproxy-rules", "restart.handyproxy", "enable.handyproxy", "start.handyproxy-rules"] {
        let stage = Stage::new(Policy::default());
        stage.write(&format!("fail.{fail}"), "");
        let (code, said) = stage.done(&gateway());
        assert_eq!(code, Some(1), "{fail}: {said}");
        contains(&said, &["Taking back what was done:", "gateway.toml removed", "all of it was taken back"]);
        stage.is_clean();
    }
}

#[test]
fn a_systemctl_that_does_not_end_is_named_and_all_is_taken_back() {
    let stage = Stage::new(Policy::default());
    stage.write("hang.mask.handyproxy-rules", "");
    let mut setup = stage.setup(&gateway());
    setup.hang_up();
    let (code, said) = setup.ends_within(LONG * 3);
    assert_eq!(code, Some(1), "{said}");
    let named = "systemctl mask --runtime handyproxy-rules@gateway.service: no end within ";
    contains(&said, &[named, "gateway.toml removed", "all of it was taken back"]);
    stage.is_clean();
}

/// Of what nobody says that it has ended, none says so, and the way back can be gone once more.
#[test]
fn a_systemctl_that_does_not_end_is_not_taken_for_an_answer() {
    let stage = Stage::new(Policy::default());
    assert_eq!(stage.done(&gateway()).0, Some(0));
    let hangs = ["hang.disable.handyproxy", "hang.is-enabled.handyproxy"];
    hangs.iter().for_each(|hang| stage.write(hang, ""));
    let undone = || {
        let mut undo = stage.setup("-undo");
        undo.hang_up();
        undo.ends_within(LONG * 3)
    };
    let (code, said) = undone();
    assert!(code == Some(1) && stage.is_enabled(), "{said}");
    contains(&said, &["unit disabled: failed: systemctl disable ", "try -undo again"]);
    hangs.iter().for_each(|hang| fs::remove_file(stage.path(hang)).expect("ours"));
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    stage.is_clean();
}

/// The same where setup has only written, and all else was begun by hand.
#[test]
fn what_was_enabled_by_hand_is_not_left_without_its_file() {
    let stage = Stage::new(Policy::default()).without_systemd();
    assert_eq!(stage.done(&gateway()).0, Some(3));
    fs::create_dir_all(stage.path("run/systemd/system")).expect("ours");
    assert_eq!(stage.start("systemctl enable handyproxy@gateway.service").ends().0, Some(0));
    stage.write("hang.is-enabled.handyproxy", "");
    let mut undo = stage.setup("-undo");
    undo.hang_up();
    let (code, said) = undo.ends_within(LONG * 3);
    assert!(code == Some(1) && stage.path("etc/gateway.toml").exists(), "{said}");
    contains(&said, &["systemctl is-enabled handyproxy@gateway.service: no end within ", "the rest is still there"]);
    fs::remove_file(stage.path("hang.is-enabled.handyproxy")).expect("ours");
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    stage.is_clean();
}

#[test]
fn rules_that_are_foreign_end_it_and_stay() {
    let stage = Stage::new(Policy::default());
    stage.net.gateway.run("iptables -w -t nat -N HANDYPROXY_GW_gateway");
    stage.net.gateway.run("iptables -w -t nat -A HANDYPROXY_GW_gateway -j RETURN");
    stage.net.gateway.run("nft add table inet handyproxy-gateway");
    let before = stage.ruleset();
    let (code, said) = stage.done(&gateway());
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["Taking back what was done:"]);
    assert_eq!(stage.ruleset(), before);
    assert!(!stage.is_enabled() && !stage.is_active());
}

#[test]
fn without_an_answer_all_is_as_before() {
    let stage = Stage::new(Policy::default());
    let mut setup = stage.setup(&format!("{} -confirm 20s", local()));
    setup.answer("yes\n").hears("It works. Keep it");
    assert!(!stage.rules().is_empty() && !stage.is_enabled());
    let (code, said) = setup.ends();
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["not confirmed: no answer in time", "all of it was taken back"]);
    stage.is_clean();
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        let mut setup = stage.setup(&local());
        setup.answer("yes\n").hears("Keep it").signal(signal);
        let (code, said) = setup.ends();
        assert_eq!(code, Some(1), "{said}");
        contains(&said, &[&format!("stopped by {signal}"), "all of it was taken back"]);
        stage.is_clean();
    }
}

#[test]
fn a_terminal_that_goes_away_takes_all_back() {
    let stage = Stage::new(Policy::default());
    let words = format!("handyproxy setup -etc {} {}", stage.path("etc").display(), local());
    let mut setup = stage.start_words(&["script", "-qefc", &words, "/dev/null"]);
    setup.hears("Do this").answer("yes\n").hears("Keep it");
    assert!(!stage.rules().is_empty());
    // the master side of the terminal goes with it
    setup.signal(Signal::SIGKILL);
    setup.ends();
    // nobody waits for it any more: it does so by itself
    in_time(LONG, || stage.leftovers());
}

#[test]
fn a_setup_that_is_killed_leaves_no_rules_and_can_be_taken_back() {
    let stage = Stage::new(Policy::default());
    let mut setup = stage.setup(&format!("{} -confirm 10s", with_questions()));
    setup.answer("yes\n").hears("Open a web page on a client now");
    assert!(!stage.rules().is_empty());
    setup.signal(Signal::SIGKILL);
    setup.ends();
    let start = Instant::now();
    while !stage.rules().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", stage.rules());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(!stage.is_enabled(), "a reboot must not bring it back");
    let (code, said) = stage.done(&gateway());
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["an earlier setup has broken off", "setup -undo"]);
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    stage.is_clean();
}

#[test]
fn an_older_instance_is_replaced_only_if_told_and_comes_back() {
    let stage = Stage::new(Policy::default());
    let (code, said) = stage.done(&gateway());
    assert_eq!(code, Some(0), "{said}");
    let first = stage.read("etc/gateway.toml");
    let again = format!("{} -ports 443", gateway());
    let (code, said) = stage.done(&again);
    assert_eq!(code, Some(1), "{said}");
    contains(&said, &["replaced only with -replace"]);
    // on trial: the older file is in its place, for a reboot
    let words = format!("{} -replace -confirm 10s", with_questions());
    let mut setup = stage.setup(&words);
    setup.answer("yes\n").hears("Open a web page on a client now").signal(Signal::SIGKILL);
    setup.ends();
    stage.reboots();
    assert_eq!(stage.read("etc/gateway.toml"), first);
    browse(&stage);
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(stage.read("etc/gateway.toml"), first);
    browse(&stage);
    let mut setup = stage.setup(&format!("{} -replace", with_questions()));
    setup.answer("yes\n").hears("Open a web page on a client now");
    assert_eq!(stage.read("etc/gateway.toml"), first);
    let (code, said) = setup.answer("\nno\n").ends();
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(stage.read("etc/gateway.toml"), first);
    assert!(stage.is_enabled() && stage.is_active() && !stage.rules().is_empty(), "{said}");
    browse(&stage);
    let (code, said) = stage.done(&format!("{again} -replace"));
    assert_eq!(code, Some(0), "{said}");
    assert_ne!(stage.read("etc/gateway.toml"), first);
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["the older file is back"]);
    assert_eq!(stage.read("etc/gateway.toml"), first);
    browse(&stage);
    assert_eq!(stage.done("-undo").0, Some(0));
    stage.is_clean();
}

#[test]
fn a_file_that_was_edited_is_kept() {
    let stage = Stage::new(Policy::default());
    assert_eq!(stage.done(&format!("{} -no-start", gateway())).0, Some(0));
    let edited = format!("{}# mine\n", stage.read("etc/gateway.toml"));
    stage.write("etc/gateway.toml", &edited);
    let (code, said) = stage.done("-undo");
    assert_eq!(code, Some(0), "{said}");
    contains(&said, &["was edited since: it is kept as", "gateway.toml.saved"]);
    assert_eq!(stage.read("etc/gateway.toml.saved"), edited);
    assert!(!stage.path("etc/gateway.toml").exists());
}
