//! A node wants to belong to the cluster. It is wanted as a replica of meta from then on, so that it gets these tables.
//!
//! | its data directory | answer |
//! |---|---|
//! | unknown | the next id, never given out before |
//! | of a node of the cluster | the id of that node; what it says of itself is taken over |
//! | of a removed node | 410 |
//!
//! | in any case | answer |
//! |---|---|
//! | malformed | 400 |
//! | it was set up with another number of partitions | 409 |
//! | its build lacks features that are in force | 409, [`BUILD_TOO_OLD`] |
//! | it is new, and there are as many nodes as there may be | 409 |
//!
//! [`BUILD_TOO_OLD`]: abide_model::error::BUILD_TOO_OLD

use abide_model::command::{JoinNode, NodeInfo};
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_model::limits::NODES_MAX;
use abide_model::table::{Cluster, ClusterRow, NodeRow, NodeState, Nodes, Placements};
use abide_model::view::{ReadError, View};

use super::{gone, info, nodes, place};
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(
    txn: &mut Txn<'_, V>,
    mut cluster: ClusterRow,
    order: JoinNode,
) -> Result<Answer, ReadError> {
    let info = order.info.unwrap_or_default();
    if let Some(fault) = info::fault(&info) {
        return Ok(refusal::invalid(fault));
    }
    if order.partitions != 0 && order.partitions != cluster.partitions {
        let text = format!("the cluster has {} partitions, the node says {}", cluster.partitions, order.partitions);
        return Ok(refusal::conflict(text));
    }
    let nodes = nodes(txn)?;
    let known = nodes.iter().find(|(_, row)| row.info.as_ref().is_some_and(|of| of.store_uuid == info.store_uuid));
    if let Some((node, _)) = known.filter(|(_, row)| row.state() == NodeState::Removed) {
        return Ok(gone(*node));
    }
    if let Some(answer) = too_old(&cluster, &info) {
        return Ok(answer);
    }
    if let Some((node, row)) = known {
        txn.put::<Nodes>(node, &NodeRow { info: Some(info), ..row.clone() });
        return Ok(Answer::Node(*node));
    }
    if nodes.iter().filter(|(_, row)| row.state() != NodeState::Removed).count() >= NODES_MAX {
        return Ok(refusal::conflict(format!("a cluster has at most {NODES_MAX} nodes: remove one first")));
    }
    let Some(next) = cluster.last_node.checked_add(1).map(NodeId) else {
        return Ok(refusal::conflict("the ids of nodes are used up"));
    };
    let Some(mut placement) = txn.get::<Placements>(&PartitionId::META)? else {
        return Err(ReadError("the cluster has no placement of meta".into()));
    };
    if let Some(replica) = placement.next_on(next) {
        place::want(&mut placement, replica);
        txn.put::<Placements>(&PartitionId::META, &placement);
    }
    cluster.last_node = next.0;
    txn.put::<Cluster>(&(), &cluster);
    let row = NodeRow { info: Some(info), state: NodeState::Active as i32, joined_at: txn.now().0 };
    txn.insert::<Nodes>(&next, &row);
    Ok(Answer::Node(next))
}

/// The refusal of a build that lacks features that are in force.
pub(super) fn too_old(cluster: &ClusterRow, info: &NodeInfo) -> Option<Answer> {
    let (has, needs) = (info.features, cluster.features);
    (has < needs).then(|| {
        let text = format!("the build of the node has features up to level {has}, the cluster uses level {needs}");
        refusal::build_too_old(text)
    })
}

#[cfg(test)]
mod tests {
    use abide_model::command::MetaAction;

    use super::*;
    use crate::command::meta::words::*;

    fn order(info: NodeInfo, partitions: u32) -> MetaAction {
        MetaAction::Join(JoinNode { info: Some(info), partitions })
    }

    #[test]
    fn a_new_node_gets_the_next_id_and_meta() {
        let mut world = cluster(2);
        assert_eq!(ask(&mut world, join(2)), Answer::Node(NodeId(2)));
        assert_eq!(ask(&mut world, join(3)), Answer::Node(NodeId(3)));
        assert_eq!(placement(&world, PartitionId::META).replicas, [1, 2, 3]);
        assert_eq!(placement(&world, PartitionId::META).version, 3);
        assert_eq!(placement(&world, PartitionId(0)).replicas, [1]);
        assert_eq!(node(&world, 2).info, Some(info(2)));
    }

    #[test]
    fn a_known_one_keeps_its_id() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        assert_eq!(unchanged(&mut world, join(2)), Answer::Node(NodeId(2)));
        ask(&mut world, state(2, NodeState::Draining));
        let moved = NodeInfo { address: "elsewhere:1".into(), ..info(2) };
        assert_eq!(ask(&mut world, order(moved.clone(), 0)), Answer::Node(NodeId(2)));
        assert_eq!((node(&world, 2).info, node(&world, 2).state()), (Some(moved), NodeState::Draining));
        assert_eq!(ask(&mut world, join(3)), Answer::Node(NodeId(3)));
    }

    #[test]
    fn ids_of_removed_nodes_do_not_come_back() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        assert_eq!(ask(&mut world, state(2, NodeState::Removed)), Answer::Done);
        assert_eq!(code(unchanged(&mut world, join(2))), 480);
        assert_eq!(ask(&mut world, join(3)), Answer::Node(NodeId(3)));
    }

    #[test]
    fn who_does_not_fit_is_refused() {
        let mut world = cluster(2);
        for (info, partitions, expected) in [
            (NodeInfo { address: "nowhere".into(), ..info(2) }, 0, 400),
            (NodeInfo::default(), 0, 400),
            (info(2), 3, 419),
            (NodeInfo { features: 2, ..info(2) }, 2, 481),
        ] {
            assert_eq!(code(unchanged(&mut world, order(info, partitions))), expected);
        }
        assert_eq!(ask(&mut world, order(NodeInfo { features: 9, ..info(2) }, 0)), Answer::Node(NodeId(2)));
        for n in 3..=256 {
            assert_eq!(ask(&mut world, join(n)), Answer::Node(NodeId(n)));
        }
        assert_eq!(code(unchanged(&mut world, join(257))), 419);
        assert_eq!(unchanged(&mut world, join(256)), Answer::Node(NodeId(256)));
    }
}
