//! When the next round is due.

use abide_model::id::Millis;
use abide_model::setting::SNAPSHOT_INTERVAL;
use abide_placement::Wanted;

use crate::cluster::Saved;

/// Entries behind a snapshot after which the next one is made before its time: what a replay from it would take.
pub(super) const ENTRIES_MAX: u64 = 200_000;

/// What makes a partition due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Time between two rounds in ms; 0 is never by time.
    interval_ms: u64,
}

impl Rules {
    pub(super) fn of(wanted: &Wanted) -> Self {
        Self { interval_ms: wanted.number(&SNAPSHOT_INTERVAL) }
    }

    /// Whether a partition is due that is applied up to `applied`. Rounds begin at multiples of the interval, by the clock
    /// on the wall: on all nodes together, without a word between them.
    pub(super) fn is_due(self, now: Millis, applied: u64, saved: Option<Saved>) -> bool {
        let Some(saved) = saved else { return self.interval_ms > 0 };
        if applied > saved.index.saturating_add(ENTRIES_MAX) {
            return true;
        }
        let Some(round) = now.0.checked_div(self.interval_ms) else { return false };
        // One from the future was made by a clock that was wrong.
        let is_wrong = saved.created_at.0 > now.0.saturating_add(self.interval_ms);
        is_wrong || round > saved.created_at.0 / self.interval_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(index: u64, created_at: u64) -> Option<Saved> {
        Some(Saved { index, created_at: Millis(created_at), bytes: 0 })
    }

    #[test]
    fn rounds_begin_at_multiples_of_the_interval() {
        let rules = Rules { interval_ms: 1000 };
        assert!(rules.is_due(Millis(5_200), 1, None), "there is none yet");
        assert!(!rules.is_due(Millis(5_900), 1, saved(1, 5_000)));
        assert!(!rules.is_due(Millis(5_999), 1, saved(1, 5_900)));
        assert!(rules.is_due(Millis(6_000), 1, saved(1, 5_999)), "together with those of other nodes");
        assert!(rules.is_due(Millis(9_000), 1, saved(1, 50_000)), "of a clock that was wrong");
    }

    #[test]
    fn a_long_log_is_due_before_its_time() {
        let rules = Rules { interval_ms: 0 };
        assert!(!rules.is_due(Millis(9_000_000), 1, None));
        assert!(!rules.is_due(Millis(9_000_000), 7 + ENTRIES_MAX, saved(7, 0)));
        assert!(rules.is_due(Millis(9_000_000), 8 + ENTRIES_MAX, saved(7, 0)));
    }
}
