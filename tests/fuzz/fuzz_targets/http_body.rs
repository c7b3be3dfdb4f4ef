//! A body: no panic, no byte skipped or taken twice, the same content and end in any cut.
#![no_main]

use handyproxy::wire::body::{Body, Extent, Part};
use handyproxy::wire::fields;
use libfuzzer_sys::fuzz_target;

/// Content, how many bytes were taken, and whether the body is whole; read in pieces of `size`.
fn read(extent: Extent, bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), &'static str> {
    let mut body = Body::new(extent);
    let (mut data, mut at, mut come) = (Vec::new(), 0, 0);
    loop {
        let part = body.next(&bytes[at..come])?;
        match part {
            Part::Data(length) => data.extend_from_slice(&bytes[at..at + length]),
            Part::Trailers(length) => {
                let mut out = Vec::new();
                if fields::trailers(&bytes[at..at + length], &mut out).is_ok() {
                    assert!(out.ends_with(b"\r\n") && out.len() <= 2 * length);
                }
            }
            Part::Frame(_) => {}
            Part::More if come < bytes.len() => come = (come + size).min(bytes.len()),
            Part::More | Part::Done => return Ok((data, at, body.is_done())),
        }
        if let Part::Data(length) | Part::Frame(length) | Part::Trailers(length) = part {
            assert!(0 < length && at + length <= come);
            at += length;
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let extent = match first {
        b'L' => Extent::Length(u64::from(bytes.first().copied().unwrap_or(0))),
        b'E' => Extent::UntilClose,
        _ => Extent::Chunked,
    };
    let whole = read(extent, bytes, bytes.len().max(1));
    for size in [1, 7, 1 + usize::from(first)] {
        match (&whole, read(extent, bytes, size)) {
            (Ok(whole), Ok(cut)) => assert_eq!(*whole, cut),
            (Err(_), Err(_)) => {}
            (whole, cut) => panic!("{whole:?} became {cut:?}"),
        }
    }
});
