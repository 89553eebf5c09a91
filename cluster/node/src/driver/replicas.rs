//! Which replicas this node has: opened from its disk, made when their group speaks to them, removed when it has let them
//! go.

use abide_host::{HostEvent, Refusal};
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_partition::{Input, Partition, PartitionSettings};
use abide_storage::{
    GENERATIONS, HardState, LogPosition, LogReset, LogStore, LogWrite, Overlay, Owner, StateStore, drop_rows,
};
use std::sync::Arc;
use tokio::time::Instant;

use super::answer::What;
use super::rounds::Rounds;
use super::snapshots::Exports;
use super::{Driver, Fatal, Slot};
use crate::clock;
use crate::cluster::node_of;

/// The node that founds a cluster: the first voter of every group.
pub(crate) const FOUNDER: NodeId = NodeId(1);
/// Rows that are removed in one batch.
pub(super) const SWEEP_ROWS: usize = 10_000;

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Opens what the disk holds. The founding node has a replica of every group from the beginning.
    pub(super) fn open_replicas(&mut self) -> Result<(), Fatal> {
        let mut groups: Vec<PartitionId> = (0..self.settings.partitions).map(PartitionId).collect();
        groups.extend(self.settings.meta.then_some(PartitionId::META));
        for id in groups {
            let recovered = self.log.store()?.recover(id.0)?;
            // What a crash left of a snapshot that was being loaded, or of what one has replaced.
            for generation in
                [(recovered.generation + 1) % GENERATIONS, (recovered.generation + GENERATIONS - 1) % GENERATIONS]
            {
                while drop_rows(&*self.state, id.0, generation, SWEEP_ROWS)? {}
            }
            let replica = match recovered.owner {
                Some(Owner { removed: true, replica }) => {
                    self.cluster.buried(id, replica);
                    continue;
                }
                Some(Owner { replica, .. }) => ReplicaId::from_u64(replica),
                // Of a build before there were several replicas, or the first start.
                None if self.settings.node == FOUNDER => ReplicaId::first(FOUNDER),
                None => continue,
            };
            self.open_replica(id, replica, recovered)?;
        }
        Ok(())
    }

    fn open_replica(
        &mut self,
        id: PartitionId,
        replica: ReplicaId,
        recovered: abide_storage::RecoveredLog,
    ) -> Result<(), Fatal> {
        let overlay = Overlay::open(id.0, recovered.generation, Arc::clone(&self.state));
        let settings = PartitionSettings {
            replica: replica.to_u64(),
            bootstrap_voters: vec![ReplicaId::first(FOUNDER).to_u64()],
            ..PartitionSettings::single(id, self.settings.partitions)
        };
        let mut partition = Partition::open(settings, recovered, overlay)?;
        partition.handle(Input::Features(self.features), clock::now())?;
        partition.handle(Input::Yield(!self.disk.is_healthy()), clock::now())?;
        clock::raise(partition.log_time());
        let durable = partition.applied_index();
        self.cluster.note_applied(id, durable);
        let slot = Slot {
            opened: Instant::now(),
            partition,
            dirty: true,
            proposed_at: None,
            last_checkpoint: Instant::now(),
            durable,
            rounds: Rounds::default(),
            exports: Exports::default(),
            leads_since: None,
            disputes: 0,
            condemned: false,
            deposed: None,
            urged: None,
        };
        self.slots.insert(id, slot);
        self.cluster.set_hosted(id, true);
        Ok(())
    }

    /// Makes sure that the replica a message is for exists, if it may: a group has taken it as a member and speaks to it
    /// for the first time. Whether it does.
    pub(super) fn host_replica(&mut self, id: PartitionId, replica: ReplicaId) -> Result<bool, Fatal> {
        let known = id == PartitionId::META || id.0 < self.settings.partitions;
        if !known || !self.settings.meta || replica.node != self.settings.node {
            return Ok(false);
        }
        if let Some(slot) = self.slots.get(&id) {
            let mine = ReplicaId::from_u64(slot.partition.replica());
            if mine.incarnation >= replica.incarnation {
                return Ok(mine == replica);
            }
            // The group has a newer one here, so it has let this one go.
            self.remove_replica(id)?;
        }
        let recovered = self.log.store()?.recover(id.0)?;
        if recovered.owner.is_some_and(|owner| ReplicaId::from_u64(owner.replica).incarnation >= replica.incarnation) {
            return Ok(false);
        }
        tracing::info!(partition = %id, %replica, "a replica begins");
        self.open_replica(id, replica, recovered)?;
        Ok(true)
    }

    /// The group has let this node's replica go. That it was here stays recorded: the number never comes back (rule P9).
    pub(super) fn remove_replica(&mut self, id: PartitionId) -> Result<(), Fatal> {
        let Some(slot) = self.slots.remove(&id) else { return Ok(()) };
        self.cluster.set_hosted(id, false);
        let replica = slot.partition.replica();
        tracing::info!(partition = %id, replica = %ReplicaId::from_u64(replica), "a replica is removed");
        let before = slot.partition.generation();
        // The next generation may be being loaded for it.
        let reset = LogReset { start: LogPosition::default(), generation: (before + 2) % GENERATIONS };
        let write = LogWrite {
            partition: id.0,
            // What it promised dies with its number. Another replica here begins with nothing committed, as its log does.
            hard_state: Some(HardState::default()),
            reset: Some(reset),
            owner: Some(Owner { replica, removed: true }),
            ..LogWrite::default()
        };
        // What it wanted to write is nobody's any more.
        self.unwritten.writes.retain(|write| write.partition != id.0);
        self.log.commit(write)?;
        self.cluster.buried(id, replica);
        self.lose(id, Refusal::Interrupted);
        self.discard(id, before);
        Ok(())
    }

    /// This node leads: requests for the partition are for it.
    pub(super) fn leading(&mut self, id: PartitionId, term: u64) {
        tracing::info!(partition = %id, term, "leading");
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.leads_since = Some(Instant::now());
            (slot.deposed, slot.urged) = (None, None);
            slot.rounds.void();
        }
        self.cluster.leads(id, term, Some(self.settings.node));
    }

    /// This node does not lead (any more).
    pub(super) fn following(&mut self, id: PartitionId, term: u64, leader: Option<u64>) -> Result<(), Fatal> {
        self.cluster.leads(id, term, leader.map(node_of));
        let led = self.slots.get_mut(&id).and_then(|slot| {
            slot.rounds.void();
            slot.proposed_at = None;
            (slot.deposed, slot.urged) = (None, None);
            slot.exports.clear();
            slot.leads_since.take()
        });
        if led.is_some() {
            tracing::info!(partition = %id, term, "no longer leading");
            self.cluster.leads_not(id, self.settings.node);
            self.lose(id, Refusal::Interrupted);
        }
        Ok(())
    }

    /// Hands leaderships over while the node is about to stop, as often as it gets them.
    pub(super) fn retire(&mut self) -> Result<(), Fatal> {
        let Some(done) = self.retiring.take() else { return Ok(()) };
        let mut left = false;
        for id in self.hosted() {
            let partition = &self.slots[&id].partition;
            if partition.leading().is_none() {
                continue;
            }
            let stats = partition.stats();
            let voters = &stats.members.voters;
            let heirs = stats.progress.iter().filter(|progress| progress.active && voters.contains(&progress.replica));
            if let Some(heir) = heirs.max_by_key(|progress| progress.matched).copied() {
                left = true;
                self.handle(id, Input::Transfer { replica: heir.replica })?;
            }
        }
        if left && !done.is_closed() {
            self.retiring = Some(done);
        } else {
            let _ = done.send(());
        }
        Ok(())
    }

    /// Forgets everything that depended on leading a partition. Who waits is told why.
    pub(super) fn lose(&mut self, id: PartitionId, refusal: Refusal) {
        let partitions = self.settings.partitions;
        let of =
            |invocation: abide_model::id::InvocationId| PartitionId::of(invocation.partition_key, partitions) == id;
        self.waiters.lose(id, partitions, &refusal);
        for held in self.answers.lose(id) {
            match held.what {
                What::Answer { call, .. } => drop(call.responder.send(Err(Refusal::NotLeader))),
                What::Query(query) => query.refuse(Refusal::NotLeader),
                What::Activate(object) => self.not_leading(object),
            }
        }
        self.starts.retain(|invocation| !of(*invocation));
        self.loans.lose(of);
        let next = self.attempts.lose(of);
        self.starts.extend(next);
        for shard in &mut self.outbox {
            shard.push(HostEvent::Lost { partition: id });
        }
    }
}
