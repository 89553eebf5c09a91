use abide_model::command::{Body, FlowMessage};
use abide_model::effect::Effect;
use abide_model::limits;
use abide_model::protocol::{
    Code, NotificationId, NotificationResult, PlainCommand, SetState, StateKeyCommand, StateKeys, Value, Void,
};
use bytes::Bytes;

use crate::testing::*;

fn get(field: &'static str, completion: u32) -> FlowMessage {
    let key = Bytes::from_static(field.as_bytes());
    message(Code::GET_LAZY_STATE, &StateKeyCommand { key, result_completion_id: completion, name: String::new() })
}

fn keys(completion: u32) -> FlowMessage {
    message(Code::GET_LAZY_STATE_KEYS, &PlainCommand { result_completion_id: completion, name: String::new() })
}

fn clear(field: &'static str) -> FlowMessage {
    let key = Bytes::from_static(field.as_bytes());
    message(Code::CLEAR_STATE, &StateKeyCommand { key, ..StateKeyCommand::default() })
}

fn clear_all() -> FlowMessage {
    message(Code::CLEAR_ALL_STATE, &PlainCommand::default())
}

#[test]
fn an_append_with_writes_makes_one_version() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    let effects = world.append(flow, vec![set_state("a", "1"), set_state("b", "2"), set_state("a", "3"), clear("b")]);
    assert_eq!(effects, [changed(object("k")), Effect::Appended { invocation: flow, attempt: 1 }]);
    assert_eq!((world.field("a"), world.field("b")), (Some("3".into()), None));
    assert_eq!(world.object().version(), version(1, 0));
    world.append(flow, vec![run(1)]);
    assert_eq!(world.object().version(), version(1, 0));
    // With the end of the flow, before anybody else is told to go on.
    world.apply(invoked(invoke(2, turn_on("k"))));
    let effects = world.append(flow, vec![set_state("a", "4"), output("x"), end()]);
    assert_eq!(effects[..2], [changed(object("k")), completed(flow, ok("x"))]);
    assert_eq!(world.object().version(), version(2, 0));
}

/// Writes are durable with their entry.
#[test]
fn writes_survive_the_failure_of_their_flow() {
    for last in [suspend(&[9], &[]), FlowMessage::default()] {
        let mut world = World::new();
        let flow = world.start_flow(1, flow_on("k"));
        let effects = world.append(flow, vec![set_state("a", "1"), last]);
        assert!(effects.contains(&changed(object("k"))));
        assert_eq!((world.field("a"), world.object().version()), (Some("1".into()), version(1, 0)));
        world.apply(order(flow, abide_model::command::Verb::Kill));
        assert_eq!(world.field("a"), Some("1".into()));
    }
}

/// A turn that was run ahead does not fit any more.
#[test]
fn the_state_of_a_flow_is_nobody_elses() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(invoked(invoke(2, turn_on("k"))));
    world.append(flow, vec![set_state("a", "1"), output("x"), end()]);
    for (base, fits) in [(version(0, 0), false), (version(1, 9), false), (version(1, 0), true)] {
        let effects = world.apply(Body::Turn(from_mailbox(2, base, vec![])));
        assert_eq!(effects == [rejected()], !fits, "{base:?}");
    }
}

#[test]
fn reads_are_answered_at_once() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    let effects = world.append(flow, vec![get("a", 1), set_state("b", "2"), set_state("a", "1"), get("a", 2), keys(3)]);
    let told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify { index, entry, .. } => Some((*index, entry.message())),
            _ => None,
        })
        .collect();
    let expected = [
        (2, Code::GET_LAZY_STATE_DONE, NotificationResult::Void(Void {})),
        (6, Code::GET_LAZY_STATE_DONE, NotificationResult::Value(Value { content: "1".into() })),
        (
            8,
            Code::GET_LAZY_STATE_KEYS_DONE,
            NotificationResult::StateKeys(StateKeys { keys: vec!["a".into(), "b".into()] }),
        ),
    ];
    assert_eq!(told.len(), expected.len());
    for (n, ((index, message), expected)) in (1..).zip(told.into_iter().zip(expected)) {
        let notification: abide_model::protocol::Notification = message.decode().unwrap();
        assert_eq!((index, message.code, notification.result.unwrap()), expected);
        assert_eq!(notification.id, Some(NotificationId::Completion(n)));
        assert_eq!(world.journal(flow)[index as usize], message);
    }
}

#[test]
fn clearing_all_takes_what_this_append_wrote() {
    let mut world = World::new();
    let other = world.start_flow(2, flow_on("k2"));
    world.append(other, vec![set_state("a", "other")]);
    let flow = world.start_flow(1, flow_on("k"));
    world.append(flow, vec![set_state("old", "1"), set_state("gone", "1")]);
    world.append(flow, vec![clear("gone"), set_state("new", "1"), clear_all(), set_state("newer", "1"), keys(1)]);
    let result = world.last_notification(flow).result;
    assert_eq!(result, Some(NotificationResult::StateKeys(StateKeys { keys: vec!["newer".into()] })));
    // The object whose key begins alike keeps its own.
    assert_eq!(world.rows.all::<abide_model::table::States>().len(), 2);
}

/// Eager reads say what the flow knew; nothing follows from them.
#[test]
fn eager_reads_are_only_recorded() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    let eager = message(Code::GET_EAGER_STATE, &abide_model::protocol::GetEagerState::default());
    let effects = world.append(flow, vec![eager]);
    assert_eq!(effects, [Effect::Appended { invocation: flow, attempt: 1 }]);
}

#[test]
fn state_belongs_to_those_who_may_have_it() {
    // Shared flows read; flows without a key do neither.
    for (target, request, allowed) in [
        (watcher(), get("a", 1), true),
        (watcher(), keys(1), true),
        (watcher(), set_state("a", "1"), false),
        (watcher(), clear("a"), false),
        (watcher(), clear_all(), false),
        (plain_flow(), get("a", 1), false),
        (plain_flow(), keys(1), false),
        (plain_flow(), set_state("a", "1"), false),
    ] {
        let mut world = World::new();
        let flow = world.start_flow(1, target.clone());
        world.append(flow, vec![request.clone()]);
        let status = if allowed { "running" } else { "paused" };
        assert_eq!(world.status(flow), status, "{target} {request:?}");
        assert!(world.rows.all::<abide_model::table::States>().is_empty());
    }
}

#[test]
fn fields_have_limits() {
    let long = "f".repeat(limits::NAME_BYTES_MAX + 1);
    let big = "v".repeat(limits::STATE_VALUE_BYTES_MAX + 1);
    let key = Bytes::from_static(b"\xff");
    let not_text = message(Code::SET_STATE, &SetState { key, ..SetState::default() });
    for bad in [set_state(&long, "1"), set_state("a", &big), not_text] {
        let mut world = World::new();
        let flow = world.start_flow(1, flow_on("k"));
        world.append(flow, vec![bad]);
        assert_eq!((world.status(flow), world.row(flow).journal_len), ("paused", 1));
    }
}
