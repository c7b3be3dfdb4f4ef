//! handyproxy-taps(5), handyproxy-admin(8), handyproxy-cat(1) and handyproxy-top(1): what they show of the program, and
//! every command in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use handyproxy::config::TapForm;
use serde_json::Value;

use super::admin::Admin;
use super::examples::Examples;
use super::lab::support::daemon::Launch;
use super::lab::support::hello::Hello;
use super::lab::support::topology::{Topology, UPSTREAM, V4};
use super::page::Page;
use super::viewer::are_shown;
use super::{PROGRAM, SITE, output, said, source};

pub(super) const TAPS: &str = "man/handyproxy-taps.5";
pub(super) const ADMIN: &str = "man/handyproxy-admin.8";
pub(super) const CAT: &str = "man/handyproxy-cat.1";
pub(super) const TOP: &str = "man/handyproxy-top.1";

#[test]
fn every_command_of_the_pages_on_seeing_works_and_shows_what_they_show() {
    let pages = [TAPS, CAT, TOP, ADMIN].map(Page::read);
    let blocks: Vec<String> = pages.iter().flat_map(Page::blocks).collect();
    let mut admin = Admin::new(Examples::of(&blocks), Vec::new());
    for (number, page) in pages.iter().enumerate() {
        // what the first one tells to start is what the later ones look at
        if number > 1 {
            admin.run("systemctl enable --now handyproxy@watched");
        }
        page.commands().iter().for_each(|command| _ = admin.run(command));
    }
    assert!(admin.count() > 30, "{} commands", admin.count());
    let pictures = pages[0].pictures();
    let flow = pictures.iter().find(|picture| picture.starts_with("# ")).expect("lines of flow");
    are_shown(flow, &admin.shown);
    admin.ends();
}

#[test]
fn the_page_has_every_form_of_a_tap() {
    let page = Page::read(TAPS).section("DESCRIPTION").join("\n");
    for (form, kind, format) in TapForm::ALL {
        let is_default = TapForm::ALL.iter().find(|(_, of, _)| *of == kind).is_some_and(|(first, ..)| *first == form);
        let name = if is_default { kind.to_owned() } else { format!("{kind}/{format}") };
        assert!(page.contains(&format!(".It Li {name} Ta ")), "{name}");
    }
    assert_eq!(page.matches(".It Li ").count(), TapForm::ALL.len());
}

/// The flags of a page's list, with their defaults, and those that -h tells.
#[test]
fn the_page_has_the_flags_of_cat() {
    let told = said(&output(Command::new(PROGRAM).args(["cat", "-h"])).stdout);
    let told: BTreeSet<String> = told
        .lines()
        .filter_map(|line| line.strip_prefix("  -"))
        .filter_map(|line| line.trim_start_matches('-').split([' ', ',']).next())
        .map(str::to_owned)
        .collect();
    assert!(told.contains("replay") && told.contains("x"), "{told:?}");
    let mut documented = BTreeSet::new();
    for item in Page::read(CAT).items("DESCRIPTION", "Fl") {
        documented.extend(item.head.split(" , Fl ").filter_map(|part| part.split(' ').next()).map(str::to_owned));
    }
    assert_eq!(documented, told);
}

#[test]
fn the_page_has_the_keys_and_screens_of_top() {
    let page = Page::read(TOP);
    let program = fs::read_to_string("src/cli/top/keys.rs").expect("top's keys");
    let (_, table) = program.split_once("KEYS: [").expect("the table");
    let (_, table) = table.split_once("= [").expect("its rows");
    let (table, _) = table.split_once("];").expect("its end");
    let keys: Vec<&str> = table.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next()).collect();
    assert!(keys.len() > 10, "{keys:?}");
    let documented = page.subsection("DESCRIPTION", "Keys").join("\n");
    let documented: BTreeSet<&str> = documented
        .lines()
        .filter_map(|line| line.strip_prefix(".It Li "))
        .flat_map(|line| line.split([' ', ',']))
        .collect();
    for key in keys.iter().flat_map(|keys| keys.split([' ', ','])).filter(|key| !key.is_empty()) {
        assert!(documented.contains(key), "{key} is not in the page");
    }
    let program = fs::read_to_string("src/cli/top/table.rs").expect("top's screens");
    for screen in ["Sessions", "Clients", "Names", "Upstreams", "Failures"] {
        assert!(program.contains(&format!("=> \"{screen}\"")), "there is no {screen}");
        assert!(page.section("DESCRIPTION").contains(&format!(".It Sy {screen}")), "{screen}");
    }
}

/// Each family, with its labels.
#[test]
fn the_page_has_every_metric_and_its_labels_and_no_other() {
    let mut documented = BTreeMap::new();
    for item in Page::read(ADMIN).items("METRICS", "Cm") {
        let labels = item.head.split("Ar ").skip(1).filter_map(|part| part.split(' ').next()).map(str::to_owned);
        documented.insert(item.name, labels.collect::<BTreeSet<_>>());
    }
    assert_eq!(documented, scraped());
}

/// A daemon with everything switched on, after a session that came to something and one that did not, while a third is
/// open.
fn asked(path: &str) -> String {
    let net = Topology::new();
    net.redirect();
    let upstream = net.upstream.listen(UPSTREAM);
    let flags = "-sniff-timeout 1m -dns 127.0.0.1:5353 -tap flow:/dev/null -admin 127.0.0.1:9843 -upstream-proxy";
    let daemon = Launch::new(&format!("{flags} {UPSTREAM}")).start(&net.gateway);
    let mut open = Vec::new();
    for answer in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 403 No\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"] {
        let mut client = net.client.connect(SocketAddr::new(V4, 443));
        client.send(Hello::to(SITE).bytes());
        let mut wire = upstream.accept_asked();
        wire.expect_connect(&format!("{SITE}:443"));
        wire.reply(answer);
        if answer.ends_with("hello") {
            client.expect("hello");
            open.push((client, wire));
            continue;
        }
        drop(wire);
        daemon.refusal_of(&mut client);
    }
    net.gateway.run(&format!("curl -sf http://127.0.0.1:9843{path}"))
}

/// Each family, and its labels.
fn scraped() -> BTreeMap<String, BTreeSet<String>> {
    let told = asked("/metrics");
    let mut families = BTreeMap::new();
    for line in told.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        families.insert(format!("{name}{suffix}"), BTreeSet::new());
    }
    // no proxy was spoken to through TLS
    families.insert("handyproxy_tls_handshake_seconds".to_owned(), BTreeSet::from(["upstream".to_owned()]));
    for line in told.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) =
            line.split_once('{').and_then(|(name, rest)| Some((name, rest.split_once('}')?.0))).unwrap_or((line, ""));
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let Some(family) = families.get_mut(name) else { continue };
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        family.extend(names.filter(|name| name != "le"));
    }
    assert!(families.len() > 20, "{told}");
    families
}

/// What is shown of /sessions has the keys of the program.
#[test]
fn the_page_has_the_keys_of_a_session() {
    let pictures = Page::read(ADMIN).pictures();
    let shown = pictures.iter().find(|picture| picture.starts_with("{\"version\"")).expect("an answer");
    let shown: Value = serde_json::from_str(shown).expect("JSON");
    let told: Value = serde_json::from_str(&asked("/sessions")).expect("JSON");
    for path in ["", "/open/0", "/ended/0", "/totals", "/upstreams/0", "/limits"] {
        let [shown, told] = [&shown, &told].map(|value| {
            let object = value.pointer(path).and_then(Value::as_object).unwrap_or_else(|| panic!("{path} in {value}"));
            object.keys().cloned().collect::<Vec<_>>()
        });
        assert_eq!(shown, told, "{path:?}");
    }
    let labels = told["totals"]["ended"].as_object().expect("labels");
    for label in shown["totals"]["ended"].as_object().expect("labels").keys() {
        assert!(labels.contains_key(label), "{label}");
    }
}

/// What the page shows for prometheus.yml is what the package brings.
#[test]
fn the_page_has_what_prometheus_is_to_scrape() {
    let example = fs::read_to_string("deploy/prometheus/scrape-example.yml").expect("an example");
    let example: String =
        example.lines().filter(|line| !line.starts_with('#')).map(|line| line.to_owned() + "\n").collect();
    assert!(Page::read(ADMIN).pictures().contains(&example), "{example}");
    assert!(Path::new("deploy/grafana/handyproxy.json").is_file());
}

#[test]
fn the_messages_of_the_pages_stand_in_the_program() {
    let program = source(Path::new("src"));
    let mut count = 0;
    for line in Page::read(ADMIN).section("DIAGNOSTICS").iter().filter_map(|line| line.strip_prefix(".It ")) {
        assert!(program.contains(line), "no {line:?} in src");
        count += 1;
    }
    assert!(count > 4);
}
