//! Two invocations may have one id, one after the other: an idempotency key or a workflow's key gives it to both. What is
//! still said of the first changes nothing in the second.

use abide_model::command::{
    Append, AttemptFailed, Body, Deliver, Next, Parcel, ParcelBody, Response, Sink, Target, Turn,
};
use abide_model::id::InvocationId;
use abide_model::protocol::{Code, Failure};
use abide_model::table::Timers;

use crate::testing::*;

/// The second life of invocation 1, in the same place and with the same numbers as the first had.
fn second(target: Target) -> World {
    let mut world = World::new();
    world.apply(invoked(keyed(1, target.clone())));
    assert_eq!(world.row(id(1)).life, 1);
    world.apply(order(id(1), abide_model::command::Verb::Kill));
    world.at(6001).apply(fire());
    assert_eq!(world.status(id(1)), "unknown");
    world.apply(invoked(keyed(1, target)));
    assert_eq!(world.row(id(1)).life, 2);
    world
}

fn append(life: u64) -> Body {
    let messages = vec![run(1), output("x"), end()];
    Body::Append(Append { id: bytes(id(1)), term: 1, attempt: 1, messages, seen: 1, life, version: String::new() })
}

#[test]
fn an_append_of_the_first_is_not_heard() {
    for target in [plain_flow(), flow_on("k")] {
        let mut world = second(target);
        world.ignores(append(1));
        world.apply(append(2));
        assert_eq!(world.status(id(1)), "completed");
    }
}

#[test]
fn a_record_of_a_turn_of_the_first_changes_nothing() {
    for (target, base) in [(turn_on("k"), Some(version(0, 0))), (plain_turn(), None)] {
        let mut world = second(target);
        let turn = |life| Turn { base, life, ..from_mailbox(1, version(0, 0), vec![set("a", "1")]) };
        let effects = world.changes_nothing(0, Body::Turn(turn(1)));
        assert_eq!(effects, if base.is_some() { vec![rejected()] } else { vec![] });
        world.apply(Body::Turn(turn(2)));
        assert_eq!(world.status(id(1)), "completed");
    }
}

#[test]
fn a_failure_of_the_first_does_not_count() {
    for target in [plain_flow(), flow_on("k"), turn_on("k"), plain_turn()] {
        let mut world = second(target);
        let attempt = world.row(id(1)).attempt;
        let failed = |life| {
            Body::AttemptFailed(AttemptFailed {
                id: bytes(id(1)),
                term: 1,
                attempt,
                failure: Some(Failure::new(500, "boom")),
                next: Some(Next::Pause(true)),
                life,
                ..AttemptFailed::default()
            })
        };
        world.ignores(failed(1));
        world.apply(failed(2));
        assert_eq!(world.status(id(1)), "paused");
    }
}

fn response(to: InvocationId, life: u64) -> Body {
    let sink = Some(Sink::new(to, life, 2, Code::CALL_DONE));
    let response = Response { sink, outcome: Some(ok("late")), callee: bytes(far(9)) };
    Body::Deliver(Deliver { from: 1, first: life, messages: vec![Parcel::new(ParcelBody::Response(response))] })
}

#[test]
fn an_answer_to_the_first_does_not_reach_the_second() {
    let mut world = second(plain_flow());
    world.append(id(1), vec![suspend(&[2], &[])]);
    world.apply(response(id(1), 1));
    assert_eq!((world.status(id(1)), world.codes(id(1))), ("suspended", vec![Code::INPUT]));
    world.apply(response(id(1), 2));
    assert_eq!((world.status(id(1)), world.codes(id(1)).pop()), ("running", Some(Code::CALL_DONE)));
}

#[test]
fn a_call_of_the_first_within_the_partition_is_not_answered_to_the_second() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, plain_flow())));
    world.append(id(1), vec![call(invoke(2, plain_flow()), 1)]);
    world.append(id(1), vec![output("x"), end()]);
    world.at(6001).apply(fire());
    world.apply(invoked(keyed(1, plain_flow())));
    world.append(id(2), vec![output("late"), end()]);
    assert_eq!(world.codes(id(1)), [Code::INPUT]);
}

/// Sleeps of the first are gone with it.
#[test]
fn a_sleep_of_the_first_does_not_wake_the_second() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, plain_flow())));
    world.append(id(1), vec![sleep(7000, 1), output("x"), end()]);
    assert!(world.rows.all::<Timers>().is_empty());
    world.at(6001).apply(fire());
    world.apply(invoked(keyed(1, plain_flow())));
    world.at(7000).apply(fire());
    assert_eq!(world.codes(id(1)), [Code::INPUT]);
}

/// Lives go on counting over a restart: they are persisted with what is applied.
#[test]
fn no_life_is_given_twice() {
    let mut world = second(plain_flow());
    assert_eq!(world.machine.lives(), 2);
    let applied = abide_model::table::AppliedRow {
        log_time: 6001,
        leader_term: 1,
        lives: world.machine.lives(),
        ..abide_model::table::AppliedRow::default()
    };
    world.machine = crate::Machine::new(abide_model::id::PartitionId(0), 1, &applied);
    world.apply(invoked(invoke(3, plain_flow())));
    assert_eq!(world.row(id(3)).life, 3);
}
