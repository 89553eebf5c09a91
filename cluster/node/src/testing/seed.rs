//! Where a world's seed comes from.

use crate::random;

/// The environment variable that gives a test the seed of a run that failed.
pub(super) const VARIABLE: &str = "ABIDE_SEED";

/// The seed of the environment, else the given one, else a new one.
pub(super) fn choose(given: Option<u64>) -> u64 {
    match std::env::var(VARIABLE) {
        Ok(text) => match text.trim().parse() {
            Ok(seed) => seed,
            Err(error) => panic!("{VARIABLE} is a number from 0 to {}, not `{text}`: {error}", u64::MAX),
        },
        Err(_) => given.unwrap_or_else(random::u64),
    }
}
