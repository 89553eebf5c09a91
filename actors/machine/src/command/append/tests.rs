//! Cases that all messages share, and the end of a flow.

use abide_model::command::{Append, Body, Command, FlowMessage, Form, Next, Verb};
use abide_model::effect::Effect;
use abide_model::limits::JOURNAL_ENTRIES_MAX;
use abide_model::protocol::{Code, Failure, Output, OutputResult};
use abide_model::table::{InvocationRow, Invocations, Status, Table};
use abide_model::view::WriteOp;
use bytes::Bytes;

use crate::testing::*;

fn durable(n: u128) -> Effect {
    Effect::Appended { invocation: id(n), attempt: 1 }
}

#[test]
fn messages_become_entries_byte_for_byte() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let raw =
        |code: u32, payload: &'static [u8]| FlowMessage { code, payload: Bytes::from_static(payload), callee: None };
    // A custom entry, and a Run with a field that this build does not know.
    let messages = vec![raw(0x0500, b"\xff\xff"), raw(0x0411, b"\x58\x01\xf8\x3f\x07")];
    assert_eq!(world.append(flow, messages.clone()), [durable(1)]);
    let journal = world.journal(flow);
    assert_eq!(journal[1..].iter().cloned().map(FlowMessage::from).collect::<Vec<_>>(), messages);
    assert_eq!(world.append(flow, vec![]), [durable(1)]);
}

#[test]
fn only_the_current_attempt_is_heard() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let messages = || vec![run(1)];
    world.ignores(appended(flow, 1, 0, 1, messages()));
    world.ignores(appended(flow, 1, 2, 1, messages()));
    world.ignores(appended(flow, 0, 1, 1, messages()));
    world.ignores(appended(flow, 2, 1, 1, messages()));
    world.ignores(appended(id(99), 1, 1, 1, messages()));
    world.ignores(Body::Append(Append {
        id: Bytes::new(),
        term: 1,
        attempt: 1,
        messages: messages(),
        seen: 1,
        ..Append::default()
    }));
    world.fail(flow, Next::RetryAfter(1));
    world.ignores(appended(flow, 1, 1, 1, messages()));
    world.at(1001).apply(fire());
    world.ignores(appended(flow, 1, 1, 1, messages()));
    world.apply(appended(flow, 1, 2, 1, messages()));
    assert_eq!(world.row(flow).journal_len, 2);
}

#[test]
fn no_other_place_takes_an_append() {
    for form in [Form::Turn, Form::Flow] {
        for place in PLACES {
            let Some(mut world) = placed(form, place) else { continue };
            if (form, place) == (Form::Flow, "running") {
                continue;
            }
            for attempt in 0..3 {
                world.ignores(appended(id(1), 1, attempt, 1, vec![run(1), output("x"), end()]));
            }
        }
    }
}

#[test]
fn a_stored_command_is_progress() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.fail(flow, Next::RetryAfter(1));
    world.at(1001).apply(fire());
    assert_eq!(world.row(flow).failures, 1);
    world.append(flow, vec![]);
    assert_eq!(world.row(flow).failures, 1);
    world.append(flow, vec![run(1)]);
    assert_eq!(world.row(flow).failures, 0);
}

#[test]
fn the_last_output_is_the_result() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(invoked(invoke(2, flow_on("k"))));
    let effects = world.append(flow, vec![output("first"), run(1), output("last"), end(), run(2)]);
    assert_eq!(effects, [completed(flow, ok("last")), abort(flow, Some("k")), start(id(2))]);
    assert_eq!(world.ended, [flow_on("k")]);
    // An Output of an earlier append counts as well.
    world.append(id(2), vec![output("before")]);
    assert_eq!(world.append(id(2), vec![end()])[0], completed(id(2), ok("before")));
}

#[test]
fn a_turn_behind_a_flow_is_offered_when_the_flow_ends() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(invoked(invoke(2, turn_on("k"))));
    let effects = world.append(flow, vec![output("x"), end()]);
    assert_eq!((enqueued(&effects), others(&effects).len()), (vec![id(2)], 2));
}

#[test]
fn a_failure_is_a_result_and_no_output_is_one_too() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let result = Some(OutputResult::Failure(Failure::new(470, "no")));
    let failed = message(Code::OUTPUT, &Output { name: String::new(), result });
    assert_eq!(world.append(flow, vec![failed, end()])[0], completed(flow, failure(470, "no")));
    for silent in [vec![end()], vec![message(Code::OUTPUT, &Output::default()), end()]] {
        let flow = world.start_flow(2, plain_flow());
        let outcome = failure(500, "the handler ended without an output");
        assert_eq!(world.append(flow, silent)[0], completed(flow, outcome));
    }
}

#[test]
fn violations_pause() {
    let raw = |code: u16, payload: &'static [u8]| FlowMessage {
        code: u32::from(code),
        payload: Bytes::from_static(payload),
        callee: None,
    };
    let broken = b"\xff";
    for bad in [
        raw(0, b""),
        raw(Code::ERROR.0, b""),
        raw(Code::INPUT.0, b""),
        raw(Code::RUN_DONE.0, b""),
        raw(Code::SIGNAL.0, b""),
        FlowMessage { code: 0x1_0411, ..raw(0, b"") },
        raw(Code::OUTPUT.0, broken),
        raw(Code::RUN.0, broken),
        raw(Code::SLEEP.0, broken),
        raw(Code::SUSPENSION.0, broken),
        raw(Code::PROPOSE_RUN_COMPLETION.0, broken),
        raw(Code::SET_STATE.0, broken),
        raw(Code::CLEAR_STATE.0, broken),
        raw(Code::GET_LAZY_STATE.0, broken),
        raw(Code::GET_LAZY_STATE_KEYS.0, broken),
        raw(Code::CALL.0, broken),
        raw(Code::ONE_WAY_CALL.0, broken),
        raw(Code::SEND_SIGNAL.0, broken),
        raw(Code::COMPLETE_AWAKEABLE.0, broken),
        raw(Code::ATTACH_INVOCATION.0, broken),
        raw(Code::GET_INVOCATION_OUTPUT.0, broken),
    ] {
        let mut world = World::new();
        let flow = world.start_flow(1, flow_on("k"));
        let text = format!("{bad:?}");
        // What came before it counts, what comes behind it does not.
        let effects = world.append(flow, vec![run(1), bad, run(2)]);
        assert_eq!(effects, [rested(flow), abort(flow, None)], "{text}");
        assert_eq!((world.status(flow), world.codes(flow)), ("paused", vec![Code::INPUT, Code::RUN]), "{text}");
        assert_eq!(world.row(flow).last_failure.unwrap().code, 571);
        world.apply(order(flow, Verb::Resume));
        assert_eq!((world.status(flow), world.row(flow).attempt), ("running", 2));
    }
}

/// A journal at its limit takes nothing more, but can end.
#[test]
fn a_full_journal_can_end_and_suspend_only() {
    let mut world = World::new();
    let row = InvocationRow {
        target: Some(plain_flow()),
        status: Some(Status::Running(abide_model::table::Empty {})),
        attempt: 1,
        journal_len: JOURNAL_ENTRIES_MAX,
        ..InvocationRow::default()
    };
    world.rows.0.insert(Invocations::encode_key(&id(1)), Invocations::encode_value(&row));
    let apply = |messages| {
        let body = Some(appended(id(1), 1, 1, 1, messages));
        world.machine.clone().apply(&world.rows, Command { request: 0, body }).unwrap()
    };
    let after = |messages| {
        let key = Invocations::encode_key(&id(1));
        match apply(messages).writes.into_iter().find(|write| write.key == key).unwrap().op {
            WriteOp::Put(row) => Some(Invocations::decode_value(&row).unwrap()),
            WriteOp::Insert(_) | WriteOp::Delete => None,
        }
    };
    let paused = after(vec![run(1)]).unwrap();
    assert_eq!((paused.status.unwrap().word(), paused.last_failure.unwrap().code), ("paused", 413));
    assert_eq!(after(vec![suspend(&[1], &[])]).unwrap().status.unwrap().word(), "suspended");
    assert_eq!(after(vec![end()]), None);
}
