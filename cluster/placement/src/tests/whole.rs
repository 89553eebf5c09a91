//! The planner as a whole, on clusters in any state.

use abide_model::effect::Answer;
use abide_model::setting::REPLICATION_FACTOR;
use abide_model::table::NodeState;
use proptest::prelude::*;

use super::*;
use crate::context::odd;

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Event {
    Kill(u32),
    Lose(u32),
    Revive(u32),
    Join(&'static str),
    State(u32, NodeState),
    Factor(u64),
    Pin(u32, u32),
    /// Somebody else places a partition.
    Place(u32, Vec<u64>),
    Entries(u32, u64),
    Rounds(usize),
}

fn events() -> impl Strategy<Value = Event> {
    let node = || 1..8u32;
    prop_oneof![
        3 => node().prop_map(Event::Kill),
        2 => node().prop_map(Event::Lose),
        3 => node().prop_map(Event::Revive),
        4 => prop::sample::select(vec!["", "a", "b", "c"]).prop_map(Event::Join),
        2 => node().prop_map(|node| Event::State(node, NodeState::Draining)),
        2 => node().prop_map(|node| Event::State(node, NodeState::Active)),
        2 => node().prop_map(|node| Event::State(node, NodeState::Removed)),
        2 => (1..8u64).prop_map(Event::Factor),
        1 => (0..4u32, 0..8u32).prop_map(|(partition, node)| Event::Pin(partition, node)),
        2 => (0..4u32, prop::collection::vec(numbers(), 1..5)).prop_map(|(partition, nodes)| Event::Place(partition, nodes)),
        2 => (0..4u32, 0..9_000u64).prop_map(|(partition, entries)| Event::Entries(partition, entries)),
        8 => (1..12usize).prop_map(Event::Rounds),
    ]
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..8u64,
        1 => (1..8u32, 1..4u32).prop_map(|(n, incarnation)| ReplicaId { node: NodeId(n), incarnation }.to_u64()),
    ]
}

/// Does what happens, but never so that a group loses its majority: nothing could be planned for it.
fn happen(world: &mut World, event: Event) {
    let nodes = u32::try_from(world.silent.len()).unwrap();
    match event {
        Event::Kill(node) | Event::Lose(node) if node <= nodes => {
            let before = world.silent.clone();
            world.silent.insert(NodeId(node), if matches!(event, Event::Lose(_)) { 600_000 } else { 1 });
            if !world.groups.values().all(|group| world.works(group)) {
                world.silent = before;
            }
        }
        Event::Revive(node) if node <= nodes => world.revive(node),
        Event::Join(zone) if nodes < 7 => world.join(nodes + 1, zone),
        // What the admin API asks first.
        Event::State(node, NodeState::Removed) if !crate::is_empty(&world.wanted(), &world.seen(), NodeId(node)) => {}
        Event::State(node, state) => {
            let _ = world.set_state(node, state);
        }
        Event::Factor(factor) if factor <= 7 => world.set("replication_factor", factor),
        Event::Pin(partition, node) if node <= nodes => {
            let order = abide_model::command::PinLeader { partition, node };
            let _ = world.order(abide_model::command::MetaAction::Pin(order));
        }
        Event::Place(partition, replicas) => {
            let _: Answer = world.place(PartitionId(partition), replicas);
        }
        Event::Entries(partition, entries) => {
            let group = world.groups.get_mut(&PartitionId(partition)).unwrap();
            if let Some(leader) = group.leader {
                group.last += entries;
                group.matched.insert(leader, group.last);
                // A majority has every entry.
                for voter in group.voters.clone() {
                    if world.silent[&voter.node] == 0 {
                        group.matched.insert(voter, group.last);
                    }
                }
            }
        }
        Event::Rounds(rounds) => (0..rounds).for_each(|_| drop(world.round())),
        _ => {}
    }
}

/// What holds of a cluster in which nothing is left to do and every node answers.
fn is_as_wanted(world: &World) {
    let wanted = world.wanted();
    let state = |node: NodeId| wanted.nodes[&node].state();
    let active: BTreeSet<NodeId> =
        wanted.nodes.keys().copied().filter(|node| state(*node) == NodeState::Active).collect();
    let factor = usize::try_from(wanted.number(&REPLICATION_FACTOR)).unwrap();
    for (partition, row) in &wanted.placements {
        let group = &world.groups[partition];
        let what = || format!("{partition}: {row:?} {group:?} with {factor} on {active:?}");
        let members: BTreeSet<_> = group.voters.union(&group.learners).copied().collect();
        let nodes: BTreeSet<_> = row.wanted().map(|replica| replica.node).collect();
        let stuck = group.voters.iter().all(|voter| nodes == BTreeSet::from([voter.node]) && !members.is_empty());
        if stuck && active.iter().all(|node| nodes.contains(node)) {
            // The only replica is to be replaced by another one on its own node: that cannot be.
            continue;
        }
        assert_eq!(members, row.wanted().collect(), "{}", what());
        let leader = group.leader.expect("somebody leads");
        if *partition == PartitionId::META {
            let usable = members.iter().filter(|replica| active.contains(&replica.node)).count();
            assert!(group.voters.len() <= 5 && group.voters.len() >= odd(usable.min(5)), "{}", what());
        } else {
            let on_active = members.iter().filter(|replica| active.contains(&replica.node)).count();
            assert_eq!(on_active, factor.min(active.len()), "{}", what());
            assert_eq!(group.voters.len(), odd(members.len()), "{}", what());
            let kept = members.len() - on_active;
            assert!(kept == 0 || odd(on_active) < odd(members.len()), "{}", what());
            // Zones are used as far as there are some.
            let mut zones: BTreeMap<&str, usize> = active.iter().map(|node| (wanted.nodes[node].zone(), 0)).collect();
            let mut room = zones.clone();
            active.iter().for_each(|node| *room.get_mut(wanted.nodes[node].zone()).unwrap() += 1);
            for replica in members.iter().filter(|replica| active.contains(&replica.node)) {
                *zones.get_mut(wanted.nodes[&replica.node].zone()).unwrap() += 1;
            }
            let most = zones.values().max().copied().unwrap_or_default();
            let even = zones.iter().all(|(zone, count)| count + 1 >= most || *count == room[zone]);
            assert!(even || kept > 0, "{zones:?} {}", what());
        }
        let could = |voter: &ReplicaId| active.contains(&voter.node);
        assert!(could(&leader) || !group.voters.iter().any(could), "{}", what());
        let pinned = row.pinned_node().and_then(|node| row.on(node)).filter(|replica| group.voters.contains(replica));
        assert!(pinned.is_none_or(|pinned| pinned == leader || !could(&pinned)), "{}", what());
    }
    if factor >= active.len() && active.len() % 2 == 1 && wanted.placements.values().all(|row| row.pinned == 0) {
        let counts: Vec<usize> =
            active.iter().map(|node| leads(world).get(&node.0).copied().unwrap_or_default()).collect();
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever happens, no plan takes a group's majority ([`World::round`] looks), and once nothing happens any more, with
    /// all nodes there or with some away for good, it comes to rest.
    #[test]
    fn whatever_happens_it_comes_to_rest(events in prop::collection::vec(events(), 1..40)) {
        let mut world = World::new(4);
        for event in events {
            happen(&mut world, event);
        }
        world.settle();
        for silent in world.silent.values_mut().filter(|silent| **silent > 0) {
            *silent = 1_000_000;
        }
        world.settle();
        let nodes: Vec<u32> = world.silent.keys().map(|node| node.0).collect();
        nodes.into_iter().for_each(|node| world.revive(node));
        world.settle();
        is_as_wanted(&world);
        // Nothing is done when nothing has to be.
        let joined = world.joined.len();
        for _ in 0..20 {
            prop_assert_eq!(world.round(), []);
        }
        prop_assert_eq!(world.joined.len(), joined);
    }

    /// From members that no plan would make: any replicas, with any votes, as long as a majority answers.
    #[test]
    fn from_any_members_it_comes_to_rest(
        (nodes, factor) in (1..7u32, 1..8u64),
        placed in prop::collection::vec(prop::collection::btree_set(1..7u32, 1..6), 12),
        votes in prop::collection::vec(any::<u8>(), 4),
        states in prop::collection::vec(prop::bool::weighted(0.2), 7),
        zones in prop::collection::vec(prop::sample::select(vec!["", "a", "b"]), 7),
        progress in prop::collection::vec(0..5_000u64, 8),
        silent in prop::collection::vec(prop_oneof![4 => Just(0u64), 1 => Just(1), 1 => Just(900_000)], 7),
    ) {
        let mut world = World::new(3);
        for n in 2..=nodes {
            world.join(n, zones[n as usize]);
        }
        // Other replicas were wanted before, so that members may be of those.
        let mut known: BTreeMap<PartitionId, BTreeSet<ReplicaId>> = BTreeMap::new();
        for (n, set) in placed.iter().enumerate() {
            let partition = PartitionId(u32::try_from(n % 3).unwrap());
            let set: Vec<u64> = set.iter().filter(|node| **node <= nodes).map(|node| u64::from(*node)).collect();
            if !set.is_empty() {
                prop_assert_eq!(world.place(partition, set), Answer::Done);
            }
            known.entry(partition).or_default().extend(world.row(partition).wanted());
        }
        for (at, votes) in votes.iter().enumerate() {
            let partition = if at == 3 { PartitionId::META } else { PartitionId(u32::try_from(at).unwrap()) };
            // One a node.
            let known = known.get(&partition).cloned().unwrap_or_else(|| world.row(partition).wanted().collect());
            let members: BTreeMap<NodeId, ReplicaId> = known.into_iter().map(|replica| (replica.node, replica)).collect();
            let (mut voters, mut learners) = (BTreeSet::new(), BTreeSet::new());
            for (bit, replica) in members.into_values().enumerate() {
                match (votes >> bit) & 3 {
                    0 => {}
                    1 => { learners.insert(replica); }
                    _ => { voters.insert(replica); }
                }
            }
            if let Some(leader) = voters.first().copied() {
                let group = world.groups.get_mut(&partition).unwrap();
                let replicas = voters.iter().chain(&learners).zip(&progress);
                group.matched = replicas.map(|(replica, matched)| (*replica, *matched)).collect();
                group.matched.insert(leader, group.last);
                (group.voters, group.learners, group.leader) = (voters, learners, Some(leader));
            }
        }
        world.set("replication_factor", factor.min(7));
        for n in 1..=nodes {
            if states[n as usize] {
                world.set_state(n, NodeState::Draining);
            }
            let before = world.silent.insert(NodeId(n), silent[n as usize]);
            let leads = world.groups.values().any(|group| group.leader.is_some_and(|leader| leader.node == NodeId(n)));
            if leads || !world.groups.values().all(|group| world.works(group)) {
                world.silent.insert(NodeId(n), before.unwrap());
            }
        }
        world.settle();
        (1..=nodes).for_each(|node| world.revive(node));
        world.settle();
        is_as_wanted(&world);
    }
}
