use abide_model::command::{FlowMessage, Sink, Verb};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::limits;
use abide_model::protocol::{
    Code, CompletePromise, Failure, NotificationId, NotificationResult, PromiseResult, Value, Void,
};
use abide_model::table::{Invocations, PromiseRow, Promises, Table};

use crate::testing::*;

fn promise(name: &str) -> (ObjectId, String) {
    (workflow("w"), name.to_owned())
}

fn value(text: &'static str) -> NotificationResult {
    NotificationResult::Value(Value { content: text.into() })
}

/// The run of the workflow `w`, and two handlers beside it.
fn world() -> (World, InvocationId, InvocationId, InvocationId) {
    let mut world = World::new();
    world.apply(invoked(run_call("w")));
    let (a, b) = (world.start_flow(1, beside("w")), world.start_flow(2, beside("w")));
    (world, run_id("w"), a, b)
}

/// The last entry: of which code, for which completion, with which result.
fn told(world: &World, id: InvocationId) -> (Code, u32, NotificationResult) {
    let last = world.last_notification(id);
    let Some(NotificationId::Completion(completion)) = last.id else { panic!("no completion: {last:?}") };
    (*world.codes(id).last().unwrap(), completion, last.result.unwrap())
}

#[test]
fn who_waits_is_told_when_it_is_completed() {
    let (mut world, run, a, b) = world();
    world.append(run, vec![get_promise("p", 1), suspend(&[1], &[])]);
    world.append(a, vec![get_promise("p", 7)]);
    assert_eq!(world.status(run), "suspended");
    let effects = world.append(b, vec![complete_promise("p", "v", 3)]);
    assert!(effects.contains(&start(run)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Notify { invocation, .. } if *invocation == a)));
    assert_eq!(told(&world, run), (Code::GET_PROMISE_DONE, 1, value("v")));
    assert_eq!(told(&world, a), (Code::GET_PROMISE_DONE, 7, value("v")));
    assert_eq!(told(&world, b), (Code::COMPLETE_PROMISE_DONE, 3, NotificationResult::Void(Void {})));
    let row = world.rows.row::<Promises>(&promise("p")).unwrap();
    assert_eq!((row.listeners, row.completed_at), (vec![], 1000));
}

#[test]
fn a_completed_promise_is_told_at_once() {
    let (mut world, run, a, _) = world();
    world.append(a, vec![complete_promise("p", "v", 1)]);
    let effects = world.append(run, vec![get_promise("p", 4)]);
    assert!(matches!(effects[0], Effect::Notify { index: 2, .. }));
    assert_eq!(told(&world, run), (Code::GET_PROMISE_DONE, 4, value("v")));
    world.append(run, vec![peek_promise("p", 5)]);
    assert_eq!(told(&world, run), (Code::PEEK_PROMISE_DONE, 5, value("v")));
}

#[test]
fn a_failure_completes_it_too() {
    let (mut world, run, a, _) = world();
    world.append(run, vec![get_promise("p", 1)]);
    let failure = Failure::new(470, "no");
    let result = Some(PromiseResult::Failure(failure.clone()));
    let command = CompletePromise { key: "p".into(), result, result_completion_id: 2, name: String::new() };
    world.append(a, vec![message(Code::COMPLETE_PROMISE, &command)]);
    assert_eq!(told(&world, run), (Code::GET_PROMISE_DONE, 1, NotificationResult::Failure(failure.clone())));
    world.append(run, vec![peek_promise("p", 2)]);
    assert_eq!(told(&world, run).2, NotificationResult::Failure(failure));
}

#[test]
fn an_open_promise_shows_nothing() {
    let (mut world, run, ..) = world();
    world.append(run, vec![peek_promise("p", 1)]);
    assert_eq!(told(&world, run), (Code::PEEK_PROMISE_DONE, 1, NotificationResult::Void(Void {})));
    assert!(world.rows.all::<Promises>().is_empty());
}

/// Invariant I6: the first completion is the only one.
#[test]
fn it_is_completed_once() {
    let (mut world, run, a, b) = world();
    world.append(a, vec![complete_promise("p", "first", 1)]);
    world.append(b, vec![complete_promise("p", "second", 2)]);
    let refused = Failure::new(409, "promise was already completed");
    assert_eq!(told(&world, b), (Code::COMPLETE_PROMISE_DONE, 2, NotificationResult::Failure(refused)));
    world.append(run, vec![get_promise("p", 3)]);
    assert_eq!(told(&world, run).2, value("first"));
}

#[test]
fn one_append_may_wait_and_complete() {
    let (mut world, run, ..) = world();
    world.append(run, vec![get_promise("p", 1), complete_promise("p", "v", 2), suspend(&[1], &[])]);
    assert_eq!(world.status(run), "running");
    assert_eq!(told(&world, run), (Code::GET_PROMISE_DONE, 1, value("v")));
}

#[test]
fn names_and_workflows_have_promises_of_their_own() {
    let (mut world, run, a, _) = world();
    let other = world.start_flow(3, beside("w2"));
    world.append(run, vec![get_promise("p", 1)]);
    world.append(a, vec![complete_promise("q", "v", 1)]);
    world.append(other, vec![complete_promise("p", "v", 1)]);
    assert_eq!(world.codes(run).last(), Some(&Code::GET_PROMISE));
    assert_eq!(world.rows.all::<Promises>().len(), 3);
}

/// Handlers may resolve what the run will wait for before it begins.
#[test]
fn a_workflow_need_not_run_yet() {
    let mut world = World::new();
    let early = world.start_flow(1, beside("w"));
    world.append(early, vec![complete_promise("p", "v", 1), output("x"), end()]);
    world.apply(invoked(run_call("w")));
    world.append(run_id("w"), vec![get_promise("p", 1)]);
    assert_eq!(told(&world, run_id("w")).2, value("v"));
}

#[test]
fn who_has_ended_is_not_told() {
    let (mut world, run, a, b) = world();
    world.append(a, vec![get_promise("p", 1)]);
    world.apply(order(a, Verb::Kill));
    let effects = world.append(b, vec![complete_promise("p", "v", 1)]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Notify { invocation, .. } if *invocation == a)));
    // Nor who has its id now.
    world.append(run, vec![get_promise("q", 1)]);
    world.apply(order(run, Verb::Kill));
    world.at(6000).apply(fire());
    world.apply(invoked(run_call("w")));
    world.append(b, vec![complete_promise("q", "v", 2)]);
    assert_eq!(world.codes(run), [Code::INPUT]);
}

/// A promise with so many listeners, of which the first is there and the others are gone, or all are the same.
fn crowded(world: &mut World, there: InvocationId, all: bool) {
    let life = world.row(there).life;
    // Some never were, others were earlier ones of one that is there.
    let gone = |n: u32| match n % 2 {
        0 => Sink::new(id(1_000_000 + u128::from(n)), life, 1, Code::GET_PROMISE_DONE),
        _ => Sink::new(there, life + 100, 1, Code::GET_PROMISE_DONE),
    };
    let here = Sink::new(there, life, 1, Code::GET_PROMISE_DONE);
    let count = u32::try_from(limits::SINKS_MAX).unwrap();
    let listeners = (0..count).map(|n| if all || n == 0 { here.clone() } else { gone(n) }).collect();
    let row = PromiseRow { listeners, ..PromiseRow::default() };
    world.rows.0.insert(Promises::encode_key(&promise("p")), Promises::encode_value(&row));
}

#[test]
fn listeners_are_bounded_and_those_that_ended_do_not_count() {
    let (mut world, run, a, _) = world();
    crowded(&mut world, a, false);
    world.append(run, vec![get_promise("p", 1)]);
    assert_eq!(world.rows.row::<Promises>(&promise("p")).unwrap().listeners.len(), 2);
    crowded(&mut world, a, true);
    world.append(run, vec![get_promise("p", 2)]);
    assert_eq!((world.status(run), world.row(run).last_failure.unwrap().code), ("paused", 571));
    assert_eq!(world.rows.row::<Promises>(&promise("p")).unwrap().listeners.len(), limits::SINKS_MAX);
}

#[test]
fn what_is_not_a_promise_of_the_workflow_pauses() {
    let long = "p".repeat(limits::NAME_BYTES_MAX + 1);
    let big = "v".repeat(limits::STATE_VALUE_BYTES_MAX + 1);
    let nothing = message(Code::COMPLETE_PROMISE, &CompletePromise { key: "p".into(), ..CompletePromise::default() });
    let broken = |code: Code| FlowMessage { code: u32::from(code.0), payload: "\u{7f}".into(), callee: None };
    let bad = [
        get_promise(&long, 1),
        peek_promise(&long, 1),
        complete_promise(&long, "v", 1),
        complete_promise("p", &big, 1),
        nothing,
        broken(Code::GET_PROMISE),
        broken(Code::PEEK_PROMISE),
        broken(Code::COMPLETE_PROMISE),
    ];
    let elsewhere = [get_promise("p", 1), peek_promise("p", 1), complete_promise("p", "v", 1)];
    let cases = bad.into_iter().map(|bad| (bad, beside("w"))).chain(
        elsewhere
            .into_iter()
            .flat_map(|fine| [flow_on("k"), watcher(), plain_flow()].map(|target| (fine.clone(), target))),
    );
    for (message, target) in cases {
        let mut world = World::new();
        let flow = world.start_flow(1, target.clone());
        world.append(flow, vec![message]);
        assert_eq!((world.status(flow), world.row(flow).journal_len), ("paused", 1), "{target}");
        assert!(world.rows.all::<Promises>().is_empty());
    }
}

/// Who still waits when the workflow is forgotten is told so.
#[test]
fn nobody_waits_for_a_workflow_that_is_gone() {
    let (mut world, run, a, _) = world();
    world.append(a, vec![get_promise("p", 1), suspend(&[1], &[])]);
    world.append(run, vec![output("x"), end()]);
    world.at(6000).apply(fire());
    assert_eq!(world.status(a), "running");
    assert!(matches!(told(&world, a), (Code::GET_PROMISE_DONE, 1, NotificationResult::Failure(it)) if it.code == 404));
    assert!(world.rows.all::<Promises>().is_empty());
    assert!(world.rows.row::<Invocations>(&run).is_none());
}
