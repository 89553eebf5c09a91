//! The choice of keys.

/// Evenly distributed key numbers, the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Keys {
    state: u64,
    count: u64,
}

impl Keys {
    /// Numbers below `count`, as the caller `caller` chooses them.
    pub(super) fn new(count: u64, seed: u64, caller: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ caller.wrapping_mul(0xd6e8_feb8_6659_fd93), count }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // The bias of the remainder is below 2^-40 for the counts in use.
        z % self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeatable() {
        let draw = |seed, caller| {
            let mut keys = Keys::new(10, seed, caller);
            (0..10_000).map(|_| keys.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        for key in 0..10 {
            let times = draw(7, 0).iter().filter(|drawn| **drawn == key).count();
            assert!((800..1200).contains(&times), "{key}: {times}");
        }
    }
}
