//! A log: nothing panics, it reads the same however it is cut, and what was read is written and read again.
#![no_main]

use handyproxy::format::hexlog::{Line, Reader, address};
use handyproxy::format::{Item, Told};
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

fuzz_target!(|log: &[u8]| {
    let items = read(std::iter::once(log));
    let size = log.first().map_or(1, |byte| usize::from(byte % 16) + 1);
    assert_eq!(read(log.chunks(size)), items);
    for item in items {
        let Item::Entry(entry) = &item else { continue };
        assert_eq!(address(&entry.client.to_string()), Some(entry.client));
        let Told::Bytes(dir, bytes) = &entry.what else { panic!("a log has bytes only") };
        let at = entry.at / 1000 * 1000;
        let mut line = Vec::new();
        Line { at, client: entry.client, dir: *dir, bytes }.write(&mut line);
        let mut again = entry.clone();
        again.at = at;
        assert_eq!(read(std::iter::once(&line[..])), [Item::Entry(again)]);
    }
});
