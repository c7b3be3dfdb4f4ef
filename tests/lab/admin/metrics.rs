//! Metrics: what each kind of session adds to them, and that Prometheus, its promtool, the dashboard and the alert
//! rules agree with them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::folder::Folder;
use crate::support::kind::Kind;
use crate::support::scene::Scene;
use crate::support::topology::{PORT, Topology, UPSTREAM, V4};
use crate::support::upstream::OPEN;
use crate::support::wire::{Ending, Wire, carry};
use crate::support::{eventually, in_time};

use super::desk::{AT, Metrics, Stage, over_tcp, over_unix};

/// What asks for metrics.
const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

/// Brings a tunnel to its end.
fn finish(mut client: Wire, mut up: Wire) -> String {
    client.fin();
    up.expect_end(Ending::Fin);
    up.fin();
    client.expect_end(Ending::Fin);
    client.address()
}

/// Whatever happens, all that began is open or has ended.
fn adds_up(metrics: &Metrics) {
    let (opened, open) = (metrics.value("handyproxy_sessions_opened_total"), metrics.value("handyproxy_sessions_open"));
    assert_eq!(opened, open + metrics.sum("handyproxy_sessions_closed_total", &[]), "{}", metrics.text);
}

#[test]
fn every_kind_of_session_is_counted_where_it_belongs() {
    let stage = Stage::new("-sniff-timeout 5s -dial-timeout 3s");
    let scene = &stage.scene;
    let mut bytes = [0.0; 2];
    let mut ended = |address: String, wanted: &str| {
        let line = scene.gateway.session_from(&address);
        line.expect(wanted);
        bytes[0] += line.number("up");
        bytes[1] += line.number("down");
        line.get("retries").map_or(0.0, |_| line.number("retries"))
    };
    let start = stage.metrics();
    assert_eq!(start.value("handyproxy_sniffed_total{scanner=\"sni\"}"), 0.0, "what did not happen is 0");
    for kind in [Kind::Tls, Kind::Http, Kind::Unknown] {
        let (mut client, mut up) = kind.ask(scene);
        up.reply(OPEN);
        up.expect(kind.says());
        carry(&mut up, &mut client, 5000);
        ended(finish(client, up), "end=done");
    }
    let (mut client, mut up) = Kind::Tls.ask(scene);
    up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    client.receive_all();
    client.fin();
    ended(client.address(), "end=refused");
    let (mut client, mut up) = Kind::Tls.ask(scene);
    up.reply("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n");
    client.receive_all();
    client.fin();
    ended(client.address(), "end=refused");
    let (client, up) = Kind::Unknown.ask(scene);
    drop(up);
    scene.upstream.hangs_up_on(&client);
    let again = ended(client.address(), "end=hangup");
    let (mut client, up) = Kind::Tls.ask(scene);
    client.receive_all();
    client.fin();
    ended(client.address(), "end=timeout");
    drop(up);
    let (client, _up) = Kind::Http.ask(scene);
    let address = client.address();
    client.reset();
    ended(address, "end=left");
    // it may be reset before it is told that it is connected
    let _ = scene.net.client.try_connect(format!("10.1.0.1:{PORT}").parse().expect("an address"));
    scene.gateway.session_line().expect("end=direct");
    let (client, up) = scene.tunnel();
    client.reset();
    drop(up);
    scene.gateway.session_line().expect("end=reset up=1 down=1");
    bytes = bytes.map(|sum| sum + 1.0);
    let (mut open, mut open_up) = scene.tunnel();

    let metrics = stage.metrics();
    adds_up(&metrics);
    assert_eq!(metrics.value("handyproxy_sessions_opened_total"), 11.0);
    assert_eq!(metrics.value("handyproxy_sessions_open"), 1.0);
    for (end, count) in [
        ("done", 3.0),
        ("refused", 2.0),
        ("hangup", 1.0),
        ("timeout", 1.0),
        ("left", 1.0),
        ("direct", 1.0),
        ("reset", 1.0),
    ] {
        let label = format!("end=\"{end}\"");
        assert_eq!(metrics.sum("handyproxy_sessions_closed_total", &[&label]), count, "{end}");
    }
    for (scanner, count) in [("sni", 4.0), ("host", 2.0), ("none", 2.0), ("dns", 0.0)] {
        let sample = format!("handyproxy_sniffed_total{{scanner=\"{scanner}\"}}");
        assert_eq!(metrics.value(&sample), count, "{scanner}");
    }
    assert_eq!(metrics.value("handyproxy_sniff_seconds_count"), 8.0);
    let to = "upstream=\"10.2.0.2:3128\"";
    // all but the one that came straight and the one that is open
    assert_eq!(metrics.sum("handyproxy_dial_seconds_count", &[to]), 9.0 + again);
    assert_eq!(metrics.sum("handyproxy_setup_seconds_count", &[to]), 4.0);
    assert_eq!(metrics.sum("handyproxy_connect_seconds_count", &[to]), 6.0, "those that were answered");
    assert_eq!(metrics.sum("handyproxy_tls_handshake_seconds_count", &[]), 0.0);
    for (labels, count) in [
        (["stage=\"connect\"", "end=\"refused\"", "status=\"403\""], 1.0),
        (["stage=\"connect\"", "end=\"refused\"", "status=\"5xx\""], 1.0),
        (["stage=\"connect\"", "end=\"hangup\"", "status=\"none\""], 1.0),
        (["stage=\"connect\"", "end=\"timeout\"", "status=\"none\""], 1.0),
        (["stage=\"origin\"", "end=\"direct\"", "upstream=\"none\""], 1.0),
    ] {
        assert_eq!(metrics.sum("handyproxy_failures_total", &labels), count, "{labels:?} in {}", metrics.text);
    }
    assert_eq!(metrics.sum("handyproxy_failures_total", &[]), 5.0);
    let relayed = |metrics: &Metrics| {
        ["up", "down"].map(|way| metrics.value(&format!("handyproxy_relayed_bytes_total{{direction=\"{way}\"}}")))
    };
    // bytes of one that is open count as they go; they may arrive before they are counted
    let eventually_are = |wanted: [f64; 2]| {
        eventually(|| {
            let seen = relayed(&stage.metrics());
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?} bytes and not {wanted:?}")) }
        });
    };
    eventually_are(bytes.map(|sum| sum + 1.0));
    carry(&mut open, &mut open_up, 3000);
    eventually_are([bytes[0] + 3001.0, bytes[1] + 1.0]);
    finish(open, open_up);
    eventually(|| {
        let metrics = stage.metrics();
        adds_up(&metrics);
        let open = metrics.value("handyproxy_sessions_open");
        if open == 0.0 { Ok(()) } else { Err(format!("{open} open")) }
    });
    assert_eq!(relayed(&stage.metrics())[0], bytes[0] + 3001.0);
}

#[test]
fn a_dial_that_waits_for_a_name_is_not_the_upstreams_time() {
    let text = "sniff-timeout = \"5s\"\nupstream-proxy = \"corp\"\n[upstream.corp]\nproxy = \"10.2.0.2:3128\"\n\
                [upstream.other]\nproxy = \"10.2.0.4:3128\"\n[[route]]\nto = [\".bench.example\"]\nvia = \"other\"\n";
    let net = Topology::new();
    let other = net.proxy(4);
    let stage = Stage::configured(net, text);
    let mut client = stage.scene.connect(V4, 443);
    std::thread::sleep(Duration::from_millis(2000));
    client.send(Kind::Tls.says());
    let mut up = other.accept_asked();
    up.expect_connect("www.bench.example:443");
    up.reply(OPEN);
    up.expect(Kind::Tls.says());
    stage.scene.gateway.session_from(&finish(client, up)).expect("end=done via=other");
    let metrics = stage.metrics();
    let seconds = |family: &str| metrics.value(&format!("handyproxy_{family}_seconds_sum{{upstream=\"other\"}}"));
    assert!(seconds("dial") < 1.5, "{}", metrics.text);
    // the gateway may have accepted it later than it was connected
    assert!(seconds("setup") >= 1.5, "{}", metrics.text);
    assert!(metrics.value("handyproxy_sniff_seconds_sum") >= 1.5);
}

#[test]
fn clients_that_wait_are_told_of() {
    let stage = Stage::new("-max-sessions 1");
    let tunnel = stage.scene.tunnel();
    let waiting = stage.scene.connect(V4, 22);
    let told = |metrics: &Metrics| {
        let pauses = metrics.value("handyproxy_accept_pauses_total{reason=\"seats\"}");
        (pauses, metrics.value("handyproxy_accept_paused"), metrics.value("handyproxy_sessions_limit"))
    };
    eventually(|| match told(&stage.metrics()) {
        (1.0, 1.0, 1.0) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    drop((tunnel, waiting));
    eventually(|| match told(&stage.metrics()) {
        (_, 0.0, 1.0) => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
}

/// The labels of a tap of kind hexlog.
fn hexlog(path: &str) -> String {
    format!("{{kind=\"hexlog\",format=\"hexlog\",path=\"{path}\",number=\"1\"}}")
}

#[test]
fn taps_are_told_of_by_what_they_are() {
    let folder = Folder::new();
    let stage = Stage::new(&format!("-tap hexlog:{0}/hex.log -tap hexlog:{0}", folder.path()));
    let (client, up) = stage.scene.tunnel();
    finish(client, up);
    let (labels, other) = (hexlog(&format!("{}/hex.log", folder.path())), hexlog(folder.path()));
    let metrics = eventually(|| {
        let metrics = stage.metrics();
        let written = metrics.value(&format!("handyproxy_tap_records_written_total{labels}"));
        if written >= 2.0 { Ok(metrics) } else { Err(format!("{written} records")) }
    });
    for (family, wanted) in [("tap_records_missed_total", 0.0), ("tap_missed_bytes_total", 0.0), ("tap_failing", 0.0)] {
        assert_eq!(metrics.value(&format!("handyproxy_{family}{labels}")), wanted, "{family}");
        assert_eq!(metrics.value(&format!("handyproxy_{family}{other}")), wanted, "{family}");
    }
    assert!(metrics.value(&format!("handyproxy_tap_queue_limit_bytes{labels}")) > 1e6);
}

#[test]
fn a_reload_leaves_a_tap_its_series() {
    let net = Topology::new();
    let folder = Folder::new();
    let text = |names: &[&str]| {
        let taps = names.iter().map(|name| format!("[[tap]]\nkind = \"hexlog\"\npath = \"{name}\"\n"));
        format!(
            "admin = \"{0}/admin.sock\"\nupstream-proxy = \"10.2.0.2:3128\"\n{1}",
            folder.path(),
            taps.collect::<String>()
        )
    };
    let scene = Scene::on(net, folder.launch(&text(&["one.log", "two.log"])));
    let metrics = || over_unix(&format!("{}/admin.sock", folder.path()), METRICS);
    let (client, up) = scene.tunnel();
    finish(client, up);
    let written = |name: &str| {
        let labels = hexlog(&format!("{}/{name}", folder.path()));
        let text = metrics().body;
        let line = format!("handyproxy_tap_records_written_total{labels} ");
        text.lines().find_map(|told| told.strip_prefix(&line)?.parse::<u64>().ok())
    };
    let before = eventually(|| match (written("one.log"), written("two.log")) {
        (Some(one), Some(two)) if one == two && one >= 2 => Ok(two),
        other => Err(format!("{other:?}")),
    });
    folder.config(&text(&["two.log"]));
    scene.gateway.reload();
    eventually(|| match (written("one.log"), written("two.log")) {
        (None, Some(two)) if two >= before => Ok(()),
        other => Err(format!("{other:?}, and {before} before")),
    });
}

#[test]
fn an_access_log_on_a_full_disk_is_told_of_until_it_is_written_again() {
    let folder = Folder::new();
    let disk = PathBuf::from(folder.path()).join("disk");
    fs::create_dir(&disk).expect("a free name");
    let socket = format!("{}/admin.sock", folder.path());
    let text = format!("upstream-proxy = \"{UPSTREAM}\"\nadmin = \"{socket}\"\naccess-log = \"disk/access.log\"\n");
    let scene = Scene::with(folder.launch(&text).with_tiny(&disk));
    let told = || {
        let metrics = Metrics { text: over_unix(&socket, METRICS).body };
        let value = |name: &str| metrics.value(&format!("handyproxy_access_log_{name}"));
        (value("failing"), value("queue_bytes"), value("lines_lost_total"), value("queue_limit_bytes"))
    };
    let play = || {
        let (client, up) = scene.tunnel();
        finish(client, up);
    };
    play();
    let limit = f64::from(8 << 20);
    // its line is on its way for a moment
    eventually(|| match told() {
        seen if seen == (0.0, 0.0, 0.0, limit) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let filler = scene.gateway.sees(&disk).join("filler");
    fs::write(&filler, vec![0; 128 * 1024]).expect_err("it is tiny");
    // what is left of the page that the file has
    eventually(|| {
        play();
        match told() {
            (1.0, queued, 0.0, _) if queued > 0.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    fs::remove_file(&filler).expect("it is there");
    eventually(|| match told() {
        (0.0, 0.0, 0.0, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn no_series_is_told_twice() {
    let folder = Folder::new();
    let path = format!("{}/a \"b\\", folder.path());
    let net = Topology::new();
    // all that may be alike: taps in one folder and on one stream, one proxy of two upstreams, names in two cases
    let tap = |kind: &str, rest: &str| format!("[[tap]]\nkind = \"{kind}\"\n{rest}\n");
    let dump = format!("path = '{path}/'");
    let taps = [
        tap("dump", &dump),
        tap("dump", &dump),
        tap("dump", &format!("format = \"raw\"\n{dump}")),
        tap("flow", ""),
        tap("flow", "colour = true"),
    ];
    let text = format!(
        "upstream-proxy = \"corp\"\n[upstream.corp]\nproxy = [\"10.2.0.2:3128\", \"https://10.2.0.2:3128\"]\n\
         [upstream.Corp]\nproxy = \"10.2.0.2:3128\"\n[[route]]\nto = [\"*:1\"]\nvia = \"Corp\"\n{}",
        taps.concat()
    );
    let stage = Stage::configured(net, &text);
    let (client, up) = stage.scene.tunnel();
    finish(client, up);
    let classic = over_unix(&stage.socket(), &format!("{METRICS}Accept: text/plain\r\n")).body;
    for text in [&stage.metrics().text, &classic] {
        let mut series = BTreeSet::new();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let (series_of, _) = sample.rsplit_once(' ').expect("a value");
            assert!(series.insert(series_of), "{series_of} stands twice in\n{text}");
        }
        assert_eq!(series.iter().filter(|series| series.contains("_tap_failing{")).count(), 5, "{text}");
        assert_eq!(series.iter().filter(|series| series.contains("_upstream_up{")).count(), 3, "{text}");
    }
    let told = path.replace('\\', "\\\\").replace('"', "\\\"");
    let labels = format!("{{kind=\"dump\",format=\"dumper\",path=\"{told}/\",number=\"2\"}}");
    assert!(classic.contains(&format!("handyproxy_tap_failing{labels} ")), "{labels} in\n{classic}");
    check(&stage.folder, &classic);
}

/// Runs promtool on a file of this folder.
fn promtool(folder: &str, words: &[&str]) -> String {
    let output = Command::new("promtool").args(words).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.expect("prometheus is installed, tests/run sees to it");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {}: {text}", words.join(" "));
    text
}

/// A stage on which every family has something to tell, or at least says what it would be.
fn talkative() -> Stage {
    let stage = Stage::new("-sniff-timeout 5s -dns 10.1.0.1:53");
    let (mut client, mut up) = Kind::Tls.ask(&stage.scene);
    up.reply("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    client.receive_all();
    client.fin();
    stage.scene.gateway.session_of(&client);
    stage
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let stage = talkative();
    let old = over_unix(&stage.socket(), "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n");
    assert!(old.head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{}", old.head);
    let count = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(count(&old.body), count(&stage.metrics().text), "both tell the same");
    check(&stage.folder, &old.body);
}

/// Has promtool look at metrics in the old format.
fn check(folder: &Folder, metrics: &str) {
    let file = fs::File::open(folder.write("metrics", metrics)).expect("it was written");
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(file).output();
    let checked = checked.expect("prometheus is installed, tests/run sees to it");
    let text = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(checked.status.success() && text.is_empty(), "{text}\n{metrics}");
}

#[test]
fn the_alert_rules_fire_when_they_should_and_only_then() {
    let folder = format!("{DEPLOY}/prometheus");
    promtool(&folder, &["check", "rules", "alerts.yml"]);
    promtool(&folder, &["test", "rules", "alerts_test.yml"]);
    let read = |name: &str| fs::read_to_string(format!("{folder}/{name}")).expect("it is there");
    let (rules, tests) = (read("alerts.yml"), read("alerts_test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("- name: {alert}\n")), "{alert} has no test");
    }
}

/// The metrics that a text names, without what stands behind the name of a histogram.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split("handyproxy_").skip(1) {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        names.insert(format!("handyproxy_{name}"));
    }
    names
}

/// The queries of a dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if ["expr", "definition"].contains(&key.as_str()) => found.push(text.clone()),
                    value => queries(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_name_what_there_is_and_the_dashboard_all_of_it() {
    let stage = talkative();
    let there: BTreeSet<String> = stage.metrics().families().into_iter().collect();
    assert!(there.len() > 30, "{there:?}");
    let dashboard = fs::read_to_string(format!("{DEPLOY}/grafana/handyproxy.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut expressions = Vec::new();
    queries(&dashboard, &mut expressions);
    let shown = named(&expressions.join("\n"));
    let alerts = fs::read_to_string(format!("{DEPLOY}/prometheus/alerts.yml")).expect("it is there");
    // only what is asked for, not what a sentence says
    let asked: Vec<&str> = alerts.lines().filter(|line| !line.contains("description:")).collect();
    let watched = named(&asked.join("\n"));
    assert!(watched.len() > 10, "{watched:?}");
    let strangers: Vec<_> = shown.union(&watched).filter(|name| !there.contains(*name)).collect();
    assert!(strangers.is_empty(), "named and not there: {strangers:?}");
    let unseen: Vec<_> = there.difference(&shown).collect();
    assert!(unseen.is_empty(), "on no panel: {unseen:?}");
    // the queries are valid, and every panel has a place of its own
    let rules: String = expressions.iter().filter(|text| !text.starts_with("label_values")).enumerate().fold(
        "groups:\n- name: dashboard\n  rules:\n".to_owned(),
        |text, (number, query)| {
            let query = query.replace("$__rate_interval", "1m").replace('\'', "''");
            text + &format!("  - record: query:number:{number}\n    expr: '{query}'\n")
        },
    );
    stage.folder.write("queries.yml", &rules);
    promtool(stage.folder.path(), &["check", "rules", "queries.yml"]);
    let panels = dashboard["panels"].as_array().expect("a list");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}

/// Prometheus itself; it ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_it() {
    let scene = Scene::new(&format!("-sniff-timeout 5s -admin {AT}"));
    let (client, _up) = scene.tunnel();
    let folder = Folder::new();
    let example = fs::read_to_string(format!("{DEPLOY}/prometheus/scrape-example.yml")).expect("it is there");
    folder
        .write("handyproxy-alerts.yml", &fs::read_to_string(format!("{DEPLOY}/prometheus/alerts.yml")).expect("there"));
    let example = example.replace("/etc/prometheus/", "").replace("scrape_interval: 15s", "scrape_interval: 1s");
    assert!(example.contains(AT) && example.contains("scrape_interval: 1s"), "{example}");
    let config = folder.write("prometheus.yml", &example);
    promtool(folder.path(), &["check", "config", "prometheus.yml"]);
    let started = scene.net.gateway.enter(|| {
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "prometheus", "--web.listen-address=127.0.0.1:9090"])
            .args([format!("--config.file={config}"), format!("--storage.tsdb.path={}/tsdb", folder.path())])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    let _prometheus = Prometheus(started.expect("prometheus is installed, tests/run sees to it"));
    let at = "127.0.0.1:9090";
    let patience = Duration::from_secs(60);
    in_time(patience, || match scene.net.gateway.try_connect(at.parse().expect("an address")) {
        Ok(_) => Ok(()),
        Err(why) => Err(why.to_string()),
    });
    let query = |query: &str| {
        let line = format!("GET /api/v1/query?query={query} HTTP/1.1\r\nHost: {at}\r\n");
        let answer = over_tcp(&scene.net.gateway, at, &line);
        // it may not be ready yet
        let value = serde_json::from_str::<Value>(&answer.body).ok();
        let value = value.and_then(|v| v["data"]["result"][0]["value"][1].as_str().map(str::to_owned));
        value.ok_or(format!("{query}: {}", answer.body))
    };
    let eventually_is = |text: &str, wanted: &str| {
        in_time(patience, || {
            query(text).and_then(|value| if value == wanted { Ok(()) } else { Err(format!("{text} {value}")) })
        });
    };
    eventually_is("up", "1");
    eventually_is("handyproxy_sessions_open", "1");
    eventually_is("sum(handyproxy_sessions_opened_total)", "1");
    eventually_is("handyproxy_build_info", "1");
    eventually_is("count(handyproxy_sniff_seconds_bucket)", "16");
    eventually_is("handyproxy_relayed_bytes_total{direction=\"up\"}", "1");
    drop(client);
}
