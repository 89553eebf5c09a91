//! What a message, a journal and a log of a former build may meet at the edges of the rules.

use abide_model::command::{Append, Body, Command, Invoke, StateEdit, Turn};
use abide_model::effect::{Answer, Effect};
use abide_model::id::ObjectId;
use abide_model::limits::{JOURNAL_ENTRIES_FOR_FLOW, JOURNAL_ENTRIES_MAX, KEY_BYTES_MAX, MAILBOX_MAX};
use abide_model::protocol::{SIGNAL_CANCEL, SignalId};
use abide_model::table::{Completions, Letters, ObjectRow, Objects, Promises, States, Table};
use abide_model::view::WriteOp;

use crate::testing::*;

/// Applies a command as it is, without what [`World::ask`] fills in and checks: for tables that hold more than they could.
fn apply_as_is(world: &mut World, body: Body) -> Vec<Effect> {
    let transition = world.machine.apply(&world.rows, Command { request: 1, body: Some(body) }).unwrap();
    for write in transition.writes {
        match write.op {
            WriteOp::Put(value) | WriteOp::Insert(value) => drop(world.rows.0.insert(write.key, value)),
            WriteOp::Delete => drop(world.rows.0.remove(&write.key)),
        }
    }
    transition.effects
}

fn sending(send: Invoke) -> Body {
    let send = Invoke { one_way: true, ..send };
    Body::Turn(Turn { sends: vec![send], ..direct(1, version(0, 0), vec![set("a", "1")]) })
}

#[test]
fn a_message_into_a_full_mailbox_becomes_a_letter() {
    let mut world = World::new();
    let full: ObjectId = object("full");
    world.rows.0.insert(
        Objects::encode_key(&full),
        Objects::encode_value(&ObjectRow { tail: MAILBOX_MAX, ..ObjectRow::default() }),
    );
    apply_as_is(&mut world, sending(invoke(2, turn_on("full"))));
    assert!(world.rows.row::<States>(&(object("k"), "a".into())).is_some(), "the sender has committed");
    let letters = world.rows.all::<Letters>();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].1.invocation.clone(), letters[0].1.input.as_ref()), (bytes(id(2)), &b"in"[..]));
    assert_eq!(letters[0].1.failure.as_ref().map(|failure| failure.code), Some(430));
}

#[test]
fn a_message_over_a_limit_becomes_a_letter() {
    let mut world = World::new();
    world.apply(sending(invoke(2, turn_on(&"x".repeat(KEY_BYTES_MAX + 1)))));
    assert_eq!(world.rows.all::<Letters>().len(), 1);
}

/// What somebody waits for is told to them, and is not kept besides.
#[test]
fn a_refusal_that_is_told_leaves_no_letter() {
    let mut world = World::new();
    let long = invoke(2, turn_on(&"x".repeat(KEY_BYTES_MAX + 1)));
    assert_eq!(refusal(&world.ask(5, invoked(Invoke { one_way: true, ..long.clone() }))), Some(400));
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![call(long, 1)]);
    assert_eq!(world.rows.all::<Letters>().len(), 0);
}

#[test]
fn a_workflow_whose_result_is_not_kept_leaves_nothing() {
    let mut world = World::new();
    world.apply(invoked(Invoke { retention_ms: 0, journal_retention_ms: 0, ..run_call("w") }));
    world.append(run_id("w"), vec![set_state("a", "1"), complete_promise("p", "v", 1), output("done"), end()]);
    world.at(1001).apply(fire());
    assert!(world.rows.all::<Promises>().is_empty() && world.rows.all::<States>().is_empty());
    assert_eq!(world.status(run_id("w")), "unknown");
}

#[test]
fn signals_leave_room_for_the_flow() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let mut refused = 0;
    for number in 0..JOURNAL_ENTRIES_MAX {
        let effects = apply_as_is(&mut world, signal(flow, SignalId::Name(format!("s{number}"))));
        refused += u32::from(refusal(&effects) == Some(429));
    }
    assert_eq!(world.row(flow).journal_len, JOURNAL_ENTRIES_MAX - JOURNAL_ENTRIES_FOR_FLOW);
    assert_eq!(refused, JOURNAL_ENTRIES_FOR_FLOW + 1, "all but those that fit beside the Input");
    // It can still be asked to stop, and goes on.
    let effects = apply_as_is(&mut world, signal(flow, SignalId::Index(SIGNAL_CANCEL)));
    assert!(effects.contains(&answered(1, Answer::Appended)));
    world.append(flow, vec![run(1)]);
    assert_eq!(world.status(flow), "running");
}

/// A build that knew no lives wrote none; what it has answered is so after a replay, too.
#[test]
fn the_log_of_a_former_build_is_replayed_as_it_was() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let messages = vec![output("x"), end()];
    let old = Append { id: bytes(flow), term: 1, attempt: 1, seen: 1, messages, ..Append::default() };
    let effects = apply_as_is(&mut world, Body::Append(old));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Completed { .. })));
}

#[test]
fn what_is_set_while_timers_fire_is_looked_at() {
    let mut world = World::new();
    let change = StateEdit { changes: vec![set("a", "1")], ..StateEdit::default() };
    let delayed = Invoke { execute_at: 2000, retention_ms: 5000, ..edit(1, edit_on("k"), &change) };
    world.apply(invoked(delayed));
    world.at(2000).apply(fire());
    assert_eq!(world.rows.all::<Completions>().len(), 1);
    world.at(7000).apply(fire());
    assert_eq!(world.rows.all::<Completions>().len(), 0);
}
