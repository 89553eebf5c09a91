//! A computer: its disks, its clock, and which replicas live there. Processes come and go.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::{NodeId, ReplicaId};
use abide_partition::Members;
use abide_storage::{MemLog, MemState};

use crate::config::Canary;
use crate::node::Node;
use crate::world::EPOCH_MS;

/// The replica that founds every partition: the first one of node 1.
pub(crate) const FOUNDER: u64 = 1;

/// A computer.
pub(crate) struct Machine {
    pub(crate) log: MemLog,
    pub(crate) state: MemState,
    /// What its clock is ahead of time.
    pub(crate) skew: i64,
    /// Number of its present process, or of the next: its boot id. No two processes of a run share one.
    pub(crate) epoch: u64,
    pub(crate) process: Option<Node>,
    /// Until when the process is stopped without being told.
    pub(crate) paused: Option<u64>,
    /// Which replica of each partition is here.
    pub(crate) replicas: BTreeMap<u32, u64>,
    /// Partitions of which something is on the disks that has to go before another replica comes.
    pub(crate) dirty: BTreeSet<u32>,
}

impl Machine {
    pub(crate) fn new(canary: Option<Canary>, skew: i64) -> Self {
        let mut machine = Self {
            log: MemLog::new(),
            state: MemState::new(),
            skew: EPOCH_MS + skew,
            epoch: 0,
            process: None,
            paused: None,
            replicas: BTreeMap::new(),
            dirty: BTreeSet::new(),
        };
        machine.replace_disks(canary);
        machine
    }

    /// New, empty disks.
    pub(crate) fn replace_disks(&mut self, canary: Option<Canary>) {
        self.log = MemLog::new();
        self.log.lie_about_sync(canary == Some(Canary::SkipFsync));
        self.state = MemState::new();
    }

    /// Its clock at a time.
    pub(crate) fn wall(&self, time: u64) -> u64 {
        u64::try_from(i64::try_from(time).unwrap_or(i64::MAX).saturating_add(self.skew)).unwrap_or(0)
    }
}

/// Which machine a replica is on.
pub(crate) fn machine_of(replica: u64) -> usize {
    usize::try_from(ReplicaId::from_u64(replica).node.0).unwrap_or(0).saturating_sub(1)
}

/// The replica number `incarnation` on a machine.
pub(crate) fn replica_on(machine: usize, incarnation: u32) -> u64 {
    let node = NodeId(u32::try_from(machine + 1).unwrap_or(0));
    ReplicaId { node, incarnation }.to_u64()
}

/// Whether nobody else has a part in the group.
pub(crate) fn is_lonely(members: &Members) -> bool {
    members.voters.len() == 1 && members.learners.is_empty() && !members.is_joint()
}
