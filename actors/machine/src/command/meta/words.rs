//! Short words for orders about the cluster.

use abide_model::command::{
    Body, Command, FoundCluster, JoinNode, MetaAction, MetaOrder, NodeInfo, PinLeader, PlaceReplicas, SetNodeState,
    SetSetting,
};
use abide_model::effect::{Answer, Effect};
use abide_model::id::{NodeId, PartitionId};
use abide_model::protocol::CODE_METADATA;
use abide_model::table::{NodeRow, NodeState, Nodes, PlacementRow, Placements};

use crate::testing::World;

/// The partition of meta before anything happened.
pub(super) fn meta() -> World {
    World::of(PartitionId::META.0, 2)
}

/// A cluster of one node.
pub(super) fn cluster(partitions: u32) -> World {
    let mut world = meta();
    assert_eq!(ask(&mut world, found(partitions)), Answer::Done);
    world
}

/// What the `n`th node says of itself.
pub(crate) fn info(n: u32) -> NodeInfo {
    NodeInfo {
        store_uuid: format!("store-{n}"),
        address: format!("host{n}:9000"),
        ingress: format!("host{n}:8080"),
        admin: format!("host{n}:9070"),
        zone: format!("z{}", n % 2),
        build: "1".into(),
        features: 3,
    }
}

pub(super) fn founding(partitions: u32) -> FoundCluster {
    FoundCluster { cluster_id: "c".into(), partitions, node: 1, info: Some(info(1)) }
}

pub(super) fn found(partitions: u32) -> MetaAction {
    MetaAction::Found(founding(partitions))
}

pub(super) fn join(n: u32) -> MetaAction {
    MetaAction::Join(JoinNode { info: Some(info(n)), partitions: 0 })
}

pub(super) fn state(node: u32, state: NodeState) -> MetaAction {
    MetaAction::SetNodeState(SetNodeState { node, state: state as i32 })
}

pub(super) fn place(partition: u32, replicas: &[u64], version: u64) -> MetaAction {
    MetaAction::Place(PlaceReplicas { partition, replicas: replicas.to_vec(), version })
}

pub(super) fn pin(partition: u32, node: u32) -> MetaAction {
    MetaAction::Pin(PinLeader { partition, node })
}

pub(super) fn set(name: &str, value: Option<&str>) -> MetaAction {
    MetaAction::SetSetting(SetSetting { name: name.into(), value: value.map(Into::into) })
}

pub(super) fn command(action: MetaAction) -> Command {
    Command { request: 5, body: Some(Body::Meta(MetaOrder::new(action))) }
}

/// The one answer to an order, which has no other effects.
pub(super) fn ask(world: &mut World, action: MetaAction) -> Answer {
    let effects = world.ask(5, Body::Meta(MetaOrder::new(action)));
    match effects.as_slice() {
        [Effect::Answered { request: 5, answer }] => answer.clone(),
        other => panic!("one answer, not {other:?}"),
    }
}

/// The answer to an order that changes nothing.
pub(super) fn unchanged(world: &mut World, action: MetaAction) -> Answer {
    let before = world.rows.clone();
    let answer = ask(world, action);
    assert_eq!(world.rows, before);
    answer
}

/// The stable code of a refusal.
pub(super) fn code(answer: Answer) -> u16 {
    let Answer::Refused(failure) = answer else { panic!("a refusal, not {answer:?}") };
    let code = failure.metadata.iter().find(|fact| fact.key == CODE_METADATA).expect("a refusal has a code");
    code.value.trim_start_matches("AB").parse().unwrap()
}

pub(super) fn node(world: &World, node: u32) -> NodeRow {
    world.rows.row::<Nodes>(&NodeId(node)).unwrap()
}

pub(super) fn placement(world: &World, partition: PartitionId) -> PlacementRow {
    world.rows.row::<Placements>(&partition).unwrap()
}
