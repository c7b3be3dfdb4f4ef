//! Proxies of our own in Python, for what no packaged one does; each request is a line of theirs.

use super::program::{PYTHON, Service};
use super::schemes::NTLM_USERS;
use super::stage::Stage;

/// A proxy on port 3128 that verifies NTLMv2; `closes` says which 407s end the connection: `none`, those that are `bare` of a
/// challenge, or `every` one.
pub(crate) fn ntlm(stage: &Stage, closes: &str) -> Service {
    let users = stage.scratch().write("ntlm.users", NTLM_USERS);
    let program = stage.beyond(&format!("{PYTHON}/ntlm_proxy.py 3128 {closes}"));
    program.env("NTLM_USER_FILE", users).serve("listening")
}

/// A proxy on port 3128 that wants Digest from ada, with SHA-256 at best.
pub(crate) fn digest(stage: &Stage) -> Service {
    stage.beyond(&format!("{PYTHON}/digest_proxy.py 3128 ada geheim-ada")).serve("listening")
}

/// What a proxy of ours was asked, so often at least: connection, credentials and status of each CONNECT.
pub(crate) fn asked(proxy: &Service, times: usize) -> Vec<(String, String)> {
    // what it says comes to us by a way of its own
    let said = proxy.wait_until(" CONNECT ", |said| said.matches(" CONNECT ").count() >= times);
    let lines = said.lines().filter_map(|line| line.split_once(" CONNECT "));
    lines
        .map(|(peer, rest)| {
            let (_target, what) = rest.split_once(' ').expect("target, credentials, status");
            (peer.to_owned(), what.to_owned())
        })
        .collect()
}
