//! The cases of [`crate::rule::control`] and of [`crate::rule::mailbox`].

use abide_model::command::{Body, Command, Control, Form, Invoke, Next, ParcelBody, Sink, Verb};
use abide_model::effect::{Answer, Effect};
use abide_model::protocol::{Code, NotificationResult};
use abide_model::table::Outbox;
use bytes::Bytes;

use crate::testing::*;

const FORMS: [Form; 2] = [Form::Turn, Form::Flow];

#[test]
fn cancel_is_the_signal() {
    for form in FORMS {
        for place in PLACES {
            let Some(mut by_order) = placed(form, place) else { continue };
            let mut by_signal = by_order.clone();
            let effects = by_order.ask(5, order(id(1), Verb::Cancel));
            let void = Some(abide_model::protocol::SignalResult::Void(abide_model::protocol::Void {}));
            let signal = Some(abide_model::protocol::SignalId::Index(1));
            let cancel = abide_model::command::Signal { target: bytes(id(1)), signal, result: void };
            assert_eq!(effects, by_signal.ask(5, Body::Signal(cancel)));
            assert_eq!(by_order.rows, by_signal.rows);
        }
    }
}

#[test]
fn kill_ends_everything() {
    for form in FORMS {
        for place in PLACES {
            let Some(mut world) = placed(form, place) else { continue };
            let effects = world.ask(5, order(id(1), Verb::Kill));
            let end = completed(id(1), failure(409, "killed"));
            let kept = timer_set(world.machine.log_time().0 + 5000);
            let (expected, status) = match place {
                "completed" => (vec![answered(5, Answer::AlreadyCompleted)], "completed"),
                "unknown" => (vec![answered(5, Answer::NotFound)], "unknown"),
                "scheduled" => (vec![end, abort(id(1), None), answered(5, Answer::Done)], "unknown"),
                "pending" | "first" => (vec![end, abort(id(1), Some("k")), answered(5, Answer::Done)], "unknown"),
                _ => (vec![kept, end, abort(id(1), Some("k")), answered(5, Answer::Done)], "completed"),
            };
            assert_eq!((effects, world.status(id(1))), (expected, status), "{form:?} {place}");
            assert_eq!(world.object().is_idle(), place != "pending");
        }
    }
}

#[test]
fn a_malformed_target_is_nobody() {
    let mut world = World::new();
    for verb in (0..8).map(|verb| Verb::try_from(verb).unwrap()) {
        let command = Control { target: Bytes::from_static(b"x"), verb: verb as i32, ..Control::default() };
        assert_eq!(world.changes_nothing(5, Body::Control(command)), [answered(5, Answer::NotFound)]);
    }
}

/// Replicas of different builds would part ways if one of them took it for something else.
#[test]
fn an_order_of_a_newer_build_stops_this_one() {
    let mut world = World::new();
    let body = Some(Body::Control(Control { target: bytes(id(1)), verb: 99, ..Control::default() }));
    let error = world.machine.apply(&world.rows, Command { request: 0, body }).unwrap_err();
    assert!(error.0.contains("newer build"), "{error}");
}

#[test]
fn kill_takes_the_children_along() {
    let mut world = World::of(0, 2);
    let parent = world.start_flow(1, plain_flow());
    let away = Invoke { id: bytes(far(30)), ..invoke(30, plain_flow()) };
    let calls =
        vec![call(invoke(20, flow_on("k")), 1), one_way(invoke(21, plain_flow()), 3), call(away, 4), sleep(7000, 6)];
    world.append(parent, calls);
    world.append(id(20), vec![call(invoke(22, turn_on("q")), 1)]);
    let effects = world.ask(5, order(parent, Verb::Kill));
    for n in [1, 20, 21, 22] {
        assert!(effects.contains(&completed(id(n), failure(409, "killed"))), "{n}");
        assert_eq!(world.status(id(n)), "unknown");
    }
    let outbox = world.rows.all::<Outbox>();
    let kill = ParcelBody::Control(Control::new(far(30), Verb::Kill));
    assert_eq!(outbox.last().unwrap().1.body, Some(kill));
    assert!(world.timers().is_empty());
}

#[test]
fn the_caller_of_a_killed_invocation_learns_it() {
    let mut world = World::new();
    let caller = world.start_flow(1, plain_flow());
    world.append(caller, vec![call(invoke(20, flow_on("k")), 1)]);
    world.apply(order(id(20), Verb::Kill));
    let told = world.last_notification(caller).result;
    assert!(matches!(told, Some(NotificationResult::Failure(failure)) if failure.code == 409));
}

/// Calls may wait in a circle.
#[test]
fn kill_ends_a_circle() {
    let mut world = World::new();
    let a = world.start_flow(1, flow_on("k"));
    let b = Invoke { idempotency_key: Some("b".into()), ..invoke(2, flow_on("q")) };
    world.append(a, vec![call(b, 1)]);
    let a_again = Invoke { idempotency_key: Some("a".into()), ..invoke(1, flow_on("k")) };
    world.append(id(2), vec![call(a_again, 1)]);
    world.apply(order(a, Verb::Kill));
    assert_eq!((world.status(id(1)), world.status(id(2))), ("unknown", "unknown"));
    assert!(world.rows.all::<abide_model::table::Mailboxes>().is_empty());
}

#[test]
fn sleeps_of_the_dead_are_forgotten() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    // 2 is over at once, 1 and 3 are not; 4 was waited for twice, until two times.
    world.append(flow, vec![sleep(5000, 1), sleep(500, 2), sleep(6000, 3), sleep(1500, 4), sleep(8000, 4)]);
    world.at(1600).apply(fire());
    assert_eq!(world.timers().len(), 3);
    world.apply(order(flow, Verb::Kill));
    assert!(world.timers().is_empty());
}

/// The host asked for the first to stop; the second takes the key.
#[test]
fn the_next_one_goes_when_the_first_is_killed() {
    let mut world = World::new();
    world.start_flow(1, flow_on("k"));
    for (n, target) in [(2, turn_on("k")), (3, flow_on("k"))] {
        world.apply(invoked(invoke(n, target)));
    }
    assert_eq!(enqueued(&world.apply(order(id(1), Verb::Kill))), [id(2)]);
    assert!(world.apply(order(id(2), Verb::Kill)).contains(&start(id(3))));
    assert_eq!(world.object().head, 2);
}

#[test]
fn a_started_turn_can_be_killed_in_the_middle_of_its_retry() {
    let mut world = placed(Form::Turn, "running").unwrap();
    world.apply(invoked(invoke(2, turn_on("k"))));
    let effects = world.apply(order(id(1), Verb::Kill));
    assert!(effects.contains(&abort(id(1), Some("k"))));
    assert_eq!(enqueued(&effects), [id(2)]);
    world.ignores(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "late")])));
    world.ignores(failed(id(1), 1, 1, Next::RetryAfter(1)));
}

/// What is taken out of the middle leaves a hole that nobody falls into.
#[test]
fn holes_are_skipped() {
    let mut world = World::new();
    for n in 1..=6 {
        world.apply(invoked(invoke(n, turn_on("k"))));
    }
    for n in [2, 3, 5, 6] {
        let effects = world.apply(order(id(n), Verb::Kill));
        assert_eq!(enqueued(&effects), []);
    }
    assert_eq!((world.object().head, world.object().tail), (0, 6));
    // To the next one that is there.
    assert_eq!(enqueued(&world.apply(order(id(1), Verb::Kill))), [id(4)]);
    assert_eq!(world.object().head, 3);
    // And to the end when none is.
    world.apply(Body::Turn(from_mailbox(4, version(0, 0), vec![])));
    assert!(world.object().is_idle());
    assert_eq!(world.object().head, 6);
    assert_eq!(enqueued(&world.apply(invoked(invoke(7, turn_on("k"))))), [id(7)]);
    world.apply(Body::Turn(from_mailbox(7, version(0, 0), vec![set("n", "7")])));
    assert_eq!(world.field("n"), Some("7".into()));
}

#[test]
fn a_waiter_of_a_queued_invocation_is_told_of_its_end() {
    let mut world = World::new();
    let caller = world.start_flow(11, plain_flow());
    world.apply(invoked(invoke(1, turn_on("k"))));
    let sink = Some(Sink::new(caller, 1, 2, Code::CALL_DONE));
    world.apply(invoked(Invoke { sink, ..invoke(2, turn_on("k")) }));
    let effects = world.ask(5, order(id(2), Verb::Cancel));
    let told = effects.iter().filter(|it| matches!(it, Effect::Completed { .. })).count();
    assert_eq!((told, world.codes(caller)), (1, vec![Code::INPUT, Code::CALL_DONE]));
}
