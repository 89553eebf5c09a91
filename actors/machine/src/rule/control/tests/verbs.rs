//! What the cells do not show: what an order leaves behind, and what comes late.

use abide_model::command::{Body, Control, Form, Next, Verb};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{Code, SignalId};
use abide_model::table::{Completions, Expiries, Journals, TimerKey, TimerKind};

use crate::testing::*;

fn resume_on(id: InvocationId, version: &str) -> Body {
    Body::Control(Control { version: Some(version.into()), ..Control::new(id, Verb::Resume) })
}

fn reschedule(id: InvocationId, execute_at: u64) -> Body {
    Body::Control(Control { execute_at, ..Control::new(id, Verb::Reschedule) })
}

#[test]
fn what_a_paused_attempt_still_says_is_dropped() {
    let mut world = placed(Form::Flow, "running").unwrap();
    assert_eq!(world.apply(order(id(1), Verb::Pause)), [rested(id(1)), abort(id(1), None), answered(0, Answer::Done)]);
    world.ignores(appended(id(1), 1, 1, 1, vec![run(1)]));
    world.ignores(failed(id(1), 1, 1, Next::RetryAfter(5)));
    world.apply(order(id(1), Verb::Resume));
    assert_eq!(world.row(id(1)).attempt, 2);
    world.ignores(appended(id(1), 1, 1, 1, vec![run(1)]));
    world.append(id(1), vec![run(1)]);
    assert_eq!(world.row(id(1)).journal_len, 2);
}

/// The host may have run the turn before it heard of the pause.
#[test]
fn the_record_of_a_paused_turn_is_void() {
    let mut world = placed(Form::Turn, "running").unwrap();
    world.apply(order(id(1), Verb::Pause));
    let record = || Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")]));
    assert_eq!(world.changes_nothing(0, record()), [rejected()]);
    world.apply(order(id(1), Verb::Resume));
    world.apply(record());
    assert_eq!((world.status(id(1)), world.field("n")), ("completed", Some("1".into())));
}

#[test]
fn a_turn_without_a_key_can_be_paused() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, plain_turn())));
    world.apply(order(id(1), Verb::Pause));
    let record = || Body::Turn(abide_model::command::Turn { base: None, ..from_mailbox(1, version(0, 0), vec![]) });
    world.ignores(record());
    world.apply(order(id(1), Verb::Resume));
    assert!(world.apply(record()).contains(&completed(id(1), ok("ok"))));
}

#[test]
fn a_paused_invocation_collects_what_it_is_told() {
    let mut world = placed(Form::Flow, "suspended").unwrap();
    world.apply(order(id(1), Verb::Pause));
    world.apply(signal(id(1), SignalId::Index(17)));
    assert_eq!(world.status(id(1)), "paused");
    world.apply(order(id(1), Verb::Resume));
    assert_eq!(world.codes(id(1)), [Code::INPUT, Code::SIGNAL]);
}

#[test]
fn a_retry_does_not_come_out_of_a_pause() {
    let mut world = placed(Form::Flow, "backing-off").unwrap();
    world.apply(order(id(1), Verb::Pause));
    assert!(world.timers().is_empty());
    assert_eq!(world.at(9000).apply(fire()), []);
    assert_eq!(world.status(id(1)), "paused");
}

#[test]
fn a_new_leader_leaves_paused_ones_alone() {
    let mut world = placed(Form::Flow, "running").unwrap();
    world.apply(order(id(1), Verb::Pause));
    assert_eq!(world.apply(lead(2)), []);
}

#[test]
fn resuming_takes_another_version_when_it_is_wished() {
    for (wish, version) in [(None, Some("v1")), (Some(""), None), (Some("v2"), Some("v2"))] {
        let mut world = placed(Form::Flow, "running").unwrap();
        world.apply(Body::Append(abide_model::command::Append {
            version: "v1".into(),
            ..match appended(id(1), 1, 1, 1, vec![run(1)]) {
                Body::Append(append) => append,
                _ => unreachable!(),
            }
        }));
        world.fail(id(1), Next::Pause(true));
        let resume = Control { version: wish.map(Into::into), ..Control::new(id(1), Verb::Resume) };
        world.apply(Body::Control(resume));
        assert_eq!(world.row(id(1)).version.as_deref(), version);
        assert_eq!(world.row(id(1)).failures, 0);
    }
}

#[test]
fn a_running_one_does_not_change_its_version() {
    let mut world = placed(Form::Flow, "running").unwrap();
    let effects = world.changes_nothing(5, resume_on(id(1), "v2"));
    assert_eq!(refusal(&effects), Some(409));
    assert_eq!(world.changes_nothing(5, resume_on(id(1), "")), [answered(5, Answer::Done)]);
}

#[test]
fn a_purge_leaves_nothing_and_the_id_is_free() {
    let mut world = placed(Form::Flow, "completed").unwrap();
    world.apply(order(id(1), Verb::Purge));
    assert!(world.rows.all::<Journals>().is_empty() && world.rows.all::<Expiries>().is_empty());
    assert_eq!(world.ask(6, invoked(keyed(1, flow_on("k"))))[0], accepted(6, id(1)));
}

#[test]
fn a_purged_journal_leaves_the_result() {
    for journal_retention_ms in [5000, 100, 9000] {
        let mut world = World::new();
        world.apply(invoked(abide_model::command::Invoke { journal_retention_ms, ..keyed(1, flow_on("k")) }));
        world.append(id(1), vec![output("ok"), end()]);
        world.apply(order(id(1), Verb::PurgeJournal));
        assert!(world.rows.all::<Journals>().is_empty());
        assert_eq!(world.completion(id(1)).outcome, Some(ok("ok")));
        assert_eq!(world.rows.all::<Expiries>().len(), 1);
        // Again is as well.
        assert_eq!(world.changes_nothing(5, order(id(1), Verb::PurgeJournal)), [answered(5, Answer::Done)]);
        world.at(1000 + 9000).apply(fire());
        assert!(world.rows.all::<Completions>().is_empty());
    }
}

#[test]
fn a_rescheduled_one_starts_at_its_new_time() {
    let mut world = placed(Form::Flow, "scheduled").unwrap();
    world.apply(reschedule(id(1), 3000));
    let timer = TimerKey { due: Millis(3000), kind: TimerKind::Start, invocation: id(1), completion: 0 };
    assert_eq!(world.timers(), [timer]);
    assert_eq!(world.changes_nothing(5, reschedule(id(1), 3000)), [answered(5, Answer::Done)]);
    world.at(3000).apply(fire());
    assert_eq!(world.status(id(1)), "running");
}

#[test]
fn a_time_in_the_past_starts_it_now() {
    for form in [Form::Turn, Form::Flow] {
        for past in [0, 999, 1000] {
            let mut world = placed(form, "scheduled").unwrap();
            let effects = world.apply(reschedule(id(1), past));
            assert_eq!(enqueued(&effects), [id(1)]);
            assert_eq!(effects.contains(&start(id(1))), form == Form::Flow);
            assert!(world.timers().is_empty());
        }
    }
}
