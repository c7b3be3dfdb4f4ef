//! How much of a file that is written on is whole: what a process left that died while it wrote is cut off.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The first block of each section: its type, and how it shows that numbers are little-endian.
const SECTION: u32 = 0x0A0D_0D0A;
const LITTLE_ENDIAN: u32 = 0x1A2B_3C4D;
/// Type and both lengths.
const LEAST: u64 = 12;
/// Blocks that are looked at from the end before it counts as whole. A packet may hold a capture itself, but not one
/// of so many blocks.
const LOOKED_AT: usize = 6000;

/// The length up to which a file consists of whole blocks.
///
/// # Errors
/// It cannot be read, or is no capture that can be written on.
pub(super) fn length(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    let mut start = [0; 12];
    let is_section =
        file.read_exact_at(&mut start, 0).is_ok() && number(&start, 0) == SECTION && number(&start, 8) == LITTLE_ENDIAN;
    if !is_section {
        let what = "is there and is no pcapng file of ours: not written on";
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display())));
    }
    if ends_whole(&file, length)? {
        return Ok(length);
    }
    let whole = forward(file, length)?;
    tracing::warn!("{}: its last {} bytes are no whole block: cut off", path.display(), length - whole);
    Ok(whole)
}

/// Whether the last blocks, seen from the end, have the same length on both ends.
fn ends_whole(file: &File, length: u64) -> io::Result<bool> {
    let mut end = length;
    for _ in 0..LOOKED_AT {
        if end == 0 {
            return Ok(true);
        }
        if end < LEAST || !end.is_multiple_of(4) {
            return Ok(false);
        }
        let (mut first, mut last) = ([0; 8], [0; 4]);
        file.read_exact_at(&mut last, end - 4)?;
        let size = u64::from(u32::from_le_bytes(last));
        if size < LEAST || size > end {
            return Ok(false);
        }
        file.read_exact_at(&mut first, end - size)?;
        if u64::from(number(&first, 4)) != size {
            return Ok(false);
        }
        end -= size;
    }
    Ok(true)
}

/// The end of the last whole block, seen from the start.
fn forward(file: File, length: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, file);
    reader.seek(SeekFrom::Start(0))?;
    let mut whole = 0;
    while length - whole >= LEAST {
        let mut head = [0; 8];
        reader.read_exact(&mut head)?;
        let size = u64::from(number(&head, 4));
        if size < LEAST || !size.is_multiple_of(4) || size > length - whole {
            break;
        }
        reader.seek_relative((size - LEAST) as i64)?;
        let mut last = [0; 4];
        reader.read_exact(&mut last)?;
        if u64::from(u32::from_le_bytes(last)) != size {
            break;
        }
        whole += size;
    }
    Ok(whole)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
