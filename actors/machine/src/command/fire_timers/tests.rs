use abide_model::command::{Body, Form, Invoke, Next, Verb};
use abide_model::id::Millis;
use abide_model::limits::TIMERS_PER_COMMAND_MAX;
use abide_model::protocol::Code;
use abide_model::table::{Invocations, TimerKey, TimerKind};

use crate::testing::*;

/// Invariant I13.
#[test]
fn nothing_fires_early_and_everything_once() {
    let mut world = World::new();
    world.apply(invoked(Invoke { execute_at: 2000, ..invoke(1, plain_flow()) }));
    let flow = world.start_flow(2, plain_flow());
    world.append(flow, vec![sleep(2000, 1), suspend(&[1], &[])]);
    let retried = world.start_flow(3, plain_flow());
    world.fail(retried, Next::RetryAfter(1000));
    for now in [1000, 1500, 1999] {
        let before = world.rows.clone();
        assert_eq!(world.at(now).apply(fire()), [timer_set(2000)]);
        assert_eq!(world.rows, before);
    }
    assert_eq!(world.fired, []);
    let effects = world.at(2005).apply(fire());
    assert_eq!(effects, [start(id(1)), start(id(2)), start(id(3))]);
    assert_eq!(world.fired, [(2000, 2005); 3]);
    assert_eq!(world.codes(flow), [Code::INPUT, Code::SLEEP, Code::SLEEP_DONE]);
    world.ignores(fire());
}

#[test]
fn log_time_never_goes_back() {
    let mut world = World::new();
    world.apply(invoked(Invoke { execute_at: 2000, ..invoke(1, plain_flow()) }));
    world.at(3000).at(10);
    assert_eq!(world.apply(fire()), [start(id(1))]);
}

#[test]
fn a_sleep_reaches_its_flow_wherever_it_is() {
    for (place, status) in
        [("running", "running"), ("suspended", "suspended"), ("backing-off", "backing-off"), ("paused", "paused")]
    {
        let mut world = placed(Form::Flow, "running").unwrap();
        world.append(id(1), vec![sleep(1200, 9)]);
        match place {
            "suspended" => drop(world.append(id(1), vec![suspend(&[2], &[])])),
            "backing-off" => drop(world.fail(id(1), Next::RetryAfter(9000))),
            "paused" => drop(world.fail(id(1), Next::Pause(true))),
            _ => {}
        }
        world.at(1200).apply(fire());
        assert_eq!((world.status(id(1)), world.codes(id(1)).last().copied()), (status, Some(Code::SLEEP_DONE)));
        assert_eq!(world.row(id(1)).open_sleeps, 0);
    }
}

#[test]
fn a_delayed_exclusive_one_queues_when_its_time_has_come() {
    let mut world = World::new();
    world.apply(invoked(Invoke { execute_at: 2000, ..invoke(1, turn_on("k")) }));
    world.apply(invoked(Invoke { execute_at: 2000, ..invoke(2, flow_on("q")) }));
    world.apply(invoked(invoke(3, turn_on("k"))));
    let effects = world.at(2000).apply(fire());
    assert_eq!((enqueued(&effects), others(&effects)), (vec![id(1), id(2)], vec![start(id(2))]));
    assert_eq!(world.object().tail, 2);
}

#[test]
fn timers_due_at_once_fire_in_their_order_and_in_portions() {
    let mut world = World::new();
    let count = TIMERS_PER_COMMAND_MAX as u128;
    for n in 0..count + 10 {
        world.machine.advance_time(Millis(1000));
        world.apply(invoked(Invoke { execute_at: 3000 - n as u64, ..invoke(n, plain_turn()) }));
    }
    let effects = world.at(4000).apply(fire());
    assert_eq!(effects.len(), TIMERS_PER_COMMAND_MAX + 1);
    // The earliest due first; the leader is told that there is more.
    assert_eq!((effects[0].clone(), effects.last().cloned()), (start(id(count + 9)), Some(timer_set(4000))));
    let effects = world.apply(fire());
    assert_eq!((effects.len(), effects.last().cloned()), (10, Some(start(id(0)))));
    world.ignores(fire());
}

#[test]
fn kept_results_expire() {
    let mut world = World::new();
    world.apply(Body::Turn(record(id(1), Some(keyed(1, turn_on("k"))), version(0, 0), vec![])));
    assert_eq!(world.completion(id(1)).expires_at, 6000);
    world.at(5999).apply(fire());
    assert_eq!(world.status(id(1)), "completed");
    assert_eq!(world.at(6000).apply(fire()), []);
    assert_eq!(world.status(id(1)), "unknown");
    assert!(world.rows.0.is_empty());
}

#[test]
fn a_result_that_is_not_to_be_kept_leaves_nothing() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, plain_flow())));
    world.append(id(1), vec![sleep(9000, 1), output("x"), end()]);
    assert!(world.rows.0.is_empty());
}

/// A retry timer goes with the reason for it.
#[test]
fn an_operator_takes_the_timer_away() {
    for verb in [Verb::Resume, Verb::Kill] {
        let mut world = placed(Form::Flow, "backing-off").unwrap();
        world.apply(order(id(1), verb));
        let retry = |timer: &TimerKey| timer.kind == TimerKind::Retry;
        assert!(!world.timers().iter().any(retry));
        let before = world.rows.row::<Invocations>(&id(1));
        world.at(2000).apply(fire());
        assert_eq!(world.rows.row::<Invocations>(&id(1)), before);
    }
    // It may fail again in the same instant, with the same delay.
    let mut world = placed(Form::Flow, "backing-off").unwrap();
    world.apply(order(id(1), Verb::Resume));
    world.fail(id(1), Next::RetryAfter(500));
    assert_eq!(world.at(1500).apply(fire()), [start(id(1))]);
}
