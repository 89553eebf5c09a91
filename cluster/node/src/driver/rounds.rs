//! Reads that have to be linearizable wait for a round: a quorum says that nobody else leads.
//!
//! A read that arrives waits for the next round that begins, never for one under way, which may have asked before the
//! read's time. One round at a time serves all that wait for it.

use abide_model::id::PartitionId;
use abide_partition::Input;
use abide_storage::{LogStore, StateStore};
use tokio::time::Instant;

use super::{Driver, Fatal};
use std::time::Duration;

/// A round without an answer for this long is begun again: leaders forget rounds when they change.
const ROUND_TIME: Duration = Duration::from_secs(1);

/// Rounds of one replica, counted up.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last one that was confirmed.
    confirmed: u64,
    /// The last one that anybody waits for.
    wanted: u64,
    /// The one under way: its number, the name of its read, and since when.
    under_way: Option<(u64, u64, Instant)>,
}

impl Rounds {
    /// The round that a read beginning now has to wait for.
    pub(super) fn next(&mut self) -> u64 {
        let begun = self.under_way.map_or(self.confirmed, |(number, _, _)| number);
        self.wanted = self.wanted.max(begun + 1);
        begun + 1
    }

    pub(super) fn is_confirmed(&self, round: u64) -> bool {
        round <= self.confirmed
    }

    /// Begins the next round under the name `read`, if one is wanted and none is under way. Whether it does.
    fn begin(&mut self, read: u64, now: Instant) -> bool {
        if let Some((number, _, since)) = self.under_way {
            if now.duration_since(since) < ROUND_TIME {
                return false;
            }
            self.under_way = Some((number, read, now));
            return true;
        }
        if self.wanted <= self.confirmed {
            return false;
        }
        self.under_way = Some((self.confirmed + 1, read, now));
        true
    }

    /// A quorum has answered a read. Names of rounds that were given up are ignored.
    pub(super) fn confirmed(&mut self, read: u64) {
        if let Some((number, name, _)) = self.under_way
            && name == read
        {
            self.confirmed = number;
            self.under_way = None;
        }
    }

    /// Leadership changed: the round under way has to be asked for again.
    pub(super) fn void(&mut self) {
        if let Some((_, _, since)) = &mut self.under_way
            && let Some(past) = since.checked_sub(ROUND_TIME)
        {
            *since = past;
        }
    }
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// The round that a read of a partition has to wait for; none where nobody else can lead.
    pub(super) fn round(&mut self, partition: PartitionId) -> u64 {
        let Some(slot) = self.slots.get_mut(&partition) else { return 0 };
        if slot.partition.is_alone() && slot.partition.leading().is_some() { 0 } else { slot.rounds.next() }
    }

    /// Begins the rounds that are wanted.
    pub(super) fn ask_rounds(&mut self) -> Result<(), Fatal> {
        let now = Instant::now();
        for id in self.hosted() {
            let read = self.last_read + 1;
            if self.slots.get_mut(&id).is_some_and(|slot| slot.rounds.begin(read, now)) {
                self.last_read = read;
                self.handle(id, Input::Read { context: read })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_waits_for_a_round_that_begins_after_it() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        assert!(!rounds.begin(1, now), "nobody waits");
        let first = rounds.next();
        assert!(rounds.begin(1, now));
        let second = rounds.next();
        assert_eq!((first, second), (1, 2));
        assert!(!rounds.begin(2, now), "one at a time");
        rounds.confirmed(1);
        assert!(rounds.is_confirmed(first) && !rounds.is_confirmed(second));
        assert!(rounds.begin(2, now));
        rounds.confirmed(1);
        assert!(!rounds.is_confirmed(second), "an old name");
        rounds.confirmed(2);
        assert!(rounds.is_confirmed(second));
        assert!(!rounds.begin(3, now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_round_is_begun_again() {
        let mut rounds = Rounds::default();
        tokio::time::advance(ROUND_TIME * 2).await;
        let round = rounds.next();
        assert!(rounds.begin(1, Instant::now()));
        rounds.void();
        assert!(rounds.begin(2, Instant::now()));
        assert!(!rounds.begin(3, Instant::now()));
        rounds.confirmed(2);
        assert!(rounds.is_confirmed(round));
    }
}
