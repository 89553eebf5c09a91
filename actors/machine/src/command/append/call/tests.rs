use abide_model::command::{FlowMessage, Invoke, Parcel, ParcelBody, Sink};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, PartitionId};
use abide_model::protocol::{Call, Code, Failure, Notification, NotificationId, NotificationResult, Value};
use abide_model::table::Outbox;
use bytes::Bytes;

use crate::testing::*;

#[test]
fn the_callee_is_told_at_once_and_its_result_when_it_is_there() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    let effects = world.append(caller, vec![call(invoke(20, flow_on("k")), 1)]);
    let told = Notification {
        id: Some(NotificationId::Completion(1)),
        result: Some(NotificationResult::InvocationId(id(20).to_string())),
    };
    assert_eq!(world.last_notification(caller), told);
    assert!(matches!(&effects[0], Effect::Notify { index: 2, attempt: 1, .. }));
    assert_eq!(
        others(&effects)[1..],
        [Effect::Appended { invocation: caller, attempt: 1 }, accepted(0, id(20)), start(id(20)),]
    );
    assert_eq!(world.row(id(20)).invoked_by, bytes(caller));
    let effects = world.append(id(20), vec![output("r"), end()]);
    assert_eq!(world.codes(caller), [Code::INPUT, Code::CALL, Code::CALL_INVOCATION_ID, Code::CALL_DONE]);
    let result = Some(NotificationResult::Value(Value { content: Bytes::from_static(b"r") }));
    assert_eq!(world.last_notification(caller), Notification { id: Some(NotificationId::Completion(2)), result });
    assert!(matches!(effects.last(), Some(Effect::Notify { index: 3, attempt: 1, .. })));
}

#[test]
fn nobody_waits_for_a_one_way_call() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    let later = Invoke { execute_at: 5000, ..invoke(21, plain_flow()) };
    world.append(caller, vec![one_way(invoke(20, plain_flow()), 1), one_way(later, 2)]);
    assert_eq!((world.row(id(20)).sinks, world.status(id(21))), (vec![], "scheduled"));
    world.append(id(20), vec![output("r"), end()]);
    assert_eq!(world.row(caller).journal_len, 5);
}

#[test]
fn a_callee_elsewhere_goes_through_the_outbox() {
    let mut world = World::of(0, 2);
    let caller = world.start_flow(1, plain_flow());
    let callee = Invoke { id: bytes(far(20)), ..invoke(20, flow_on("k")) };
    let effects = world.append(caller, vec![call(callee.clone(), 1)]);
    let sink = Some(Sink::new(caller, 1, 2, Code::CALL_DONE));
    let parcel = Parcel::new(ParcelBody::Invoke(Invoke { sink, invoked_by: bytes(caller), ..callee }));
    assert_eq!(world.rows.row::<Outbox>(&(PartitionId(1), 1)), Some(parcel.clone()));
    assert!(effects.contains(&Effect::Ship { to: PartitionId(1), seq: 1, parcel }));
    assert_eq!(world.status(far(20)), "unknown");
}

#[test]
fn a_call_that_was_made_before_is_answered_from_the_record() {
    let mut world = World::new();
    world.apply(invoked(keyed(20, plain_flow())));
    world.append(id(20), vec![output("r"), end()]);
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![call(keyed(20, plain_flow()), 1)]);
    assert_eq!(world.codes(caller).last(), Some(&Code::CALL_DONE));
}

#[test]
fn a_suspended_caller_is_started_by_the_result() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![call(invoke(20, plain_flow()), 1), suspend(&[2], &[1])]);
    assert_eq!(world.status(caller), "suspended");
    let effects = world.append(id(20), vec![output("r"), end()]);
    assert_eq!(effects.last(), Some(&start(caller)));
    assert_eq!(world.row(caller).attempt, 2);
}

#[test]
fn a_refused_callee_fails_the_call() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    let mut target = plain_flow();
    target.handler = "h".repeat(9999);
    world.append(caller, vec![call(invoke(20, target), 1)]);
    let result = world.last_notification(caller).result;
    assert!(matches!(result, Some(NotificationResult::Failure(failure)) if failure.code == 400));
}

#[test]
fn a_result_for_a_caller_that_is_gone_is_dropped() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![call(invoke(20, plain_flow()), 1), output("x"), end()]);
    let effects = world.append(id(20), vec![output("r"), end()]);
    assert_eq!(effects, [completed(id(20), ok("r")), abort(id(20), None)]);
}

/// What the result of a call tells, when the rules answer it themselves.
fn refusal_of(world: &World, caller: InvocationId) -> Failure {
    match world.last_notification(caller).result {
        Some(NotificationResult::Failure(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_would_wait_for_itself_is_answered_at_once() {
    let mut world = World::new();
    let caller = world.start_flow(1, flow_on("k"));
    world.append(caller, vec![call(invoke(20, turn_on("k")), 1)]);
    assert_eq!(world.status(id(20)), "unknown");
    let failure = refusal_of(&world, caller);
    assert_eq!((failure.code, failure.message.as_str()), (508, "the call would wait for itself: S/k → S/k"));
}

#[test]
fn a_cycle_over_several_objects_is_named() {
    let mut world = World::new();
    let first = world.start_flow(1, flow_on("a"));
    world.append(first, vec![call(invoke(2, plain_flow()), 1)]);
    world.append(id(2), vec![call(invoke(3, flow_on("b")), 1)]);
    world.append(id(3), vec![call(invoke(4, flow_on("a")), 1)]);
    assert_eq!(refusal_of(&world, id(3)).message, "the call would wait for itself: S/a → S/b → S/a");
    // A send, or a shared handler, waits for nobody.
    world.append(id(3), vec![one_way(invoke(5, turn_on("a")), 3), call(invoke(6, reader()), 4)]);
    assert_eq!((world.status(id(5)), world.status(id(6))), ("pending", "running"));
}

#[test]
fn an_unresolved_callee_pauses() {
    for callee in [None, Some(Invoke { id: Bytes::new(), ..invoke(20, plain_flow()) })] {
        let mut world = World::new();
        let caller = world.start_flow(1, plain_flow());
        world.append(caller, vec![FlowMessage { callee, ..message(Code::CALL, &Call::default()) }]);
        assert_eq!((world.status(caller), world.row(caller).journal_len), ("paused", 1));
    }
}
