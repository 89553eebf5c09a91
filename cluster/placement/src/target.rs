//! On which nodes a partition is wanted.

use std::collections::BTreeSet;

use abide_model::command::PlaceReplicas;
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::{NodeState, PlacementRow};

use crate::GroupSeen;
use crate::context::{Context, odd};
use crate::spread::{Loads, in_zone};

/// The nodes on which `partition` is wanted.
pub(crate) fn nodes(
    cx: &Context<'_>,
    partition: PartitionId,
    row: &PlacementRow,
    (group, leader): (&GroupSeen, ReplicaId),
    loads: &Loads,
) -> BTreeSet<NodeId> {
    if partition == PartitionId::META {
        return cx.wanted.nodes.keys().copied().filter(|node| cx.state(*node) != NodeState::Removed).collect();
    }
    let holders: BTreeSet<NodeId> = row.wanted().map(|replica| replica.node).collect();
    let stays = |node: &NodeId| cx.is_usable(*node) && !is_alone_with_itself(row, group, *node);
    let mut nodes: BTreeSet<NodeId> = holders.iter().copied().filter(stays).collect();
    let mut rest: Vec<NodeId> = holders.difference(&nodes).copied().collect();
    let usable = cx.wanted.nodes.keys().filter(|node| cx.is_usable(**node)).count();
    let number = cx.factor.min(usable);
    while nodes.len() > number {
        // Who is silent, has no vote, is beside others in its zone, does not lead, has much to do.
        let worst = nodes.iter().copied().max_by_key(|node| {
            let votes = group.voters.iter().any(|voter| voter.node == *node);
            let crowd = in_zone(cx, &nodes, *node);
            (!cx.is_alive(*node), !votes, crowd, leader.node != *node, loads.on(*node), *node)
        });
        nodes.remove(&worst.expect("there are more than a number"));
    }
    while nodes.len() < number {
        let fresh = cx.wanted.nodes.keys().copied().filter(|node| {
            cx.is_open(*node) && !holders.contains(node) && !nodes.contains(node) && !is_only_voter(group, *node)
        });
        // What is still a member there has to go first, so others are better.
        let best =
            fresh.min_by_key(|node| (group.on(*node).is_some(), in_zone(cx, &nodes, *node), loads.on(*node), *node));
        let Some(best) = best else { break };
        nodes.insert(best);
    }
    // No vote is given up for a node that is to be emptied or does not come back.
    let votes = group.voters.iter().filter(|voter| cx.state(voter.node) != NodeState::Removed).count();
    let votes = odd(cx.factor.min(votes)).max(1);
    rest.retain(|node| cx.state(*node) != NodeState::Removed);
    rest.sort_by_key(|node| (!cx.is_alive(*node), !group.voters.iter().any(|voter| voter.node == *node), *node));
    for node in rest {
        if odd(nodes.len()) >= votes {
            break;
        }
        nodes.insert(node);
    }
    nodes
}

/// Whether the only one who has a say is on this node: it can be followed by one on another node only.
fn is_only_voter(group: &GroupSeen, node: NodeId) -> bool {
    group.voters.iter().all(|voter| voter.node == node)
}

/// Whether the replica that is wanted on `node` waits for another one there, which waits for it.
fn is_alone_with_itself(row: &PlacementRow, group: &GroupSeen, node: NodeId) -> bool {
    is_only_voter(group, node) && row.on(node).is_some_and(|wanted| !group.voters.contains(&wanted))
}

/// The order that makes `nodes` what is wanted: replicas that are there stay, others are new.
pub(crate) fn order(partition: PartitionId, row: &PlacementRow, nodes: &BTreeSet<NodeId>) -> PlaceReplicas {
    let replica = |node: &NodeId| row.on(*node).unwrap_or(ReplicaId::first(*node)).to_u64();
    PlaceReplicas { partition: partition.0, replicas: nodes.iter().map(replica).collect(), version: row.version }
}
