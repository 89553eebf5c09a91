//! A node is to be emptied, used again, or gone.
//!
//! | it is | active | draining | removed |
//! |---|---|---|---|
//! | active | done | set | see below |
//! | draining | set | done | see below |
//! | removed | 410 | 410 | done |
//! | unknown | 404 | 404 | 404 |
//!
//! It is removed for ever when no partition is wanted there and another node is active; otherwise 409. With it go its
//! replica of meta, which every node has to its end, and the pins of leaders to it.

use abide_model::command::SetNodeState;
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::{NodeRow, NodeState, Nodes, Placements};
use abide_model::view::{ReadError, View};

use super::{gone, newer, nodes, placements};
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: SetNodeState) -> Result<Answer, ReadError> {
    let state = NodeState::try_from(order.state).map_err(|_| newer())?;
    let node = NodeId(order.node);
    let Some(row) = txn.get::<Nodes>(&node)? else {
        return Ok(refusal::not_found(format!("there is no node {node}")));
    };
    if row.state() == state {
        return Ok(Answer::Done);
    }
    match state {
        _ if row.state() == NodeState::Removed => return Ok(gone(node)),
        NodeState::Removed => {
            if let Some(answer) = remove(txn, node)? {
                return Ok(answer);
            }
        }
        NodeState::Active | NodeState::Draining => {}
    }
    txn.put::<Nodes>(&node, &NodeRow { state: state as i32, ..row });
    Ok(Answer::Done)
}

/// Takes the node out of all placements, or says why that cannot be.
fn remove<V: View>(txn: &mut Txn<'_, V>, node: NodeId) -> Result<Option<Answer>, ReadError> {
    let others = nodes(txn)?.into_iter().filter(|(other, row)| *other != node && row.state() == NodeState::Active);
    if others.count() == 0 {
        let text = format!("{node} cannot be removed: no other node is active");
        return Ok(Some(refusal::conflict(text)));
    }
    let placements = placements(txn)?;
    let on_it = |(partition, row): &&(PartitionId, _)| {
        let row: &abide_model::table::PlacementRow = row;
        *partition != PartitionId::META && row.on(node).is_some()
    };
    let held = placements.iter().filter(on_it).count();
    if held > 0 {
        let text = format!("{node} cannot be removed: {held} partitions are wanted there; drain it first");
        return Ok(Some(refusal::conflict(text)));
    }
    for (partition, before) in placements {
        let mut row = before.clone();
        row.replicas = before.wanted().filter(|replica| replica.node != node).map(|replica| replica.to_u64()).collect();
        if row.pinned == node.0 {
            row.pinned = 0;
        }
        if row != before {
            row.version += 1;
            txn.put::<Placements>(&partition, &row);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::meta::words::*;

    #[test]
    fn an_empty_node_goes_for_ever() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        ask(&mut world, place(0, &[1, 2], 1));
        ask(&mut world, pin(1, 2));
        for to in [NodeState::Draining, NodeState::Active, NodeState::Draining] {
            assert_eq!(ask(&mut world, state(2, to)), Answer::Done);
            assert_eq!(unchanged(&mut world, state(2, to)), Answer::Done);
            assert_eq!(node(&world, 2).state(), to);
        }
        assert_eq!(code(unchanged(&mut world, state(2, NodeState::Removed))), 419, "a partition is wanted there");
        ask(&mut world, place(0, &[1], 2));
        assert_eq!(ask(&mut world, state(2, NodeState::Removed)), Answer::Done);
        assert_eq!(placement(&world, PartitionId::META).replicas, [1]);
        assert_eq!((placement(&world, PartitionId(1)).pinned, placement(&world, PartitionId(1)).version), (0, 3));
        assert_eq!(placement(&world, PartitionId(0)).version, 3, "nothing of it was there");
        assert_eq!(unchanged(&mut world, state(2, NodeState::Removed)), Answer::Done);
        for to in [NodeState::Active, NodeState::Draining] {
            assert_eq!(code(unchanged(&mut world, state(2, to))), 480);
        }
    }

    #[test]
    fn an_active_node_stays() {
        let mut world = cluster(2);
        assert_eq!(code(unchanged(&mut world, state(1, NodeState::Removed))), 419);
        ask(&mut world, join(2));
        ask(&mut world, state(1, NodeState::Draining));
        assert_eq!(code(unchanged(&mut world, state(2, NodeState::Removed))), 419, "the other one is to be emptied");
        assert_eq!(code(unchanged(&mut world, state(3, NodeState::Active))), 404);
    }

    /// Replicas of different builds would part ways if one of them took it for something else.
    #[test]
    fn a_state_of_a_newer_build_is_not_skipped() {
        let mut world = cluster(2);
        let order = abide_model::command::MetaAction::SetNodeState(SetNodeState { node: 1, state: 3 });
        assert!(world.machine.apply(&world.rows, command(order)).is_err());
    }
}
