//! Which node is to lead a partition. It does when it has a replica that can.
//!
//! | node | answer |
//! |---|---|
//! | 0 | any node may lead |
//! | of the cluster | pinned |
//! | unknown; removed | 404; 410 |
//!
//! An unknown partition is 404.

use abide_model::command::PinLeader;
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::Placements;
use abide_model::view::{ReadError, View};

use super::member;
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: PinLeader) -> Result<Answer, ReadError> {
    let partition = PartitionId(order.partition);
    let Some(mut row) = txn.get::<Placements>(&partition)? else {
        return Ok(refusal::not_found(format!("there is no partition {partition}")));
    };
    if order.node != 0
        && let Err(answer) = member(txn, NodeId(order.node))?
    {
        return Ok(answer);
    }
    if row.pinned != order.node {
        row.pinned = order.node;
        row.version += 1;
        txn.put::<Placements>(&partition, &row);
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use abide_model::table::NodeState;

    use super::*;
    use crate::command::meta::words::*;

    #[test]
    fn leaders_are_pinned_and_freed() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        assert_eq!(ask(&mut world, pin(1, 2)), Answer::Done);
        let row = placement(&world, PartitionId(1));
        assert_eq!((row.pinned_node(), row.version), (Some(NodeId(2)), 2));
        assert_eq!(unchanged(&mut world, pin(1, 2)), Answer::Done);
        assert_eq!(ask(&mut world, pin(1, 0)), Answer::Done);
        assert_eq!(placement(&world, PartitionId(1)).pinned_node(), None);
        assert_eq!(ask(&mut world, pin(1023, 2)), Answer::Done);
    }

    #[test]
    fn to_who_is_not_there_none_is_pinned() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        ask(&mut world, state(2, NodeState::Removed));
        for (partition, node, expected) in [(0, 3, 404), (0, 2, 480), (2, 1, 404)] {
            assert_eq!(code(unchanged(&mut world, pin(partition, node))), expected);
        }
    }
}
