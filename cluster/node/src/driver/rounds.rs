//! Reads that have to be linearizable wait for a round: a quorum says that nobody else leads.
//!
//! A read that arrives waits for the next round that begins, never for one under way, which may have asked before the
//! read's time. One round at a time serves all that wait for it. Between rounds it is known how old the replica is at
//! most: what others tell of themselves says less, because what was told may lie around for as long as a process sleeps.

use abide_model::id::{NodeId, PartitionId};
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
    /// When the last one that was confirmed began: everything acknowledged before is applied here.
    as_of: Option<Instant>,
}

/// Names of reads. A leader takes those of all replicas and drops one that it is just asking for, and counts late answers
/// for whoever has the name now: so no two processes ever give the same.
#[derive(Debug)]
pub(super) struct ReadNames {
    node: u64,
    count: u64,
}

impl ReadNames {
    /// Bits of a name below those of its node.
    const COUNT_BITS: u32 = 48;
    /// Names that a process may give in each millisecond without meeting those of its next start.
    const BITS_PER_MS: u32 = 20;

    pub(super) fn new(node: NodeId, boot: u64) -> Self {
        Self { node: u64::from(node.0) << Self::COUNT_BITS, count: boot << Self::BITS_PER_MS }
    }

    fn next(&mut self) -> u64 {
        self.count = self.count.wrapping_add(1);
        self.node | self.count & ((1 << Self::COUNT_BITS) - 1)
    }
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

    /// Whether a round is to begin: one is wanted and none is under way, or the one under way has got lost.
    fn is_due(&self, now: Instant) -> bool {
        match self.under_way {
            Some((_, _, since)) => now.duration_since(since) >= ROUND_TIME,
            None => self.wanted > self.confirmed,
        }
    }

    /// Begins the round that is due under the name `read`.
    fn begin(&mut self, read: u64, now: Instant) {
        let number = self.under_way.map_or(self.confirmed + 1, |(number, _, _)| number);
        self.under_way = Some((number, read, now));
    }

    /// A quorum has answered a read. Names of rounds that were given up are ignored.
    pub(super) fn confirmed(&mut self, read: u64) {
        if let Some((number, name, since)) = self.under_way
            && name == read
        {
            self.confirmed = number;
            self.as_of = Some(since);
            self.under_way = None;
        }
    }

    /// Whether the replica is known to have everything that was acknowledged up to `bound` ago.
    pub(super) fn is_within(&self, bound: Duration) -> bool {
        self.as_of.is_some_and(|as_of| as_of.elapsed() <= bound)
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
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.rounds.is_due(now) {
                let read = self.reads.next();
                slot.rounds.begin(read, now);
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
        assert!(!rounds.is_due(now), "nobody waits");
        let first = rounds.next();
        assert!(rounds.is_due(now));
        rounds.begin(1, now);
        let second = rounds.next();
        assert_eq!((first, second), (1, 2));
        assert!(!rounds.is_due(now), "one at a time");
        rounds.confirmed(1);
        assert!(rounds.is_confirmed(first) && !rounds.is_confirmed(second));
        assert!(rounds.is_due(now));
        rounds.begin(2, now);
        rounds.confirmed(1);
        assert!(!rounds.is_confirmed(second), "an old name");
        rounds.confirmed(2);
        assert!(rounds.is_confirmed(second));
        assert!(!rounds.is_due(now));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_round_is_begun_again() {
        let mut rounds = Rounds::default();
        tokio::time::advance(ROUND_TIME * 2).await;
        let round = rounds.next();
        rounds.begin(1, Instant::now());
        assert!(!rounds.is_due(Instant::now()));
        rounds.void();
        assert!(rounds.is_due(Instant::now()));
        rounds.begin(2, Instant::now());
        assert!(!rounds.is_due(Instant::now()));
        rounds.confirmed(1);
        assert!(!rounds.is_confirmed(round), "the lost one");
        rounds.confirmed(2);
        assert!(rounds.is_confirmed(round));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_as_old_as_the_beginning_of_the_last_round() {
        let mut rounds = Rounds::default();
        let bound = Duration::from_millis(500);
        assert!(!rounds.is_within(bound), "nothing is known");
        rounds.next();
        rounds.begin(1, Instant::now());
        tokio::time::advance(bound).await;
        assert!(!rounds.is_within(bound), "nothing is confirmed");
        rounds.confirmed(1);
        assert!(rounds.is_within(bound));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!rounds.is_within(bound));
    }

    #[test]
    fn names_of_reads_never_meet() {
        let boot = 1_795_793_963_970;
        let mut names =
            [(1, boot), (1, boot + 1), (2, boot), (3, boot)].map(|(node, boot)| ReadNames::new(NodeId(node), boot));
        let given: std::collections::BTreeSet<u64> =
            names.iter_mut().flat_map(|names| (0..1_000).map(|_| names.next()).collect::<Vec<_>>()).collect();
        assert_eq!(given.len(), 4_000);
    }
}
