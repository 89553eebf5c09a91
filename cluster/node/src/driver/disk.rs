//! What a node does while its disk is slow ([`super::disk_health`] says when it is).
//!
//! * It hands its leaderships over to voters whose nodes do not say the same of their disks, also while a sync hangs.
//! * It hears at once that somebody else leads, although a replica whose write is under way may not act on it: whoever waits
//!   here is told to ask there.
//! * It lets others stand for election first, tells them that leaders are not to come to it, and writes something now and
//!   then, to find out when the disk is well again.

use std::time::Duration;

use abide_host::Refusal;
use abide_model::id::{Millis, PartitionId};
use abide_partition::{Input, Kind, Message};
use abide_storage::{LogStore, StateStore};
use tokio::time::Instant;

use super::disk_health::{self, DiskHealth, DiskState, Heir};
use super::{Driver, Fatal};
use crate::cluster::{Told, node_of};

/// What a node said of its disk this long ago counts. It tells five times a second.
const TOLD_MAX: Duration = Duration::from_secs(1);
/// A replica that was told to stand for election has this long to win it, before one is told again.
const ELECTION_TIME: Duration = Duration::from_secs(1);
/// After this long without a sync a disk that was slow is asked again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// The disk of the log.
pub(super) struct Disk {
    pub(super) health: DiskHealth,
    begun: Instant,
    /// When the last sync ended, or was asked for.
    last_sync: Instant,
    /// What the replicas of this node were told.
    told_healthy: bool,
}

impl Disk {
    pub(super) fn new(now: Instant) -> Self {
        Self { health: DiskHealth::new(), begun: now, last_sync: now, told_healthy: true }
    }

    /// A sync ended, and took so long.
    pub(super) fn synced(&mut self, took: Duration) {
        self.last_sync = Instant::now();
        self.health.synced(took, self.begun.elapsed());
    }

    /// Whether leaders may come to this node.
    pub(super) fn is_healthy(&self) -> bool {
        self.health.state() == DiskState::Healthy
    }
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Looks at the disk, and hands leaderships over while it is slow. Called every tick, and after every sync that was long.
    pub(super) fn guard_disk(&mut self) -> Result<(), Fatal> {
        let syncing_for = self.log.syncing_for();
        if let Some(age) = syncing_for {
            self.disk.health.waits(age, self.disk.begun.elapsed());
        }
        let healthy = self.disk.is_healthy();
        if std::mem::replace(&mut self.disk.told_healthy, healthy) != healthy {
            self.tell_of_disk(healthy)?;
        }
        if healthy {
            return Ok(());
        }
        if self.disk.health.is_slow() {
            self.hand_over()?;
        }
        let idle = self.disk.last_sync.elapsed() >= PROBE_INTERVAL && !self.log.is_writing();
        // One that has a vote has written before.
        let free = |slot: &&super::Slot<S>| slot.partition.is_voter() && !slot.partition.is_writing();
        if idle && let Some((id, _)) = self.slots.iter().find(|(_, slot)| free(slot)) {
            self.disk.last_sync = Instant::now();
            self.handle(*id, Input::Probe)?;
        }
        Ok(())
    }

    fn tell_of_disk(&mut self, healthy: bool) -> Result<(), Fatal> {
        let sync_ms = Millis::of(self.disk.health.delay());
        if healthy {
            tracing::info!("the disk is well again: leaders may come back");
        } else if self.cluster.is_alone() {
            tracing::warn!(sync_ms, "the disk of the log is slow: every request waits for it; look at the disk");
        } else {
            tracing::warn!(
                sync_ms,
                "the disk of the log is slow: leaders go to other nodes until it has been well for a while; look at the disk, \
                 and drain the node if it stays so"
            );
        }
        self.metrics.set_disk_slow(!healthy);
        for id in self.hosted() {
            self.handle(id, Input::Yield(!healthy))?;
        }
        Ok(())
    }

    /// Hands every leadership over for which there is a better node.
    fn hand_over(&mut self) -> Result<(), Fatal> {
        let told = self.cluster.statuses();
        let own_delay = self.disk.health.delay();
        for id in self.hosted() {
            if !self.leads(id) || self.slots[&id].partition.is_alone() {
                continue;
            }
            let slot = &self.slots[&id];
            if slot.urged.is_some_and(|at| at.elapsed() < ELECTION_TIME) {
                continue;
            }
            let stats = slot.partition.stats();
            let follows = |of: &&abide_partition::Progress| of.active && stats.members.voters.contains(&of.replica);
            let heirs = stats.progress.iter().filter(follows).filter_map(|progress| {
                let told = told.get(&node_of(progress.replica)).filter(|told| is_of_use(told))?;
                Some(Heir {
                    replica: progress.replica,
                    matched: progress.matched,
                    delay: Duration::from_millis(told.status.disk_delay_ms),
                    leads: told.status.replicas.iter().filter(|replica| replica.leads).count(),
                })
            });
            let Some(heir) = disk_health::choose(heirs, stats.last, own_delay) else { continue };
            if let Some(slot) = self.slots.get_mut(&id) {
                if slot.urged.is_none() {
                    tracing::info!(partition = %id, to = %node_of(heir), "leadership is handed over: the disk is slow");
                }
                slot.urged = Some(Instant::now());
            }
            self.handle(id, Input::Transfer { replica: heir })?;
        }
        Ok(())
    }

    /// A message that was not looked at yet. While a write is under way a leader does not hear of its successor; but those
    /// who wait here need not wait for the disk.
    pub(super) fn hear(&mut self, id: PartitionId, message: &Message) {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.partition.is_writing()) else { return };
        let Some(term) = slot.partition.leading().filter(|_| slot.deposed.is_none()) else { return };
        // Only a leader says these.
        let leads = matches!(message.kind(), Kind::Append | Kind::Heartbeat);
        if !leads || message.term <= term || !slot.partition.members().contains(message.from) {
            return;
        }
        slot.deposed = Some(message.term);
        tracing::info!(partition = %id, leader = %node_of(message.from), term = message.term, "another node leads");
        self.cluster.leads(id, message.term, Some(node_of(message.from)));
        self.lose(id, Refusal::Interrupted);
    }

    /// Whether a replica that leads waits for the disk: what is asked of it would wait as well, so it stays outside, where
    /// the queue has a bound.
    pub(super) fn is_stuck(&self) -> bool {
        self.log.is_writing() && self.slots.iter().any(|(id, slot)| slot.partition.is_writing() && self.leads(*id))
    }
}

/// Whether a node that said this can take a leadership over.
fn is_of_use(told: &Told) -> bool {
    told.connected && told.at.elapsed() < TOLD_MAX && !told.status.stopping
}
