//! Random numbers that can be had again: a test prints its seed, and a failure comes back with it.

/// Marsaglia's xorshift64 with a multiplier (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
pub struct Random(u64);

impl Random {
    /// Starts the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        // zero is the one state that it never leaves
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.word() >> 33) as usize % end
    }

    /// A size from 1 to `2^bits`, each power of two as likely as any other: bytes are as frequent as megabytes.
    pub fn size(&mut self, bits: usize) -> usize {
        let top = 1 << self.below(bits + 1);
        1 + self.below(top)
    }

    /// `count` random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = count.div_ceil(8);
        let mut bytes: Vec<u8> = (0..words).flat_map(|_| self.word().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }
}
