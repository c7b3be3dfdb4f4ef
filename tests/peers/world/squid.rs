//! squid, as Debian ships it, and its own record of who asked for what.

use std::path::PathBuf;

use super::program::Service;
use super::stage::Stage;
use crate::lab::support::eventually;

/// A running squid.
pub(crate) struct Squid {
    access: PathBuf,
    _service: Service,
}

/// A line of its record.
#[derive(Debug)]
pub(crate) struct Request {
    /// The address and port that asked: one for each connection.
    pub(crate) peer: String,
    /// The status of the answer.
    pub(crate) status: String,
    /// Such as CONNECT.
    pub(crate) method: String,
    /// What was asked for.
    pub(crate) target: String,
    /// Who asked, `-` if nobody was known.
    pub(crate) user: String,
}

impl Squid {
    /// Starts one with these lines for its ports, its access and its authentication. Its files are in a directory of this
    /// name, which `$DIR` is in the lines.
    pub(crate) fn start(stage: &Stage, name: &str, lines: &str) -> Self {
        Self::start_with(stage, name, lines, &[])
    }

    /// The same with variables of its environment, which its helpers have too.
    pub(crate) fn start_with(stage: &Stage, name: &str, lines: &str, variables: &[(&str, &str)]) -> Self {
        let dir = stage.scratch().dir_for(name, "proxy");
        let dir = dir.to_str().expect("a plain path");
        let text = format!("{BASE}\n{lines}").replace("$DIR", dir);
        // squid.conf lines that begin with a space go on from the line before
        let text: Vec<&str> = text.lines().map(str::trim).collect();
        stage.scratch().write(&format!("{name}.conf"), text.join("\n"));
        // an earlier squid of the same name may have left it
        let _ = std::fs::remove_file(format!("{dir}/pid"));
        let program = stage.beyond(&format!("squid -N -d 1 -f {}/{name}.conf", stage.scratch().root()));
        let program = variables.iter().fold(program, |program, (name, value)| program.env(name, *value));
        let service = program.serve("Accepting ");
        Self { access: PathBuf::from(format!("{dir}/access.log")), _service: service }
    }

    /// Waits until its record holds these words.
    pub(crate) fn saw(&self, words: &str) {
        eventually(|| {
            let text = self.record();
            if text.contains(words) { Ok(()) } else { Err(format!("no {words:?} in squid's log:\n{text}")) }
        });
    }

    /// Its record so far, without connections that never asked. A tunnel is written down when it has ended.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.record().lines().map(request).filter(|request| request.method != "-").collect()
    }

    /// Waits until it has so many requests on record, and returns them; there must not be more.
    pub(crate) fn requests_in_all(&self, count: usize) -> Vec<Request> {
        let requests = self.requests_at_least(count, |_| true);
        assert_eq!(requests.len(), count, "requests on record:\n{}", self.record());
        requests
    }

    /// Waits until it has so many requests of this kind on record, and returns all: a request may be written down when
    /// its answer has been read already.
    pub(crate) fn requests_at_least(&self, count: usize, kind: impl Fn(&Request) -> bool) -> Vec<Request> {
        eventually(|| {
            let requests = self.requests();
            let those = requests.iter().filter(|request| kind(request)).count();
            if those >= count { Ok(requests) } else { Err(format!("not {count}: {}", self.record())) }
        })
    }

    /// The whole lines of its record.
    fn record(&self) -> String {
        let mut text = std::fs::read_to_string(&self.access).unwrap_or_default();
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        text
    }
}

fn request(line: &str) -> Request {
    let words: Vec<&str> = line.split(' ').collect();
    let &[peer, status, method, target, user] = words.as_slice() else { panic!("not of our log format: {line}") };
    let own = str::to_owned;
    Request { peer: own(peer), status: own(status), method: own(method), target: own(target), user: own(user) }
}

const BASE: &str = "\
cache_effective_user proxy
pid_filename $DIR/pid
coredump_dir $DIR
cache_log $DIR/cache.log
logformat peers %>a:%>p %>Hs %rm %ru %un
access_log stdio:$DIR/access.log peers
cache deny all
cache_mem 8 MB
netdb_filename none
pinger_enable off
visible_hostname squid.bench.example
shutdown_lifetime 1 second
acl tunnel method CONNECT
acl web port 80 443";
