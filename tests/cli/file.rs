//! The configuration file from outside: mistakes, `check`, `explain` and `reload`, and how secrets are kept.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Daemon, free_port, handyproxy, run};

const NOBODY: u32 = 65534;

/// A folder of this test's own, which goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("handyproxy-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // a run that was interrupted may have left it
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a scratch folder");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a scratch file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("our file");
        path.to_str().expect("a plain path").to_owned()
    }

    fn config(&self, text: &str) -> String {
        self.write("gateway.toml", text, 0o600)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs it and wants mistakes; returns them without the paths and without what stands before them.
fn mistakes(folder: &Folder, line: &str) -> Vec<String> {
    let (code, out, err) = run(line);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {err}");
    assert!(err.lines().last().is_some_and(|l| l.starts_with("usage: ")), "{err}");
    let told = err.lines().filter_map(|l| l.strip_prefix("handyproxy: "));
    let folder = format!("{}/", folder.0.display());
    let told: Vec<String> = told.map(|l| l.replace(&folder, "")).collect();
    assert!(!told.is_empty(), "{err}");
    told
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line_in_one_run() {
    let folder = Folder::new();
    let path = folder.config(
        r#"local-port = 70000
dial-timeout = "soon"
upstream-proxi = "corp"
mark = ["a"]
verify-name = "perhaps"
source = "nowhere"
no-proxy = "a b"
upstream-proxy = "corp"
auth = "basic"
user = "me"
password = "p"
[upstream.corp]
proxy = ["10.2.0.2", "gopher://10.2.0.3"]
auth = ["basic", "magic"]
user = "me"
password = "p"
plain-http = "sometimes"
probe = "often"
keytab = "nowhere.keytab"
colour = "blue"
[upstream.empty]
user = "me"
[upstream.reject]
proxy = "10.2.0.2"
[[route]]
from = ["10.1.0.0/33"]
to = ["a..example", "*:99999"]
via = "elsewhere"
dial = "number"
speed = 1
[[route]]
to = "a.example"
[intercept]
ca = "x"
"#,
    );
    for command in ["", "check "] {
        let told = mistakes(&folder, &format!("{command}-config {path} -idle-timeout x"));
        let wanted = [
            "-idle-timeout: ",
            "gateway.toml:1: local-port: ",
            "gateway.toml:2: dial-timeout: ",
            "gateway.toml:3: upstream-proxi: unknown key",
            "gateway.toml:4: mark: ",
            "gateway.toml:5: verify-name: ",
            "gateway.toml:6: source: ",
            "gateway.toml:7: no-proxy: ",
            "gateway.toml:9: auth: belongs into [upstream.corp]",
            "gateway.toml:10: user: belongs into [upstream.corp]",
            "gateway.toml:11: password: ",
            "gateway.toml:13: upstream.corp.proxy: ",
            "gateway.toml:14: upstream.corp.auth: ",
            "gateway.toml:17: upstream.corp.plain-http: ",
            "gateway.toml:18: upstream.corp.probe: ",
            "gateway.toml:20: upstream.corp.colour: unknown key",
            "gateway.toml:21: upstream.empty: ",
            "gateway.toml:23: upstream.reject: ",
            "gateway.toml:26: route.from: ",
            "gateway.toml:27: route.to: ",
            "gateway.toml:28: route.via: ",
            "gateway.toml:29: route.dial: ",
            "gateway.toml:30: route.speed: unknown key",
            "gateway.toml:31: route: ",
            "gateway.toml:33: intercept: unknown key",
        ];
        for wanted in wanted {
            let times = told.iter().filter(|mistake| mistake.starts_with(wanted)).count();
            assert!(times >= 1, "no {wanted:?} in {told:#?}");
        }
        for mistake in &told {
            assert!(mistake.len() < 300, "{mistake}");
        }
    }
}

#[test]
fn a_proxy_that_stands_twice_in_a_list_is_told_of() {
    let folder = Folder::new();
    let path = folder.config(
        "upstream-proxy = \"corp\"\n[upstream.corp]\nproxy = [\n  \"http://Proxy.example:3128/\",\n  \"b\",\n  \
         \"proxy.example\",\n]\n",
    );
    let why = "http://proxy.example:3128 is named twice: name each proxy once";
    let told = mistakes(&folder, &format!("check -config {path}"));
    assert_eq!(told, [format!("gateway.toml:3: upstream.corp.proxy: {why}")]);
    let path = folder.config("mark = 1\nupstream-proxy = [\"proxy.example\", \"proxy.example\"]\n");
    let told = mistakes(&folder, &format!("check -config {path}"));
    assert_eq!(told, [format!("gateway.toml:2: upstream-proxy: {why}")]);
    let told = mistakes(&folder, "check -upstream-proxy proxy.example,proxy.example:3128");
    assert_eq!(told, [format!("-upstream-proxy: {why}")]);
    // two upstreams may share one, as with two users
    let path = folder.config("upstream-proxy = \"a\"\n[upstream.a]\nproxy = \"p\"\n[upstream.b]\nproxy = \"p\"\n");
    assert_eq!(run(&format!("check -config {path}")).0, Some(0));
}

#[test]
fn what_is_no_toml_is_told_together_with_the_other_mistakes() {
    let folder = Folder::new();
    let path = folder.config("local-port = \nmark = 1\nsniff-timeout = x\n[upstream.a\nproxy = 'p'\n");
    let told = mistakes(&folder, &format!("check -config {path} -nope"));
    for wanted in ["-nope: ", "gateway.toml:1", "gateway.toml:3", "gateway.toml:4"] {
        assert!(told.iter().any(|mistake| mistake.starts_with(wanted)), "no {wanted:?} in {told:#?}");
    }
    // a key that stands twice, and what is no text at all
    let path = folder.config("mark = 1\nmark = 2\n");
    assert!(mistakes(&folder, &format!("check -config {path}"))[0].starts_with("gateway.toml:2"));
    // a domain's user
    let path = folder.config("auth = \"ntlm\"\nuser = \"CORP\\gateway\"\n");
    let told = mistakes(&folder, &format!("check -config {path}"));
    let why = "; a text with a backslash goes between single quotes";
    assert!(told[0].starts_with("gateway.toml:2: ") && told[0].ends_with(why), "{told:?}");
    fs::write(&path, b"mark = 1\n\xff\xfe\n").expect("our file");
    assert!(mistakes(&folder, &format!("check -config {path}"))[0].starts_with("gateway.toml:2"));
    // no file
    let told = mistakes(&folder, &format!("check -config {}/nowhere.toml", folder.0.display()));
    assert!(told[0].starts_with("nowhere.toml: "), "{told:?}");
    let told = mistakes(&folder, &format!("check -config {}", folder.0.display()));
    assert_eq!(told.len(), 1, "a folder: {told:?}");
}

/// A file with one upstream that wants a password in some way.
fn with(password: &str) -> String {
    format!("[upstream.corp]\nproxy = '10.2.0.2'\nauth = 'basic'\nuser = 'me'\n{password}\n")
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let folder = Folder::new();
    folder.write("closed", "geheim\n", 0o640);
    for mode in [0o644, 0o642, 0o641, 0o604] {
        folder.write("open", "geheim\n", mode);
        let path = folder.config(&with("password-file = 'open'"));
        let told = mistakes(&folder, &format!("check -config {path}"));
        assert!(told[0].starts_with("gateway.toml:5: upstream.corp.password-file: "), "{told:?}");
        assert!(told[0].contains("run chmod o= on it"), "{told:?}");
        let path = folder.write("gateway.toml", &with("password = 'geheim'"), mode);
        let told = mistakes(&folder, &format!("check -config {path}"));
        assert!(told[0].starts_with("gateway.toml:5: upstream.corp.password: "), "{told:?}");
        assert!(told[0].contains("run chmod o= on it"), "{told:?}");
        // without a password in it, everybody may read it
        let path = folder.write("gateway.toml", &with("password-file = 'closed'"), 0o644);
        assert_eq!(run(&format!("check -config {path}")).0, Some(0));
    }
    folder.write("empty", "\nsecond line\n", 0o600);
    for (password, word) in
        [("password-file = 'nowhere'", "No such file"), ("password-file = 'empty'", "empty"), ("", "password")]
    {
        let path = folder.config(&with(password));
        let told = mistakes(&folder, &format!("check -config {path}"));
        assert!(told.iter().any(|mistake| mistake.contains(word)), "{password}: {told:?}");
    }
}

#[test]
fn no_mistake_tells_a_secret() {
    let folder = Folder::new();
    let rows = [
        with("password = ['geheim']"),
        with("password = 'geheim\n"),
        with("password = geheim"),
        with("password = 'geheim'\npassword = 'geheim'"),
        with("password = 'geheim'").replace("10.2.0.2", "http://me:geheim@10.2.0.2"),
        with("password = 'geheim'\ncolour = 'x'"),
        "upstream-proxy = '10.2.0.2'\npassword = 'geheim'\n".to_owned(),
        "upstream-proxy = 'http://me:geheim@10.2.0.2'\n".to_owned(),
    ];
    for text in rows {
        let path = folder.config(&text);
        let told = mistakes(&folder, &format!("check -config {path}"));
        assert!(!told.join("\n").contains("geheim"), "{told:#?}");
    }
    let (_, out, err) = run("-upstream-proxy http://me:geheim@10.2.0.2");
    assert!(!format!("{out}{err}").contains("geheim"), "{err}");
}

#[test]
fn check_prints_what_is_in_force_with_stars_for_secrets_and_opens_nothing() {
    let folder = Folder::new();
    folder.write("corp.password", "geheim\n", 0o600);
    let taken = std::net::TcpListener::bind("[::]:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let text = format!(
        "local-port = {port}\nupstream-proxy = 'corp'\nsniff-timeout = '2s'\nmark = 5\nno-proxy = 'localhost,.corp.example'\n\
         [upstream.corp]\nproxy = ['10.2.0.2', 'https://localhost']\nauth = ['ntlm', 'basic']\n\
         user = 'CORP\\me'\npassword-file = 'corp.password'\nprobe = '30s'\n\
         [upstream.other]\nproxy = 'socks5://10.2.0.3'\nauth = 'basic'\nuser = 'you'\npassword = 'verborgen'\n\
         [[route]]\nfrom = ['10.1.0.0/24']\nto = ['.corp.example:443', '!vpn.corp.example']\nvia = 'other'\n\
         dial = 'address'\nverify-name = true\n"
    );
    let path = folder.config(&text);
    let (code, out, err) = run(&format!("check -config {path} -mark 7 -no-proxy a.example"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(!out.contains("geheim") && !out.contains("verborgen"), "{out}");
    assert_eq!(out.matches("password = \"***\"").count(), 2, "{out}");
    let has = |wanted: &str| assert!(out.contains(wanted), "no {wanted} in {out}");
    has(&format!("local-port = {port}"));
    has("[upstream.corp]");
    has("http://10.2.0.2:3128");
    has("# resolves to 10.2.0.2");
    has("https://localhost:443");
    has("socks5://10.2.0.3:1080");
    has(r"user = 'CORP\me'");
    // flags win
    has("mark = 7");
    has("a.example");
    assert!(!out.contains("localhost,.corp.example"), "{out}");
    // what it prints could be the file
    let again = folder.write("again.toml", &out, 0o600);
    let (code, second, err) = run(&format!("check -config {again}"));
    assert_eq!(code, Some(0), "{err}{out}");
    let bare = |text: &str| text.lines().map(|l| l.split(" #").next().unwrap_or(l).to_owned()).collect::<Vec<_>>();
    assert_eq!(bare(&second), bare(&out));
}

#[test]
fn explain_tells_the_decision_and_the_line_that_made_it() {
    let folder = Folder::new();
    let path = folder.config(
        "upstream-proxy = 'corp'\nsniff-timeout = '2s'\nno-proxy = '192.0.2.0/24'\n[upstream.corp]\nproxy = '10.2.0.2'\n\
         [upstream.other]\nproxy = '10.2.0.3'\n[[route]]\nfrom = '10.1.0.3'\nvia = 'other'\n[[route]]\nto = '*:25'\n\
         via = 'reject'\n[[route]]\nto = '.corp.example'\nvia = 'direct'\n[[route]]\nto = '.byaddress.example'\n\
         via = 'other'\ndial = 'address'\n[[route]]\nto = '10.9.0.0/16'\nvia = 'corp'\n",
    );
    let rows = [
        (
            "10.1.0.2 203.0.113.9:443 www.example.org",
            "via corp, CONNECT www.example.org:443",
            "no route matches: upstream-proxy",
        ),
        ("10.1.0.2 203.0.113.9:443", "via corp, CONNECT 203.0.113.9:443", "no route matches: upstream-proxy"),
        ("10.1.0.2 [2001:db8::9]:443", "via corp, CONNECT [2001:db8::9]:443", "no route matches: upstream-proxy"),
        ("10.1.0.3 203.0.113.9:25", "via other, CONNECT 203.0.113.9:25", "gateway.toml:8: [[route]]"),
        ("10.1.0.2 203.0.113.9:25", "refused: rejected", "gateway.toml:11: [[route]]"),
        ("10.1.0.2 203.0.113.9:443 a.corp.example", "direct to 203.0.113.9:443", "gateway.toml:14: [[route]]"),
        ("10.1.0.2 203.0.113.9:443 A.Corp.Example.", "direct to 203.0.113.9:443", "gateway.toml:14: [[route]]"),
        (
            "10.1.0.2 203.0.113.9:443 a.byaddress.example",
            "via other, CONNECT 203.0.113.9:443",
            "gateway.toml:17: [[route]]",
        ),
        ("10.1.0.2 10.9.1.1:443", "via corp, CONNECT 10.9.1.1:443", "gateway.toml:21: [[route]]"),
        ("10.1.0.2 10.8.1.1:443", "refused: 10.8.1.1:443 is a private address", "no route matches: upstream-proxy"),
        ("10.1.0.2 192.0.2.1:443", "direct to 192.0.2.1:443", "no-proxy"),
    ];
    for (asked, first, second) in rows {
        let (code, out, err) = run(&format!("explain -config {path} {asked}"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{asked}");
        let mut lines = out.lines();
        let decision = lines.next().unwrap_or_default();
        assert!(decision.starts_with(first), "{asked}: {out}");
        let place = lines.next().unwrap_or_default();
        assert!(place.replace(&format!("{}/", folder.0.display()), "").contains(second), "{asked}: {out}");
    }
    for bad in [
        "",
        " 10.1.0.2",
        " x 203.0.113.9:443",
        " 10.1.0.2 203.0.113.9",
        " 10.1.0.2 203.0.113.9:443 a..b",
        " 1.1.1.1 2.2.2.2:1 a b",
    ] {
        let (code, out, err) = run(&format!("explain -config {path}{bad}"));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{bad}: {err}");
    }
}

#[test]
fn reload_without_a_process_says_so_and_checks_before() {
    let folder = Folder::new();
    let path = folder.config("mark = 'x'\n");
    let told = mistakes(&folder, &format!("reload -config {path}"));
    assert!(told[0].starts_with("gateway.toml:1: mark: "), "{told:?}");
    let path = folder.config("mark = 1\n");
    let (code, out, err) = run(&format!("reload -config {path}"));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("MAINPID"), "{err}");
    for pid in ["", "x", "-1", "0", "99999999"] {
        let output = handyproxy(&format!("reload -config {path}")).env("MAINPID", pid).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "MAINPID={pid}");
    }
}

#[test]
fn the_file_alone_is_enough_to_start() {
    let folder = Folder::new();
    let port = free_port();
    let path =
        folder.config(&format!("local-port = {port}\nmax-sessions = 7\n[upstream.corp]\nproxy = '127.0.0.1:9'\n"));
    let daemon = Daemon::start(&format!("-config {path}"));
    assert!(daemon.ready.contains(&format!("listening on [::]:{port}, upstream corp; room for 7 sessions")));
    drop(daemon);
    // a flag wins
    let daemon = Daemon::start(&format!("-max-sessions 8 -config {path}"));
    assert!(daemon.ready.contains("room for 8 sessions"), "{}", daemon.ready);
}

// /proc/PID belongs to root as long as no core may be dumped and no debugger attached (proc(5), man 2 prctl: PR_SET_DUMPABLE)
#[test]
fn whoever_holds_secrets_is_not_dumped() {
    let folder = Folder::new();
    chown(&folder.0, Some(NOBODY), Some(NOBODY)).expect("needs root");
    let path = folder.config(&with("password = 'geheim'"));
    chown(&path, Some(NOBODY), Some(NOBODY)).expect("needs root");
    let child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
        .args([env!("CARGO_BIN_EXE_handyproxy"), "-local-port", &free_port().to_string(), "-config", &path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("setpriv, of the package util-linux");
    let daemon = Daemon::ready(child);
    let owner = |file: &str| {
        let path = format!("/proc/{}/{file}", daemon.child.id());
        fs::metadata(path).expect("it runs").uid()
    };
    assert_eq!(owner("mem"), 0, "its memory is open to its user's debuggers, and to cores");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("it runs");
    let uid = status.lines().find(|l| l.starts_with("Uid:")).expect("the user");
    assert!(uid.contains("65534"), "it is somebody else's: {uid}");
}
