use super::super::Command;
use super::*;

/// A file that says all that can be said, and some of it by flags.
const FILE: &str = r#"
local-port = 8043
upstream-proxy = "corp"
access-log = "logs/access.log"
access-log-format = "json"
admin = "localhost:9843"
admin-hosts = ["gateway.lan", "gateway"]
dns-aaaa = true

[upstream.corp]
proxy = ["proxy1.corp.example", "https://proxy2.corp.example"]
probe = "90s"

[upstream.other]
proxy = "[2001:db8::1]:8080"

[[route]]
to = [".corp.example", "!vpn.corp.example"]
via = "direct"

[[tap]]
kind = "pcapng"
path = "/var/log/handyproxy/"
from = ["10.0.0.0/8"]
to = ["*:443", "!www.example.org"]
when-full = "wait"
queue = "5000000"
append = false
rotate-size = "100MiB"
rotate-time = "26h"
keep = 7
compress = true

[[tap]]
kind = "pcapng"
path = "/x"
rotate-size = "64KiB"

[[tap]]
kind = "hexlog"
path = 'back\slash "quoted"'
append = true

[[tap]]
kind = "dump"
format = "raw"
path = "dumps/"

[[tap]]
kind = "flow"
colour = false

[rules]
mode = "local"
"#;

fn read(path: &str, flags: &[&str]) -> Config {
    let words = ["-config", path].into_iter().chain(flags.iter().copied()).map(str::to_owned);
    match Command::parse(words) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{other:?}"),
    }
}

/// What is shown, without the places, which differ.
fn shown_plain(config: &Config) -> String {
    let shown = shown(config, |_| String::new());
    let lines = shown.lines().map(|line| line.split(" # ").next().unwrap_or_default().to_owned() + "\n");
    lines.collect()
}

#[test]
fn what_is_shown_reads_back_to_the_same_settings() {
    let folder = std::env::temp_dir().join(format!("handyproxy-shown-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder of our own");
    let [first, second] = ["first.toml", "sub/second.toml"].map(|name| folder.join(name));
    std::fs::create_dir_all(folder.join("sub")).expect("a folder of our own");
    std::fs::write(&first, FILE).expect("our own folder");
    let flags = [
        "-admin-remote=T",
        "-verify-name",
        "-tap",
        "flow/informer:relative.log,dump/writefile:a/NAME",
        "-log-level=debug",
    ];
    let config = read(first.to_str().expect("plain"), &flags);
    assert_eq!(config.taps.len(), 7, "{:?}", config.taps);
    let text = shown(&config, |_| String::new());
    // elsewhere, so that relative paths would mean something else
    std::fs::write(&second, &text).expect("our own folder");
    let again = read(second.to_str().expect("plain"), &[]);
    std::fs::remove_dir_all(&folder).expect("our own folder");

    assert_eq!(shown_plain(&again), shown_plain(&config));
    let told = |config: &Config| {
        let tap = |tap: &TapSettings| {
            let path = tap.path.as_deref().map(|path| std::path::absolute(path).expect("there is a working directory"));
            let place = super::super::Place::new("");
            TapSettings { path, place, ..tap.clone() }
        };
        config.taps.iter().map(tap).collect::<Vec<_>>()
    };
    assert_eq!(told(&again), told(&config));
    assert_eq!((&again.access_log, again.access_log_format), (&config.access_log, config.access_log_format));
    assert_eq!((&again.admin, again.admin_remote, &again.admin_hosts), (&config.admin, true, &config.admin_hosts));
    assert!(again.verify_name && again.admin_hosts.len() == 2);
    assert_eq!((again.upstreams[0].probe, again.routes[0].to.len()), (Some(Duration::from_secs(90)), 2));
}

#[test]
fn of_a_tap_all_that_counts_for_it_is_shown() {
    let shown = |words: &str| {
        let Ok(Command::Run(config)) = Command::parse(["-tap".to_owned(), words.to_owned()]) else { panic!("{words}") };
        let text = shown(&config, |_| String::new());
        text.split_once("\n[[tap]] # -tap\n").unwrap_or_else(|| panic!("{text}")).1.to_owned()
    };
    let flow = "kind = \"flow\"\nformat = \"readable\"\npath = \"-\"\nwhen-full = \"drop\"\nqueue = \"16MiB\"\nappend = true\n";
    assert_eq!(shown("flow"), flow);
    let dump = "kind = \"dump\"\nformat = \"dumper\"\npath = \"/x/\"\nwhen-full = \"drop\"\nqueue = \"16MiB\"\n";
    assert_eq!(shown("dump:/x/"), dump);
    let hexlog = "kind = \"hexlog\"\npath = \"/x\"\nwhen-full = \"drop\"\nqueue = \"16MiB\"\nappend = false\n";
    assert_eq!(shown("hexlog:/x"), hexlog);
}
