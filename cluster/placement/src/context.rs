//! What all steps ask of the cluster.

use std::collections::BTreeSet;

use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::setting::{REPLACE_AFTER, REPLICATION_FACTOR};
use abide_model::table::NodeState;

use crate::{GroupSeen, Limits, Seen, Wanted};

pub(crate) struct Context<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(crate) seen: &'a Seen,
    pub(crate) limits: &'a Limits,
    /// How many replicas a partition is to have.
    pub(crate) factor: usize,
    replace_after_ms: u64,
}

impl<'a> Context<'a> {
    pub(crate) fn new(wanted: &'a Wanted, seen: &'a Seen, limits: &'a Limits) -> Self {
        let factor = usize::try_from(wanted.number(&REPLICATION_FACTOR)).unwrap_or(usize::MAX).max(1);
        Self { wanted, seen, limits, factor, replace_after_ms: wanted.number(&REPLACE_AFTER) }
    }

    pub(crate) fn state(&self, node: NodeId) -> NodeState {
        self.wanted.nodes.get(&node).map_or(NodeState::Removed, |row| row.state())
    }

    /// Whether the node answers.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.seen.alive.get(&node).is_some_and(|liveness| liveness.alive)
    }

    /// Whether replicas may be and stay there.
    pub(crate) fn is_usable(&self, node: NodeId) -> bool {
        let silent_ms =
            self.seen.alive.get(&node).map_or(0, |liveness| if liveness.alive { 0 } else { liveness.silent_ms });
        self.state(node) == NodeState::Active && silent_ms < self.replace_after_ms
    }

    /// Whether replicas and leaders may come to it now.
    pub(crate) fn is_open(&self, node: NodeId) -> bool {
        self.state(node) == NodeState::Active && self.is_alive(node)
    }

    pub(crate) fn zone(&self, node: NodeId) -> &'a str {
        self.wanted.nodes.get(&node).map_or("", |row| row.zone())
    }

    /// The group with its leader, if steps may be taken there: somebody leads, and no change is under way.
    pub(crate) fn led(&self, partition: PartitionId) -> Option<(&'a GroupSeen, ReplicaId)> {
        let group = self.seen.groups.get(&partition)?;
        let leader = group.leader.filter(|leader| group.voters.contains(leader) && self.is_alive(leader.node))?;
        (!group.joint).then_some((group, leader))
    }

    /// Whether a replica answers its leader.
    pub(crate) fn answers(&self, group: &GroupSeen, replica: ReplicaId) -> bool {
        let active = || group.progress.get(&replica).is_some_and(|progress| progress.active);
        self.is_alive(replica.node) && (group.leader == Some(replica) || active())
    }

    /// Whether a replica has nearly everything, and answers.
    pub(crate) fn is_caught_up(&self, group: &GroupSeen, replica: ReplicaId) -> bool {
        let matched = group.progress.get(&replica).map_or(0, |progress| progress.matched);
        let near = matched.saturating_add(self.limits.caught_up_entries) >= group.last_index;
        self.answers(group, replica) && group.contains(replica) && (near || group.leader == Some(replica))
    }

    /// Whether a majority of `voters` answers.
    pub(crate) fn has_quorum(&self, group: &GroupSeen, voters: &BTreeSet<ReplicaId>) -> bool {
        voters.iter().filter(|voter| self.answers(group, **voter)).count() > voters.len() / 2
    }

    /// Whether what is led there waits for a slow disk.
    pub(crate) fn is_slow(&self, node: NodeId) -> bool {
        self.seen.alive.get(&node).is_some_and(|liveness| liveness.slow)
    }

    /// Whether a replica could lead now, and may.
    pub(crate) fn can_lead(&self, group: &GroupSeen, replica: ReplicaId) -> bool {
        group.voters.contains(&replica) && self.is_open(replica.node) && self.is_caught_up(group, replica)
    }
}

/// The largest odd number that is not above `number`; 0 of 0.
pub(crate) fn odd(number: usize) -> usize {
    number - usize::from(number.is_multiple_of(2) && number > 0)
}
