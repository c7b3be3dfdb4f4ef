//! What packets cost per byte of payload: `cargo bench --bench pcapng`.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::BytesCount;
use handyproxy::format::pcapng::{Capture, Event, Maker};
use handyproxy::format::{Dir, Facts};

fn main() {
    divan::main();
}

/// What a tap gathers before it writes.
const GATHER: usize = 256 * 1024;

fn session(client: &str, origin: &str) -> Arc<Facts> {
    Arc::new(Facts {
        id: 1,
        client: client.parse().expect("an address"),
        origin: origin.parse().expect("an address"),
        name: None,
        target: origin.to_owned(),
        via: None,
        upstream: None,
        from_port: None,
        local_port: 8443,
    })
}

/// A one-way download in reads of this size, gathered as a tap does.
fn download(bencher: Bencher, facts: &Arc<Facts>, size: usize) {
    let bytes = vec![0x5a; size];
    let (mut capture, mut out) = (Capture::default(), Vec::new());
    capture.begin(&Maker { hardware: "x86_64", os: "Linux", application: "bench" }, &mut out);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        if out.len() >= GATHER {
            out.clear();
            capture.kept();
        }
        capture.write(1, facts, Event::Read(Dir::Down, divan::black_box(&bytes)), &mut out);
    });
}

#[divan::bench(args = [61440, 16384, 1448, 100])]
fn ipv4_in_reads_of(bencher: Bencher, size: usize) {
    download(bencher, &session("10.1.0.2:40001", "192.0.2.7:443"), size);
}

#[divan::bench(args = [61440, 1448])]
fn ipv6_in_reads_of(bencher: Bencher, size: usize) {
    download(bencher, &session("[fd10:1::2]:40001", "[2001:db8::7]:443"), size);
}

/// The headers and checksums are not for nothing: a copy of the same bytes.
#[divan::bench(args = [61440])]
fn copy_alone(bencher: Bencher, size: usize) {
    let bytes = vec![0x5a; size];
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        if out.len() >= GATHER {
            out.clear();
        }
        out.extend_from_slice(divan::black_box(&bytes));
    });
}
