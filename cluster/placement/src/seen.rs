//! What is seen: which nodes answer, and what leaders tell of their groups.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::{NodeId, PartitionId, ReplicaId};

/// What is known of nodes and groups. It may be a little old; what follows from it is looked at again by who carries it
/// out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Nodes that were ever heard of; others count as silent, but not for long.
    pub alive: BTreeMap<NodeId, Liveness>,
    /// Groups whose leaders have told of them, that of meta included.
    pub groups: BTreeMap<PartitionId, GroupSeen>,
}

/// Whether a node answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// It does.
    pub alive: bool,
    /// For how long it has not been heard of, in ms; at most for as long as whoever tells has been listening.
    pub silent_ms: u64,
    /// Its disk is slow, or was a moment ago: it would lead badly.
    pub slow: bool,
}

/// What its leader tells of a group; of several who say that they lead, the one with the highest term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSeen {
    /// Who leads; `None` when nobody is known to.
    pub leader: Option<ReplicaId>,
    /// For how long this one leads, in ms.
    pub leader_since_ms: u64,
    /// The term.
    pub term: u64,
    /// Who decides; while members are changing, of the new ones.
    pub voters: BTreeSet<ReplicaId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<ReplicaId>,
    /// Whether members are changing: a second step is to follow.
    pub joint: bool,
    /// Last index of the leader's log.
    pub last_index: u64,
    /// How far the others are.
    pub progress: BTreeMap<ReplicaId, Progress>,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last index it has acknowledged.
    pub matched: u64,
    /// Whether it said anything of late.
    pub active: bool,
}

impl GroupSeen {
    /// Those who decide and those who follow.
    pub fn members(&self) -> impl Iterator<Item = ReplicaId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// Whether `replica` is a member.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.voters.contains(&replica) || self.learners.contains(&replica)
    }

    /// The member on `node`, whichever it is.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.members().find(|replica| replica.node == node)
    }
}
