//! The life of a workflow: from handlers before its run to what is left behind it.

use abide_model::command::{Access, Attach, Body, Form, Invoke, Parcel, ParcelBody, Sink, Target, Turn, Verb};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, PartitionKey};
use abide_model::limits::{EXPIRED_ROWS_PER_COMMAND_SOFT_MAX, SINKS_MAX};
use abide_model::protocol::{Code, Failure, NotificationResult, PromiseResult, Value};
use abide_model::table::{Completions, InvocationRow, Invocations, Objects, PromiseRow, Promises, States, Table};

use crate::testing::*;

fn ingress_send() -> Invoke {
    Invoke { one_way: true, ..run_call("w") }
}

fn run() -> InvocationId {
    run_id("w")
}

/// A run that has written state and promises, and ended.
fn ended() -> World {
    let mut world = World::new();
    world.apply(invoked(run_call("w")));
    let steps = vec![set_state("a", "1"), complete_promise("p", "v", 1), output("done"), end()];
    world.append(run(), steps);
    world
}

fn is_clean(world: &World) -> bool {
    world.rows.all::<Promises>().is_empty()
        && world.rows.all::<States>().is_empty()
        && world.rows.all::<Objects>().is_empty()
}

#[test]
fn a_run_starts_at_once_and_may_change_state() {
    let mut world = World::new();
    assert_eq!(world.ask(5, invoked(run_call("w"))), [accepted(5, run()), start(run())]);
    assert!(world.rows.all::<Objects>().is_empty());
    let effects = world.append(run(), vec![set_state("a", "1")]);
    assert_eq!(effects[0], changed(workflow("w")));
    assert_eq!(world.rows.row::<Objects>(&workflow("w")).unwrap().version(), version(1, 0));
    // Others run beside it, and only look.
    let reader = world.start_flow(1, beside("w"));
    world.append(reader, vec![set_state("a", "2")]);
    assert_eq!((world.status(run()), world.status(reader)), ("running", "paused"));
    // Whoever has the state in memory has to read it again when the run is over.
    let over = Effect::Abort { invocation: run(), object: Some(workflow("w")) };
    let effects = world.append(run(), vec![set_state("a", "3"), output("x"), end()]);
    assert_eq!(effects, [changed(workflow("w")), timer_set(6000), completed(run(), ok("x")), over]);
}

#[test]
fn a_second_call_is_refused_while_it_runs_and_afterwards() {
    let mut running = World::new();
    running.apply(invoked(run_call("w")));
    let mut scheduled = World::new();
    scheduled.apply(invoked(Invoke { execute_at: 2000, ..run_call("w") }));
    for mut world in [running, scheduled, ended()] {
        let effects = world.changes_nothing(6, invoked(run_call("w")));
        let failure = Failure::new(409, "the workflow method was already invoked");
        assert_eq!(effects, [answered(6, abide_model::effect::Answer::Refused(failure.clone()))]);
        // As it is when an invocation calls.
        let caller = world.start_flow(1, plain_flow());
        world.append(caller, vec![call(run_call("w"), 1)]);
        let told = world.last_notification(caller);
        assert_eq!(
            (world.codes(caller).pop(), told.result),
            (Some(Code::CALL_DONE), Some(NotificationResult::Failure(failure)))
        );
    }
}

#[test]
fn a_second_send_finds_the_first() {
    let mut world = World::new();
    world.apply(invoked(ingress_send()));
    assert_eq!(world.changes_nothing(6, invoked(ingress_send())), [known(6, run())]);
    assert_eq!(
        world.changes_nothing(7, invoked(Invoke { input: "other".into(), ..ingress_send() })),
        [known(7, run())]
    );
    let mut world = ended();
    assert_eq!(world.changes_nothing(8, invoked(ingress_send())), [known(8, run()), kept(run(), ok("done"), 6000)]);
    // Of a handler too.
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![one_way(run_call("w"), 1)]);
    assert_eq!(world.codes(caller), [Code::INPUT, Code::ONE_WAY_CALL, Code::CALL_INVOCATION_ID]);
}

/// To wait for the result is another thing than to call.
#[test]
fn the_result_of_a_run_can_be_awaited() {
    let mut world = World::new();
    world.apply(invoked(run_call("w")));
    let waiting = world.start_flow(1, plain_flow());
    let about = |code| {
        let command = abide_model::protocol::InvocationTarget {
            invocation_id: run().to_string(),
            result_completion_id: 1,
            name: String::new(),
        };
        message(code, &command)
    };
    world.append(waiting, vec![about(Code::ATTACH_INVOCATION), suspend(&[1], &[])]);
    world.append(run(), vec![output("done"), end()]);
    let result = Some(NotificationResult::Value(Value { content: "done".into() }));
    assert_eq!((world.status(waiting), world.last_notification(waiting).result), ("running", result.clone()));
    world.append(waiting, vec![about(Code::GET_INVOCATION_OUTPUT)]);
    assert_eq!(world.last_notification(waiting).result, result);
}

#[test]
fn malformed_workflows_are_refused() {
    let with = |target: Target| Invoke { target: Some(target), ..run_call("w") };
    for bad in [
        with(Target { key: None, ..run_of("w") }),
        with(Target { key: None, ..beside("w") }),
        with(Target { form: Form::Turn as i32, ..run_of("w") }),
        with(Target { access: Access::Exclusive as i32, ..run_of("w") }),
        with(run_of("other")),
        invoke(1, run_of("w")),
    ] {
        let mut world = World::new();
        assert_eq!(refusal(&world.changes_nothing(5, invoked(bad.clone()))), Some(400), "{bad:?}");
        let turn = Turn { base: None, ..record(bad.id().unwrap(), Some(bad), version(0, 0), vec![]) };
        assert_eq!(refusal(&world.changes_nothing(5, Body::Turn(turn))), Some(400));
    }
    // The handlers beside the run may be turns, and read.
    let mut world = World::new();
    world.apply(invoked(invoke(1, Target { form: Form::Turn as i32, ..beside("w") })));
    assert_eq!(world.status(id(1)), "running");
}

#[test]
fn what_a_workflow_left_goes_with_its_result() {
    let mut world = ended();
    let other = world.start_flow(1, beside("w2"));
    world.append(other, vec![complete_promise("p", "v", 1)]);
    world.at(5999).apply(fire());
    assert_eq!((world.status(run()), world.rows.all::<Promises>().len()), ("completed", 2));
    assert_eq!(world.at(6000).apply(fire()), [changed(workflow("w"))]);
    assert_eq!(world.status(run()), "unknown");
    // Only the other workflow's promise is left.
    assert_eq!((world.rows.all::<Promises>().len(), world.rows.all::<States>().len()), (1, 0));
    world.apply(order(other, Verb::Kill));
    // The key is free: it may run again.
    assert_eq!(world.ask(7, invoked(run_call("w"))), [accepted(7, run()), start(run())]);
}

#[test]
fn a_killed_run_leaves_its_state_as_long_as_its_result() {
    let mut world = World::new();
    world.apply(invoked(run_call("w")));
    world.append(run(), vec![set_state("a", "1"), get_promise("p", 1)]);
    world.apply(order(run(), Verb::Kill));
    assert_eq!((world.status(run()), world.rows.all::<States>().len()), ("completed", 1));
    world.at(6000).apply(fire());
    assert!(world.rows.0.is_empty());
}

/// The end of an edit of the workflow's state is not the end of the workflow.
#[test]
fn only_the_run_takes_it_along() {
    let mut world = World::new();
    let what = abide_model::command::StateEdit { changes: vec![set("a", "1")], ..Default::default() };
    world.apply(invoked(Invoke { retention_ms: 100, ..edit(1, edit_of("w"), &what) }));
    world.apply(invoked(Invoke { retention_ms: 100, ..invoke(2, beside("w")) }));
    world.append(id(2), vec![complete_promise("p", "v", 1), output("x"), end()]);
    world.at(1100).apply(fire());
    assert!(world.rows.all::<Completions>().is_empty());
    assert_eq!((world.rows.all::<States>().len(), world.rows.all::<Promises>().len()), (1, 1));
}

#[test]
fn many_promises_go_in_portions_and_the_result_with_the_last() {
    for time in [6000, 7000] {
        let mut world = ended();
        let count = EXPIRED_ROWS_PER_COMMAND_SOFT_MAX + 10;
        let result = Some(PromiseResult::Value(Value::default()));
        let row = PromiseRow { result, completed_at: 1, ..PromiseRow::default() };
        for n in 0..count {
            let key = (workflow("w"), format!("p{n:05}"));
            world.rows.0.insert(Promises::encode_key(&key), Promises::encode_value(&row));
        }
        world.at(time).apply(fire());
        assert_eq!((world.status(run()), world.rows.all::<Promises>().len()), ("completed", 11));
        assert_eq!(world.rows.all::<States>().len(), 1);
        // It is not free yet.
        assert_eq!(refusal(&world.ask(6, invoked(run_call("w")))), Some(409));
        world.at(time + 1).apply(fire());
        assert!(world.rows.0.is_empty() && is_clean(&world));
    }
}

/// No more than a bounded number waits for one result.
#[test]
fn too_many_that_wait_are_told_so() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, plain_flow())));
    let sinks = vec![Sink::new(far(1), 1, 1, Code::CALL_DONE); SINKS_MAX];
    let row = InvocationRow { sinks, ..world.row(id(1)) };
    world.rows.0.insert(Invocations::encode_key(&id(1)), Invocations::encode_value(&row));
    let caller = world.start_flow(2, plain_flow());
    let sink = |completion| Some(Sink::new(caller, world.row(caller).life, completion, Code::ATTACH_DONE));
    let attach = Attach { target: bytes(id(1)), sink: sink(1) };
    let deliver =
        abide_model::command::Deliver { from: 1, first: 1, messages: vec![Parcel::new(ParcelBody::Attach(attach))] };
    let again = Invoke { sink: sink(2), ..keyed(1, plain_flow()) };
    for body in [Body::Deliver(deliver), invoked(again)] {
        let entries = world.row(caller).journal_len;
        world.apply(body);
        assert_eq!((world.row(caller).journal_len, world.row(id(1)).sinks.len()), (entries + 1, SINKS_MAX));
        let result = world.last_notification(caller).result;
        assert!(matches!(result, Some(NotificationResult::Failure(failure)) if failure.code == 429));
    }
}

#[test]
fn a_run_lives_where_its_key_does() {
    assert_eq!(run().partition_key, PartitionKey::of("w"));
}
