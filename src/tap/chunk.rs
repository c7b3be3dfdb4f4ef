//! Bytes on their way to a tap's file. Large ones keep the buffer that they were read into, which comes back when
//! all taps are done with it: they are never copied.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// What is read at once for a tap.
pub const SIZE: usize = 60 * 1024;
/// What is worth giving a buffer away for.
const LARGE: usize = 8 * 1024;
/// Buffers that wait for use; more are given back to the system.
const SPARE: usize = 64;

static POOL: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Bytes that several may hold.
#[derive(Clone, Debug)]
pub struct Chunk(Arc<Held>);

#[derive(Debug)]
struct Held {
    bytes: Box<[u8]>,
    /// 0 < length <= bytes.len()
    length: usize,
}

impl Chunk {
    /// The first `length` bytes of a buffer. If they are many, another buffer takes its place.
    pub fn take(buffer: &mut Box<[u8]>, length: usize) -> Chunk {
        if length < LARGE {
            return Chunk::copy(&buffer[..length]);
        }
        let spare = pool().pop().filter(|spare| spare.len() == buffer.len());
        let spare = spare.unwrap_or_else(|| vec![0; buffer.len()].into_boxed_slice());
        Chunk(Arc::new(Held { bytes: std::mem::replace(buffer, spare), length }))
    }

    /// A copy of these bytes.
    pub fn copy(bytes: &[u8]) -> Chunk {
        Chunk(Arc::new(Held { bytes: Box::from(bytes), length: bytes.len() }))
    }

    /// The memory that it holds.
    pub fn size(&self) -> usize {
        self.0.bytes.len()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes[..self.0.length]
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes.len() < SIZE {
            return;
        }
        let mut pool = pool();
        if pool.len() < SPARE {
            pool.push(std::mem::take(&mut self.bytes));
        }
    }
}

fn pool() -> std::sync::MutexGuard<'static, Vec<Box<[u8]>>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}
