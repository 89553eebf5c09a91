//! The cases of [`crate::rule::accept`].

use abide_model::command::{Body, Invoke, Outcome, Response, Sink};
use abide_model::effect::{Answer, Effect, Work};
use abide_model::id::Millis;
use abide_model::limits;
use abide_model::protocol::{Code, Header, Input, NotificationResult};
use abide_model::table::{ObjectRow, Objects, Table};
use bytes::Bytes;

use crate::testing::*;

fn refused(invoke: Invoke) -> Option<u32> {
    refusal(&World::new().changes_nothing(5, invoked(invoke)))
}

#[test]
fn malformed_requests_are_refused() {
    assert_eq!(refused(Invoke { id: Bytes::from_static(b"short"), ..invoke(1, plain_turn()) }), Some(400));
    assert_eq!(refused(Invoke { target: None, ..invoke(1, plain_turn()) }), Some(400));
    let mut long = plain_turn();
    long.handler = "h".repeat(limits::NAME_BYTES_MAX + 1);
    assert_eq!(refused(invoke(1, long)), Some(400));
    assert_eq!(refused(invoke(1, turn_on(&"k".repeat(limits::KEY_BYTES_MAX + 1)))), Some(400));
    let key = Some("i".repeat(limits::IDEMPOTENCY_KEY_BYTES_MAX + 1));
    assert_eq!(refused(Invoke { idempotency_key: key, ..invoke(1, plain_turn()) }), Some(400));
    let input = Bytes::from(vec![0; limits::BODY_BYTES_MAX + 1]);
    assert_eq!(refused(Invoke { input, ..invoke(1, plain_turn()) }), Some(400));
}

/// A caller inside the cluster is told as well, or it would wait for ever.
#[test]
fn a_refused_call_fails_at_its_caller() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    let sink = Some(Sink::new(caller, 1, 3, Code::CALL_DONE));
    let effects = world.apply(invoked(Invoke { target: None, sink, ..invoke(2, plain_turn()) }));
    assert_eq!(refusal(&effects), Some(400));
    assert!(matches!(world.last_notification(caller).result, Some(NotificationResult::Failure(it)) if it.code == 400));
}

#[test]
fn the_input_becomes_the_first_entry() {
    let mut world = World::new();
    let headers = vec![Header { key: "a".into(), value: "b".into() }];
    world.apply(invoked(Invoke { headers: headers.clone(), ..invoke(1, plain_flow()) }));
    let input: Input = world.journal(id(1))[0].decode().unwrap();
    assert_eq!((input.headers, input.value.unwrap().content.as_ref()), (headers, &b"in"[..]));
    let row = world.row(id(1));
    assert_eq!((row.created_at, row.modified_at, row.attempt), (1000, 1000, 1));
}

#[test]
fn what_is_not_exclusive_starts_at_once() {
    for target in [plain_turn(), plain_flow(), reader(), watcher()] {
        let mut world = World::new();
        assert_eq!(world.ask(5, invoked(invoke(1, target))), [accepted(5, id(1)), start(id(1))]);
        assert_eq!(world.status(id(1)), "running");
        assert_eq!(world.object(), ObjectRow::default());
    }
}

#[test]
fn exclusive_ones_queue_in_order() {
    let mut world = World::new();
    let work = Work {
        id: id(1),
        target: turn_on("k"),
        input: Bytes::from_static(b"in"),
        headers: Vec::new(),
        failures: 0,
        life: 1,
    };
    let effects = world.ask(5, invoked(invoke(1, turn_on("k"))));
    assert_eq!(effects, [accepted(5, id(1)), Effect::Enqueued { object: object("k"), work }]);
    // A flow behind a turn waits; the turn is run by the host without a start.
    let effects = world.ask(6, invoked(invoke(2, flow_on("k"))));
    assert_eq!((enqueued(&effects), others(&effects)), (vec![id(2)], vec![accepted(6, id(2))]));
    assert_eq!((world.status(id(1)), world.status(id(2))), ("pending", "pending"));
    assert_eq!(world.object(), ObjectRow { head: 0, tail: 2, ..ObjectRow::default() });
}

#[test]
fn a_flow_at_the_front_starts() {
    let mut world = World::new();
    let effects = world.ask(5, invoked(invoke(1, flow_on("k"))));
    assert_eq!((enqueued(&effects), others(&effects)), (vec![id(1)], vec![accepted(5, id(1)), start(id(1))]));
}

#[test]
fn a_delayed_one_waits_for_its_time_and_queues_only_then() {
    let mut world = World::new();
    let effects = world.ask(5, invoked(Invoke { execute_at: 1500, ..invoke(1, turn_on("k")) }));
    let due = Some(Millis(1500));
    let accepted = Effect::Accepted { request: 5, invocation: id(1), known: false, execute_at: due };
    assert_eq!(effects, [accepted, timer_set(1500)]);
    assert_eq!(world.status(id(1)), "scheduled");
    assert!(world.object().is_idle());
    // A time that has passed is now.
    let effects = world.ask(5, invoked(Invoke { execute_at: 1000, ..invoke(2, turn_on("k")) }));
    assert_eq!(enqueued(&effects), [id(2)]);
}

/// The table of an object whose mailbox is at its limit, and nothing else of it: enough for the rule.
fn full() -> World {
    let mut world = World::new();
    let row = ObjectRow { head: 5, tail: 5 + limits::MAILBOX_MAX, ..ObjectRow::default() };
    world.rows.0.insert(Objects::encode_key(&object("k")), Objects::encode_value(&row));
    world
}

#[test]
fn a_full_mailbox_refuses() {
    let world = full();
    let command = |invoke| abide_model::command::Command { request: 5, body: Some(invoked(invoke)) };
    let apply = |invoke| world.machine.clone().apply(&world.rows, command(invoke)).unwrap();
    let transition = apply(invoke(1, turn_on("k")));
    assert_eq!((transition.writes, refusal(&transition.effects)), (vec![], Some(430)));
    // It is not in the way of what needs no place in it now.
    for fine in
        [invoke(1, reader()), invoke(1, turn_on("other")), Invoke { execute_at: 2000, ..invoke(1, turn_on("k")) }]
    {
        assert_eq!(refusal(&apply(fine).effects), None);
    }
}

#[test]
fn a_repetition_waits_for_the_same_result() {
    let mut world = World::new();
    world.ask(5, invoked(keyed(1, turn_on("k"))));
    assert_eq!(world.changes_nothing(6, invoked(keyed(1, turn_on("k")))), [known(6, id(1))]);
}

/// Invariant I3.
#[test]
fn a_repetition_after_the_end_gets_the_kept_result() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, turn_on("k"))));
    world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
    let effects = world.changes_nothing(6, invoked(keyed(1, turn_on("k"))));
    assert_eq!(effects, [known(6, id(1)), kept(id(1), ok("ok"), 6000)]);
    // Forgotten: it is a new invocation.
    world.at(6000).apply(fire());
    assert_eq!(enqueued(&world.ask(7, invoked(keyed(1, turn_on("k"))))), [id(1)]);
}

/// The id of a workflow's run derives from its key, without an idempotency key.
#[test]
fn ids_repeat_without_an_idempotency_key_too() {
    let mut world = World::new();
    let run = Invoke { retention_ms: 5000, ..invoke(1, flow_on("k")) };
    world.apply(invoked(run.clone()));
    assert_eq!(world.changes_nothing(6, invoked(run.clone())), [known(6, id(1))]);
    world.append(id(1), vec![output("done"), end()]);
    let effects = world.changes_nothing(7, invoked(run));
    assert_eq!(effects, [known(7, id(1)), kept(id(1), ok("done"), 6000)]);
}

#[test]
fn every_caller_of_a_repeated_call_gets_the_result() {
    let mut world = World::new();
    let (a, b, c) = (world.start_flow(11, plain_flow()), world.start_flow(12, plain_flow()), far(13));
    for (life, caller) in (1..).zip([a, b, c]) {
        let sink = Some(Sink::new(caller, life, 2, Code::CALL_DONE));
        world.apply(invoked(Invoke { sink, ..keyed(1, turn_on("k")) }));
    }
    world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
    let late = Some(Sink::new(a, 1, 4, Code::CALL_DONE));
    world.apply(invoked(Invoke { sink: late, ..keyed(1, turn_on("k")) }));
    assert_eq!(world.codes(a), [Code::INPUT, Code::CALL_DONE, Code::CALL_DONE]);
    assert_eq!(world.codes(b), [Code::INPUT, Code::CALL_DONE]);
}

#[test]
fn a_caller_elsewhere_is_answered_through_the_outbox() {
    let mut world = World::of(0, 2);
    let sink = Sink::new(far(13), 1, 2, Code::CALL_DONE);
    world.apply(invoked(Invoke { sink: Some(sink.clone()), ..invoke(1, turn_on("k")) }));
    let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
    let outcome: Option<Outcome> = Some(ok("ok"));
    let response =
        abide_model::command::ParcelBody::Response(Response { sink: Some(sink), outcome, callee: bytes(id(1)) });
    let parcel = abide_model::command::Parcel::new(response);
    assert!(effects.contains(&Effect::Ship { to: abide_model::id::PartitionId(1), seq: 1, parcel }));
}

#[test]
fn nobody_is_told_twice() {
    let mut world = World::new();
    let effects = world.ask(5, invoked(keyed(1, plain_flow())));
    let answers = effects.iter().filter(|it| matches!(it, Effect::Accepted { .. } | Effect::Answered { .. }));
    assert_eq!(answers.count(), 1);
    assert!(!effects.contains(&answered(5, Answer::Done)));
}
