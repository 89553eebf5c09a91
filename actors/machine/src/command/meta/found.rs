//! The first node makes the cluster: its row, itself as n1, and every partition with one replica there. A data directory
//! of a build without clusters becomes one in the same way.
//!
//! | case | answer |
//! |---|---|
//! | no cluster yet | made |
//! | the same cluster from the same data directory | done; nothing changes |
//! | another cluster, or another data directory | 409 |
//! | id of the node is not 1; no partitions, or more than there may be; malformed | 400 |

use abide_model::command::FoundCluster;
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::limits::{NODE_TEXT_BYTES_MAX, PARTITIONS_MAX};
use abide_model::table::{Cluster, ClusterRow, Incarnation, NodeRow, NodeState, Nodes, PlacementRow, Placements};
use abide_model::view::{ReadError, View};

use super::info;
use crate::rule::refusal;
use crate::txn::Txn;

const FIRST: NodeId = NodeId(1);

pub(super) fn carry_out<V: View>(
    txn: &mut Txn<'_, V>,
    known: Option<ClusterRow>,
    order: FoundCluster,
) -> Result<Answer, ReadError> {
    let FoundCluster { cluster_id, partitions, node, info } = order;
    let info = info.unwrap_or_default();
    if let Some(cluster) = known {
        let same_store =
            txn.get::<Nodes>(&FIRST)?.and_then(|row| row.info).is_some_and(|first| first.store_uuid == info.store_uuid);
        if cluster.cluster_id == cluster_id && same_store {
            return Ok(Answer::Done);
        }
        return Ok(refusal::conflict(format!("the cluster is founded already, as `{}`", cluster.cluster_id)));
    }
    if node != FIRST.0 {
        return Ok(refusal::invalid(format!("{} cannot found the cluster: that is for {FIRST}", NodeId(node))));
    }
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(refusal::invalid(format!("a cluster has 1 to {PARTITIONS_MAX} partitions, not {partitions}")));
    }
    if cluster_id.is_empty() || cluster_id.len() > NODE_TEXT_BYTES_MAX {
        return Ok(refusal::invalid(format!("the id of a cluster has 1 to {NODE_TEXT_BYTES_MAX} bytes")));
    }
    if let Some(fault) = info::fault(&info) {
        return Ok(refusal::invalid(fault));
    }
    let (created_at, features) = (txn.now().0, info.features);
    txn.insert::<Cluster>(&(), &ClusterRow { cluster_id, partitions, last_node: FIRST.0, features, created_at });
    let node = NodeRow { info: Some(info), state: NodeState::Active as i32, joined_at: created_at };
    txn.insert::<Nodes>(&FIRST, &node);
    let placement = PlacementRow {
        replicas: vec![ReplicaId::first(FIRST).to_u64()],
        incarnations: vec![Incarnation { node: FIRST.0, last: 0 }],
        pinned: 0,
        version: 1,
    };
    for partition in (0..partitions).map(PartitionId).chain([PartitionId::META]) {
        txn.insert::<Placements>(&partition, &placement);
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use abide_model::command::{MetaAction, NodeInfo};

    use super::*;
    use crate::command::meta::words::*;

    #[test]
    fn the_first_node_makes_the_cluster() {
        let mut world = meta();
        assert_eq!(ask(&mut world, found(2)), Answer::Done);
        let cluster = ClusterRow { cluster_id: "c".into(), partitions: 2, last_node: 1, features: 3, created_at: 1000 };
        assert_eq!(world.rows.all::<Cluster>(), [((), cluster)]);
        let row = NodeRow { info: Some(info(1)), state: 0, joined_at: 1000 };
        assert_eq!(world.rows.all::<Nodes>(), [(FIRST, row)]);
        let partitions: Vec<_> =
            world.rows.all::<Placements>().into_iter().map(|(id, row)| (id, row.replicas)).collect();
        assert_eq!(partitions, [0, 1, 1023].map(|id| (PartitionId(id), vec![1])));
        assert_eq!(world.rows.all::<Placements>()[2].1.version, 1);
    }

    #[test]
    fn it_is_made_once() {
        let mut world = meta();
        ask(&mut world, found(2));
        assert_eq!(unchanged(&mut world, found(2)), Answer::Done);
        let order = founding(2);
        let other = FoundCluster { cluster_id: "d".into(), ..order.clone() };
        assert_eq!(code(unchanged(&mut world, MetaAction::Found(other))), 419);
        let other = FoundCluster { info: Some(NodeInfo { store_uuid: "x".into(), ..info(1) }), ..order };
        assert_eq!(code(unchanged(&mut world, MetaAction::Found(other))), 419);
    }

    #[test]
    fn what_is_malformed_makes_none() {
        let mut world = meta();
        let order = founding(2);
        for order in [
            FoundCluster { node: 2, ..order.clone() },
            FoundCluster { node: 0, ..order.clone() },
            FoundCluster { partitions: 0, ..order.clone() },
            FoundCluster { partitions: 1024, ..order.clone() },
            FoundCluster { cluster_id: String::new(), ..order.clone() },
            FoundCluster { info: None, ..order.clone() },
            FoundCluster { cluster_id: "x".repeat(129), ..order },
        ] {
            assert_eq!(code(unchanged(&mut world, MetaAction::Found(order))), 400);
        }
        assert_eq!(ask(&mut world, found(1023)), Answer::Done);
        assert_eq!(world.rows.all::<Placements>().len(), 1024);
    }
}
