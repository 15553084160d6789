//! A small deterministic generator: the same numbers on every platform.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// A generator whose numbers depend on the name only.
    pub fn named(name: &str) -> Random {
        // FNV-1a, 64 bits.
        Random(name.bytes().fold(0xcbf29ce484222325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3)))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }

    /// An integer in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (((self.bits() >> 32) * n as u64) >> 32) as usize
    }

    /// An integer in `low..=high`.
    pub fn integer(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A multiple of 2^-24 in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / 16777216.0
    }

    /// A multiple of 2^-23 in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        2.0 * self.unit() - 1.0
    }

    /// Bell-shaped, within (-2, 2).
    pub fn bell(&mut self) -> f32 {
        self.signed() + self.signed() * self.unit() + 0.25 * self.signed()
    }

    /// Heavy tails: about one value in a hundred is ten times the usual one.
    pub fn heavy(&mut self) -> f32 {
        self.bell() / (self.unit() + 0.03)
    }

    pub fn sign(&mut self) -> f32 {
        self.pick(&[1.0, -1.0])
    }
}
