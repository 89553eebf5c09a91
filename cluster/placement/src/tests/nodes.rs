//! Nodes come and go.

use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::NodeState;

use super::*;
use crate::is_empty;

const META: u32 = PartitionId::META.0;

#[test]
fn one_node_has_nothing_to_do() {
    let world = World::new(4);
    assert_eq!(world.plan(), []);
}

#[test]
fn a_cluster_grows() {
    let mut world = World::new(4);
    world.join(2, "");
    world.settle();
    for partition in [0, 3, META] {
        assert_eq!(members(&world, partition), (vec![1], vec![2]), "two nodes are a voter and one that follows");
    }
    assert_eq!(world.joined.len(), 5);

    world.join(3, "");
    world.settle();
    for partition in [0, 3, META] {
        assert_eq!(members(&world, partition), (vec![1, 2, 3], vec![]));
    }
    assert_eq!(world.joined.len(), 10, "nobody joins twice");
    assert!(leads(&world).values().all(|count| (1..=2).contains(count)), "{:?}", leads(&world));

    world.join(4, "");
    world.join(5, "");
    world.settle();
    assert_eq!(members(&world, META), (vec![1, 2, 3, 4, 5], vec![]));
    assert!(world.groups.iter().all(|(id, group)| *id == PartitionId::META || group.voters.len() == 3));
    let mut even: Vec<usize> = loads(&world).into_values().collect();
    even.sort_unstable();
    assert_eq!(even, [2, 2, 2, 3, 3], "12 replicas over 5 nodes");
    assert_eq!(world.joined.len(), 10 + 2 + 4, "two of meta, and as many as make it even");
    assert!(leads(&world).values().all(|count| *count <= 2), "{:?}", leads(&world));

    world.join(6, "");
    world.settle();
    assert_eq!(members(&world, META), (vec![1, 2, 3, 4, 5], vec![6]), "five vote on meta");
}

#[test]
fn few_join_at_once_and_meta_first() {
    let mut world = World::new(8);
    world.join(2, "");
    world.join(3, "");
    // The tables first.
    assert_eq!(world.round().len(), 8 + 1, "eight placements, and meta has its own already");
    assert_eq!(world.joined, [2, 3].map(|node| (PartitionId::META, ReplicaId::first(NodeId(node)))));
    let mut most = 0;
    for _ in 0..60 {
        world.round();
        let behind = |(id, group): (&PartitionId, &crate::testing::Group)| {
            let missing =
                |replica: &ReplicaId| group.matched.get(replica).copied().unwrap_or_default() + 1000 < group.last;
            *id != PartitionId::META && group.learners.iter().any(missing)
        };
        most = most.max(world.groups.iter().filter(|group| behind(*group)).count());
    }
    assert_eq!(most, 2);
    assert!(world.groups.values().all(|group| group.voters.len() == 3));
}

#[test]
fn a_drained_node_is_emptied_and_removed() {
    let mut world = World::settled(6, 4);
    let (held, led) = (loads(&world)[&2], leads(&world)[&2]);
    assert!(held > 0 && led > 0 && !is_empty(&world.wanted(), &world.seen(), NodeId(2)));
    let joined = world.joined.len();
    assert_eq!(world.set_state(2, NodeState::Draining), Answer::Done);
    world.round();
    assert_eq!(leads(&world).get(&2), None);
    world.settle();
    assert_eq!(loads(&world).get(&2), None);
    assert_eq!(world.joined.len() - joined, held, "as many as were there, and no more");
    assert!(is_empty(&world.wanted(), &world.seen(), NodeId(2)));
    assert!(!is_empty(&world.wanted(), &world.seen(), NodeId(1)));
    assert_eq!(world.set_state(2, NodeState::Removed), Answer::Done);
    world.settle();
    assert_eq!(members(&world, META), (vec![1, 3, 4], vec![]));
}

/// There is nobody to take over, and the vote is needed: the operator adds a node or lowers the replication factor.
#[test]
fn a_drained_node_keeps_votes_that_nobody_can_take_over() {
    let mut world = World::settled(3, 3);
    world.set_state(3, NodeState::Draining);
    world.settle();
    assert_eq!(leads(&world).get(&3), None, "leaders go all the same");
    assert_eq!(members(&world, 0), (vec![1, 2, 3], vec![]));
    assert!(matches!(world.set_state(3, NodeState::Removed), Answer::Refused(_)));
    world.set("replication_factor", 2);
    world.settle();
    assert!(is_empty(&world.wanted(), &world.seen(), NodeId(3)));
    assert_eq!(world.group(0).voters.len(), 1);
    assert_eq!(world.group(0).nodes(), BTreeSet::from([1, 2]));
    assert_eq!(world.set_state(3, NodeState::Removed), Answer::Done);
    world.settle();
    assert_eq!(world.groups[&PartitionId::META].nodes(), BTreeSet::from([1, 2]));
}

/// From one machine to another: the new one gets the only vote, and the old one can go.
#[test]
fn a_single_node_moves() {
    let mut world = World::settled(2, 2);
    world.set_state(1, NodeState::Draining);
    world.settle();
    for partition in [0, 1] {
        assert_eq!(members(&world, partition), (vec![2], vec![]));
    }
    assert_eq!(members(&world, META), (vec![2], vec![1]), "it knows of the cluster to its end");
    assert_eq!(world.set_state(1, NodeState::Removed), Answer::Done);
    world.settle();
    assert_eq!(members(&world, META), (vec![2], vec![]));
}

#[test]
fn a_dead_node_is_replaced_when_it_does_not_come_back() {
    let mut world = World::settled(4, 4);
    let held = loads(&world)[&3];
    let joined = world.joined.len();
    world.kill(3);
    for _ in 0..200 {
        world.round();
    }
    assert_eq!(world.joined.len(), joined, "it may come back for ten minutes");
    world.settle();
    world.silent.insert(NodeId(3), 600_000);
    world.settle();
    assert_eq!(world.joined.len() - joined, held);
    assert_eq!(loads(&world).get(&3), None);
    assert_eq!(members(&world, META).0, [1, 2, 4], "a vote on meta moves as well");
    // It comes back and is used again, for what makes it even.
    world.revive(3);
    world.settle();
    assert!(loads(&world)[&3] >= 2);
    assert!(world.groups.values().all(|group| group.learners.len() + group.voters.len() <= 4));
}

#[test]
fn a_dead_node_without_a_replacement_keeps_its_votes() {
    let mut world = World::settled(2, 3);
    world.kill(3);
    world.silent.insert(NodeId(3), 700_000);
    world.settle();
    assert_eq!(members(&world, 0), (vec![1, 2, 3], vec![]));
    // With its disk lost it comes back as another node.
    world.join(4, "");
    world.settle();
    assert_eq!(members(&world, 0), (vec![1, 2, 4], vec![]));
    assert_eq!(members(&world, META), (vec![1, 2, 4], vec![3]));
    assert_eq!(world.set_state(3, NodeState::Removed), Answer::Done);
    world.settle();
    assert_eq!(members(&world, META), (vec![1, 2, 4], vec![]));
}

#[test]
fn replicas_are_spread_over_zones() {
    let mut world = World::new(4);
    for (n, zone) in [(2, "b"), (3, "b"), (4, "c")] {
        world.join(n, zone);
    }
    world.settle();
    for partition in 0..4 {
        let nodes = world.group(partition).nodes();
        assert!(nodes.contains(&1) && nodes.contains(&4), "{nodes:?}");
    }
    // 2 and 3 share what is left of their zone.
    assert_eq!(loads(&world), BTreeMap::from([(1, 4), (2, 2), (3, 2), (4, 4)]));
}

/// A zone that comes later gets its part, one by one.
#[test]
fn a_new_zone_gets_its_replicas() {
    let mut world = World::new(4);
    for (n, zone) in [(2, ""), (3, "b")] {
        world.join(n, zone);
    }
    world.settle();
    world.join(4, "c");
    world.settle();
    for partition in 0..4 {
        let nodes = world.group(partition).nodes();
        assert!(nodes.contains(&3) && nodes.contains(&4), "{nodes:?}");
    }
}
