//! What is ordered of the cluster itself, in [`crate::id::PartitionId::META`] only.

use prost::Message;

use crate::table::NodeState;

/// An order about the cluster: its nodes, where its partitions are wanted, its settings.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetaOrder {
    /// What is to happen.
    #[prost(oneof = "MetaAction", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub action: Option<MetaAction>,
}

impl MetaOrder {
    /// The order to do `action`.
    #[must_use]
    pub fn new(action: MetaAction) -> Self {
        Self { action: Some(action) }
    }
}

/// What is to happen to the cluster.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum MetaAction {
    /// The first node makes the cluster.
    #[prost(message, tag = "1")]
    Found(FoundCluster),
    /// A node wants to belong to it.
    #[prost(message, tag = "2")]
    Join(JoinNode),
    /// A node has started.
    #[prost(message, tag = "3")]
    Announce(AnnounceNode),
    /// A node is to be emptied, used again, or gone.
    #[prost(message, tag = "4")]
    SetNodeState(SetNodeState),
    /// Where a partition is wanted.
    #[prost(message, tag = "5")]
    Place(PlaceReplicas),
    /// Which node is to lead a partition.
    #[prost(message, tag = "6")]
    Pin(PinLeader),
    /// A setting gets a value or loses it.
    #[prost(message, tag = "7")]
    SetSetting(SetSetting),
    /// What all nodes can do is in force from now on.
    #[prost(message, tag = "8")]
    RaiseFeatures(RaiseFeatures),
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NodeInfo {
    /// Tells its data directory from every other one.
    #[prost(string, tag = "1")]
    pub store_uuid: String,
    /// Where other nodes reach it, `host:port`.
    #[prost(string, tag = "2")]
    pub address: String,
    /// Where clients reach it, `host:port`, for display; may be empty.
    #[prost(string, tag = "3")]
    pub ingress: String,
    /// Where operators reach it, `host:port`, for display; may be empty.
    #[prost(string, tag = "4")]
    pub admin: String,
    /// What fails together with others of the same zone; may be empty.
    #[prost(string, tag = "5")]
    pub zone: String,
    /// Its build, for display.
    #[prost(string, tag = "6")]
    pub build: String,
    /// The highest level of features that its build has.
    #[prost(uint32, tag = "7")]
    pub features: u32,
}

/// The first node makes the cluster.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FoundCluster {
    /// Id of the cluster.
    #[prost(string, tag = "1")]
    pub cluster_id: String,
    /// Number of its partitions, that of meta not counted.
    #[prost(uint32, tag = "2")]
    pub partitions: u32,
    /// Id of the founding node: 1.
    #[prost(uint32, tag = "3")]
    pub node: u32,
    /// The founding node.
    #[prost(message, optional, tag = "4")]
    pub info: Option<NodeInfo>,
}

/// A node wants to belong to the cluster.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct JoinNode {
    /// The node.
    #[prost(message, optional, tag = "1")]
    pub info: Option<NodeInfo>,
    /// The number of partitions that its settings say; 0 takes what the cluster has.
    #[prost(uint32, tag = "2")]
    pub partitions: u32,
}

/// A node has started.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AnnounceNode {
    /// Its id.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// What it is now. The data directory is the one it joined with.
    #[prost(message, optional, tag = "2")]
    pub info: Option<NodeInfo>,
}

/// A node is to be emptied, used again, or gone.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SetNodeState {
    /// Which node.
    #[prost(uint32, tag = "1")]
    pub node: u32,
    /// Its new state.
    #[prost(enumeration = "NodeState", tag = "2")]
    pub state: i32,
}

/// Where a partition is wanted.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PlaceReplicas {
    /// Which partition.
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    /// All wanted replicas, [`crate::id::ReplicaId::to_u64`]. Without an incarnation (a node's number): the replica that
    /// is wanted on that node already, or else a new one. With one: the replica that is wanted there already, or the next
    /// one of that node, which replaces it.
    #[prost(uint64, repeated, tag = "2")]
    pub replicas: Vec<u64>,
    /// The version of the placement that whoever orders this has seen.
    #[prost(uint64, tag = "3")]
    pub version: u64,
}

/// Which node is to lead a partition.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PinLeader {
    /// Which partition.
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    /// Which node; 0 is any.
    #[prost(uint32, tag = "2")]
    pub node: u32,
}

/// A setting gets a value or loses it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SetSetting {
    /// One of [`crate::setting::SETTINGS`].
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value; absent goes back to the default.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

/// What all nodes can do is in force from now on.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct RaiseFeatures {
    /// The new level.
    #[prost(uint32, tag = "1")]
    pub level: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Body, Command};

    /// The persisted form of orders about the cluster; a change of these bytes breaks every existing log.
    #[test]
    fn golden_bytes() {
        let info = NodeInfo {
            store_uuid: "u".into(),
            address: "a".into(),
            ingress: "i".into(),
            admin: "d".into(),
            zone: "z".into(),
            build: "b".into(),
            features: 2,
        };
        let node =
            [0x0a, 1, b'u', 0x12, 1, b'a', 0x1a, 1, b'i', 0x22, 1, b'd', 0x2a, 1, b'z', 0x32, 1, b'b', 56, 2].to_vec();
        let found = FoundCluster { cluster_id: "c".into(), partitions: 8, node: 1, info: Some(info.clone()) };
        let join = JoinNode { info: Some(info.clone()), partitions: 8 };
        let place = PlaceReplicas { partition: 1023, replicas: vec![1, (1 << 32) | 2], version: 3 };
        for (action, expected) in [
            (MetaAction::Found(found), [&[0x0a, 29, 0x0a, 1, b'c', 16, 8, 24, 1, 0x22, 20][..], &node].concat()),
            (MetaAction::Join(join), [&[0x12, 24, 0x0a, 20][..], &node, &[16, 8]].concat()),
            (
                MetaAction::Announce(AnnounceNode { node: 3, info: Some(info) }),
                [&[0x1a, 24, 8, 3, 0x12, 20][..], &node].concat(),
            ),
            (
                MetaAction::SetNodeState(SetNodeState { node: 3, state: NodeState::Removed as i32 }),
                vec![0x22, 4, 8, 3, 16, 2],
            ),
            (MetaAction::Place(place), vec![0x2a, 13, 8, 0xff, 7, 0x12, 6, 1, 0x82, 0x80, 0x80, 0x80, 0x10, 24, 3]),
            (MetaAction::Pin(PinLeader { partition: 2, node: 3 }), vec![0x32, 4, 8, 2, 16, 3]),
            (
                MetaAction::SetSetting(SetSetting { name: "n".into(), value: Some(String::new()) }),
                vec![0x3a, 5, 0x0a, 1, b'n', 0x12, 0],
            ),
            (MetaAction::RaiseFeatures(RaiseFeatures { level: 4 }), vec![0x42, 2, 8, 4]),
        ] {
            let order = MetaOrder::new(action);
            assert_eq!(order.encode_to_vec(), expected);
            assert_eq!(MetaOrder::decode(expected.as_slice()), Ok(order));
        }
        assert_eq!(Command::new(Body::Meta(MetaOrder::default())).encode_to_vec(), [0x72, 0]);
    }
}
