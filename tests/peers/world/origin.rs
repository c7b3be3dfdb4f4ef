//! nginx with the sites of bench.example: www (pages, a big file, an upload directory), quic (the same pages, also offered by
//! QUIC, which it does not speak), git (a bare repository over plain https) and repo (a Debian repository).

use super::certificates;
use super::program::{PYTHON, Program, Service, tool};
use super::scratch::Scratch;
use super::stage::Stage;
use super::{V4, V6};
use crate::lab::support::netns::Netns;
use crate::lab::support::random::Random;

/// A page that says its name by script, so that only a browser that loaded both shows it.
const PAGE: &str = "<!doctype html><title>bench</title><p id=a>page</p><script src=/app.js></script>\n";
const SCRIPT: &str = "document.getElementById('a').textContent = 'script ran on ' + location.host;\n";

/// The running server and what it serves.
pub(crate) struct Origin {
    /// What `/big.bin` is.
    pub(crate) big: Vec<u8>,
    _nginx: Service,
}

impl Origin {
    /// What `/page.html` is.
    pub(crate) fn page(&self) -> &'static [u8] {
        PAGE.as_bytes()
    }

    /// Makes the sites in the scratch directory and serves them in this namespace.
    pub(crate) fn start(ns: &Netns, scratch: &Scratch) -> Self {
        certificates::issue(scratch);
        let big = Random::new(5).bytes(5 << 20);
        scratch.write("www/page.html", PAGE);
        scratch.write("www/app.js", SCRIPT);
        scratch.write("www/big.bin", &big);
        scratch.write("quic/page.html", PAGE);
        scratch.write("quic/app.js", SCRIPT);
        scratch.dir("www/upload");
        scratch.dir("git");
        scratch.dir("repo");
        scratch.dir("nginx");
        scratch.write("nginx.conf", configuration(scratch.root()));
        let line = format!("nginx -e stderr -p {0} -c {0}/nginx.conf", scratch.root());
        // it says its version when it has bound its ports
        let nginx = Program::new(&line, ns, scratch, "hosts.upstream").serve("nginx/1.");
        Self { big, _nginx: nginx }
    }
}

fn configuration(root: &str) -> String {
    let site = |name: &str, more: &str| {
        format!(
            "server {{
               server_name {name}.bench.example;
               listen {V4}:80; listen [{V6}]:80;
               listen {V4}:443 ssl http2; listen [{V6}]:443 ssl http2;
               root {root}/{name};
               location = /from {{ return 200 $remote_addr; }}
               {more}
             }}"
        )
    };
    let www = site(
        "www",
        "location /upload/ { dav_methods PUT; }
         location = /seen { return 200 \"$server_protocol $ssl_protocol $host\"; }",
    );
    // after each request a new connection, for which it offers QUIC
    let quic = site("quic", "keepalive_requests 1; add_header Alt-Svc 'h3=\":443\"; ma=3600';");
    let git = site("git", "");
    let repo = site("repo", "");
    format!(
        "daemon off;
         user root;
         worker_processes 1;
         pid {root}/nginx/pid;
         error_log stderr notice;
         events {{ worker_connections 512; }}
         http {{
           access_log off;
           client_body_temp_path {root}/nginx/body;
           proxy_temp_path {root}/nginx/proxy;
           fastcgi_temp_path {root}/nginx/fastcgi;
           uwsgi_temp_path {root}/nginx/uwsgi;
           scgi_temp_path {root}/nginx/scgi;
           client_max_body_size 64m;
           types {{ text/html html; text/javascript js; }}
           default_type application/octet-stream;
           ssl_certificate {root}/leaf.pem;
           ssl_certificate_key {root}/leaf.key;
           ssl_protocols TLSv1.2 TLSv1.3;
           {www}
           {quic}
           {git}
           {repo}
         }}
        "
    )
}

/// Puts a repository with one commit at git.bench.example/code.git and returns the commit's hash and its file.
pub(crate) fn publish_code(scratch: &Scratch) -> (String, Vec<u8>) {
    let work = scratch.dir("work");
    let content = Random::new(6).bytes(200_000);
    scratch.write("work/data.bin", &content);
    let git = |words: &[&str]| {
        let author = ["-c", "user.name=t", "-c", "user.email=t@bench.example"];
        tool(&work, &[&["git"], &author[..], words].concat())
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "data"]);
    let bare = scratch.path("git/code.git");
    let bare = bare.to_str().expect("a plain path");
    git(&["clone", "-q", "--bare", ".", bare]);
    git(&["-C", bare, "repack", "-q", "-a", "-d"]);
    // what a client needs of a server that only knows files
    git(&["-C", bare, "update-server-info"]);
    (git(&["rev-parse", "HEAD"]).trim().to_owned(), content)
}

/// Puts one Debian package into the repository at repo.bench.example and returns it.
pub(crate) fn publish_package(scratch: &Scratch) -> Vec<u8> {
    let control = "Package: bench-sample\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@bench.example>\nDescription: a sample\n";
    scratch.write("tree/DEBIAN/control", control);
    let content = Random::new(7).bytes(100_000);
    scratch.write("tree/usr/share/bench-sample/data.bin", content);
    let dir = scratch.path("");
    let build = ["dpkg-deb", "--root-owner-group", "--build", "tree"];
    tool(&dir, &[&build[..], &["repo/bench-sample.deb"]].concat());
    let package = scratch.read("repo/bench-sample.deb");
    let sum = tool(&dir, &["sha256sum", "repo/bench-sample.deb"]);
    let sum = sum.split(' ').next().expect("sha256sum prints a hash");
    let size = package.len();
    scratch.write("repo/Packages", format!("{control}Filename: ./bench-sample.deb\nSize: {size}\nSHA256: {sum}\n"));
    package
}

/// An origin of our own on tell.bench.example:8080 that tells what reached it.
pub(crate) struct Telling(Service);

impl Telling {
    /// Serves it.
    pub(crate) fn start(stage: &Stage) -> Self {
        Self(stage.beyond(&format!("{PYTHON}/origin.py {V4} 8080")).serve("listening"))
    }

    /// Waits until it has been asked for this so often; it must not have been more often.
    pub(crate) fn was_asked(&self, words: &str, times: usize) {
        self.0.says_times(words, times);
    }
}
