use abide_model::command::Verb;
use abide_model::protocol::{Code, SignalId, Suspension};

use crate::testing::*;

#[test]
fn a_flow_waits_for_what_is_not_there() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    assert_eq!(world.append(flow, vec![run(1), suspend(&[1], &[1])]), [rested(flow)]);
    assert_eq!(world.status(flow), "suspended");
}

#[test]
fn a_flow_goes_on_at_once_when_a_completion_is_there() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    // As a deployment that cannot be told anything while it runs does it.
    assert_eq!(world.append(flow, vec![run(1), ran(1, "x"), suspend(&[1], &[1])]), [start(flow)]);
    assert_eq!(world.row(flow).attempt, 2);
}

/// Even one that the attempt may have known: what was sent to it may not have arrived when it went to sleep, and a flow
/// that is started in vain goes to sleep again.
#[test]
fn a_known_completion_counts() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.append(flow, vec![run(1), ran(1, "x")]);
    assert_eq!(world.append(flow, vec![suspend(&[1, 5], &[])]), [start(flow)]);
}

#[test]
fn a_signal_counts_only_if_the_attempt_cannot_have_seen_it() {
    for (seen, status) in [(1, "running"), (2, "suspended")] {
        let mut world = World::new();
        let flow = world.start_flow(1, plain_flow());
        world.apply(signal(flow, SignalId::Index(17)));
        world.apply(appended(flow, 1, 1, seen, vec![suspend(&[], &[1, 17])]));
        assert_eq!(world.status(flow), status);
        // The next one does.
        world.apply(signal(flow, SignalId::Index(17)));
        assert_eq!(world.status(flow), "running");
    }
}

#[test]
fn other_signals_do_not_count() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.apply(signal(flow, SignalId::Index(18)));
    world.apply(signal(flow, SignalId::Name("17".into())));
    world.apply(appended(flow, 1, 1, 0, vec![suspend(&[18], &[17])]));
    assert_eq!(world.status(flow), "suspended");
}

#[test]
fn names_count() {
    let by_name = || {
        let suspension = Suspension { waiting_named_signals: vec!["go".into()], ..Suspension::default() };
        message(Code::SUSPENSION, &suspension)
    };
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.append(flow, vec![by_name()]);
    world.apply(signal(flow, SignalId::Name("no".into())));
    assert_eq!(world.status(flow), "suspended");
    world.apply(signal(flow, SignalId::Name("go".into())));
    assert_eq!(world.status(flow), "running");
    world.apply(signal(flow, SignalId::Name("go".into())));
    let row = world.row(flow);
    world.apply(appended(flow, 1, row.attempt, row.journal_len - 1, vec![by_name()]));
    assert_eq!((world.status(flow), world.row(flow).attempt), ("running", 3));
}

#[test]
fn waiting_for_nothing_pauses() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.append(flow, vec![suspend(&[], &[])]);
    assert_eq!(world.status(flow), "paused");
}

#[test]
fn a_suspended_flow_keeps_its_key() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(invoked(invoke(2, turn_on("k"))));
    world.append(flow, vec![suspend(&[9], &[])]);
    assert_eq!((world.object().head, world.status(id(2))), (0, "pending"));
    world.apply(order(flow, Verb::Kill));
    assert_eq!(world.object().head, 1);
}

#[test]
fn going_to_sleep_is_progress() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.fail(flow, abide_model::command::Next::RetryAfter(1));
    world.at(1001).apply(fire());
    world.append(flow, vec![suspend(&[9], &[])]);
    assert_eq!(world.row(flow).failures, 0);
}
