use super::*;
use crate::config::{Command, Config};

/// What becomes of a file with this text, under these flags; with the mistakes as they are printed.
fn read(text: &str, flags: &[&str]) -> Result<Config, Vec<String>> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("handyproxy-tap-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).expect("a temporary file");
    let file = path.to_str().expect("plain").to_owned();
    let words = ["-config", &file].into_iter().chain(flags.iter().copied());
    let outcome = Command::parse(words.map(str::to_owned));
    std::fs::remove_file(&path).expect("our file");
    match outcome {
        Ok(Command::Run(config)) => Ok(*config),
        Ok(other) => panic!("{other:?}"),
        Err(mistakes) => Err(mistakes.iter().map(|m| m.to_string().replace(&file, "f")).collect()),
    }
}

fn taps(text: &str, flags: &[&str]) -> Vec<TapSettings> {
    read(text, flags).unwrap_or_else(|mistakes| panic!("{text}{flags:?}: {mistakes:?}")).taps
}

#[test]
fn a_tap_is_off_unless_asked_for() {
    assert_eq!(taps("", &[]), []);
    assert_eq!(taps("tap = []\n", &[]), []);
}

#[test]
fn every_key_of_a_tap_is_read() {
    let text = "[[tap]]\nkind = 'pcapng'\nformat = 'pcapng'\npath = 'sub/'\nfrom = ['10.0.0.0/8', '!10.0.0.1']\n\
                to = ['.corp.example', '*:443']\nwhen-full = 'wait'\nqueue = '4MiB'\nappend = false\n\
                rotate-size = '100MiB'\nrotate-time = '1h'\nkeep = 7\ncompress = true\n\
                [[tap]]\nkind = 'flow'\ncolour = false\n";
    let taps = taps(text, &[]);
    let [pcapng, flow] = &taps[..] else { panic!("{taps:?}") };
    assert_eq!(pcapng.form, TapForm::Pcapng);
    assert_eq!(pcapng.path.as_deref(), Some(std::env::temp_dir().join("sub/").as_path()));
    assert_eq!((pcapng.from.len(), pcapng.to.len()), (2, 2));
    assert_eq!((pcapng.when_full, pcapng.queue, pcapng.append), (WhenFull::Wait, 4 << 20, false));
    assert_eq!((pcapng.rotate_size, pcapng.rotate_time), (Some(100 << 20), Some(Duration::from_secs(3600))));
    assert_eq!((pcapng.keep, pcapng.compress, pcapng.colour), (7, true, None));
    assert_eq!(flow.colour, Some(false));
    // and no key is left out here
    let said: Vec<&str> = text.lines().filter_map(|line| line.split(" = ").next()).collect();
    assert!(KEYS.iter().all(|key| said.contains(key)), "{KEYS:?}");
}

#[test]
fn what_is_not_said_of_a_tap_has_a_default() {
    for (_, kind, format) in TapForm::ALL {
        let text = format!("[[tap]]\nkind = '{kind}'\nformat = '{format}'\npath = '/x/'\n");
        let tap = &taps(&text, &[])[0];
        assert_eq!(tap.form.words(), (kind, format));
        assert_eq!((tap.when_full, tap.queue, tap.append), (WhenFull::Drop, 16 << 20, kind != "hexlog"), "{kind}");
        assert_eq!((tap.from.len(), tap.to.len(), tap.keep, tap.compress, tap.colour), (0, 0, 0, false, None));
        assert_eq!((tap.rotate_size, tap.rotate_time), (None, None));
        assert!(tap.place.to_string().ends_with(".toml:1"), "{}", tap.place);
    }
    let of_kind = |kind: &str| taps(&format!("[[tap]]\nkind = '{kind}'\npath = '/x'\n"), &[])[0].form;
    let wanted = [TapForm::Flow, TapForm::Dumper, TapForm::Hexlog, TapForm::Pcapng];
    assert_eq!(["flow", "dump", "hexlog", "pcapng"].map(of_kind), wanted);
}

#[test]
fn a_tap_in_short_is_a_kind_a_format_and_a_path() {
    let flags = ["-tap", "flow", "-tap=dump/raw:/a/b", "-tap", "hexlog:-,pcapng:c:d"];
    let taps = taps("tap = ['flow/informer:log', 'hexlog:/abs']\n[upstream.a]\nproxy = 'p'\n", &flags);
    let told: Vec<_> = taps.iter().map(|tap| (tap.form, tap.path.clone().unwrap_or_default())).collect();
    // a file's paths count from the file, a flag's from the working directory
    let beside = std::env::temp_dir().join("log");
    let wanted = [
        (TapForm::Informer, beside),
        (TapForm::Hexlog, PathBuf::from("/abs")),
        (TapForm::Flow, PathBuf::new()),
        (TapForm::Raw, PathBuf::from("/a/b")),
        (TapForm::Hexlog, PathBuf::new()),
        (TapForm::Pcapng, PathBuf::from("c:d")),
    ];
    assert_eq!(told, wanted);
    assert_eq!(taps[2].place.to_string(), "-tap");
    assert!(taps[0].place.to_string().ends_with(".toml:1"), "{}", taps[0].place);
}

#[test]
fn every_mistake_in_a_tap_is_told_with_its_line() {
    let text = "tap = 'flow:a,bad'\n\
                [upstream.a]\nproxy = 'p'\n";
    let mistakes = read(text, &["-tap", "dump/hex:/x"]).expect_err("two mistakes");
    let wanted = [
        "f:1: tap: \"bad\": \"bad\" is not flow, dump, hexlog or pcapng",
        "-tap: \"dump/hex:/x\": \"hex\" is no format of dump, which has dumper, raw, writefile",
    ];
    assert_eq!(mistakes, wanted);

    let text = "[[tap]]\nkind = 'pcapng'\npath = ['a']\nfrom = ['x', '10.0.0.0/99']\nto = []\nwhen-full = 'stop'\n\
                queue = '1KiB'\nappend = 'maybe'\nrotate-size = '1KiB'\nrotate-time = '1ms'\nkeep = -1\ncompress = 2\n\
                colour = 'red'\nfile = 'x'\nrotatesize = 1\n\
                [[tap]]\npath = '/x'\nqueue = 'much'\n\
                [[tap]]\nkind = 'tcpdump'\nkeep = 'x'\n\
                [[tap]]\nkind = 'flow'\nformat = ['informer']\n";
    let mistakes = read(text, &[]).expect_err("all wrong");
    let wanted = [
        "f:3: tap.path: takes one value, not a list",
        "f:4: tap.from: ",
        "f:5: tap.to: an empty list",
        "f:6: tap.when-full: \"stop\" is not drop or wait",
        "f:7: tap.queue: is not between 1MiB and 1GiB",
        "f:8: tap.append: ",
        "f:9: tap.rotate-size: is less than 64KiB",
        "f:10: tap.rotate-time: is less than 1s",
        "f:11: tap.keep: is less than 0",
        "f:12: tap.compress: ",
        "f:13: tap.colour: ",
        "f:14: tap.file: unknown key",
        "f:15: tap.rotatesize: unknown key; is it rotate-size?",
        "f:16: tap: kind is missing: flow, dump, hexlog or pcapng",
        "f:18: tap.queue: \"much\" is no size, such as 100MiB",
        "f:19: tap: \"tcpdump\" is not flow, dump, hexlog or pcapng",
        "f:21: tap.keep: \"x\" is no whole number",
        "f:24: tap.format: takes one value, not a list",
    ];
    for (mistake, wanted) in mistakes.iter().zip(wanted) {
        assert!(mistake.starts_with(wanted), "{mistake} is not {wanted}");
    }
    assert_eq!(mistakes.len(), wanted.len(), "{mistakes:#?}");
}

#[test]
fn what_does_not_go_together_is_told() {
    for (text, wanted) in [
        ("kind = 'flow'\nrotate-size = '1MiB'\n", "f:1: tap: flow files are not rotated here: logrotate(8)"),
        ("kind = 'hexlog'\nkeep = 3\n", "f:1: tap: hexlog files are not rotated here"),
        ("kind = 'dump'\npath = '/x'\ncompress = true\n", "f:1: tap: dump files are not rotated here"),
        ("kind = 'pcapng'\nrotate-time = '1h'\n", "f:1: tap: stdout cannot be rotated: give path"),
        ("kind = 'pcapng'\npath = '/x/'\nkeep = 3\n", "f:1: tap: keep and compress are about rotated files"),
        ("kind = 'dump'\npath = '-'\n", "f:1: tap: writes a file per session: give path"),
        ("kind = 'dump'\npath = '/x'\nappend = true\n", "f:4: tap.append: is of no use here"),
        ("kind = 'hexlog'\ncolour = true\n", "f:1: tap: colour is for kind = \"flow\""),
        ("kind = 'flow'\nformat = 'informer'\ncolour = true\n", "f:1: tap: colour is for kind = \"flow\""),
    ] {
        let mistakes = read(&format!("[[tap]]\n{text}"), &[]).expect_err(text);
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(wanted), "{text}: {mistakes:?}");
    }
    let both = read("[[tap]]\nkind = 'flow'\nkeep = 1\ncolour = true\nformat = 'informer'\n", &[]).expect_err("two");
    assert_eq!(both.len(), 2, "{both:?}");
    for text in ["tap = 1\n", "[tap]\nkind = 'flow'\n", "tap = [{kind = 'flow'}, 'flow']\n"] {
        assert!(!read(text, &[]).expect_err(text).is_empty());
    }
}

#[test]
fn two_taps_do_not_write_into_one_file() {
    for (one, other, wanted) in [
        ("flow:/x", "flow/informer:/x", true),
        ("flow:/x", "hexlog:/x", true),
        ("pcapng:/x/", "pcapng:/x/", true),
        ("pcapng", "flow", true),
        ("pcapng:/x/", "flow:/x/", false),
        ("flow:/x/", "flow/informer:/x/", true),
        ("dump:/x", "dump/raw:/x", false),
        ("dump:/x", "pcapng:/x/", false),
        ("flow", "hexlog", false),
        ("flow:/x/", "hexlog:/x/flow.log", true),
        ("hexlog:/x/hexlog.log", "hexlog:/x/", true),
        ("flow:/x/", "flow:/x/hexlog.log", false),
        ("flow:/x", "flow:/y", false),
    ] {
        let outcome = read("", &["-tap", one, "-tap", other]);
        match outcome {
            Ok(config) => assert!(!wanted && config.taps.len() == 2, "{one} {other}"),
            Err(mistakes) => {
                assert!(wanted, "{one} {other}: {mistakes:?}");
                assert_eq!(mistakes, ["-tap: writes where the tap at -tap does: give it a path of its own"]);
            }
        }
    }
    let text = "[[tap]]\nkind = 'flow'\npath = '/x'\n[[tap]]\nkind = 'hexlog'\npath = '/x'\n";
    let mistakes = read(text, &[]).expect_err("one file");
    assert_eq!(mistakes, ["f:4: tap: writes where the tap at f:1 does: give it a path of its own"]);
}

#[test]
fn sizes_are_read_with_their_units() {
    let size = |text: &str| taps(&format!("[[tap]]\nkind = 'flow'\nqueue = {text}\n"), &[])[0].queue;
    assert_eq!(["2097152", "'2048KiB'", "'2048K'", "'2M'", "'2MiB'", "'2 MiB'"].map(size), [2 << 20; 6]);
    assert_eq!(size("'1GiB'"), 1 << 30);
    for text in ["'2MB'", "'-2MiB'", "'1.5MiB'", "'MiB'", "''", "'2GiB'", "'99999999999999999999GiB'"] {
        read(&format!("[[tap]]\nkind = 'flow'\nqueue = {text}\n"), &[]).expect_err(text);
    }
}

#[test]
fn a_tap_and_the_access_log_do_not_share_a_file() {
    let mistakes =
        read("access-log = 'both.log'\n[[tap]]\nkind = 'flow'\npath = 'both.log'\n", &[]).expect_err("they do");
    let log = std::env::temp_dir().join("both.log");
    let wanted = format!("f:2: tap: writes where access-log does, {}: give it a path of its own", log.display());
    assert_eq!(mistakes, [wanted]);
    read("access-log = 'x/flow.log'\n[[tap]]\nkind = 'flow'\npath = 'x/'\n", &[]).expect_err("they do by its name");
    for path in ["other", "x/"] {
        let text = format!("access-log = 'both.log'\n[[tap]]\nkind = 'flow'\npath = '{path}'\n");
        read(&text, &[]).expect("they do not");
    }
}
