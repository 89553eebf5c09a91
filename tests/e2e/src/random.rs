//! Random numbers from a seed: a failing test prints it, and `E2E_SEED` repeats the choices (not the timing).

use std::time::{SystemTime, UNIX_EPOCH};

/// Splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `E2E_SEED`, or from the clock. Prints the seed.
    #[must_use]
    pub fn from_environment() -> Self {
        let told = std::env::var("E2E_SEED").ok().map(|seed| seed.parse().expect("E2E_SEED is a number"));
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos().into());
        let seed = told.unwrap_or_else(clock);
        crate::report(&format!("E2E_SEED={seed}"));
        Self(seed)
    }

    /// From this seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Another sequence, for another task.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
