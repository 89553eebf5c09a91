//! The cases of [`super`].

use abide_model::command::{Access, Body, FlowMessage, Invoke, LetterOrder, Next, Outcome, Sink, Target, Turn, Verb};
use abide_model::effect::{Answer, Effect};
use abide_model::id::InvocationId;
use abide_model::limits::{LETTERS_MAX, MAILBOX_MAX};
use abide_model::protocol::{Code, Failure, Header, Output, OutputResult};
use abide_model::table::{LetterBounds, LetterBoundsRow, LetterRow, Letters, ObjectRow, Objects, Table};
use bytes::Bytes;

use crate::testing::*;

fn one_way_to(n: u128, target: Target) -> Invoke {
    let headers = vec![Header { key: "h".into(), value: "v".into() }];
    Invoke { one_way: true, headers, journal_retention_ms: 70, state_ttl_ms: 9, ..invoke(n, target) }
}

fn failing(code: u32) -> Vec<FlowMessage> {
    let result = Some(OutputResult::Failure(Failure::new(code, "no")));
    vec![message(Code::OUTPUT, &Output { name: String::new(), result }), end()]
}

fn letters(world: &World) -> Vec<((String, u64), LetterRow)> {
    world.rows.all::<Letters>()
}

fn bounds(world: &World) -> LetterBoundsRow {
    world.rows.row::<LetterBounds>(&"S".into()).unwrap_or_default()
}

fn to(seq: u64, redrive_as: Bytes) -> Body {
    Body::Letter(LetterOrder { service: "S".into(), seq, redrive_as })
}

/// A world with a letter of the flow 1 on `k`.
fn with_letter() -> World {
    let mut world = World::new();
    world.apply(invoked(one_way_to(1, flow_on("k"))));
    world.at(1500).append(id(1), failing(400));
    assert_eq!(letters(&world).len(), 1);
    world
}

#[test]
fn a_failed_one_way_flow_leaves_a_letter() {
    let world = with_letter();
    let expected = LetterRow {
        invocation: bytes(id(1)),
        target: Some(flow_on("k")),
        input: Bytes::from_static(b"in"),
        headers: vec![Header { key: "h".into(), value: "v".into() }],
        failure: Some(Failure::new(400, "no")),
        created_at: 1000,
        failed_at: 1500,
        attempt: 1,
        journal_retention_ms: 70,
        state_ttl_ms: 9,
        ..LetterRow::default()
    };
    assert_eq!(letters(&world), [(("S".into(), 0), expected)]);
    assert_eq!(bounds(&world), LetterBoundsRow { next: 1, count: 1, dropped: 0 });
}

#[test]
fn a_failed_one_way_turn_leaves_a_letter() {
    let failed = |turn: Turn| Body::Turn(Turn { outcome: Some(failure(400, "no")), ..turn });
    // By the record that brings it, from the mailbox, and without a key.
    let mut world = World::new();
    world.apply(failed(record(id(1), Some(one_way_to(1, turn_on("k"))), version(0, 0), vec![])));
    world.apply(invoked(one_way_to(2, turn_on("k"))));
    world.apply(failed(from_mailbox(2, version(0, 0), vec![])));
    world.apply(failed(Turn { base: None, ..record(id(3), Some(one_way_to(3, plain_turn())), version(0, 0), vec![]) }));
    let of = |row: &LetterRow| (InvocationId::from_bytes(&row.invocation).unwrap(), row.input.clone());
    let found: Vec<_> = letters(&world).iter().map(|(_, row)| of(row)).collect();
    assert_eq!(found, [1, 2, 3].map(|n| (id(n), Bytes::from_static(b"in"))));
}

#[test]
fn a_success_leaves_none_nor_does_a_failure_somebody_hears_of() {
    let mut world = World::new();
    world.apply(invoked(one_way_to(1, flow_on("k"))));
    world.append(id(1), vec![output("ok"), end()]);
    world.apply(invoked(invoke(2, flow_on("k"))));
    world.append(id(2), failing(400));
    world.apply(Body::Turn(Turn { outcome: Some(failure(400, "no")), ..direct(3, version(0, 0), vec![]) }));
    assert!(letters(&world).is_empty() && world.rows.all::<LetterBounds>().is_empty());
}

#[test]
fn who_was_told_to_end_leaves_none() {
    for verb in [Verb::Kill, Verb::Cancel] {
        for place in ["scheduled", "running"] {
            for target in [turn_on("k"), flow_on("k")] {
                let mut world = World::new();
                let execute_at = if place == "scheduled" { 9000 } else { 0 };
                world.apply(invoked(Invoke { execute_at, ..one_way_to(1, target) }));
                world.apply(order(id(1), verb));
                if world.status(id(1)) == "running" {
                    // A flow hears of its cancellation and ends with it.
                    world.append(id(1), failing(409));
                }
                assert!(letters(&world).is_empty(), "{verb:?} {place}");
            }
        }
    }
}

/// The code alone says nothing: handlers fail with it too.
#[test]
fn a_conflict_of_its_own_leaves_a_letter() {
    let mut world = World::new();
    world.apply(invoked(one_way_to(1, flow_on("k"))));
    world.append(id(1), vec![run(1), ran(1, "x")]);
    world.append(id(1), failing(409));
    assert_eq!(letters(&world).len(), 1);
}

#[test]
fn exhausted_attempts_leave_a_letter_unless_somebody_waits() {
    for target in [turn_on("k"), flow_on("k"), plain_flow(), plain_turn()] {
        let mut world = World::new();
        world.apply(invoked(invoke(1, target)));
        world.fail(id(1), Next::Fail(true));
        assert_eq!(letters(&world).len(), 1);
        assert_eq!(letters(&world)[0].1.failure, Some(Failure::new(500, "boom")));
    }
    let mut world = World::new();
    let sink = Some(Sink::new(id(90), 1, 1, Code::CALL_DONE));
    world.apply(invoked(Invoke { sink, ..invoke(1, flow_on("k")) }));
    world.fail(id(1), Next::Fail(true));
    assert!(letters(&world).is_empty());
}

/// A turn that fails with its first attempt, before it was in the log.
#[test]
fn a_request_that_failed_at_once_leaves_a_letter() {
    let mut world = World::new();
    world.apply(failed_call(one_way_to(1, turn_on("k")), Next::Fail(true)));
    assert_eq!(letters(&world).len(), 1);
}

#[test]
fn a_redriven_one_runs_again_and_its_letter_is_gone() {
    let mut world = with_letter();
    let effects = world.ask(5, to(0, bytes(id(50))));
    assert_eq!(others(&effects), [accepted(0, id(50)), start(id(50)), answered(5, Answer::Created(id(50)))]);
    assert!(letters(&world).is_empty());
    assert_eq!(bounds(&world), LetterBoundsRow { next: 1, count: 0, dropped: 0 });
    let row = world.row(id(50));
    assert!(row.one_way);
    assert_eq!((row.target, row.restarted_from), (Some(flow_on("k")), bytes(id(1))));
    assert_eq!((row.journal_retention_ms, row.state_ttl_ms), (70, 9));
    let Effect::Enqueued { work, .. } = &effects[1] else { panic!("it queues: {effects:?}") };
    assert_eq!((work.input.as_ref(), work.headers.len()), (&b"in"[..], 1));
    // It fails again: another letter.
    world.append(id(50), failing(400));
    assert_eq!(letters(&world)[0].0, ("S".into(), 1));
}

#[test]
fn a_dropped_one_is_gone() {
    let mut world = with_letter();
    assert_eq!(world.ask(5, to(0, Bytes::new())), [answered(5, Answer::Done)]);
    assert!(letters(&world).is_empty());
    for redrive_as in [Bytes::new(), bytes(id(50))] {
        assert_eq!(world.changes_nothing(5, to(0, redrive_as)), [answered(5, Answer::NotFound)]);
    }
}

#[test]
fn what_cannot_be_redriven_stays() {
    let mut world = with_letter();
    world.apply(invoked(invoke(2, plain_flow())));
    for (redrive_as, code) in [(Bytes::from_static(b"x"), 400), (bytes(id(2)), 409), (bytes(id(1)), 409)] {
        assert_eq!(refusal(&world.changes_nothing(5, to(0, redrive_as))), Some(code));
    }
    // The mailbox is full.
    let full = ObjectRow { head: 0, tail: MAILBOX_MAX, ..ObjectRow::default() };
    let mut crowded = world.clone();
    crowded.rows.0.insert(Objects::encode_key(&object("k")), Objects::encode_value(&full));
    let command = abide_model::command::Command { request: 5, body: Some(to(0, bytes(id(50)))) };
    let transition = crowded.machine.apply(&crowded.rows, command).unwrap();
    assert!(transition.writes.is_empty());
    assert_eq!(refusal(&transition.effects), Some(430));
    // Another partition.
    let mut world = World::of(0, 2);
    world.apply(invoked(one_way_to(1, flow_on("k"))));
    world.append(id(1), failing(400));
    assert_eq!(refusal(&world.changes_nothing(5, to(0, bytes(far(50))))), Some(400));
}

#[test]
fn the_run_of_a_workflow_is_not_redriven() {
    let mut world = with_letter();
    let mut letter = letters(&world)[0].1.clone();
    letter.target = Some(Target { access: Access::Workflow as i32, ..flow_on("k") });
    world.rows.0.insert(Letters::encode_key(&("S".into(), 0)), Letters::encode_value(&letter));
    assert_eq!(refusal(&world.changes_nothing(5, to(0, bytes(id(50))))), Some(422));
    assert_eq!(world.ask(5, to(0, Bytes::new())), [answered(5, Answer::Done)]);
}

/// Services do not push out each other's letters, and numbers are never used again.
#[test]
fn the_oldest_letters_go() {
    let mut world = with_letter();
    let letter = letters(&world)[0].1.clone();
    // As many as there may be, the oldest one being number 3.
    world.rows.0.remove(&Letters::encode_key(&("S".into(), 0)));
    for seq in 3..3 + LETTERS_MAX {
        world.rows.0.insert(Letters::encode_key(&("S".into(), seq)), Letters::encode_value(&letter));
    }
    let full = LetterBoundsRow { next: 3 + LETTERS_MAX, count: LETTERS_MAX, dropped: 2 };
    world.rows.0.insert(LetterBounds::encode_key(&"S".into()), LetterBounds::encode_value(&full));
    let other = Target { service: "R".into(), ..flow_on("k") };
    for (n, target) in [(2, flow_on("k")), (3, other)] {
        world.apply(invoked(one_way_to(n, target)));
        world.append(id(n), failing(400));
    }
    let all: Vec<_> = letters(&world).into_iter().map(|(key, _)| key).collect();
    assert_eq!((all[0].clone(), all[1].clone()), (("R".into(), 0), ("S".into(), 4)));
    assert_eq!(all.last().unwrap(), &("S".into(), 3 + LETTERS_MAX));
    assert_eq!(bounds(&world), LetterBoundsRow { next: 4 + LETTERS_MAX, count: LETTERS_MAX, dropped: 3 });
}

/// What broke a limit is the sender's fault as any other failure.
#[test]
fn a_turn_that_broke_a_limit_leaves_a_letter_when_it_is_one_way() {
    for one_way in [false, true] {
        let mut world = World::new();
        world.apply(invoked(Invoke { one_way, ..invoke(1, turn_on("k")) }));
        let wide = abide_model::command::FieldChange { field: "f".repeat(1000), value: None };
        let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![wide])));
        let ends = |effect: &Effect| matches!(effect, Effect::Completed { outcome: Outcome { .. }, .. });
        assert!(effects.iter().any(ends));
        assert_eq!(letters(&world).len(), usize::from(one_way));
    }
}
