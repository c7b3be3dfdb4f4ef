//! An admin that says what it is told to, over a unix socket or TCP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What it says, and what it was asked to do.
#[derive(Default)]
pub(super) struct State {
    /// Open sessions: their numbers, what else is said of them, and the bytes that they got.
    pub(super) open: Vec<(u64, String, u64)>,
    pub(super) ended: Vec<(u64, String)>,
    /// Seconds since 1970, which pass only if somebody says so.
    pub(super) now: f64,
    /// How many bytes per second each session gets.
    pub(super) speed: u64,
    pub(super) killed: Vec<u64>,
    pub(super) asked: u64,
    /// Nobody answers.
    pub(super) away: bool,
    /// Whether time passes by a second with each answer.
    pub(super) ticks: bool,
}

pub(super) struct Admin {
    pub(super) state: Arc<Mutex<State>>,
    /// What `-admin` is.
    pub(super) addr: String,
    path: Option<PathBuf>,
}

impl Admin {
    /// On a unix socket of this name.
    pub(super) fn unix(name: &str) -> Admin {
        let path = std::env::temp_dir().join(format!("hp-top-{name}-{}.sock", std::process::id()));
        // a run that was interrupted may have left it
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a temporary socket");
        let state = Arc::new(Mutex::new(usual()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &shared, true);
            }
        });
        Admin { state, addr: path.to_str().expect("plain").to_owned(), path: Some(path) }
    }

    /// On a port of loopback.
    pub(super) fn tcp() -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it listens").to_string();
        let state = Arc::new(Mutex::new(usual()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &shared, false);
            }
        });
        Admin { state, addr, path: None }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("nobody panics with it"));
    }

    pub(super) fn tell<T>(&self, of: impl FnOnce(&State) -> T) -> T {
        of(&self.state.lock().expect("nobody panics with it"))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path as &Path);
        }
    }
}

/// Three sessions and a failure.
fn usual() -> State {
    let session =
        |client: &str, name: &str, up: u64| format!(r#""client":"{client}","name":"{name}","up":{up},"started":40.0"#);
    State {
        open: vec![
            (1, session("10.0.0.5:41001", "www.example.org", 300), 5000),
            (2, session("10.0.0.6:41002", "mail.example.org", 200), 9000),
            (3, session("10.0.0.7:41003", "cdn.example.net", 100), 7000),
        ],
        ended: vec![(
            9,
            r#""client":"10.0.0.9:4","name":null,"started":1.0,"ended":90.0,"end":"refused","by":"upstream",
               "error":"403 \u001b]0;owned\u0007\u001b[2Jno""#
                .to_owned(),
        )],
        now: 100.0,
        ..State::default()
    }
}

fn serve(mut stream: impl Read + Write, state: &Mutex<State>, unix: bool) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    assert!(head.to_lowercase().contains("\r\nhost: "), "{head}");
    let mut state = state.lock().expect("nobody panics with it");
    if state.away {
        return;
    }
    let id = path.strip_prefix("/sessions/").and_then(|id| id.parse::<u64>().ok());
    let (status, body) = match (method, path, id) {
        ("GET", "/sessions", _) => (200, sessions(&mut state)),
        ("DELETE", _, Some(_)) if !unix => (403, "sessions are cut over a unix socket only\n".to_owned()),
        ("DELETE", _, Some(id)) => {
            state.killed.push(id);
            state.open.retain(|(open, ..)| *open != id);
            (200, format!("session {id} is cut\n"))
        }
        _ => (404, "there is no such page\n".to_owned()),
    };
    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn sessions(state: &mut State) -> String {
    state.asked += 1;
    if state.ticks {
        state.now += 1.0;
    }
    let (now, more) = (state.now, state.speed * (state.now as u64 - 100));
    let usual = r#""origin":"192.0.2.7:443","name_source":"sni","target":null,"via":"corp","route":null,
        "upstream":"10.2.0.2:3128","stage":"relay","status":200,"requests":0"#;
    let row =
        |(id, facts, down): &(u64, String, u64)| format!(r#"{{"id":{id},{usual},{facts},"down":{}}}"#, down + more);
    let open: Vec<String> = state.open.iter().map(row).collect();
    let ended: Vec<String> =
        state.ended.iter().map(|(id, facts)| format!(r#"{{"id":{id},{usual},"up":0,"down":0,{facts}}}"#)).collect();
    format!(
        r#"{{"version":"0.1.0","instance":"gateway","now":{now:?},"started":10.0,"open":[{}],"ended":[{}],
        "totals":{{"opened":9,"open":{},"ended":{{"done":5,"refused":1}},"up":600,"down":{}}},
        "upstreams":[{{"name":"corp","proxy":"10.2.0.2:3128","up":true,"held_s":0.0,"why":null}}],
        "limits":{{"sessions":100,"descriptors":1000}}}}"#,
        open.join(","),
        ended.join(","),
        state.open.len(),
        21000 + more
    )
}
