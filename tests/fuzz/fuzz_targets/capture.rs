//! A capture: nothing panics, and it reads the same however it is cut.
#![no_main]

use handyproxy::format::Item;
use handyproxy::format::capture::Reader;
use libfuzzer_sys::fuzz_target;

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Item> {
    let mut reader = Reader::new();
    let mut items = Vec::new();
    for piece in pieces {
        reader.push(piece);
        items.extend(std::iter::from_fn(|| reader.item()));
    }
    items.extend(reader.finish());
    items
}

fuzz_target!(|capture: &[u8]| {
    let size = capture.last().map_or(1, |byte| usize::from(byte % 64) + 1);
    assert_eq!(read(capture.chunks(size)), read(std::iter::once(capture)));
});
