//! The cases of [`crate::rule::signal`].

use abide_model::command::{Body, Form, Signal};
use abide_model::effect::{Answer, Effect};
use abide_model::protocol::{
    Code, Failure, Notification, NotificationId, NotificationResult, SIGNAL_CANCEL, SignalId, SignalResult, Value, Void,
};
use bytes::Bytes;

use crate::testing::*;

const FORMS: [Form; 2] = [Form::Turn, Form::Flow];

fn answer(effects: &[Effect]) -> Answer {
    match effects.last() {
        Some(Effect::Answered { request: 5, answer }) => answer.clone(),
        other => panic!("the last effect is {other:?}"),
    }
}

#[test]
fn a_signal_reaches_its_target_in_every_place() {
    for form in FORMS {
        for place in PLACES {
            let Some(mut world) = placed(form, place) else { continue };
            let before = world.rows.clone();
            let effects = world.ask(5, signal(id(1), SignalId::Index(17)));
            let expected = match place {
                "completed" => Answer::AlreadyCompleted,
                "unknown" => Answer::NotFound,
                _ => Answer::Appended,
            };
            assert_eq!(answer(&effects), expected, "{form:?} {place}");
            match place {
                // It is told.
                "running" => {
                    let told = |it: &Effect| matches!(it, Effect::Notify { index: 1, attempt: 1, .. });
                    assert!(effects.iter().any(told), "{effects:?}");
                }
                // It waited for this.
                "suspended" => assert_eq!((effects[0].clone(), world.status(id(1))), (start(id(1)), "running")),
                // It finds it when it is tried again.
                "backing-off" | "paused" => assert_eq!((effects.len(), world.status(id(1))), (1, place)),
                // Dropped.
                _ => assert_eq!((effects.len(), &world.rows), (1, &before)),
            }
            if ["running", "suspended", "backing-off", "paused"].contains(&place) {
                assert_eq!(world.codes(id(1)), [Code::INPUT, Code::SIGNAL]);
            }
        }
    }
}

#[test]
fn a_suspended_flow_is_started_only_by_what_it_waits_for() {
    let mut world = placed(Form::Flow, "suspended").unwrap();
    let effects = world.ask(5, signal(id(1), SignalId::Index(18)));
    assert_eq!((effects, world.status(id(1))), (vec![answered(5, Answer::Appended)], "suspended"));
    world.ask(5, signal(id(1), SignalId::Name("17".into())));
    assert_eq!(world.status(id(1)), "suspended");
    assert_eq!(world.row(id(1)).journal_len, 3);
    world.ask(5, signal(id(1), SignalId::Index(17)));
    assert_eq!((world.status(id(1)), world.row(id(1)).attempt), ("running", 2));
}

#[test]
fn what_a_signal_carries_is_kept() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    let value = Value { content: Bytes::from_static(b"v") };
    for (sent, kept) in [
        (Some(SignalResult::Value(value.clone())), NotificationResult::Value(value)),
        (Some(SignalResult::Failure(Failure::new(500, "x"))), NotificationResult::Failure(Failure::new(500, "x"))),
        (Some(SignalResult::Void(Void {})), NotificationResult::Void(Void {})),
        (None, NotificationResult::Void(Void {})),
    ] {
        let command = Signal { target: bytes(flow), signal: Some(SignalId::Name("s".into())), result: sent };
        world.apply(Body::Signal(command));
        let id = Some(NotificationId::SignalName("s".into()));
        assert_eq!(world.last_notification(flow), Notification { id, result: Some(kept) });
    }
}

#[test]
fn malformed_signals_find_nobody() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    for bad in [
        Signal { target: Bytes::new(), signal: Some(SignalId::Index(17)), result: None },
        Signal { target: bytes(flow), signal: None, result: None },
    ] {
        assert_eq!(world.changes_nothing(5, Body::Signal(bad)), [answered(5, Answer::NotFound)]);
    }
}

#[test]
fn cancel_asks_flows_and_ends_what_cannot_listen() {
    for form in FORMS {
        for place in PLACES {
            let Some(mut world) = placed(form, place) else { continue };
            let effects = world.ask(5, signal(id(1), SignalId::Index(SIGNAL_CANCEL)));
            let end = completed(id(1), failure(409, "canceled"));
            match (form, place) {
                (_, "completed") => assert_eq!(effects, [answered(5, Answer::AlreadyCompleted)]),
                (_, "unknown") => assert_eq!(effects, [answered(5, Answer::NotFound)]),
                (_, "scheduled") => {
                    assert_eq!(effects, [end, abort(id(1), None), answered(5, Answer::Done)]);
                    assert_eq!(world.status(id(1)), "unknown");
                }
                (_, "pending" | "first") => {
                    assert_eq!(effects, [end, abort(id(1), Some("k")), answered(5, Answer::Done)]);
                    assert_eq!(world.status(id(1)), "unknown");
                }
                (Form::Turn, _) => {
                    assert_eq!(effects[1..], [end, abort(id(1), Some("k")), answered(5, Answer::Done)]);
                    assert_eq!(world.status(id(1)), "completed");
                    assert!(world.object().is_idle());
                }
                (Form::Flow | Form::Edit, _) => {
                    assert_eq!(answer(&effects), Answer::Appended);
                    assert_eq!(world.codes(id(1)), [Code::INPUT, Code::SIGNAL]);
                    let expected = if place == "backing-off" { "backing-off" } else { "running" };
                    assert_eq!(world.status(id(1)), expected);
                    assert_eq!(effects.contains(&start(id(1))), ["suspended", "paused"].contains(&place));
                }
            }
        }
    }
}

/// A flow that swallowed the first request to stop sees the next one.
#[test]
fn cancel_may_be_repeated() {
    let mut world = World::new();
    let flow = world.start_flow(1, plain_flow());
    world.apply(signal(flow, SignalId::Index(SIGNAL_CANCEL)));
    world.apply(signal(flow, SignalId::Index(SIGNAL_CANCEL)));
    assert_eq!(world.codes(flow), [Code::INPUT, Code::SIGNAL, Code::SIGNAL]);
}
