use abide_model::effect::Effect;
use abide_model::protocol::{
    Code, Failure, Notification, NotificationId, NotificationResult, ProposeRunCompletion, RunResult, Value,
};

use crate::testing::*;

#[test]
fn a_step_gets_its_result_once() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    // The attempt that proposes the result has it already, so nothing is told.
    let effects = world.append(flow, vec![run(1), run(2), ran(2, "b"), ran(1, "a")]);
    assert_eq!(effects, [Effect::Appended { invocation: flow, attempt: 1 }]);
    let result = Some(NotificationResult::Value(Value { content: "a".into() }));
    assert_eq!(world.last_notification(flow), Notification { id: Some(NotificationId::Completion(1)), result });
    // Invariant I4.
    world.append(flow, vec![ran(1, "again")]);
    assert_eq!((world.status(flow), world.row(flow).journal_len), ("paused", 5));
}

#[test]
fn a_step_may_fail_for_good() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let result = Some(RunResult::Failure(Failure::new(500, "x")));
    let failed = ProposeRunCompletion { result_completion_id: 1, result };
    world.append(flow, vec![run(1), message(Code::PROPOSE_RUN_COMPLETION, &failed)]);
    let told = world.last_notification(flow).result;
    assert_eq!(told, Some(NotificationResult::Failure(Failure::new(500, "x"))));
}

#[test]
fn a_result_without_a_step_pauses() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.append(flow, vec![sleep(9000, 1), ran(1, "x")]);
    assert_eq!((world.status(flow), world.codes(flow)), ("paused", vec![Code::INPUT, Code::SLEEP]));
}

#[test]
fn a_sleep_sets_a_timer() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let effects = world.append(flow, vec![sleep(1500, 1), sleep(1500, 2)]);
    assert_eq!(effects, [timer_set(1500), timer_set(1500), Effect::Appended { invocation: flow, attempt: 1 }]);
    assert_eq!(world.row(flow).open_sleeps, 2);
    let effects = world.at(1500).apply(fire());
    let indexes = effects.iter().map(|effect| match effect {
        Effect::Notify { index, .. } => *index,
        other => panic!("{other:?}"),
    });
    assert_eq!(indexes.collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_sleep_until_now_is_over() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let effects = world.append(flow, vec![sleep(1000, 1)]);
    assert!(matches!(effects[0], Effect::Notify { index: 2, .. }));
    assert_eq!((world.codes(flow)[2], world.timers()), (Code::SLEEP_DONE, vec![]));
}

/// Both would be one row.
#[test]
fn two_sleeps_that_cannot_be_told_apart_pause() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.append(flow, vec![sleep(1500, 1)]);
    world.append(flow, vec![sleep(1500, 1)]);
    assert_eq!((world.status(flow), world.row(flow).open_sleeps), ("paused", 1));
    assert_eq!(world.timers().len(), 1);
}
