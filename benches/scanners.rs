//! What the scanners cost per connection: `cargo bench --bench scanners`.

use divan::Bencher;
use handyproxy::addr::Host;
use handyproxy::wire::race::Race;
use handyproxy::wire::reply;

fn main() {
    divan::main();
}

const REQUEST: &[u8] =
    b"GET /index.html HTTP/1.1\r\nUser-Agent: bench\r\nAccept: */*\r\nHost: www.bench.example\r\n\r\n";
const REPLY: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy.bench.example\r\n\r\n";

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
}

/// A browser's hello: 1.8 KB with a post-quantum key share before the name, in records of `size` bytes.
fn hello(size: usize) -> Vec<u8> {
    let host = b"www.bench.example";
    let entry = [&[0][..], &(host.len() as u16).to_be_bytes(), host].concat();
    let extensions = [
        extension(0x1a1a, &[]),
        extension(51, &[5; 1250]),
        extension(21, &[0; 400]),
        extension(0, &[&(entry.len() as u16).to_be_bytes()[..], &entry].concat()),
    ]
    .concat();
    let mut body = [&[3, 3][..], &[7; 32], &[32], &[9; 32], &[0, 4, 0x13, 1, 0x13, 2, 1, 0]].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let message = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    message.chunks(size).flat_map(|c| [&[0x16, 3, 1][..], &(c.len() as u16).to_be_bytes(), c].concat()).collect()
}

const BOTH: Race = Race { http: true, tls: true };

#[divan::bench]
fn http_head() -> bool {
    BOTH.clone().step(divan::black_box(REQUEST)).is_some()
}

#[divan::bench(args = [16384, 100])]
fn client_hello_in_records_of(bencher: Bencher, size: usize) {
    let bytes = hello(size);
    bencher.bench_local(|| {
        let heard = BOTH.clone().step(divan::black_box(&bytes)).expect("a whole hello");
        assert!(heard.name.is_some());
    });
}

#[divan::bench]
fn client_hello_first_segment(bencher: Bencher) {
    let bytes = hello(16384);
    bencher.bench_local(|| assert!(BOTH.clone().step(divan::black_box(&bytes[..1400])).is_none()));
}

#[divan::bench]
fn ssh_banner() -> bool {
    BOTH.clone().step(divan::black_box(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")).is_some()
}

#[divan::bench]
fn connect_reply() -> bool {
    matches!(reply::scan(divan::black_box(REPLY), 0), reply::Reply::Head { .. })
}

#[divan::bench]
fn name() -> Option<Host> {
    Host::parse(divan::black_box(b"www.bench.example"))
}
