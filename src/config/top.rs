//! The words behind `top`: where the admin is, and how it is looked at.
//!
//! Of a file only the admin counts: whoever may look at sessions need not be able to read the instance's passwords.

use std::time::Duration;

use super::argv::{self, Kind, Words};
use super::values::{admin, switch};
use super::{AdminAddr, Command, Mistake, duration, file};

/// How to look at a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// Where its admin is, if that was said.
    pub admin: Option<AdminAddr>,
    /// The file that says it.
    pub file: Option<String>,
    /// How long from one look to the next.
    pub interval: Option<Duration>,
    /// Look once and print it.
    pub once: bool,
}

/// Its flags.
pub(super) const FLAGS: &[(&str, Kind)] =
    &[("admin", Kind::Value), ("config", Kind::Value), ("interval", Kind::Value), ("once", Kind::Switch)];

/// Reads the words.
pub(super) fn read(words: Vec<String>) -> Result<Command, Vec<Mistake>> {
    let known = [FLAGS, &[("help", Kind::Switch), ("h", Kind::Switch)]].concat();
    let Words { given, mut mistakes, .. } = argv::split(words, 0, &known);
    let (mut top, mut help) = (Top::default(), false);
    for flag in given {
        let outcome = match flag.name.as_str() {
            "admin" => admin(&flag.value).map(|admin| top.admin = admin),
            "config" => {
                top.file = Some(flag.value);
                Ok(())
            }
            "interval" => interval(&flag.value).map(|time| top.interval = Some(time)),
            "once" => switch(&flag.value).map(|on| top.once = on),
            _ => switch(&flag.value).map(|on| help = on),
        };
        if let Err(why) = outcome {
            mistakes.push(Mistake { given: format!("-{}", flag.name), why });
        }
    }
    match (mistakes.is_empty(), help) {
        (false, _) => Err(mistakes),
        (_, true) => Ok(Command::Help),
        _ => Ok(Command::Top(top)),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err(format!("{text:?} is not between 100ms and 1h")) }
}

/// Where a file says that the admin is; nothing else of it is looked at.
///
/// # Errors
/// It cannot be read, is no TOML, or says no address.
pub fn admin_of(path: &str) -> Result<Option<AdminAddr>, Vec<Mistake>> {
    let file = file::read(path);
    if !file.mistakes.is_empty() {
        return Err(file.mistakes);
    }
    let Some(key) = file.keys.iter().find(|key| key.name == "admin") else { return Ok(None) };
    let text = match &key.texts {
        Ok(texts) if texts.len() == 1 && !key.is_array => admin(&texts[0]),
        Ok(_) => Err("takes one value, not a list".to_owned()),
        Err(why) => Err(why.clone()),
    };
    text.map_err(|why| vec![Mistake { given: format!("{}: admin", key.place), why }])
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn run(line: &str) -> Result<Command, Vec<String>> {
        let outcome = read(line.split_whitespace().map(str::to_owned).collect());
        outcome.map_err(|mistakes| mistakes.into_iter().map(|mistake| mistake.given).collect())
    }

    #[test]
    fn flags_say_where_and_how() {
        let Ok(Command::Top(top)) = run("--admin localhost:9843 -interval=500ms -once") else { panic!("it is top") };
        let addr: SocketAddr = "127.0.0.1:9843".parse().expect("an address");
        assert_eq!(top.admin, Some(AdminAddr::Tcp(addr)));
        assert_eq!((top.interval, top.once, top.file), (Some(Duration::from_millis(500)), true, None));
        let Ok(Command::Top(top)) = run("-admin /run/x.sock -config f") else { panic!("it is top") };
        assert_eq!(top.admin, Some(AdminAddr::Unix("/run/x.sock".into())));
        assert_eq!(top.file.as_deref(), Some("f"));
        assert!(matches!(run("-h"), Ok(Command::Help)));
    }

    #[test]
    fn every_mistake_is_named() {
        let mistakes = run("-admin nowhere -interval 5ms -once=maybe -local-port 1 word").expect_err("five mistakes");
        assert_eq!(mistakes, ["-local-port", "word", "-admin", "-interval", "-once"]);
        assert!(run("-interval 2h").is_err() && run("-interval -1s").is_err());
    }

    #[test]
    fn a_file_whose_passwords_are_not_ours_to_read_still_says_where_the_admin_is() {
        let path = std::env::temp_dir().join(format!("handyproxy-top-{}.toml", std::process::id()));
        let admin = |text: &str| {
            std::fs::write(&path, text).expect("a temporary file");
            admin_of(path.to_str().expect("plain"))
        };
        let upstream = "[upstream.a]\nproxy = 'a:1'\nauth = 'basic'\nuser = 'u'\npassword-file = '/nowhere/at/all'\n";
        let unix = Some(AdminAddr::Unix("/run/a.sock".into()));
        assert_eq!(admin(&format!("admin = '/run/a.sock'\n{upstream}")), Ok(unix));
        assert_eq!(admin(upstream), Ok(None));
        for wrong in ["admin = 'x'\n", "admin = ['/a', '/b']\n", "admin = {}\n", "admin = \n"] {
            let mistakes = admin(wrong).expect_err(wrong);
            assert!(mistakes.len() == 1 && mistakes[0].given.contains(":1"), "{wrong}: {mistakes:?}");
        }
        std::fs::remove_file(&path).expect("our file");
        assert!(admin_of("/nowhere/at/all").is_err());
    }
}
