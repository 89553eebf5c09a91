//! The random source of a shard: fresh invocation ids and the jitter of retries.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded source, used by one thread.
pub(crate) struct Random(RefCell<ChaCha8Rng>);

impl Random {
    /// The source of shard number `shard`. Equal seeds and shards give equal numbers; without a seed it is one from the
    /// operating system.
    pub(crate) fn new(seed: Option<u64>, shard: usize) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(shard as u64).to_le_bytes());
        for part in bytes[8..].chunks_exact_mut(8) {
            let word = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
            part.copy_from_slice(&word.to_le_bytes());
        }
        Self(RefCell::new(ChaCha8Rng::from_seed(bytes)))
    }

    pub(crate) fn u64(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    pub(crate) fn u128(&self) -> u128 {
        (u128::from(self.u64()) << 64) | u128::from(self.u64())
    }

    /// Evenly in `0.0..1.0`.
    pub(crate) fn fraction(&self) -> f64 {
        /// 2^53: what an f64 holds exactly.
        const STEPS: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let part = (self.u64() >> 11) as f64;
        part / STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_decide_and_shards_differ() {
        assert_eq!(Random::new(Some(1), 0).u128(), Random::new(Some(1), 0).u128());
        assert_ne!(Random::new(Some(1), 0).u128(), Random::new(Some(1), 1).u128());
        assert_ne!(Random::new(None, 0).u128(), Random::new(None, 0).u128());
    }

    #[test]
    fn fractions_stay_below_one() {
        let random = Random::new(Some(7), 0);
        assert!((0..10_000).map(|_| random.fraction()).all(|part| (0.0..1.0).contains(&part)));
    }
}
