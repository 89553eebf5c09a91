mod nodes;
mod rules;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::{NodeId, PartitionId, ReplicaId};

use crate::testing::World;

fn replicas(nodes: &[u32]) -> BTreeSet<ReplicaId> {
    nodes.iter().map(|node| ReplicaId::first(NodeId(*node))).collect()
}

fn second(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: 1 }
}

/// The nodes with votes, and those without.
fn members(world: &World, partition: u32) -> (Vec<u32>, Vec<u32>) {
    let nodes = |replicas: &BTreeSet<ReplicaId>| replicas.iter().map(|replica| replica.node.0).collect();
    let group = world.group(partition);
    (nodes(&group.voters), nodes(&group.learners))
}

/// How many partitions each node leads, meta not counted.
fn leads(world: &World) -> BTreeMap<u32, usize> {
    let mut leads = BTreeMap::new();
    for (partition, group) in &world.groups {
        if let Some(leader) = group.leader.filter(|_| *partition != PartitionId::META) {
            *leads.entry(leader.node.0).or_default() += 1;
        }
    }
    leads
}

/// How many replicas of partitions each node has.
fn loads(world: &World) -> BTreeMap<u32, usize> {
    let mut loads = BTreeMap::new();
    for (partition, group) in &world.groups {
        if *partition != PartitionId::META {
            for node in group.nodes() {
                *loads.entry(node).or_default() += 1;
            }
        }
    }
    loads
}
