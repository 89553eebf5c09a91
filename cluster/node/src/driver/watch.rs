//! Compares the replicas of this node with what other nodes tell of theirs.
//!
//! * **Odd one out.** Replicas of a group chain a hash over all they write, so at equal index all have the same (invariant
//!   I9). One that differs from what a majority has is wrong, by a fault of its disk, its memory or its build: it stops
//!   serving at once, what it has is saved for people, and it is rebuilt from the others as another replica. When no side
//!   has a majority, nobody can tell, and an alarm rises.
//! * **Forgotten.** A replica that was removed may never hear of it, because nobody speaks to it any more.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::id::{PartitionId, ReplicaId};
use abide_storage::{LogStore, StateStore};
use tokio::time::Instant;

use super::evidence;
use super::{Driver, Fatal};
use crate::cluster::wire::ReplicaStatus;

/// How often.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a replica that begins is not compared with what others tell of its group. Longer than anything that is told
/// counts.
const NEW_TIME: Duration = Duration::from_secs(5);
/// Looks in a row at which replicas differ before it is called a dispute: one that could decide may not have spoken yet.
const DISPUTES_MIN: u32 = 3;
/// Log entries that are saved of a replica that is wrong.
const EVIDENCE_ENTRIES: u64 = 1_024;

/// What a comparison says of this node's replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing speaks against it.
    Sound,
    /// At this index a majority has another hash.
    Wrong { index: u64, own: u64, others: u64 },
    /// At this index somebody has another hash, and neither has a majority.
    Disputed { index: u64 },
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Looks at every replica now and then.
    pub(super) fn watch_replicas(&mut self) -> Result<(), Fatal> {
        let now = Instant::now();
        if !self.settings.meta || now < self.next_watch {
            return Ok(());
        }
        self.next_watch = now + WATCH_INTERVAL;
        let told = self.cluster.statuses();
        for id in self.hosted() {
            let others: Vec<&ReplicaStatus> = told
                .iter()
                .filter(|(node, told)| **node != self.settings.node && told.connected)
                .flat_map(|(_, told)| &told.status.replicas)
                .filter(|replica| replica.partition == id.0)
                .collect();
            self.compare(id, &others)?;
            if self.is_forgotten(id, &others) {
                tracing::info!(partition = %id, "its group has let this replica go");
                self.remove_replica(id)?;
            }
        }
        Ok(())
    }

    fn compare(&mut self, id: PartitionId, others: &[&ReplicaStatus]) -> Result<(), Fatal> {
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(()) };
        let members = slot.partition.members();
        let voters = members.voters.len();
        let members = others.iter().copied().filter(|replica| members.contains(replica.replica));
        let verdict = judge(slot.partition.hash_points().iter().copied(), members, voters);
        slot.disputes = if matches!(verdict, Verdict::Disputed { .. }) { slot.disputes.saturating_add(1) } else { 0 };
        match verdict {
            Verdict::Disputed { .. } if slot.disputes < DISPUTES_MIN => Ok(()),
            Verdict::Sound => Ok(()),
            Verdict::Disputed { index } => {
                self.metrics.diverged(id);
                tracing::error!(
                    partition = %id, index,
                    "replicas differ, and no majority says which one is right: compare them before trusting either"
                );
                Ok(())
            }
            Verdict::Wrong { index, own, others } => self.quarantine(id, index, own, others),
        }
    }

    /// Stops a replica that is wrong, and saves what it has. Its number never comes back; the controller asks for another
    /// replica in its place.
    fn quarantine(&mut self, id: PartitionId, index: u64, own: u64, others: u64) -> Result<(), Fatal> {
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(()) };
        let replica = ReplicaId::from_u64(slot.partition.replica());
        tracing::error!(
            partition = %id, %replica, index, own, others,
            "this replica differs from the majority: it stops, and is rebuilt from the others"
        );
        self.metrics.diverged(id);
        if slot.partition.view().is_frozen() {
            // Its evidence waits for the checkpoint under way; meanwhile it answers nobody.
            slot.condemned = true;
            self.lose(id, abide_host::Refusal::Interrupted);
            return Ok(());
        }
        let first = slot.partition.applied_index().saturating_sub(EVIDENCE_ENTRIES).max(slot.partition.log_start()) + 1;
        let last = slot.partition.applied_index();
        let begun = slot.partition.begin_checkpoint();
        let rows = slot.partition.view().export()?;
        drop(begun);
        let entries = self.log.store()?.entries(id.0, first, last + 1, u64::MAX)?;
        let name = format!("{id}-{replica}-{index}");
        evidence::save(self.settings.evidence.as_deref(), &name, rows, entries);
        self.remove_replica(id)
    }

    /// Whether the group of a replica goes on without it, and nobody wants it back.
    fn is_forgotten(&self, id: PartitionId, others: &[&ReplicaStatus]) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let stats = slot.partition.stats();
        let own = Own {
            replica: slot.partition.replica(),
            term: stats.term,
            applied: stats.applied,
            open_for: slot.opened.elapsed(),
        };
        let wanted = self.cluster.wanted();
        own.is_forgotten(wanted.placements.get(&id).map(|row| row.replicas.as_slice()), others)
    }
}

/// What a replica of this node knows of itself.
struct Own {
    replica: u64,
    term: u64,
    applied: u64,
    open_for: Duration,
}

impl Own {
    /// Whether a leader tells of a group without this replica, and it is not among those that are `wanted`.
    fn is_forgotten(&self, wanted: Option<&[u64]>, others: &[&ReplicaStatus]) -> bool {
        // What was told before the group took it is not about it.
        if self.open_for < NEW_TIME {
            return false;
        }
        // Who does not know what is wanted does not give up what it has.
        if wanted.is_none_or(|wanted| wanted.contains(&self.replica)) {
            return false;
        }
        others.iter().any(|leader| {
            leader.leads
                && leader.term >= self.term
                && leader.applied > self.applied
                && leader.members.as_ref().is_some_and(|members| !members.contains(self.replica))
        })
    }
}

/// Compares the points of a replica with those that other members tell.
fn judge<'a>(
    own: impl Iterator<Item = (u64, u64)>,
    others: impl Iterator<Item = &'a ReplicaStatus>,
    voters: usize,
) -> Verdict {
    let mut told: BTreeMap<u64, BTreeMap<u64, usize>> = BTreeMap::new();
    for point in others.flat_map(|replica| &replica.hashes) {
        *told.entry(point.index).or_default().entry(point.hash).or_default() += 1;
    }
    let mut verdict = Verdict::Sound;
    for (index, own) in own {
        let Some(hashes) = told.get(&index) else { continue };
        let Some((hash, count)) = hashes.iter().filter(|(hash, _)| **hash != own).max_by_key(|(_, count)| **count)
        else {
            continue;
        };
        if *count > voters / 2 {
            return Verdict::Wrong { index, own, others: *hash };
        }
        let with_me = 1 + hashes.get(&own).copied().unwrap_or(0);
        if with_me <= voters / 2 {
            verdict = Verdict::Disputed { index };
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::wire::HashPoint;

    fn replica(points: &[(u64, u64)]) -> ReplicaStatus {
        let hashes = points.iter().map(|(index, hash)| HashPoint { index: *index, hash: *hash }).collect();
        ReplicaStatus { hashes, ..ReplicaStatus::default() }
    }

    fn judged(own: &[(u64, u64)], others: &[&[(u64, u64)]], voters: usize) -> Verdict {
        let others: Vec<ReplicaStatus> = others.iter().map(|points| replica(points)).collect();
        judge(own.iter().copied(), others.iter(), voters)
    }

    #[test]
    fn equal_replicas_and_those_that_cannot_be_compared_are_sound() {
        assert_eq!(judged(&[(64, 1)], &[&[(64, 1)], &[(64, 1)]], 3), Verdict::Sound);
        assert_eq!(judged(&[(64, 1)], &[&[(128, 7)], &[(192, 8)]], 3), Verdict::Sound);
        assert_eq!(judged(&[], &[&[(64, 1)]], 3), Verdict::Sound);
    }

    #[test]
    fn the_odd_one_out_is_wrong_and_the_others_are_not() {
        let wrong = Verdict::Wrong { index: 64, own: 9, others: 1 };
        assert_eq!(judged(&[(64, 9)], &[&[(64, 1)], &[(64, 1)]], 3), wrong);
        assert_eq!(judged(&[(64, 1)], &[&[(64, 9)], &[(64, 1)]], 3), Verdict::Sound);
    }

    #[test]
    fn without_a_majority_nobody_is_wrong() {
        assert_eq!(judged(&[(64, 1)], &[&[(64, 9)]], 3), Verdict::Disputed { index: 64 });
        assert_eq!(judged(&[(64, 1)], &[&[(64, 9)], &[(64, 8)]], 3), Verdict::Disputed { index: 64 });
    }

    /// A replica that has just begun took its leader's earlier word for its dismissal once, and its group hung.
    #[test]
    fn a_replica_goes_only_when_its_group_goes_on_without_it_and_nobody_wants_it() {
        let leader = |members: &[u64], term, applied| ReplicaStatus {
            leads: true,
            term,
            applied,
            members: Some(abide_partition::Members::of(members.iter().copied())),
            ..ReplicaStatus::default()
        };
        let own = Own { replica: 9, term: 3, applied: 50, open_for: NEW_TIME };
        let without = leader(&[1, 2], 3, 60);
        assert!(own.is_forgotten(Some(&[1, 2]), &[&without]));
        assert!(!own.is_forgotten(Some(&[1, 2, 9]), &[&without]), "it is wanted");
        assert!(!own.is_forgotten(None, &[&without]), "nobody here knows what is wanted");
        let new = Own { open_for: NEW_TIME - Duration::from_millis(1), ..own };
        assert!(!new.is_forgotten(Some(&[1, 2]), &[&without]), "it may be of before it came");
        let own = Own { open_for: NEW_TIME, ..new };
        for (other, why) in [
            (leader(&[1, 2, 9], 3, 60), "it belongs to the group"),
            (leader(&[1, 2], 2, 60), "an earlier leader"),
            (leader(&[1, 2], 3, 50), "it may not have applied the change that takes it in"),
            (ReplicaStatus { leads: false, ..leader(&[1, 2], 3, 60) }, "a follower"),
        ] {
            assert!(!own.is_forgotten(Some(&[1, 2]), &[&other]), "{why}");
        }
    }
}
