//! The values of the tables of [`PartitionId::META`]: what the cluster knows of itself. They say what is wanted; which
//! members a group really has is in its own log.

use prost::Message;

use crate::command::NodeInfo;
#[cfg(doc)]
use crate::id::PartitionId;
use crate::id::{NodeId, ReplicaId};

/// The cluster.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ClusterRow {
    /// Its id.
    #[prost(string, tag = "1")]
    pub cluster_id: String,
    /// Number of its partitions, that of meta not counted.
    #[prost(uint32, tag = "2")]
    pub partitions: u32,
    /// The last id that a node was given.
    #[prost(uint32, tag = "3")]
    pub last_node: u32,
    /// The level of features that is in force: every node has it.
    #[prost(uint32, tag = "4")]
    pub features: u32,
    /// Log time of its founding.
    #[prost(uint64, tag = "5")]
    pub created_at: u64,
}

/// A node. The row stays when the node is removed: its id and its data directory never come back.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NodeRow {
    /// What the node says of itself.
    #[prost(message, optional, tag = "1")]
    pub info: Option<NodeInfo>,
    /// Whether it is used.
    #[prost(enumeration = "NodeState", tag = "2")]
    pub state: i32,
    /// Log time at which it joined.
    #[prost(uint64, tag = "3")]
    pub joined_at: u64,
}

impl NodeRow {
    /// What fails together with others of the same zone; empty when nothing was said.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.info.as_ref().map_or("", |info| &info.zone)
    }

    /// Where other nodes reach it.
    #[must_use]
    pub fn address(&self) -> &str {
        self.info.as_ref().map_or("", |info| &info.address)
    }

    /// The highest level of features that its build has.
    #[must_use]
    pub fn features(&self) -> u32 {
        self.info.as_ref().map_or(0, |info| info.features)
    }
}

/// Whether a node is used. The numbers are persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum NodeState {
    /// It is.
    Active = 0,
    /// Leaders and replicas move away from it.
    Draining = 1,
    /// It is gone for ever.
    Removed = 2,
}

impl NodeState {
    /// The word for it in the API, the CLI and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Removed => "removed",
        }
    }
}

/// Where a partition is wanted.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PlacementRow {
    /// Wanted replicas, [`ReplicaId::to_u64`], one a node, in the order of their nodes.
    #[prost(uint64, repeated, tag = "1")]
    pub replicas: Vec<u64>,
    /// For every node that ever had one: the last replica there.
    #[prost(message, repeated, tag = "2")]
    pub incarnations: Vec<Incarnation>,
    /// The node that is to lead it; 0 is any.
    #[prost(uint32, tag = "3")]
    pub pinned: u32,
    /// Number of changes of this row.
    #[prost(uint64, tag = "4")]
    pub version: u64,
}

impl PlacementRow {
    /// Wanted replicas, in the order of their nodes.
    pub fn wanted(&self) -> impl Iterator<Item = ReplicaId> {
        self.replicas.iter().map(|number| ReplicaId::from_u64(*number))
    }

    /// The replica that is wanted on `node`.
    #[must_use]
    pub fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.wanted().find(|replica| replica.node == node)
    }

    /// The node that is to lead it.
    #[must_use]
    pub fn pinned_node(&self) -> Option<NodeId> {
        (self.pinned != 0).then_some(NodeId(self.pinned))
    }

    /// The next replica on `node`, which nobody ever was; `None` when the numbers of that node are used up.
    #[must_use]
    pub fn next_on(&self, node: NodeId) -> Option<ReplicaId> {
        let incarnation = match self.incarnations.iter().find(|given| given.node == node.0) {
            Some(given) => given.last.checked_add(1)?,
            None => 0,
        };
        Some(ReplicaId { node, incarnation })
    }
}

/// The last replica of a partition on a node.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Incarnation {
    /// The node.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// The highest [`ReplicaId::incarnation`] that was ever wanted there.
    #[prost(uint32, tag = "2")]
    pub last: u32,
}

/// A setting that differs from its default.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SettingRow {
    /// Its value.
    #[prost(string, tag = "1")]
    pub value: String,
    /// Log time at which it was set.
    #[prost(uint64, tag = "2")]
    pub changed_at: u64,
}
