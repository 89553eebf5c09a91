//! Where a partition is wanted: all replicas at once, by whoever has seen the placement as it is. What is wanted anew on a
//! node gets a number that no replica there ever had (rule P9).
//!
//! | what is said of a node | wanted there before | not wanted there |
//! |---|---|---|
//! | the node | stays what it is | its next replica |
//! | the replica that is wanted | stays what it is | – |
//! | its next replica | takes the place of the one before | its next replica |
//! | any other replica | 409 | 409 |
//! | nothing | not wanted any more | – |
//!
//! | case | answer |
//! |---|---|
//! | another version of the placement | 409 |
//! | no replica, or two on one node | 400 |
//! | an unknown partition or node; a removed node | 404; 410 |
//! | meta without one of the nodes | 409: all of them need it |
//! | what is wanted already | done; nothing changes |

use std::collections::BTreeSet;

use abide_model::command::PlaceReplicas;
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::{Incarnation, NodeState, PlacementRow, Placements};
use abide_model::view::{ReadError, View};

use super::{member, nodes};
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: &PlaceReplicas) -> Result<Answer, ReadError> {
    let partition = PartitionId(order.partition);
    let Some(before) = txn.get::<Placements>(&partition)? else {
        return Ok(refusal::not_found(format!("there is no partition {partition}")));
    };
    if order.version != before.version {
        let text = format!("the placement of {partition} has version {}, not {}", before.version, order.version);
        return Ok(refusal::conflict(text));
    }
    if order.replicas.is_empty() {
        return Ok(refusal::invalid(format!("{partition} needs at least one replica")));
    }
    let mut named = BTreeSet::new();
    let mut row = PlacementRow { replicas: Vec::new(), ..before.clone() };
    for said in order.replicas.iter().map(|number| ReplicaId::from_u64(*number)) {
        if !named.insert(said.node) {
            return Ok(refusal::invalid(format!("{partition} cannot have two replicas on {}", said.node)));
        }
        if let Err(answer) = member(txn, said.node)? {
            return Ok(answer);
        }
        let Some(replica) = meant(&before, said) else {
            let text = format!("{said} is neither wanted for {partition} nor the next one of {}", said.node);
            return Ok(refusal::conflict(text));
        };
        want(&mut row, replica);
    }
    if partition == PartitionId::META
        && let Some(node) = left_out(txn, &named)?
    {
        return Ok(refusal::conflict(format!("{node} needs a replica of {partition}, as every node does")));
    }
    if row.replicas != before.replicas {
        row.version = before.version + 1;
        txn.put::<Placements>(&partition, &row);
    }
    Ok(Answer::Done)
}

/// The replica that is meant by what was said.
fn meant(before: &PlacementRow, said: ReplicaId) -> Option<ReplicaId> {
    let (wanted, next) = (before.on(said.node), before.next_on(said.node));
    if said.incarnation == 0 {
        return wanted.or(next);
    }
    (wanted == Some(said) || next == Some(said)).then_some(said)
}

/// A node of the cluster that is not among `named`.
fn left_out<V: View>(txn: &Txn<'_, V>, named: &BTreeSet<NodeId>) -> Result<Option<NodeId>, ReadError> {
    let mut nodes = nodes(txn)?.into_iter();
    Ok(nodes.find(|(node, row)| row.state() != NodeState::Removed && !named.contains(node)).map(|(node, _)| node))
}

/// Adds a replica to what is wanted, and remembers its number.
pub(super) fn want(row: &mut PlacementRow, replica: ReplicaId) {
    row.version += 1;
    let at = row.replicas.partition_point(|other| ReplicaId::from_u64(*other).node < replica.node);
    row.replicas.insert(at, replica.to_u64());
    let given = Incarnation { node: replica.node.0, last: replica.incarnation };
    match row.incarnations.binary_search_by_key(&given.node, |given| given.node) {
        Ok(at) => row.incarnations[at] = given,
        Err(at) => row.incarnations.insert(at, given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::meta::words::*;

    fn second(node: u32, incarnation: u32) -> u64 {
        ReplicaId { node: NodeId(node), incarnation }.to_u64()
    }

    #[test]
    fn what_comes_back_to_a_node_is_another_replica() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        ask(&mut world, join(3));
        assert_eq!(ask(&mut world, place(0, &[3, 1], 1)), Answer::Done);
        assert_eq!(placement(&world, PartitionId(0)).replicas, [1, 3]);
        assert_eq!(unchanged(&mut world, place(0, &[1, 3], 2)), Answer::Done);
        ask(&mut world, place(0, &[1], 2));
        ask(&mut world, place(0, &[1, 3], 3));
        assert_eq!(placement(&world, PartitionId(0)).replicas, [1, second(3, 1)]);
        // The one that is there stays, however it is named.
        assert_eq!(unchanged(&mut world, place(0, &[1, second(3, 1)], 4)), Answer::Done);
        assert_eq!(unchanged(&mut world, place(0, &[1, 3], 4)), Answer::Done);
        // Unless the next one is asked for.
        assert_eq!(ask(&mut world, place(0, &[second(1, 1), second(3, 2)], 4)), Answer::Done);
        let row = placement(&world, PartitionId(0));
        assert_eq!((row.replicas, row.version), (vec![second(1, 1), second(3, 2)], 5));
        assert_eq!(row.incarnations, [Incarnation { node: 1, last: 1 }, Incarnation { node: 3, last: 2 }]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut world = cluster(2);
        for n in 2..5 {
            ask(&mut world, join(n));
        }
        ask(&mut world, state(4, NodeState::Removed));
        for (partition, replicas, version, expected) in [
            (0, &[1, 2][..], 0, 419),
            (0, &[1, 2], 2, 419),
            (0, &[], 1, 400),
            (0, &[1, 2, 2], 1, 400),
            (0, &[1, second(1, 1)], 1, 400),
            (0, &[0], 1, 404),
            (0, &[1, 9], 1, 404),
            (0, &[1, 4], 1, 480),
            (0, &[1, second(2, 1)], 1, 419),
            (0, &[second(1, 2)], 1, 419),
            (2, &[1], 1, 404),
            (1023, &[1, 2], 5, 419),
        ] {
            let answer = unchanged(&mut world, place(partition, replicas, version));
            assert_eq!(code(answer), expected, "{partition} {replicas:?} {version}");
        }
        assert_eq!(ask(&mut world, place(1023, &[1, 2, second(3, 1)], 5)), Answer::Done);
    }

    #[test]
    fn numbers_end() {
        let mut row = PlacementRow::default();
        row.incarnations.push(Incarnation { node: 1, last: u32::MAX });
        assert_eq!(meant(&row, ReplicaId::first(NodeId(1))), None);
    }
}
