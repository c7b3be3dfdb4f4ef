//! The words behind `cat`: letters in clusters as proxcat took them, and our own flags with one dash or two, before
//! and behind the files.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::addr::Host;
use crate::config::{Mistake, near};
use crate::format::{Dir, hexlog};

/// All flags: name, what its value is (nothing: a switch), what it means.
pub(in super::super) const FLAGS: &[(&str, &str, &str)] = &[
    ("i", "", "Only what came from the client; with -o, or with neither, both directions"),
    ("o", "", "Only what went to the client"),
    ("a", "ADDR", "Only this client: IP:PORT, [IPV6]:PORT, or IP for all its ports; may be given again"),
    ("t", "", "A line before each record: time, client and direction"),
    ("x", "", "As a hexdump; offsets count the bytes of a session's direction"),
    ("c", "", "Colours, also into a pipe: red is what came from the client, green what went to it"),
    ("l", "", "List the sessions: time and client; of a capture also origin and name"),
    ("f", "", "Go on when the last file ends: it grows, is rotated or emptied"),
    ("follow", "", "The same"),
    ("json", "", "A JSON object per record, or with -l per session"),
    ("colour", "auto|always|never", "Colours that end with each line; auto (default): on a terminal"),
    ("replay", "HOST:PORT", "Send what came from clients there, a connection per session; -i and -o show it"),
    ("speed", "N", "Replay so many times as fast (default 1); 0 waits for nothing"),
    ("help", "", "Print this help and exit"),
    ("h", "", "The same"),
];

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// To show files, or to replay them.
    Cat(Box<Wishes>),
    /// The flags.
    Help,
}

/// What flags and words say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wishes {
    pub(super) input: bool,
    pub(super) output: bool,
    pub(super) only: Vec<Only>,
    pub(super) times: bool,
    pub(super) hex: bool,
    pub(super) list: bool,
    pub(super) json: bool,
    pub(super) colour: Colour,
    pub(super) follow: bool,
    pub(super) replay: Option<Replay>,
    /// `-` is stdin.
    pub(super) files: Vec<String>,
}

/// When there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Colour {
    /// On a terminal.
    #[default]
    Auto,
    Never,
    /// Those of a line end with it.
    Lines,
    /// Those of a record end with it, as proxcat did it.
    Records,
}

/// Clients to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Only {
    Session(SocketAddr),
    Client(IpAddr),
}

/// Where to send, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Replay {
    pub(super) host: String,
    pub(super) port: u16,
    /// 0: as fast as can be; else finite and more than that.
    pub(super) speed: f64,
}

impl Wishes {
    /// Whether this direction is to be shown.
    pub(super) fn wants(&self, dir: Dir) -> bool {
        let (this, other) = if dir == Dir::Up { (self.input, self.output) } else { (self.output, self.input) };
        // a replay shows only what it is told to
        this || (!other && self.replay.is_none())
    }

    /// Whether this client's sessions are meant.
    pub(super) fn names(&self, client: SocketAddr) -> bool {
        let is = |only: &Only| match *only {
            Only::Session(addr) => addr == client,
            Only::Client(ip) => ip == client.ip(),
        };
        self.only.is_empty() || self.only.iter().any(is)
    }
}

/// Reads the words.
///
/// # Errors
/// Every mistake at once.
pub(super) fn read(words: Vec<String>) -> Result<Asked, Vec<Mistake>> {
    let mut reading = Reading { wishes: Wishes::default(), speed: None, help: false, mistakes: Vec::new() };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some("-") => reading.wishes.files.extend(words.by_ref()),
            None | Some("") => reading.wishes.files.push(word),
            Some(flag) => reading.word(&word, flag.strip_prefix('-').unwrap_or(flag), &mut words),
        }
    }
    reading.finish()
}

struct Reading {
    wishes: Wishes,
    speed: Option<f64>,
    help: bool,
    mistakes: Vec<Mistake>,
}

impl Reading {
    /// A word with a dash: a flag by its name, or letters.
    fn word(&mut self, word: &str, flag: &str, words: &mut impl Iterator<Item = String>) {
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if let Some((name, kind, _)) = FLAGS.iter().find(|(known, ..)| *known == name) {
            let value = match (kind.is_empty(), value) {
                (true, None) => Some("true".to_owned()),
                (true, Some(_)) => return self.wrong(word, "takes no value"),
                (false, value) => value.or_else(|| words.next()),
            };
            return self.set(name, value);
        }
        if word.starts_with("--") || flag.is_empty() {
            return self.unknown(word, name);
        }
        for (at, letter) in flag.char_indices() {
            let behind = &flag[at + letter.len_utf8()..];
            let known = FLAGS.iter().find(|(known, ..)| known.len() == 1 && known.starts_with(letter));
            match known {
                Some((name, "", _)) => self.set(name, Some("true".to_owned())),
                Some((name, ..)) => {
                    let value = if behind.is_empty() { words.next() } else { Some(behind.to_owned()) };
                    return self.set(name, value);
                }
                None => return self.unknown(word, name),
            }
        }
    }

    /// A flag that there is none, and the one that was most likely meant.
    fn unknown(&mut self, word: &str, name: &str) {
        let meant = near(name, FLAGS.iter().map(|(known, ..)| *known));
        let meant = meant.map(|meant| format!("; is it {}?", shown(meant))).unwrap_or_default();
        self.wrong(word, &format!("unknown flag{meant}"));
    }

    fn set(&mut self, name: &str, value: Option<String>) {
        let Some(value) = value else { return self.wrong(&shown(name), "needs a value") };
        let wishes = &mut self.wishes;
        let outcome = match name {
            "i" => on(&mut wishes.input),
            "o" => on(&mut wishes.output),
            "a" => only(&value).map(|only| wishes.only.push(only)),
            "t" => on(&mut wishes.times),
            "x" => on(&mut wishes.hex),
            "c" => colour("records").map(|colour| wishes.colour = colour),
            "l" => on(&mut wishes.list),
            "f" | "follow" => on(&mut wishes.follow),
            "json" => on(&mut wishes.json),
            "colour" => colour(&value).map(|colour| wishes.colour = colour),
            "replay" => target(&value).map(|(host, port)| wishes.replay = Some(Replay { host, port, speed: 1.0 })),
            "speed" => speed(&value).map(|speed| self.speed = Some(speed)),
            _ => on(&mut self.help),
        };
        if let Err(why) = outcome {
            self.wrong(&shown(name), &why);
        }
    }

    fn wrong(&mut self, given: &str, why: &str) {
        self.mistakes.push(Mistake { given: given.to_owned(), why: why.to_owned() });
    }

    /// What goes with what.
    fn finish(mut self) -> Result<Asked, Vec<Mistake>> {
        if self.help && self.mistakes.is_empty() {
            return Ok(Asked::Help);
        }
        if self.wishes.files.is_empty() && self.mistakes.is_empty() {
            self.wrong("FILE", "none is given; - is stdin");
        }
        match (&mut self.wishes.replay, self.speed) {
            (Some(replay), Some(speed)) => replay.speed = speed,
            (None, Some(_)) => self.wrong("--speed", "belongs to --replay"),
            _ => {}
        }
        if self.wishes.replay.is_some() && self.wishes.follow {
            self.wrong("--follow", "says nothing to --replay: a session is replayed when its end is known");
        }
        if self.wishes.replay.is_some() && self.wishes.list {
            self.wrong("-l", "says nothing to --replay");
        }
        if self.mistakes.is_empty() { Ok(Asked::Cat(Box::new(self.wishes))) } else { Err(self.mistakes) }
    }
}

/// A flag as it is written here.
fn shown(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

fn on(place: &mut bool) -> Result<(), String> {
    *place = true;
    Ok(())
}

fn only(text: &str) -> Result<Only, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let ip = match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        // without brackets, what is behind the last colon of an IPv6 address is the port
        None => text.parse().ok().map(IpAddr::V4),
    };
    let session = hexlog::address(text).map(Only::Session);
    let only = session.or_else(|| ip.map(|ip| Only::Client(ip.to_canonical())));
    only.ok_or_else(|| format!("{text:?} is no address, such as 10.0.0.5:41234 or [2001:db8::5]:41234"))
}

fn colour(text: &str) -> Result<Colour, String> {
    match text {
        "auto" => Ok(Colour::Auto),
        "always" => Ok(Colour::Lines),
        "never" => Ok(Colour::Never),
        "records" => Ok(Colour::Records),
        _ => Err(format!("{text:?} is not auto, always or never")),
    }
}

fn target(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{text:?} is no HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok() || Host::parse(host.as_bytes()).is_some(),
    };
    if is_host { Ok((bare.unwrap_or(host).to_owned(), port)) } else { Err(wrong()) }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed >= 0.0);
    speed.ok_or_else(|| format!("{text:?} is not a number from 0"))
}

/// What `cat -h` prints.
pub(super) fn help() -> String {
    let mut text =
        "Shows what a tap has recorded: logs of kind hexlog (those of prox.py too) and captures of kind pcapng,\n\
                    also compressed (.zst). Which of them a file is, is seen from its first bytes.\n\n\
                    Usage: handyproxy cat [-ciotxlf] [-a ADDR] [--flag value]... FILE...\n       \
                    handyproxy cat --replay HOST:PORT [--speed N] [-ioctx] [-a ADDR] FILE...\n\n"
            .to_owned();
    for (name, value, what) in FLAGS {
        let dash = if name.len() == 1 { "-" } else { "--" };
        let flag = if value.is_empty() { format!("{dash}{name}") } else { format!("{dash}{name} <{value}>") };
        let _ = writeln!(text, "  {flag:28} {what}");
    }
    text += "\nLetters may stand together (-xtc); - is stdin. Without -t, -x and -l the bytes are printed as they are, but on\n\
             a terminal those that would steer it become dots. Times are local (TZ). NO_COLOR is heeded. A replay ends each\n\
             connection when its session ended, as far as the file tells. Exit codes: 0 fine, 1 something could not be\n\
             read or replayed, 2 bad usage.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Wishes, Vec<String>> {
        match read(line.split_whitespace().map(str::to_owned).collect()) {
            Ok(Asked::Cat(wishes)) => Ok(*wishes),
            Ok(Asked::Help) => panic!("{line} asks for help"),
            Err(mistakes) => Err(mistakes.into_iter().map(|mistake| mistake.given).collect()),
        }
    }

    fn session(text: &str) -> Only {
        Only::Session(text.parse().expect("an address"))
    }

    #[test]
    fn letters_stand_together_or_apart_before_and_behind_files() {
        let wanted = Wishes {
            times: true,
            hex: true,
            colour: Colour::Records,
            only: vec![session("1.2.3.4:5")],
            files: vec!["a".to_owned(), "-".to_owned()],
            ..Wishes::default()
        };
        for line in
            ["-xtc -a 1.2.3.4:5 a -", "a -x -t - -c -a1.2.3.4:5", "-xtca 1.2.3.4:5 a -", "-xta=1.2.3.4:5 a - -c"]
        {
            let line = line.replace("a=", "a");
            assert_eq!(run(&line).as_ref(), Ok(&wanted), "{line}");
        }
        assert_eq!(run("-l -- -x").map(|wishes| (wishes.list, wishes.files)), Ok((true, vec!["-x".to_owned()])));
    }

    #[test]
    fn names_take_one_dash_or_two() {
        for line in ["-json -replay [::1]:80 -speed=2.5 f", "f --json --replay=[::1]:80 --speed 2.5"] {
            let wishes = run(line).unwrap_or_else(|mistakes| panic!("{line}: {mistakes:?}"));
            let replay = Some(Replay { host: "::1".to_owned(), port: 80, speed: 2.5 });
            assert_eq!((wishes.json, wishes.replay), (true, replay), "{line}");
        }
        assert!(run("-follow f").is_ok_and(|wishes| wishes.follow) && run("-tf f").is_ok_and(|wishes| wishes.follow));
    }

    #[test]
    fn addresses_are_read_in_every_spelling() {
        for (text, wanted) in [
            ("10.0.0.5:41234", session("10.0.0.5:41234")),
            ("::ffff:10.0.0.5:41234", session("10.0.0.5:41234")),
            ("[::ffff:10.0.0.5]:41234", session("10.0.0.5:41234")),
            ("[2001:db8::5]:80", session("[2001:db8::5]:80")),
            ("2001:db8::5:80", session("[2001:db8::5]:80")),
            ("::1:80", session("[::1]:80")),
            ("10.0.0.5", Only::Client([10, 0, 0, 5].into())),
            ("[::1]", Only::Client(Ipv6Addr::LOCALHOST.into())),
            ("[::ffff:10.0.0.5]", Only::Client([10, 0, 0, 5].into())),
        ] {
            assert_eq!(only(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "1.2.3.4:", "1.2.3.4:70000", "host:80", "[1.2.3.4]", ":80"] {
            assert!(only(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_named() {
        assert_eq!(
            run("-xq --nope -a x --speed -1 -json=1 f"),
            Err(["-xq", "--nope", "-a", "--speed", "-json=1"].map(str::to_owned).to_vec())
        );
        assert_eq!(run(""), Err(vec!["FILE".to_owned()]));
        assert_eq!(run("f -a"), Err(vec!["-a".to_owned()]));
        assert_eq!(run("f --speed 2"), Err(vec!["--speed".to_owned()]));
        assert_eq!(run("f --replay h:1 -fl"), Err(vec!["--follow".to_owned(), "-l".to_owned()]));
        for target in ["h:1", "127.0.0.1:80", "[::1]:80"] {
            assert!(super::target(target).is_ok(), "{target}");
        }
        for target in ["h", "h:", "h:0", "a b:1", "::1:80", "[x]:80"] {
            assert!(super::target(target).is_err(), "{target}");
        }
    }

    #[test]
    fn help_names_every_flag_within_a_hundred_and_twenty_columns() {
        let help = help();
        for (name, ..) in FLAGS {
            assert!(help.contains(&format!("-{name} ")), "{name} in {help}");
        }
        assert!(help.lines().all(|line| line.len() <= 120), "{help}");
        assert_eq!(read(vec!["-xh".to_owned()]), Ok(Asked::Help));
        assert_eq!(read(vec!["--help".to_owned()]), Ok(Asked::Help));
    }
}
