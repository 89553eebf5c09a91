//! What this node says of itself, to the others and to its operators.

use std::time::Duration;

use abide_model::id::{Millis, PartitionId};
use abide_partition::Input;
use abide_placement::Wanted;
use abide_storage::{LogStore, StateStore};
use tokio::time::Instant;

use super::{Driver, Fatal, Slot};
use crate::cluster::Saved;
use crate::cluster::wire::{FollowerStatus, HashPoint, NodeStatus, ReplicaStatus, SavedStatus};

/// How often.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// Points of comparison that are told; others may be a little ahead or behind.
const HASHES_TOLD: usize = 16;

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Tells everybody how far the replicas of this node are.
    pub(super) fn tell_status(&mut self) -> Result<(), Fatal> {
        let now = Instant::now();
        if !self.settings.meta || now < self.next_status {
            return Ok(());
        }
        self.next_status = now + STATUS_INTERVAL;
        self.expire_exports()?;
        let replicas = self.slots.iter().map(|(id, slot)| replica_status(*id, slot, self.cluster.saved(*id))).collect();
        let status = NodeStatus {
            boot: self.boot,
            replicas,
            stopping: self.stopping || self.retiring.is_some(),
            code: self.loans.code(),
            disk_delay_ms: Millis::of(self.disk.health.delay()),
        };
        for node in self.cluster.contacts() {
            self.outgoing.status(node, status.clone());
        }
        self.cluster.told(self.settings.node, status);
        Ok(())
    }

    /// Makes what the meta group says known on this node.
    pub(super) fn publish_meta(&mut self) -> Result<(), Fatal> {
        if !std::mem::take(&mut self.meta_changed) {
            return Ok(());
        }
        let Some(slot) = self.slots.get(&PartitionId::META) else { return Ok(()) };
        if let Some(wanted) = self.read(PartitionId::META, Wanted::read(slot.partition.view()))? {
            let level = wanted.cluster.features;
            self.cluster.set_wanted(wanted);
            if std::mem::replace(&mut self.features, level) != level {
                tracing::info!(level, "features are in force");
                for id in self.hosted() {
                    self.handle(id, Input::Features(level))?;
                }
            }
        }
        Ok(())
    }
}

fn replica_status<S: StateStore>(id: PartitionId, slot: &Slot<S>, saved: Option<Saved>) -> ReplicaStatus {
    let stats = slot.partition.stats();
    let hashes = slot.partition.hash_points().iter().rev().take(HASHES_TOLD);
    ReplicaStatus {
        partition: id.0,
        replica: slot.partition.replica(),
        term: stats.term,
        leads: stats.leading && slot.deposed.is_none(),
        first: stats.first,
        last: stats.last,
        committed: stats.committed,
        applied: stats.applied,
        durable: slot.durable,
        members: stats.leading.then_some(stats.members),
        progress: stats
            .progress
            .iter()
            .map(|progress| FollowerStatus {
                replica: progress.replica,
                matched: progress.matched,
                active: progress.active,
                snapshot: progress.snapshot,
            })
            .collect(),
        hashes: hashes.map(|(index, hash)| HashPoint { index: *index, hash: *hash }).collect(),
        leads_for_ms: slot.leads_since.map_or(0, |since| Millis::of(since.elapsed())),
        saved: saved.map(SavedStatus::from),
    }
}
