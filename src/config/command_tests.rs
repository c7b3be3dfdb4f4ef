use std::time::Duration;

use super::super::Via;

use super::*;

fn words(line: &str) -> Result<Command, Vec<Mistake>> {
    parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned).collect())
}

fn config(line: &str) -> Config {
    match words(line) {
        Ok(Command::Run(config)) => *config,
        other => panic!("{line}: {other:?}"),
    }
}

fn proxies(config: &Config) -> String {
    let proxies = &config.upstreams[config.default_upstream].proxies;
    proxies.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What becomes of a file with this text, under these flags; with the mistakes as they are printed.
fn read(text: &str, flags: &str) -> Result<Config, Vec<String>> {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("handyproxy-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).expect("a temporary file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&path, mode).expect("our file");
    let path_text = path.to_str().expect("plain").to_owned();
    let outcome = words(&format!("-config {path_text} {flags}"));
    std::fs::remove_file(&path).expect("our file");
    match outcome {
        Ok(Command::Run(config)) => Ok(*config),
        Ok(other) => panic!("{other:?}"),
        Err(mistakes) => Err(mistakes.iter().map(|m| m.to_string().replace(&path_text, "f")).collect()),
    }
}

#[test]
fn a_file_says_what_flags_say_and_flags_win() {
    let config = read(
        "local-port = 8043\nupstream-proxy = ['a:1', 'https://b']\nmark = 0x70\nsniff-timeout = '2s'\n\
         server-first-ports = [21, '8000-8999']\nverify-name = true\nsource = '10.0.0.2, 10.0.0.3'\n",
        "-mark 0 -local-port 1",
    )
    .expect("all right");
    assert_eq!((config.local_port, config.mark, config.verify_name), (1, 0, true));
    assert_eq!(proxies(&config), "http://a:1,https://b:443");
    assert!(config.server_first_ports.contains(8500) && !config.server_first_ports.contains(25));
    assert_eq!((config.source.len(), config.upstreams[0].source.len()), (2, 2));
}

#[test]
fn upstreams_and_routes_are_read() {
    let config = read(
        "upstream-proxy = 'b'\nno-proxy = 'localhost,.corp'\n[upstream.a]\nproxy = 'socks5://s'\n[upstream.b]\nproxy = ['p']\n\
         auth = ['ntlm', 'basic']\nuser = 'CORP\\me'\npassword = 'geheim'\nplain-http = 'auto'\nprobe = '30s'\n\
         [[route]]\nfrom = '10.0.0.0/8'\nto = ['.corp', '!vpn.corp']\nvia = 'a'\ndial = 'address'\n[[route]]\nvia = 'reject'\n",
        "",
    )
    .expect("all right");
    assert_eq!((config.upstreams[config.default_upstream].name.as_str(), config.routes.len()), ("b", 3));
    assert_eq!(
        (config.routes[0].via, config.routes[1].via, config.routes[2].via),
        (Via::Direct, Via::Upstream(0), Via::Reject)
    );
    let shown = super::super::shown(&config, |_| "here".to_owned());
    assert!(!shown.contains("geheim") && !format!("{config:?}").contains("geheim"), "{shown}");
    let again = read(&shown, "").expect("what is shown can be read");
    assert_eq!(super::super::shown(&again, |_| "here".to_owned()).lines().count(), shown.lines().count());
    assert_eq!(again.routes.len(), 3);
}

#[test]
fn the_only_upstream_is_the_one_that_is_meant() {
    let config = read("[upstream.a]\nproxy = 'p'\n", "").expect("one");
    assert_eq!((config.upstreams.len(), config.default_upstream), (1, 0));
    let mistakes = read("[upstream.a]\nproxy = 'p'\n[upstream.b]\nproxy = 'p'\n", "").expect_err("two");
    assert_eq!(mistakes, ["upstream-proxy: name the upstream for what matches no route: a, b"]);
}

#[test]
fn every_mistake_of_a_file_is_named_with_its_line() {
    let mistakes = read(
        "local-port = 0\nloca-port = 1\nmark = [1]\nx = 1.5\nauth = 'ntlm'\nupstream-proxy = 'a'\n[upstream.a]\nproxy = 'p:x'\nusr = 1\nmark = 1\n\
         [upstream.direct]\nproxy = 'p'\n[upstream.c]\n[upstream.d]\nproxy = '10.0.0.1'\nauth = 'negotiate'\n\
         [[route]]\nvia = 'nowhere'\nfrom = ['x', '10.0.0.0/99']\n[[route]]\nto = []\n[[rout]]\n",
        "-dial-timeout 5",
    )
    .expect_err("all wrong");
    let wanted = [
        "f:1: local-port: ",
        "f:2: loca-port: unknown key; is it local-port?",
        "f:3: mark: takes one value, not a list",
        "f:4: x: unknown key",
        "f:22: rout: unknown key; is it route?",
        "-dial-timeout: ",
        "f:8: upstream.a.proxy: ",
        "f:9: upstream.a.usr: unknown key; is it user?",
        "f:10: upstream.a.mark: unknown here; it belongs above the first [heading]",
        "f:11: upstream.direct: ",
        "f:13: upstream.c: proxy is missing",
        "f:16: upstream.d.auth: negotiate needs",
        "f:5: auth: belongs into [upstream.a]",
        "f:18: route.via: \"nowhere\" is not direct",
        "f:19: route.from: ",
        "f:21: route.to: an empty list",
        "f:20: route: via is missing",
    ];
    for (mistake, wanted) in mistakes.iter().zip(wanted) {
        assert!(mistake.starts_with(wanted), "{mistake} is not {wanted}");
    }
    assert_eq!(mistakes.len(), wanted.len(), "{mistakes:#?}");
}

#[test]
fn credentials_are_checked_with_what_they_are_for() {
    for (text, wanted) in [
        ("auth = 'basic'\n", "f:1: auth: needs a user"),
        ("auth = 'basic'\nuser = 'a:b'\n", "f:2: user: basic cannot carry"),
        ("user = 'a'\n", "f:1: user: is of no use without auth"),
        ("auth = 'ntlm'\nuser = 'a'\n", "f:1: auth: needs a password"),
        ("auth = 'ntlm'\nuser = 'a'\npassword-file = 'nowhere'\n", "f:3: password-file: "),
        ("ca = 'x'\n", "f:1: ca: only a https:// proxy"),
        ("upstream-proxy = 'socks5://a'\nplain-http = 'relay'\n", "f:2: plain-http: a socks5 proxy"),
        ("keytab = '/dev/null'\nauth = 'basic'\nuser = 'u'\n", "f:1: keytab: is of use to negotiate only"),
    ] {
        let mistakes = read(text, "").expect_err(text);
        assert!(mistakes.iter().any(|m| m.starts_with(wanted)), "{text}: {mistakes:?}");
    }
}

#[test]
fn plain_words_ask_for_something_else_than_serving() {
    assert!(matches!(words("check -local-port 1"), Ok(Command::Check(_))));
    assert!(matches!(words("reload"), Ok(Command::Reload(_))));
    assert!(matches!(words("check -h"), Ok(Command::Help)));
    let Ok(Command::Explain(_, question)) = words("explain -mark 1 10.0.0.1 1.2.3.4:443 a.example") else {
        panic!("not understood")
    };
    assert_eq!(question.origin.port(), 443);
    assert!(question.name.is_some_and(|name| name.as_str() == "a.example"));
    for line in ["explain", "explain 10.0.0.1", "explain x 1.2.3.4:1", "explain 10.0.0.1 1.2.3.4", "check x", "run"] {
        assert!(words(line).is_err(), "{line}");
    }
}

#[test]
fn defaults_are_those_of_the_original() {
    let config = config("");
    assert_eq!(config.local_port, 8443);
    assert_eq!(proxies(&config), "http://localhost:3128");
    assert_eq!(config.dial_timeout, Duration::from_secs(180));
    assert_eq!(config.sniff_timeout, None);
    assert_eq!(config.sniff_max_bytes, 8192);
    assert_eq!(config.mark, 0x68);
    assert!(config.server_first_ports.contains(25) && !config.server_first_ports.contains(443));
}

#[test]
fn the_original_documented_lines_run_unchanged() {
    let one = config("-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s");
    assert_eq!((one.local_port, one.dial_timeout), (8043, Duration::from_secs(25)));
    assert_eq!(proxies(&one), "http://proxy.local:3128");
    let two = config(
        "-local-port 8043 -upstream-proxy proxy.local -dial-timeout 25s -sniff-max-bytes 16384 -sniff-timeout 2s",
    );
    assert_eq!((two.sniff_max_bytes, two.sniff_timeout), (16384, Some(Duration::from_secs(2))));
}

#[test]
fn special_values_mean_what_the_original_means() {
    assert_eq!(config("-sniff-timeout 0").sniff_timeout, Some(Duration::from_secs(1)));
    assert_eq!(config("-sniff-timeout -1s").sniff_timeout, None);
    assert_eq!(config("-sniff-timeout=1ns").sniff_timeout, Some(Duration::from_nanos(1)));
    assert_eq!(config("-sniff-max-bytes -5").sniff_max_bytes, 8192);
    assert_eq!(config("-dial-timeout 0").dial_timeout, Duration::from_secs(180));
    assert_eq!(config("--local-port=1 -local-port 0x1F90").local_port, 8080);
    assert_eq!(config("-idle-timeout 0").idle_timeout, None);
}

#[test]
fn every_mistake_is_named_with_its_flag() {
    let mistakes = words("-local-port 0 -nope -dial-timeout 2 --sniff-max-bytes=x -log-level loud -version=maybe")
        .expect_err("all wrong");
    let given: Vec<_> = mistakes.iter().map(|m| m.given.as_str()).collect();
    assert_eq!(given, ["-nope", "-local-port", "-dial-timeout", "-sniff-max-bytes", "-log-level", "-version"]);
    for line in [
        "-keepalive 1ms",
        "-keepalive 40000s",
        "-mark -1",
        "-mark 0x100000000",
        "-max-sessions -1",
        "-sniff-tls-ports a",
        "-local-port 65536",
    ] {
        assert_eq!(words(line).expect_err(line).len(), 1, "{line}");
    }
}

#[test]
fn help_and_version_are_asked_for_with_one_dash_or_two() {
    assert!(matches!(words("-version"), Ok(Command::Version)));
    assert!(matches!(words("--h"), Ok(Command::Help)));
    assert!(matches!(words("-help -local-port 1"), Ok(Command::Help)));
    assert!(matches!(words("-version=false"), Ok(Command::Run(_))));
}

#[test]
fn rules_of_a_file_become_the_words_of_the_tool() {
    let file = "local-port = 8043\ndns = '10.1.0.1:5353'\n[rules]\nmode = 'gateway'\ninterfaces = ['eth1', 'br-+']\n\
                from = ['10.1.0.7/16', '2001:db8::1']\ndports = [80, '443']\nexclude = '192.0.2.0/24'\nprivate = true\n\
                quic = 'leave'\ndns = true\nfamily = '4'\nbackend = 'nft'\n";
    let config = read(file, "").expect("no mistake");
    let wanted = "gateway --name x --port 8043 -i eth1 -i br-+ --from 10.1.0.0/16 --from 2001:db8::1/128 --dports 80,443 \
                  --exclude 192.0.2.0/24 --quic leave --backend nft --dns-pool 198.18.0.0/15 \
                  --dns-pool fd68:616e:6479::/112 --dns 5353 --private -4";
    assert_eq!(crate::config::rules_words(&config, "x").map(|words| words.join(" ")).as_deref(), Some(wanted));
    let config = read("[rules]\nmode = 'local'\nuid = 'handyproxy'\ndports = '*'\n", "-mark 7").expect("no mistake");
    let wanted = "local --name x --port 8443 --mark 0x7 --uid handyproxy";
    assert_eq!(crate::config::rules_words(&config, "x").map(|words| words.join(" ")).as_deref(), Some(wanted));
    assert_eq!(crate::config::rules_words(&Config::default(), "x"), None);
}

#[test]
fn an_admin_that_others_reach_has_to_be_meant() {
    for (line, wanted) in [
        ("-admin 127.0.0.1:9843", None),
        ("-admin 127.8.9.1:9843", None),
        ("-admin [::1]:9843", None),
        ("-admin [::ffff:127.0.0.1]:9843", None),
        ("-admin localhost:9843", None),
        ("-admin /run/handyproxy/gateway.sock", None),
        ("-admin 10.0.0.1:9843 -admin-remote", None),
        ("-admin 0.0.0.0:9843 -admin-remote", None),
        ("-admin 10.0.0.1:9843", Some("is not loopback")),
        ("-admin 0.0.0.0:9843", Some("is not loopback")),
        ("-admin [::]:9843", Some("is not loopback")),
        ("-admin 127.0.0.1:8443 -local-port 8443", Some("is local-port")),
        ("-admin gateway.example:9843", Some("is no address with a port")),
        ("-admin 127.0.0.1", Some("is no address with a port")),
        ("-admin run/x.sock", Some("is no address with a port")),
    ] {
        match (words(line), wanted) {
            (Ok(_), None) => {}
            (Err(mistakes), Some(wanted)) => {
                assert_eq!(mistakes.len(), 1, "{line}: {mistakes:?}");
                let mistake = mistakes[0].to_string();
                assert!(mistake.starts_with("-admin: ") && mistake.contains(wanted), "{line}: {mistake}");
            }
            (read, _) => panic!("{line}: {read:?}"),
        }
    }
    let mistakes = read("\nadmin = \"10.0.0.1:9843\"\n", "").expect_err("not loopback");
    assert!(mistakes[0].contains(":2: admin: 10.0.0.1:9843 is not loopback"), "{mistakes:?}");
}

#[test]
fn mistakes_in_rules_are_told_with_their_lines() {
    let file = "[rules]\nmode = 'both'\nports = 80\ndports = 'x'\nfrom = 'lan'\nprivate = 'maybe'\nquic = 'drop'\ninterfaces = []\n";
    let mistakes = read(file, "").expect_err("seven mistakes");
    assert_eq!(mistakes.len(), 7, "{mistakes:?}");
    for (line, key) in (2..).zip(["mode", "ports", "dports", "from", "private", "quic", "interfaces"]) {
        assert!(mistakes.iter().any(|m| m.contains(&format!(":{line}: rules.{key}: "))), "{key}: {mistakes:?}");
    }
    for (file, wanted) in [
        ("[rules]\n", "mode is missing"),
        ("[rules]\nmode = 'local'\ninterfaces = 'eth0'\n", "belongs to mode = \"gateway\""),
        ("[rules]\nmode = 'gateway'\nuid = 'me'\n", "has no user"),
        ("[rules]\nmode = 'gateway'\ndns = true\n", "set dns"),
        ("rules = 1\n", "not a table"),
        ("capture = 'tproxy'\nmark = 0x16869\n[rules]\nmode = 'gateway'\n", "0x16869 is what the rules"),
        ("dns = '10.0.0.1:8443'\n[rules]\nmode = 'gateway'\ndns = true\n", "a port of its own"),
        ("capture = 'tproxy'\n[rules]\nmode = 'local'\n", "goes with capture = \"redirect\""),
    ] {
        let mistakes = read(file, "").expect_err("a mistake");
        assert!(mistakes.len() == 1 && mistakes[0].contains(wanted), "{file}: {mistakes:?}");
    }
}

#[test]
fn words_behind_a_subcommand_are_read_with_it() {
    assert!(matches!(words("rules up"), Ok(Command::Rules(_, RulesAction::Do("up", None)))));
    let confirmed = Some(Duration::from_secs(90));
    assert!(
        matches!(words("rules up -confirm 1m30s"), Ok(Command::Rules(_, RulesAction::Do("up", time))) if time == confirmed)
    );
    assert!(matches!(words("rules words -local-port 1"), Ok(Command::Rules(_, RulesAction::Words))));
    for line in [
        "rules",
        "rules sideways",
        "rules down -confirm 5s",
        "rules up -confirm 0",
        "completions",
        "completions sh",
        "check -json",
    ] {
        assert!(words(line).is_err(), "{line}");
    }
    let meant = words("rules dwon").expect_err("no such action");
    assert!(meant[0].why.ends_with("is it down?"), "{}", meant[0].why);
    for line in ["help", "rules -help", "rules --help", "check -h"] {
        assert!(matches!(words(line), Ok(Command::Help)), "{line}");
    }
    assert!(matches!(words("version"), Ok(Command::Version)));
    assert!(words("help me").is_err());
    let both = Doctor { json: true, no_net: true, ..Doctor::default() };
    assert!(matches!(words("doctor -json --no-net -local-port 1"), Ok(Command::Doctor(_, how)) if how == both));
    let all = Doctor { target: Host::parse(b"www.example.org"), all: true, ..Doctor::default() };
    assert!(matches!(words("doctor -json=false -target www.example.org"), Ok(Command::Doctor(_, how)) if how == all));
    assert!(words("doctor -target 10.0.0.1").is_err(), "no name");
    assert!(matches!(words("setup -yes x"), Ok(Command::Setup(words)) if words == ["-yes", "x"]));
    assert!(matches!(words("completions fish"), Ok(Command::Completions(Shell::Fish))));
}

#[test]
fn the_resolver_is_there_if_it_has_an_address() {
    assert_eq!(config("-dns-ttl 5m").dns, None);
    let config = config("-dns 127.0.0.1:5353,::1 -dns-forward corp=10.0.0.1,corp=10.0.0.2 -dns-aaaa");
    let dns = config.dns.expect("it is on");
    assert_eq!(dns.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:5353", "[::1]:53"]);
    assert_eq!((dns.forward.len(), dns.forward[0].servers.len(), dns.aaaa), (1, 2, true));
    assert_eq!((dns.pool.to_string(), dns.ttl), ("198.18.0.0/15".to_owned(), Duration::from_secs(60)));
    for line in ["-dns name", "-dns-ttl 0", "-dns-ttl 25h", "-dns-pool 10.0.0.0/30", "-dns-forward corp"] {
        assert!(words(line).is_err(), "{line}");
    }
}
