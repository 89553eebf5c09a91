use std::collections::BTreeMap;

use abide_model::command::{AnnounceNode, Body, FireTimers, JoinNode, LeaderStart, NodeInfo, RaiseFeatures};
use abide_model::id::ReplicaId;
use proptest::option;
use proptest::prelude::*;

use super::words::*;
use super::*;
use crate::testing::{World, id, invoke, invoked, order, plain_flow, refusal as refused};

#[test]
fn orders_about_the_cluster_are_for_meta() {
    let mut world = World::new();
    assert_eq!(code(unchanged(&mut world, found(2))), 400);
    let mut world = meta();
    for action in [join(2), state(1, NodeState::Draining), place(0, &[1], 1), pin(0, 1), set("log_level", None)] {
        assert_eq!(code(unchanged(&mut world, action)), 419, "there is no cluster yet");
    }
}

#[test]
fn meta_takes_nothing_else() {
    let mut world = cluster(2);
    let asked = [invoked(invoke(1, plain_flow())), order(id(1), abide_model::command::Verb::Kill)];
    for body in asked {
        assert_eq!(refused(&world.changes_nothing(7, body.clone())), Some(400));
        world.ignores(body);
    }
    world.ignores(Body::FireTimers(FireTimers {}));
    world.ignores(Body::LeaderStart(LeaderStart { term: 9 }));
    assert_eq!(world.machine.leader_term(), 9);
}

#[test]
fn an_order_of_a_newer_build_is_not_skipped() {
    for world in [World::new(), cluster(2)] {
        let command = abide_model::command::Command::new(Body::Meta(MetaOrder::default()));
        assert!(world.machine.clone().apply(&world.rows, command).is_err());
    }
}

fn infos() -> impl Strategy<Value = Option<NodeInfo>> {
    let fits = (1..8u32, 2..6u32).prop_map(|(n, features)| Some(NodeInfo { features, ..info(n) }));
    let malformed = (1..8u32).prop_map(|n| Some(NodeInfo { address: "a".into(), ..info(n) }));
    prop_oneof![12 => fits, 1 => malformed, 1 => Just(None)]
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 1..7u64,
        3 => (1..7u32, 1..3u32).prop_map(|(n, incarnation)| ReplicaId { node: NodeId(n), incarnation }.to_u64()),
        1 => any::<u64>(),
    ]
}

fn partitions() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..2u32, 3 => Just(1023), 1 => any::<u32>()]
}

fn actions() -> impl Strategy<Value = MetaAction> {
    let placed = (partitions(), prop::collection::vec(numbers(), 0..5), prop_oneof![9 => Just(u64::MAX), 1 => 0..9u64]);
    prop_oneof![
        1 => Just(found(2)),
        6 => (infos(), prop_oneof![9 => Just(0), 1 => 0..4u32])
            .prop_map(|(info, partitions)| MetaAction::Join(JoinNode { info, partitions })),
        2 => (0..8u32, infos()).prop_map(|(node, info)| MetaAction::Announce(AnnounceNode { node, info })),
        4 => (0..8u32, 0..3i32).prop_map(|(node, state)| {
            MetaAction::SetNodeState(abide_model::command::SetNodeState { node, state })
        }),
        12 => placed.prop_map(|(partition, replicas, version)| place(partition, &replicas, version)),
        2 => (partitions(), 0..8u32).prop_map(|(partition, node)| pin(partition, node)),
        1 => ("replication_factor|log_level|x", option::of("[1-9]|info"))
            .prop_map(|(name, value)| set(&name, value.as_deref())),
        1 => (0..7u32).prop_map(|level| MetaAction::RaiseFeatures(RaiseFeatures { level })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever is ordered, in whatever order: one answer, no change by a refusal, what holds of the tables holds
    /// ([`World::ask`] looks), no id of a node comes back, and numbers of replicas only grow.
    #[test]
    fn any_orders_keep_the_cluster_whole(actions in prop::collection::vec(actions(), 1..60)) {
        let mut world = cluster(2);
        let mut given: BTreeMap<(PartitionId, NodeId), (u32, bool)> = BTreeMap::new();
        let mut stores: BTreeMap<NodeId, String> = BTreeMap::new();
        for (partition, row) in world.rows.all::<Placements>() {
            let placed = row.wanted().map(|replica| ((partition, replica.node), (replica.incarnation, true)));
            given.extend(placed);
        }
        for mut action in actions {
            if let MetaAction::Place(order) = &mut action && order.version == u64::MAX {
                order.version = world.rows.row::<Placements>(&PartitionId(order.partition)).map_or(0, |row| row.version);
            }
            let before = world.rows.clone();
            let answer = ask(&mut world, action);
            prop_assert!(!matches!(answer, Answer::Refused(_)) || world.rows == before);
            for (node, row) in world.rows.all::<Nodes>() {
                let store = row.info.unwrap().store_uuid;
                prop_assert_eq!(stores.entry(node).or_insert_with(|| store.clone()), &store);
            }
            for (partition, row) in world.rows.all::<Placements>() {
                let version = before.row::<Placements>(&partition).map_or(0, |row| row.version);
                prop_assert_eq!(row.version > version, before.row::<Placements>(&partition).as_ref() != Some(&row));
                for node in stores.keys() {
                    let now = row.on(*node).map(|replica| replica.incarnation);
                    match (given.get(&(partition, *node)).copied(), now) {
                        // The same one, or a later one; after it was away only a later one.
                        (Some((last, wanted)), Some(now)) => prop_assert!(now > last || (wanted && now == last)),
                        (None, Some(now)) => prop_assert_eq!(now, 0),
                        (_, None) => {}
                    }
                    let last = given.get(&(partition, *node)).map(|(last, _)| *last);
                    if let Some(last) = now.or(last) {
                        given.insert((partition, *node), (last, now.is_some()));
                    }
                }
            }
        }
    }
}
