//! Whether this node's disk is good enough to lead with.
//!
//! A leader answers when its own log is synced, so a slow disk makes its clients wait although the others are quick. What
//! follows from it is done elsewhere ([`super::disk`]); here it is judged, from how long syncs took and how long the present
//! one has been under way. There is no clock here: times are told.
//!
//! | state | becomes | when |
//! |---|---|---|
//! | healthy | slow | one sync takes [`STUCK`], or [`LONG_IN_A_ROW`] in a row take [`LONG`] |
//! | slow | recovering | a sync takes less than [`LONG`] |
//! | recovering | slow | a sync takes [`LONG`] |
//! | recovering | healthy | for [`RECOVERY`] none did, and [`QUICK_MIN`] were quick |

use std::collections::VecDeque;
use std::time::Duration;

/// A sync that takes this long makes the disk slow, even before it ends. Disks that are well take less than a tenth of it
/// under any load, and followers that hear nothing for this long are about to elect another leader anyhow; whoever hands
/// over first chooses the next one, and does not wait for a lost election.
pub(super) const STUCK: Duration = Duration::from_millis(500);
/// A sync that takes this long is no good sign. Requests take several syncs, one after the other.
pub(super) const LONG: Duration = Duration::from_millis(200);
/// So many long syncs in a row make the disk slow: two may be one hiccup, seen from both sides.
pub(super) const LONG_IN_A_ROW: u32 = 3;
/// So long a disk has to be well before it counts as healthy. Longer than what makes disks slow now and then (a snapshot, a
/// neighbour's backup pausing), so that leaders do not come and go with it.
pub(super) const RECOVERY: Duration = Duration::from_secs(10);
/// So many quick syncs it takes to count as healthy: an idle disk says nothing.
pub(super) const QUICK_MIN: u32 = 3;
/// Syncs that are remembered for what others are told.
const REMEMBERED: usize = 4;

/// How a disk is. Times are since the beginning of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskState {
    /// It is good enough to lead with.
    Healthy,
    /// It is not, since then.
    Slow { since: Duration },
    /// It was slow, and has been well since then, with so many quick syncs.
    Recovering { since: Duration, quick: u32 },
}

/// What is known of a disk.
#[derive(Debug)]
pub(super) struct DiskHealth {
    state: DiskState,
    long_in_a_row: u32,
    /// The last syncs.
    recent: VecDeque<Duration>,
    /// How long the present sync has been under way, while it has been for long.
    waiting: Duration,
}

impl DiskHealth {
    pub(super) fn new() -> Self {
        Self { state: DiskState::Healthy, long_in_a_row: 0, recent: VecDeque::new(), waiting: Duration::ZERO }
    }

    /// A sync ended at `now`, and took so long.
    pub(super) fn synced(&mut self, took: Duration, now: Duration) {
        self.waiting = Duration::ZERO;
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(took);
        self.long_in_a_row = if took >= LONG { self.long_in_a_row.saturating_add(1) } else { 0 };
        self.state = match self.state {
            DiskState::Healthy if took >= STUCK || self.long_in_a_row >= LONG_IN_A_ROW => {
                DiskState::Slow { since: now }
            }
            DiskState::Slow { .. } if took < LONG => DiskState::Recovering { since: now, quick: 1 },
            DiskState::Recovering { .. } if took >= LONG => DiskState::Slow { since: now },
            DiskState::Recovering { since, quick } if now.saturating_sub(since) >= RECOVERY && quick >= QUICK_MIN => {
                DiskState::Healthy
            }
            DiskState::Recovering { since, quick } => DiskState::Recovering { since, quick: quick.saturating_add(1) },
            same => same,
        };
    }

    /// At `now`, a sync has been under way for so long and has not ended.
    pub(super) fn waits(&mut self, age: Duration, now: Duration) {
        self.waiting = age;
        self.state = match self.state {
            DiskState::Healthy if age >= STUCK => DiskState::Slow { since: now },
            DiskState::Recovering { .. } if age >= LONG => DiskState::Slow { since: now },
            same => same,
        };
    }

    pub(super) fn state(&self) -> DiskState {
        self.state
    }

    /// Whether leaders should go elsewhere.
    pub(super) fn is_slow(&self) -> bool {
        matches!(self.state, DiskState::Slow { .. })
    }

    /// What others are told: how long syncs take while the disk is not healthy, zero while it is.
    pub(super) fn delay(&self) -> Duration {
        if self.state == DiskState::Healthy {
            return Duration::ZERO;
        }
        let longest = self.recent.iter().copied().chain([self.waiting]).max().unwrap_or_default();
        // Zero would say that it is healthy.
        longest.max(Duration::from_millis(1))
    }
}

/// Whether leaders are better off with a disk whose node tells `theirs` than with one that tells `own`. Where both are slow it
/// has to be so by far: otherwise leaders would go to and fro.
pub(super) fn is_better(theirs: Duration, own: Duration) -> bool {
    theirs.is_zero() || theirs * 2 <= own
}

/// A voter that might take a leadership over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heir {
    pub(super) replica: u64,
    /// The last index that it is known to have.
    pub(super) matched: u64,
    /// What its node tells of its disk.
    pub(super) delay: Duration,
    /// How much its node leads already.
    pub(super) leads: usize,
}

/// A replica that lacks more entries would take longer than the disk.
const BEHIND_MAX: u64 = 1_000;

/// Who is to lead instead of a replica whose log ends at `last`, on a disk as slow as `own`; nobody when that would be no
/// better.
pub(super) fn choose(heirs: impl IntoIterator<Item = Heir>, last: u64, own: Duration) -> Option<u64> {
    let fit = |heir: &Heir| is_better(heir.delay, own) && heir.matched.saturating_add(BEHIND_MAX) >= last;
    let best = heirs.into_iter().filter(fit).max_by_key(|heir| {
        (heir.delay.is_zero(), heir.matched, std::cmp::Reverse(heir.leads), std::cmp::Reverse(heir.replica))
    })?;
    Some(best.replica)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(3);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn slow() -> DiskHealth {
        let mut disk = DiskHealth::new();
        disk.synced(STUCK, secs(1));
        assert_eq!(disk.state(), DiskState::Slow { since: secs(1) });
        disk
    }

    #[test]
    fn one_hiccup_moves_nobody() {
        let mut disk = DiskHealth::new();
        for _ in 0..10 {
            disk.synced(LONG, secs(1));
            disk.waits(STUCK.saturating_sub(QUICK), secs(1));
            disk.synced(LONG, secs(1));
            disk.synced(QUICK, secs(1));
        }
        assert_eq!((disk.state(), disk.delay()), (DiskState::Healthy, Duration::ZERO));
    }

    #[test]
    fn long_syncs_in_a_row_and_one_that_hangs_are_slow() {
        let mut disk = DiskHealth::new();
        for _ in 0..LONG_IN_A_ROW {
            assert!(!disk.is_slow());
            disk.synced(LONG, secs(2));
        }
        assert_eq!((disk.state(), disk.delay()), (DiskState::Slow { since: secs(2) }, LONG));
        let mut disk = DiskHealth::new();
        disk.waits(STUCK, secs(3));
        assert_eq!((disk.state(), disk.delay()), (DiskState::Slow { since: secs(3) }, STUCK));
        disk.waits(secs(4), secs(7));
        assert_eq!((disk.state(), disk.delay()), (DiskState::Slow { since: secs(3) }, secs(4)));
        disk.synced(secs(5), secs(8));
        assert_eq!((disk.is_slow(), disk.delay()), (true, secs(5)));
    }

    #[test]
    fn a_disk_is_healthy_again_only_after_a_while() {
        let mut disk = slow();
        disk.synced(LONG, secs(2));
        assert!(disk.is_slow(), "not quick enough");
        disk.synced(QUICK, secs(3));
        assert_eq!(disk.state(), DiskState::Recovering { since: secs(3), quick: 1 });
        assert!(!disk.is_slow() && !disk.delay().is_zero(), "it keeps what it leads, and gets no more");
        disk.synced(QUICK, secs(4));
        disk.synced(QUICK, secs(5));
        disk.synced(QUICK, secs(12));
        assert_ne!(disk.state(), DiskState::Healthy);
        disk.synced(QUICK, secs(13));
        assert_eq!((disk.state(), disk.delay()), (DiskState::Healthy, Duration::ZERO));
    }

    #[test]
    fn an_idle_disk_and_one_that_relapses_are_not_healthy() {
        let mut disk = slow();
        disk.synced(QUICK, secs(2));
        disk.synced(QUICK, secs(60));
        assert_ne!(disk.state(), DiskState::Healthy, "two syncs say little");
        disk.waits(LONG, secs(61));
        assert_eq!(disk.state(), DiskState::Slow { since: secs(61) });
        disk.synced(QUICK, secs(62));
        disk.synced(LONG, secs(63));
        assert_eq!(disk.state(), DiskState::Slow { since: secs(63) });
    }

    #[test]
    fn leaders_do_not_go_to_and_fro_between_slow_disks() {
        let ms = Duration::from_millis;
        assert!(is_better(ms(0), ms(500)) && is_better(ms(250), ms(500)));
        assert!(!is_better(ms(251), ms(500)) && !is_better(ms(500), ms(500)));
        for (one, other) in [(1, 1), (300, 500), (500, 2_000), (700, 700)] {
            assert!(!(is_better(ms(one), ms(other)) && is_better(ms(other), ms(one))), "{one} and {other}");
        }
    }

    #[test]
    fn the_best_healthy_voter_that_is_up_to_date_is_chosen() {
        let ms = Duration::from_millis;
        let heir = |replica, matched, delay| Heir { replica, matched, delay: ms(delay), leads: 0 };
        let chosen = |heirs: &[Heir]| choose(heirs.iter().copied(), 5_000, ms(600));
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[heir(1, 4_990, 0), heir(2, 5_000, 0)]), Some(2), "who has more");
        assert_eq!(chosen(&[heir(1, 4_990, 0), heir(2, 5_000, 100)]), Some(1), "who is healthy");
        assert_eq!(chosen(&[heir(1, 5_000, 600), heir(2, 5_000, 700)]), None, "all are slow");
        assert_eq!(chosen(&[heir(1, 5_000, 600), heir(2, 5_000, 200)]), Some(2), "not as slow by far");
        assert_eq!(chosen(&[heir(1, 3_000, 0)]), None, "too far behind");
        let busy = Heir { leads: 3, ..heir(1, 5_000, 0) };
        assert_eq!(chosen(&[busy, heir(2, 5_000, 0)]), Some(2), "who leads less");
        assert_eq!(chosen(&[heir(1, 5_000, 0), heir(2, 5_000, 0)]), Some(1));
    }
}
