//! What this node knows of the cluster, at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use abide_model::id::{Millis, NodeId, PartitionId, ReplicaId};
use abide_model::setting::REPLICATION_FACTOR;
use abide_model::table::{NodeRow, NodeState, PlacementRow};
use abide_placement::{GroupSeen, Limits, Liveness, Seen, Wanted};
use tokio::time::Instant;

use super::super::answer::AdminError;
use super::controller;
use crate::cluster::wire::ReplicaStatus;
use crate::cluster::{Cluster, Told};

/// What is wanted and what was told.
pub(super) struct Picture {
    /// The node that was asked.
    pub(super) asked: NodeId,
    /// The tables of meta.
    pub(super) wanted: Arc<Wanted>,
    /// What nodes last told, also those that have been silent since.
    pub(super) told: BTreeMap<NodeId, Told>,
    /// What follows from it for the planner.
    pub(super) seen: Seen,
    now: Instant,
}

impl Picture {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let (asked, wanted, told, now) = (cluster.node(), cluster.wanted(), cluster.statuses(), Instant::now());
        let mut picture = Self { asked, wanted, told, seen: Seen::default(), now };
        let mut seen = Seen::default();
        for node in picture.nodes() {
            let alive = picture.is_alive(node);
            let silent_ms = if alive { 0 } else { picture.silent(node).map_or(u64::MAX, Millis::of) };
            seen.alive.insert(node, Liveness { alive, silent_ms, slow: picture.disk_delay_ms(node).is_some() });
        }
        for (_, told) in picture.told.iter().filter(|(node, _)| picture.is_alive(**node)) {
            controller::groups(told, &mut seen);
        }
        picture.seen = seen;
        picture
    }

    /// All nodes that were ever heard of.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.wanted.nodes.keys().chain(self.told.keys()).copied().chain([self.asked]).collect()
    }

    /// All partitions that were ever heard of, that of meta last.
    pub(super) fn partitions(&self) -> BTreeSet<PartitionId> {
        let told = self.told.values().flat_map(|told| &told.status.replicas);
        self.wanted.placements.keys().copied().chain(told.map(|replica| PartitionId(replica.partition))).collect()
    }

    /// For how long nothing was heard of a node; `None` when nothing ever was.
    pub(super) fn silent(&self, node: NodeId) -> Option<Duration> {
        self.told.get(&node).map(|told| told.silent(self.now))
    }

    /// Whether a node was heard of a moment ago.
    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        node == self.asked || self.told.get(&node).is_some_and(|told| told.is_alive(self.now))
    }

    /// Whether a node says that it is stopping.
    pub(super) fn is_stopping(&self, node: NodeId) -> bool {
        self.is_alive(node) && self.told.get(&node).is_some_and(|told| told.status.stopping)
    }

    /// How long syncs of its disk take, where a node says that it is slow.
    pub(super) fn disk_delay_ms(&self, node: NodeId) -> Option<u64> {
        let told = self.told.get(&node).filter(|_| self.is_alive(node))?;
        Some(told.status.disk_delay_ms).filter(|delay| *delay > 0)
    }

    /// The state that is wanted of a node; `None` when this node knows nothing of that.
    pub(super) fn state(&self, node: NodeId) -> Option<NodeState> {
        self.wanted.nodes.get(&node).map(NodeRow::state)
    }

    /// The row of a node.
    pub(super) fn row(&self, node: NodeId) -> Result<&NodeRow, AdminError> {
        let known = self.wanted.nodes.get(&node);
        known.ok_or_else(|| AdminError::not_found(format!("there is no node {node}; `GET /cluster/nodes` lists them")))
    }

    /// The placement of a partition.
    pub(super) fn placement(&self, partition: PartitionId) -> Result<&PlacementRow, AdminError> {
        let known = self.wanted.placements.get(&partition);
        let text = || format!("there is no partition {partition}; `GET /cluster/partitions` lists them");
        known.ok_or_else(|| AdminError::not_found(text()))
    }

    /// What the leader of a group tells of it, when one that is heard of does.
    pub(super) fn group(&self, partition: PartitionId) -> Option<&GroupSeen> {
        self.seen.groups.get(&partition).filter(|group| group.leader.is_some())
    }

    /// What a replica's node tells of it.
    pub(super) fn status(&self, partition: PartitionId, replica: ReplicaId) -> Option<&ReplicaStatus> {
        let of = |status: &&ReplicaStatus| status.partition == partition.0 && status.replica == replica.to_u64();
        self.told.get(&replica.node)?.status.replicas.iter().find(of)
    }

    /// What the leader of a group tells of itself.
    pub(super) fn leader_status(&self, partition: PartitionId) -> Option<&ReplicaStatus> {
        self.status(partition, self.group(partition)?.leader?)
    }

    /// Replicas of a partition: its members, and whatever nodes say that they have.
    pub(super) fn replicas(&self, partition: PartitionId) -> BTreeSet<ReplicaId> {
        let told = self.told.values().flat_map(|told| &told.status.replicas);
        let told = told.filter(|status| status.partition == partition.0);
        let members = self.group(partition).into_iter().flat_map(GroupSeen::members);
        told.map(|status| ReplicaId::from_u64(status.replica)).chain(members).collect()
    }

    /// Partitions that a node leads, that of meta not counted.
    pub(super) fn led_by(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        let led = move |group: &GroupSeen| group.leader.is_some_and(|leader| leader.node == node);
        let groups = self.seen.groups.iter().filter(move |(_, group)| led(group));
        groups.map(|(partition, _)| *partition).filter(|partition| *partition != PartitionId::META)
    }

    /// Partitions of which a node has a replica, that of meta not counted.
    pub(super) fn on(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        let told = self.told.get(&node).into_iter().flat_map(|told| &told.status.replicas);
        let told = told.map(|replica| PartitionId(replica.partition));
        let members = self.seen.groups.iter().filter(move |(_, group)| group.on(node).is_some());
        let all: BTreeSet<_> = told.chain(members.map(|(partition, _)| *partition)).collect();
        all.into_iter().filter(|partition| *partition != PartitionId::META)
    }

    /// Whether a node has nothing that others would miss.
    pub(super) fn is_empty(&self, node: NodeId) -> bool {
        !self.wanted.placements.is_empty() && abide_placement::is_empty(&self.wanted, &self.seen, node)
    }

    /// Partitions that keep a node from being empty, with those of which nobody knows.
    pub(super) fn left_on(&self, node: NodeId) -> Vec<PartitionId> {
        let placements = self.wanted.placements.iter().filter(|(partition, _)| **partition != PartitionId::META);
        let left = placements.filter(|(partition, row)| {
            let gone = self.group(**partition).is_some_and(|group| !group.joint && group.on(node).is_none());
            row.on(node).is_some() || !gone
        });
        left.map(|(partition, _)| *partition).collect()
    }

    /// Whether a replica could lead its group now: it votes, its node answers, and it lacks next to nothing.
    pub(super) fn can_lead(&self, group: &GroupSeen, replica: ReplicaId) -> bool {
        let near = |matched: u64| matched.saturating_add(Limits::default().caught_up_entries) >= group.last_index;
        let progress = group.progress.get(&replica);
        let follows = progress.is_some_and(|progress| progress.active && near(progress.matched));
        group.voters.contains(&replica) && self.is_alive(replica.node) && (group.leader == Some(replica) || follows)
    }

    /// How many replicas a partition is to have.
    pub(super) fn factor(&self) -> usize {
        usize::try_from(self.wanted.number(&REPLICATION_FACTOR)).unwrap_or(usize::MAX).max(1)
    }

    /// Why a node that is to be emptied cannot be, until something changes.
    pub(super) fn stuck(&self, node: NodeId) -> Option<String> {
        let others = self.wanted.nodes.keys().filter(|other| **other != node);
        let others = others.filter(|other| self.state(**other) == Some(NodeState::Active) && self.is_alive(**other));
        let others = others.count();
        let left = self.left_on(node);
        let votes = left.iter().filter_map(|partition| self.group(*partition)).map(|group| group.voters.len()).max()?;
        let votes = odd(votes.min(self.factor()));
        (odd(others) < votes).then(|| {
            let nodes = if others == 1 { "1 other node is".to_owned() } else { format!("{others} other nodes are") };
            format!(
                "{node} keeps its replicas: their groups have {votes} votes, and {nodes} active and alive. Let another \
                 node join, or lower `replication_factor`"
            )
        })
    }
}

/// The largest odd number that is not above `number`; 0 of 0.
fn odd(number: usize) -> usize {
    number - usize::from(number.is_multiple_of(2) && number > 0)
}
