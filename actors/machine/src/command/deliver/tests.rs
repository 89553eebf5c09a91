use abide_model::command::{Body, Command, Control, Deliver, Invoke, Parcel, ParcelBody, Response, Signal, Sink, Verb};
use abide_model::effect::Effect;
use abide_model::id::PartitionId;
use abide_model::protocol::{Code, SignalId};
use abide_model::table::{Direction, Sequences};
use bytes::Bytes;

use crate::testing::*;

fn parcel(n: u128) -> Parcel {
    Parcel::new(ParcelBody::Invoke(invoke(n, turn_on("k"))))
}

fn deliver(first: u64, messages: Vec<Parcel>) -> Body {
    Body::Deliver(Deliver { from: 1, first, messages })
}

fn acknowledge(up_to: u64) -> Effect {
    Effect::Acknowledge { to: PartitionId(1), up_to }
}

/// Invariant I16.
#[test]
fn messages_are_taken_once_and_in_order() {
    let mut world = World::of(0, 2);
    let effects = world.apply(deliver(1, vec![parcel(1), parcel(2)]));
    assert_eq!((enqueued(&effects), effects.last().cloned()), (vec![id(1), id(2)], Some(acknowledge(2))));
    // Again, and again with a new one behind.
    assert_eq!(world.changes_nothing(0, deliver(1, vec![parcel(1), parcel(2)])), [acknowledge(2)]);
    let effects = world.apply(deliver(2, vec![parcel(2), parcel(3)]));
    assert_eq!((enqueued(&effects), effects.last().cloned()), (vec![id(3)], Some(acknowledge(3))));
    // A gap: the sender learns where to go on.
    assert_eq!(world.changes_nothing(0, deliver(5, vec![parcel(5)])), [acknowledge(3)]);
    let effects = world.apply(deliver(4, vec![parcel(4), parcel(5)]));
    assert_eq!((enqueued(&effects), effects.last().cloned()), (vec![id(4), id(5)], Some(acknowledge(5))));
    assert_eq!(world.object().tail, 5);
}

#[test]
fn partitions_are_counted_apart() {
    let mut world = World::of(0, 3);
    world.apply(deliver(1, vec![parcel(1)]));
    let effects = world.apply(Body::Deliver(Deliver { from: 2, first: 1, messages: vec![parcel(2)] }));
    assert_eq!(enqueued(&effects), [id(2)]);
    let taken = |from| world.rows.row::<Sequences>(&(Direction::Taken, PartitionId(from))).map(|row| row.last);
    assert_eq!((taken(1), taken(2)), (Some(1), Some(1)));
}

#[test]
fn odd_numbers_are_gaps_or_old() {
    let mut world = World::of(0, 2);
    assert_eq!(world.changes_nothing(0, deliver(1, vec![])), [acknowledge(0)]);
    assert_eq!(world.changes_nothing(0, deliver(u64::MAX, vec![parcel(1), parcel(2)])), [acknowledge(0)]);
    // Numbers start at 1: the one before is old.
    let effects = world.apply(deliver(0, vec![parcel(1), parcel(2)]));
    assert_eq!((enqueued(&effects), effects.last().cloned()), (vec![id(2)], Some(acknowledge(1))));
}

#[test]
fn every_kind_of_message_is_taken() {
    let mut world = World::of(0, 2);
    let flow = world.start_flow(1, plain_flow());
    let sink = Sink::new(flow, 1, 2, Code::CALL_DONE);
    let messages = vec![
        Parcel::new(ParcelBody::Response(Response { sink: Some(sink), outcome: Some(ok("r")), callee: Bytes::new() })),
        Parcel::new(ParcelBody::Signal(Signal {
            target: bytes(flow),
            signal: Some(SignalId::Index(17)),
            result: None,
        })),
    ];
    world.apply(deliver(1, messages));
    assert_eq!(world.codes(flow), [Code::INPUT, Code::CALL_DONE, Code::SIGNAL]);
    let kill = Control::new(flow, Verb::Kill);
    let effects = world.apply(deliver(3, vec![Parcel::new(ParcelBody::Control(kill))]));
    // Nobody waits for an answer to it.
    assert_eq!(effects[0], completed(flow, failure(409, "killed")));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Answered { .. })));
}

#[test]
fn a_message_without_meaning_is_taken_and_dropped() {
    let mut world = World::of(0, 2);
    let lost =
        Response { sink: Some(Sink::new(id(99), 1, 2, Code::CALL_DONE)), outcome: Some(ok("r")), callee: Bytes::new() };
    let bad = Invoke { id: Bytes::new(), ..invoke(1, plain_turn()) };
    let messages = vec![
        Parcel::new(ParcelBody::Response(lost)),
        Parcel::new(ParcelBody::Response(Response::default())),
        Parcel::new(ParcelBody::Invoke(bad)),
    ];
    let effects = world.apply(deliver(1, messages));
    assert_eq!((refusal(&effects), effects.last().cloned()), (Some(400), Some(acknowledge(3))));
}

/// What comes from a newer build cannot be skipped: replicas would part ways.
#[test]
fn what_this_build_does_not_know_stops_it() {
    let mut world = World::of(0, 2);
    let body = Some(deliver(1, vec![Parcel::default()]));
    let error = world.machine.apply(&world.rows, Command { request: 0, body }).unwrap_err();
    assert!(error.0.contains("does not know"), "{error}");
    let error = world.machine.apply(&world.rows, Command::default()).unwrap_err();
    assert!(error.0.contains("newer build"), "{error}");
}
