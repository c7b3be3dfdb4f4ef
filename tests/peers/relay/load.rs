//! Many clients, big bodies, and programs that fetch much.

use super::{PAGE, TELL, relay};
use crate::world::apt::Apt;
use crate::world::assert_same;
use crate::world::origin::publish_code;
use crate::world::program::tool;

const MEGABYTES_200: usize = 200 << 20;

#[test]
fn thirty_clients_at_once_are_all_served() {
    let relay = relay();
    let urls = format!("{PAGE} {TELL}/zeros/100 ").repeat(30);
    let got = relay.stage.client(&format!("curl -sSf -Z --parallel-immediate --parallel-max 60 {urls}")).run();
    assert_eq!(got.len(), 30 * (relay.stage.origin.page().len() + 100));
}

#[test]
fn two_hundred_megabytes_each_way_take_no_memory() {
    let relay = relay();
    relay.curl(PAGE);
    let before = relay.gateway.peak_rss_kib();
    let got = relay.curl(&format!("-o /dev/null -w %{{size_download}} {TELL}/zeros/{MEGABYTES_200}"));
    assert_eq!(got, MEGABYTES_200.to_string());
    let zeros = format!("head -c {MEGABYTES_200} /dev/zero");
    let sum = tool(&relay.stage.scratch().path(""), &["sh", "-c", &format!("{zeros} | sha256sum")]);
    let told = relay.stage.client("sh -c").arg(format!("{zeros} | curl -sSf -T - {TELL}/hash")).text();
    assert_eq!(told, format!("{MEGABYTES_200} {}", sum.split(' ').next().expect("a hash")));
    let grown = relay.gateway.peak_rss_kib() - before;
    assert!(grown < 8 << 10, "grew by {grown} KiB");
}

#[test]
fn apt_wget_and_git_are_served() {
    let relay = relay();
    let apt = Apt::new(&relay.stage);
    apt.update();
    apt.download();
    let page = relay.stage.client(&format!("wget -nv -O - {PAGE}")).run();
    assert_same(&page, relay.stage.origin.page(), "the page");
    let (_, content) = publish_code(relay.stage.scratch());
    relay.stage.client("git clone -q http://git.bench.example/code.git clone").env("GIT_CONFIG_NOSYSTEM", "1").run();
    assert_same(&relay.stage.scratch().read("home/clone/data.bin"), &content, "the file");
    for name in ["repo", "repo", "www", "git"] {
        relay.gateway.session_line().expect(&format!("end=done name={name}.bench.example"));
    }
    relay.squid.saw("200 GET http://repo.bench.example/./bench-sample.deb");
}
