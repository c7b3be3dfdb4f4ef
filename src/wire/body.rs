//! The body of a message: which of the bytes behind a head belong to it (RFC 9112 sections 6 and 7).
//!
//! A state machine over whatever has come, which copies nothing: valid framing is passed on as it stands,
//! chunk extensions too. A piece of framing that is not whole yet is asked for again, with more behind it.

/// The longest line that a chunk begins with; its extension is in it.
const MAX_LINE: usize = 1024;
/// The longest trailers.
const MAX_TRAILERS: usize = 8 * 1024;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk and trailers.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What the first of the bytes that have come are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes of content.
    Data(usize),
    /// So many bytes of framing, which may be passed on.
    Frame(usize),
    /// So many bytes of trailers, their empty line included; see [`trailers`](super::fields::trailers).
    Trailers(usize),
    /// Part of something: more must come behind it.
    More,
    /// Not the body's any more.
    Done,
}

/// A body that is being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(State);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left, more than none.
    Length(u64),
    UntilClose,
    /// Before a chunk's size.
    Size,
    /// So many bytes of a chunk are left, more than none.
    Chunk(u64),
    /// Before the line end behind a chunk.
    ChunkEnd,
    /// Behind the last chunk.
    Trailers,
    Done,
}

impl Body {
    /// Before its first byte.
    pub fn new(extent: Extent) -> Body {
        Body(match extent {
            Extent::Length(0) => State::Done,
            Extent::Length(length) => State::Length(length),
            Extent::Chunked => State::Size,
            Extent::UntilClose => State::UntilClose,
        })
    }

    /// None at all.
    pub fn none() -> Body {
        Body(State::Done)
    }

    /// Whether it is whole.
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// Whether the connection's end is the body's.
    pub fn ends_with_connection(&self) -> bool {
        self.0 == State::UntilClose
    }

    /// Whether what comes next is content.
    pub fn is_in_data(&self) -> bool {
        matches!(self.0, State::Length(_) | State::UntilClose | State::Chunk(_))
    }

    /// Whether what comes next are trailers.
    pub fn is_in_trailers(&self) -> bool {
        self.0 == State::Trailers
    }

    /// Takes the next part off `bytes`, which begin where the last part ended.
    ///
    /// # Errors
    /// They are no chunks, or a line is too long.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Part, &'static str> {
        if self.is_done() {
            return Ok(Part::Done);
        }
        if bytes.is_empty() {
            return Ok(Part::More);
        }
        match self.0 {
            State::Length(left) => Ok(self.data(left, bytes.len(), State::Done)),
            State::UntilClose => Ok(Part::Data(bytes.len())),
            State::Chunk(left) => Ok(self.data(left, bytes.len(), State::ChunkEnd)),
            State::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.0 = State::Size;
                    Ok(Part::Frame(2))
                }
                b"\r" => Ok(Part::More),
                _ => Err("a chunk without its line end"),
            },
            State::Size => self.size(bytes),
            State::Trailers => self.trailers(bytes),
            State::Done => Ok(Part::Done),
        }
    }

    fn data(&mut self, left: u64, have: usize, after: State) -> Part {
        let taken = usize::try_from(left).map_or(have, |left| left.min(have));
        let left = left - taken as u64;
        self.0 = match (left, &self.0) {
            (0, _) => after,
            (_, State::Chunk(_)) => State::Chunk(left),
            _ => State::Length(left),
        };
        Part::Data(taken)
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Part, &'static str> {
        const BAD: &str = "a chunk without a valid size";
        // not even the first byte may wait for the line's end
        if !bytes[0].is_ascii_hexdigit() {
            return Err(BAD);
        }
        let shown = &bytes[..bytes.len().min(MAX_LINE)];
        let Some(newline) = shown.iter().position(|&b| b == b'\n') else {
            return if shown.len() == MAX_LINE { Err("a chunk with too long a line") } else { Ok(Part::More) };
        };
        // the parser lets anything pass in an extension: not here, for others may take it for a line's end
        let line = bytes[..newline].strip_suffix(b"\r").ok_or(BAD)?;
        if line.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
            return Err(BAD);
        }
        let httparse::Status::Complete((length, size)) = httparse::parse_chunk_size(bytes).map_err(|_| BAD)? else {
            return Err(BAD);
        };
        if length != newline + 1 {
            return Err(BAD);
        }
        self.0 = if size == 0 { State::Trailers } else { State::Chunk(size) };
        Ok(Part::Frame(length))
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Part, &'static str> {
        let shown = &bytes[..bytes.len().min(MAX_TRAILERS)];
        let length = match shown {
            [b'\r', b'\n', ..] => Some(2),
            _ => shown.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4),
        };
        match length {
            Some(length) => {
                self.0 = State::Done;
                Ok(Part::Trailers(length))
            }
            None if shown.len() == MAX_TRAILERS => Err("trailers that are too long"),
            None => Ok(Part::More),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` in pieces of these sizes, again and again: content, framing, and what was left.
    fn read(extent: Extent, wire: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, Vec<u8>, usize), &'static str> {
        let mut body = Body::new(extent);
        let (mut data, mut frame) = (Vec::new(), Vec::new());
        let (mut at, mut come) = (0, 0);
        let mut sizes = sizes.iter().cycle();
        loop {
            match body.next(&wire[at..come])? {
                Part::Data(n) => {
                    data.extend(&wire[at..at + n]);
                    at += n;
                }
                Part::Frame(n) | Part::Trailers(n) => {
                    frame.extend(&wire[at..at + n]);
                    at += n;
                }
                Part::More if come == wire.len() => return Ok((data, frame, wire.len() - at)),
                Part::More => come = (come + sizes.next().expect("a cycle")).min(wire.len()),
                Part::Done => return Ok((data, frame, wire.len() - at)),
            }
        }
    }

    const CHUNKS: &[u8] = b"5\r\nhello\r\n00a;x=\"y z\"\r\n, world 12\r\n0\r\nSum: 1\r\n\r\nGET";

    #[test]
    fn every_cut_of_chunks_gives_the_same_content_and_leaves_the_rest() {
        for first in 1..=CHUNKS.len() {
            let (data, frame, left) = read(Extent::Chunked, CHUNKS, &[first, 1]).expect("valid");
            assert_eq!(data, b"hello, world 12", "{first}");
            assert_eq!(frame.len() + data.len() + left, CHUNKS.len());
            assert_eq!(left, 3);
        }
    }

    #[test]
    fn every_prefix_of_chunks_is_unfinished() {
        for end in 0..CHUNKS.len() - 3 {
            let mut body = Body::new(Extent::Chunked);
            let mut at = 0;
            while let Part::Data(n) | Part::Frame(n) | Part::Trailers(n) = body.next(&CHUNKS[at..end]).expect("valid") {
                at += n;
            }
            assert!(!body.is_done(), "{end}");
        }
    }

    #[test]
    fn a_length_is_kept_to_the_byte() {
        assert_eq!(read(Extent::Length(5), b"hello, world", &[2]), Ok((b"hello".to_vec(), vec![], 7)));
        assert_eq!(read(Extent::Length(0), b"x", &[1]), Ok((vec![], vec![], 1)));
        assert_eq!(read(Extent::UntilClose, b"hello", &[2]), Ok((b"hello".to_vec(), vec![], 0)));
        assert!(Body::new(Extent::Length(0)).is_done() && Body::none().is_done());
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b";x\r\n",
            b" 5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5 5\r\nhello\r\n",
            b"5\r\nhellox",
            b"5\r\nhello\n0\r\n",
            b"5\r\nhello\r0\r\n",
            b"5;a\nb\r\nhello",
            b"5;a\rb\r\nhello",
            b"5;\0\r\nhello",
            b"fffffffffffffffff\r\n",
            b"-1\r\n",
            b"g\r\n",
        ] {
            assert!(read(Extent::Chunked, wire, &[1]).is_err(), "{}", wire.escape_ascii());
            assert!(read(Extent::Chunked, wire, &[100]).is_err(), "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn endless_lines_and_trailers_are_given_up_after_their_limit() {
        let line = [b"5;".to_vec(), vec![b'x'; MAX_LINE]].concat();
        assert!(read(Extent::Chunked, &line, &[7]).is_err());
        let trailers = [b"0\r\n".to_vec(), b"A: b\r\n".repeat(MAX_TRAILERS / 6 + 1)].concat();
        assert!(read(Extent::Chunked, &trailers, &[500]).is_err());
    }

    proptest! {
        #[test]
        fn any_chunks_in_any_cut_come_out_as_they_went_in(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            sizes in proptest::collection::vec(1usize..30, 1..5),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\nrest");
            let (data, _, left) = read(Extent::Chunked, &wire, &sizes).expect("valid");
            prop_assert_eq!((data, left), (chunks.concat(), 4));
        }

        #[test]
        fn any_bytes_are_judged_the_same_in_any_cut(
            wire in proptest::collection::vec(proptest::sample::select(b"0125a;x \r\n\r\n:".to_vec()), 0..60),
            sizes in proptest::collection::vec(1usize..9, 1..5),
        ) {
            let whole = read(Extent::Chunked, &wire, &[usize::from(u16::MAX)]);
            let cut = read(Extent::Chunked, &wire, &sizes);
            prop_assert_eq!(whole, cut);
        }
    }
}
