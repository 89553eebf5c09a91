//! Random numbers for ids, one source a thread, seeded by the operating system.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hasher, RandomState};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

thread_local! {
    static SOURCE: RefCell<ChaCha8Rng> = RefCell::new(ChaCha8Rng::from_seed(seed()));
}

/// 64 random bits.
pub(crate) fn u64() -> u64 {
    SOURCE.with_borrow_mut(Rng::next_u64)
}

/// 128 random bits.
pub(crate) fn u128() -> u128 {
    (u128::from(u64()) << 64) | u128::from(u64())
}

/// From now on this thread's numbers follow from `seed`.
#[cfg(feature = "testing")]
pub(crate) fn reseed(seed: u64) {
    SOURCE.set(ChaCha8Rng::seed_from_u64(seed));
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for part in seed.chunks_exact_mut(8) {
        // The standard library's hash keys come from the operating system.
        part.copy_from_slice(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    seed
}
