//! Rules, one by one.

use abide_model::command::{MetaAction, PlaceReplicas};
use abide_model::effect::Answer;
use abide_model::table::NodeState;

use super::*;
use crate::{Action, Wanted, is_empty};

const P0: PartitionId = PartitionId(0);

fn numbers(replicas: impl IntoIterator<Item = ReplicaId>) -> Vec<u64> {
    replicas.into_iter().map(ReplicaId::to_u64).collect()
}

/// Members of a group as they are set, each with everything.
fn set_members(world: &mut World, partition: PartitionId, voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId>) {
    let group = world.groups.get_mut(&partition).unwrap();
    group.matched = voters.iter().chain(&learners).map(|replica| (*replica, group.last)).collect();
    (group.voters, group.learners) = (voters, learners);
}

#[test]
fn nothing_is_read_before_there_is_a_cluster() {
    assert_eq!(Wanted::read(&crate::testing::Rows::default()).unwrap(), None);
}

#[test]
fn members_change_when_all_have_caught_up() {
    let mut world = World::settled(1, 3);
    world.join(4, "");
    world.set("replication_factor", 1);
    world.settle();
    world.set("replication_factor", 3);
    let before = world.group(0).clone();
    // The placement, then learners, then one change.
    assert!(matches!(world.round()[..], [Action::Meta(_)]));
    let leader = before.leader.unwrap();
    let joined = numbers(world.row(P0).wanted().filter(|replica| *replica != leader));
    let join = |voters: Vec<u64>, learners: Vec<u64>| Action::ChangeMembers {
        partition: P0,
        leader: leader.node,
        voters,
        learners,
    };
    assert_eq!(world.plan(), [join(vec![leader.to_u64()], joined.clone())]);
    world.round();
    assert_eq!(world.plan(), [], "they have half of the log");
    world.round();
    assert_eq!(world.plan(), [join(numbers(world.row(P0).wanted()), vec![])]);
    // One of them stops answering before: the change waits.
    let silent = ReplicaId::from_u64(joined[0]).node.0;
    world.kill(silent);
    assert_eq!(world.plan(), []);
    world.revive(silent);
    world.settle();
    assert_eq!(world.group(0).voters.len(), 3);
}

#[test]
fn nothing_is_done_to_a_group_without_a_leader_or_in_between() {
    let mut world = World::settled(1, 3);
    world.join(4, "");
    world.settle();
    world.set_state(world.group(0).leader.unwrap().node.0, NodeState::Draining);
    assert!(!world.plan().is_empty());
    let settled = world.groups.clone();
    for spoil in
        [(|group: &mut crate::testing::Group| group.leader = None) as fn(&mut crate::testing::Group), |group| {
            group.outgoing = group.voters.clone()
        }]
    {
        world.groups = settled.clone();
        world.groups.values_mut().for_each(spoil);
        assert_eq!(world.plan(), []);
        assert!(!is_empty(&world.wanted(), &world.seen(), NodeId(4)));
    }
    world.groups.clear();
    assert_eq!(world.plan(), []);
    assert!(!is_empty(&world.wanted(), &world.seen(), NodeId(4)));
}

/// The leader does not know yet that nothing can be decided.
#[test]
fn nothing_is_done_to_a_group_without_a_majority() {
    let mut world = World::settled(1, 4);
    world.set("replication_factor", 1);
    world.round();
    assert_eq!(world.row(P0).replicas.len(), 1);
    let leader = world.group(0).leader.unwrap();
    for replica in world.group(0).voters.clone() {
        if replica != leader {
            world.kill(replica.node.0);
        }
    }
    world.groups.retain(|partition, _| *partition == P0);
    assert_eq!(world.plan(), []);
    (1..=4).for_each(|node| world.revive(node));
    assert!(matches!(world.plan()[..], [Action::ChangeMembers { partition: P0, .. }]));
}

#[test]
fn a_leader_that_is_to_go_hands_over_first() {
    let mut world = World::settled(1, 4);
    let leader = world.group(0).leader.unwrap();
    let others: Vec<u32> = (1..=4).filter(|node| *node != leader.node.0).collect();
    let goal = replicas(&others);
    let learners: BTreeSet<_> = goal.difference(&world.group(0).voters).copied().collect();
    assert_eq!(world.place(P0, goal.iter().map(|replica| u64::from(replica.node.0)).collect()), Answer::Done);
    let voters = world.group(0).voters.clone();
    set_members(&mut world, P0, voters, learners);
    let plan = world.plan();
    let [Action::Transfer { partition: P0, leader: from, to }] = plan[..] else { panic!("{plan:?}") };
    assert_eq!(from, leader.node);
    assert!(world.group(0).voters.contains(&to) && others.contains(&to.node.0));
}

#[test]
fn another_replica_on_the_same_node_goes_first() {
    let mut world = World::settled(1, 3);
    let again = vec![1, 2, second(3).to_u64()];
    assert_eq!(world.place(P0, again), Answer::Done);
    // With one of the others away it has to wait: its vote is needed.
    let leader = world.group(0).leader.unwrap().node.0;
    let other = if leader == 1 { 2 } else { 1 };
    world.kill(other);
    assert!(world.plan().iter().all(|action| !matches!(action, Action::ChangeMembers { .. })), "{:?}", world.plan());
    world.revive(other);
    world.settle();
    let [first, other] = [1, 2].map(|node| ReplicaId::first(NodeId(node)));
    assert_eq!(world.group(0).voters, BTreeSet::from([first, other, second(3)]));
    assert_eq!(world.joined.last(), Some(&(P0, second(3))));
}

#[test]
fn the_factor_is_followed_up_and_down() {
    let mut world = World::settled(4, 5);
    for (factor, voters, all) in [(5, 5, 5), (1, 1, 1), (4, 3, 4), (2, 1, 2), (7, 5, 5), (3, 3, 3)] {
        world.set("replication_factor", factor);
        world.settle();
        for (partition, group) in &world.groups {
            if *partition != PartitionId::META {
                let (votes, nodes) = (group.voters.len(), group.nodes().len());
                assert_eq!((votes, nodes), (voters, all), "{partition} with {factor}");
            }
        }
    }
    assert_eq!(world.groups[&PartitionId::META].voters.len(), 5);
}

#[test]
fn pinned_leaders_go_there_and_stay() {
    let mut world = World::settled(3, 3);
    for partition in 0..3 {
        world.pin(PartitionId(partition), 2);
    }
    world.pin(PartitionId::META, 3);
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(2, 3)]));
    assert_eq!(world.groups[&PartitionId::META].leader, Some(ReplicaId::first(NodeId(3))));
    // Nobody goes where nobody answers; and back when it does.
    world.kill(2);
    world.settle();
    assert_eq!(leads(&world).get(&2), None);
    world.revive(2);
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(2, 3)]));
    for partition in 0..3 {
        world.pin(PartitionId(partition), 0);
    }
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
}

#[test]
fn leaders_are_spread_a_few_at_a_time_and_not_at_once() {
    let mut world = World::settled(9, 3);
    for group in world.groups.values_mut() {
        (group.leader, group.leads_ms) = (Some(ReplicaId::first(NodeId(1))), 9_999);
    }
    assert_eq!(world.plan(), [], "they have just begun");
    for group in world.groups.values_mut() {
        group.leads_ms = 10_000;
    }
    assert_eq!(world.plan().len(), 2);
    let before = world.transfers;
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(1, 3), (2, 3), (3, 3)]));
    assert_eq!(world.transfers - before, 6);
}

/// 1 leads two more than 3, but shares no group with it.
#[test]
fn nobody_is_led_to_a_slow_disk() {
    let mut world = World::settled(6, 3);
    world.pin(PartitionId(0), 2);
    world.settle();
    assert_eq!(leads(&world)[&2], 2);
    world.slow.insert(NodeId(2));
    assert_eq!(world.plan(), [], "it hands over by itself");
    let other = ReplicaId::first(NodeId(1));
    for group in world.groups.values_mut().filter(|group| group.leader.is_some_and(|leader| leader.node == NodeId(2))) {
        group.leader = Some(other);
    }
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(1, 3), (3, 3)]), "the others share what it led, and it stays away");
    // A node that is to be emptied asks less.
    world.slow.extend([NodeId(1), NodeId(3)]);
    world.set_state(1, NodeState::Draining);
    world.settle();
    assert!(!leads(&world).contains_key(&1));
    world.set_state(1, NodeState::Active);
    world.slow.clear();
    world.settle();
    assert_eq!(leads(&world), BTreeMap::from([(1, 2), (2, 2), (3, 2)]));
    assert_eq!(world.group(0).leader.unwrap().node, NodeId(2), "it is pinned there");
}

#[test]
fn leaders_make_room_for_each_other() {
    let mut world = World::settled(3, 3);
    for (partition, (nodes, leader)) in [(0, ([1, 2], 1)), (1, ([1, 2], 1)), (2, ([2, 3], 2))] {
        world.place(PartitionId(partition), nodes.map(u64::from).to_vec());
        set_members(&mut world, PartitionId(partition), replicas(&nodes), replicas(&[]));
        let group = world.groups.get_mut(&PartitionId(partition)).unwrap();
        group.leader = Some(ReplicaId::first(NodeId(leader)));
    }
    let wanted = world.wanted();
    let (limits, seen) = (world.limits, world.seen());
    let cx = crate::context::Context::new(&wanted, &seen, &limits);
    let mut counted = crate::leaders::Leads::of(&cx);
    let moves = crate::leaders::transfers(&cx, &BTreeSet::new(), &mut counted);
    let to = |node| ReplicaId::first(NodeId(node));
    assert_eq!(
        moves,
        [
            Action::Transfer { partition: P0, leader: NodeId(1), to: to(2) },
            Action::Transfer { partition: PartitionId(2), leader: NodeId(2), to: to(3) },
        ]
    );
}

#[test]
fn an_order_names_who_stays_and_who_is_new() {
    let mut world = World::settled(1, 3);
    assert_eq!(world.place(P0, vec![1, 2]), Answer::Done);
    assert_eq!(world.place(P0, vec![1, 2, 3]), Answer::Done);
    assert_eq!(world.place(P0, vec![1, 3]), Answer::Done);
    let row = world.row(P0);
    let nodes = [1, 2, 3].map(NodeId).into();
    let order = crate::target::order(P0, &row, &nodes);
    assert_eq!(order, PlaceReplicas { partition: 0, replicas: vec![1, 2, second(3).to_u64()], version: row.version });
    assert_eq!(world.order(MetaAction::Place(order)), Answer::Done);
    assert_eq!(world.row(P0).on(NodeId(2)), Some(second(2)));
}
