use abide_model::command::{AttemptFailed, Body, Invoke, Next, Verb};
use bytes::Bytes;

use crate::testing::*;

const RETRY: Next = Next::RetryAfter(100);

#[test]
fn a_retry_waits_for_its_time() {
    for target in [plain_flow(), plain_turn(), flow_on("k"), reader()] {
        let mut world = World::new();
        let id = world.start_flow(1, target);
        assert_eq!(world.fail(id, RETRY), [rested(id), timer_set(1100)]);
        let row = world.row(id);
        assert_eq!(
            (world.status(id), row.failures, row.last_failure.unwrap().message),
            ("backing-off", 1, "boom".into())
        );
        world.at(1099).apply(fire());
        assert_eq!(world.status(id), "backing-off");
        assert_eq!(world.at(1100).apply(fire()), [start(id)]);
        assert_eq!((world.row(id).attempt, world.row(id).failures), (2, 1));
        world.fail(id, RETRY);
        assert_eq!(world.row(id).failures, 2);
    }
}

/// A delay of zero still goes through the log, or a broken handler would spin inside one command.
#[test]
fn a_retry_is_never_in_the_same_instant() {
    let mut world = World::new();
    let id = world.start_flow(1, plain_flow());
    assert_eq!(world.fail(id, Next::RetryAfter(0)), [rested(id), timer_set(1001)]);
}

#[test]
fn a_pause_waits_for_an_operator() {
    for next in [Some(Next::Pause(true)), None] {
        let mut world = World::new();
        let id = world.start_flow(1, flow_on("k"));
        let Body::AttemptFailed(command) = failed(id, 1, 1, RETRY) else { unreachable!() };
        let effects = world.apply(Body::AttemptFailed(AttemptFailed { next, ..command }));
        assert_eq!((effects, world.status(id)), (vec![rested(id)], "paused"));
        assert_eq!(world.object().head, 0);
    }
}

#[test]
fn a_failure_for_good_is_the_outcome_and_frees_the_key() {
    let mut world = World::new();
    let id_ = world.start_flow(1, flow_on("k"));
    world.apply(invoked(invoke(2, turn_on("k"))));
    let effects = world.fail(id_, Next::Fail(true));
    assert_eq!(others(&effects), [completed(id_, failure(500, "boom")), abort(id_, Some("k"))]);
    assert_eq!((enqueued(&effects), world.object().head), (vec![id(2)], 1));
}

#[test]
fn only_the_current_attempt_can_fail() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.ignores(failed(flow, 1, 0, RETRY));
    world.ignores(failed(flow, 1, 2, RETRY));
    world.ignores(failed(flow, 2, 1, RETRY));
    world.ignores(failed(id(99), 1, 1, RETRY));
    world.apply(lead(2));
    world.ignores(failed(flow, 1, 1, RETRY));
    world.ignores(failed(flow, 1, 2, RETRY));
    world.fail(flow, RETRY);
    world.ignores(failed(flow, 2, 2, RETRY));
    let flow = world.start_flow(2, plain_flow());
    world.append(flow, vec![suspend(&[1], &[])]);
    world.ignores(failed(flow, 2, 1, RETRY));
}

#[test]
fn only_the_first_turn_of_the_mailbox_can_fail() {
    let mut world = World::new();
    for n in 1..=2 {
        world.apply(invoked(invoke(n, turn_on("k"))));
    }
    world.ignores(failed(id(2), 0, 0, RETRY));
    assert_eq!(world.apply(failed(id(1), 0, 0, RETRY)), [rested(id(1)), timer_set(1100)]);
    world.ignores(failed(id(1), 0, 0, RETRY));
    // It keeps its place, and the key.
    assert_eq!((world.object().head, world.status(id(2))), (0, "pending"));
    assert_eq!(world.at(1100).apply(fire()), [start(id(1))]);
    assert_eq!(world.row(id(1)).attempt, 1);
    world.apply(failed(id(1), 1, 1, Next::Fail(true)));
    assert_eq!(world.object().head, 1);
}

/// The failure of a second execution comes late: a started turn is fenced by the number of its attempt.
#[test]
fn a_started_turn_fails_by_its_attempt_only() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.fail(id(1), RETRY);
    world.at(1100).apply(fire());
    world.ignores(failed(id(1), 0, 0, RETRY));
    world.ignores(failed(id(1), 1, 0, RETRY));
    assert_eq!(world.apply(failed(id(1), 1, 1, RETRY)), [rested(id(1)), timer_set(1200)]);
}

#[test]
fn a_queued_flow_cannot_fail() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.apply(invoked(invoke(2, flow_on("k"))));
    world.apply(order(id(1), Verb::Kill));
    assert_eq!(world.status(id(2)), "running");
    world.ignores(failed(id(2), 1, 0, RETRY));
}

#[test]
fn a_direct_turn_that_failed_is_accepted_first() {
    let mut world = World::new();
    let effects = world.ask(5, failed_call(invoke(1, turn_on("k")), RETRY));
    assert_eq!(others(&effects), [accepted(5, id(1)), rested(id(1)), timer_set(1100)]);
    assert_eq!((enqueued(&effects), world.status(id(1)), world.row(id(1)).failures), (vec![id(1)], "backing-off", 1));
    assert_eq!(world.at(1100).apply(fire()), [start(id(1))]);
}

/// The host is not told to make the attempt that has just failed.
#[test]
fn a_failed_call_is_not_started_before_its_time() {
    for target in [plain_turn(), reader()] {
        let mut world = World::new();
        let effects = world.ask(5, failed_call(keyed(1, target), RETRY));
        assert_eq!(effects, [accepted(5, id(1)), rested(id(1)), timer_set(1100)]);
        assert_eq!(world.at(1100).apply(fire()), [start(id(1))]);
        assert_eq!(world.row(id(1)).attempt, 2);
    }
}

#[test]
fn a_failed_call_may_be_paused_or_fail_for_good() {
    let mut world = World::new();
    let effects = world.ask(5, failed_call(keyed(1, plain_turn()), Next::Pause(true)));
    assert_eq!((effects, world.status(id(1))), (vec![accepted(5, id(1)), rested(id(1))], "paused"));
    let effects = world.ask(6, failed_call(keyed(2, turn_on("k")), Next::Fail(true)));
    let end = completed(id(2), failure(500, "boom"));
    assert_eq!(others(&effects), [accepted(6, id(2)), timer_set(6000), end, abort(id(2), Some("k"))]);
    assert!(world.object().is_idle());
}

/// It ran on a state that was not its turn yet: it runs again when it is.
#[test]
fn the_failure_of_a_call_that_overtook_others_does_not_count() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    let effects = world.ask(5, failed_call(invoke(2, turn_on("k")), Next::Fail(true)));
    assert_eq!((enqueued(&effects), others(&effects)), (vec![id(2)], vec![accepted(5, id(2))]));
    assert_eq!((world.status(id(2)), world.row(id(2)).failures), ("pending", 0));
}

#[test]
fn a_failed_call_that_is_known_is_answered_from_the_first() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, plain_turn())));
    assert_eq!(world.changes_nothing(6, failed_call(keyed(1, plain_turn()), Next::Fail(true))), [known(6, id(1))]);
    world.apply(failed(id(1), 1, 1, Next::Fail(true)));
    let effects = world.changes_nothing(7, failed_call(keyed(1, plain_turn()), RETRY));
    let answer = kept(id(1), failure(500, "boom"), 6000);
    assert_eq!(effects, [known(7, id(1)), answer]);
}

#[test]
fn malformed_failures_are_refused() {
    let mut world = World::new();
    let Body::AttemptFailed(good) = failed_call(invoke(1, turn_on("k")), RETRY) else { unreachable!() };
    for bad in [
        AttemptFailed { id: Bytes::new(), ..good.clone() },
        AttemptFailed { accept: Some(invoke(2, turn_on("k"))), ..good.clone() },
        AttemptFailed { accept: Some(Invoke { target: None, ..invoke(1, turn_on("k")) }), ..good.clone() },
    ] {
        let effects = world.changes_nothing(5, Body::AttemptFailed(bad));
        assert_eq!((refusal(&effects), effects.len()), (Some(400), 1));
    }
}
