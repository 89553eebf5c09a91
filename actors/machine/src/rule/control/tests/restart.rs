//! The cases of [`crate::rule::control::restart`].

use abide_model::command::{Access, Body, Control, Form, Invoke, Target, Verb};
use abide_model::effect::{Answer, Effect};
use abide_model::id::InvocationId;
use abide_model::protocol::{Code, Notification, NotificationId, SignalId};
use abide_model::table::{CompletionRow, Completions, Journals, Mailboxes, Table};
use bytes::Bytes;

use crate::testing::*;

fn restart(keep: u32) -> Control {
    Control { new_id: bytes(id(50)), keep, ..Control::new(id(1), Verb::Restart) }
}

fn refused(world: &mut World, control: Control) -> (u32, String) {
    let effects = world.changes_nothing(5, Body::Control(control));
    match &effects[..] {
        [Effect::Answered { request: 5, answer: Answer::Refused(failure) }] => (failure.code, failure.message.clone()),
        other => panic!("not a refusal: {other:?}"),
    }
}

/// A flow that ended, with everything in its journal that has an answer; `extra` comes before its end.
fn ended(extra: Vec<abide_model::command::FlowMessage>) -> World {
    let mut world = World::new();
    let target = Target { access: Access::Exclusive as i32, ..flow_on("k") };
    world.apply(invoked(Invoke { one_way: true, state_ttl_ms: 9, ..keyed(1, target) }));
    let id = id(1);
    // 1 Run, 2 its result, 3 SetState, 4 Call, 5 its id; 6 its result, when there is one; 7 a signal.
    world.append(id, vec![run(1), ran(1, "r"), set_state("n", "5"), call(invoke(20, plain_flow()), 2)]);
    world.append(crate::testing::id(20), vec![output("called"), end()]);
    world.apply(signal(id, SignalId::Index(17)));
    world.append(id, extra);
    world.append(id, vec![output("ok"), end()]);
    world
}

fn codes(world: &World, id: InvocationId) -> Vec<Code> {
    world.codes(id)
}

#[test]
fn from_its_start() {
    for keep in [0, 1] {
        let mut world = ended(vec![]);
        let effects = world.ask(5, Body::Control(restart(keep)));
        assert_eq!(others(&effects), [accepted(0, id(50)), start(id(50)), answered(5, Answer::Created(id(50)))]);
        assert_eq!(codes(&world, id(50)), [Code::INPUT]);
        let row = world.row(id(50));
        assert_eq!((row.retention_ms, row.journal_retention_ms, row.state_ttl_ms), (5000, 5000, 9));
        assert!(row.one_way && row.sinks.is_empty() && row.chain.is_empty() && row.invoked_by.is_empty());
        assert_eq!((row.restarted_from, row.idempotency_key), (bytes(id(1)), None));
        assert!(row.life > world.machine.lives() - 1);
        world.append(id(50), vec![output("again"), end()]);
        assert_eq!(world.completion(id(50)).restarted_from, bytes(id(1)));
    }
}

/// What kept commands did is not done again, and their answers come along.
#[test]
fn behind_some_of_its_journal() {
    use Code as C;
    let (input, ran, called, told) = (C::INPUT, C::RUN_DONE, C::CALL_INVOCATION_ID, C::CALL_DONE);
    for (keep, expected) in [
        (2, vec![input, C::RUN, ran]),
        (3, vec![input, C::RUN, ran]),
        (4, vec![input, C::RUN, ran, C::SET_STATE]),
        (5, vec![input, C::RUN, ran, C::SET_STATE, C::CALL, called, told]),
        (6, vec![input, C::RUN, ran, C::SET_STATE, C::CALL, called, told]),
        (7, vec![input, C::RUN, ran, C::SET_STATE, C::CALL, called, told]),
        (8, vec![input, C::RUN, ran, C::SET_STATE, C::CALL, called, told, C::SIGNAL]),
        (9, vec![input, C::RUN, ran, C::SET_STATE, C::CALL, called, told, C::SIGNAL, C::OUTPUT]),
    ] {
        let mut world = ended(vec![]);
        let state = world.object();
        world.apply(Body::Control(restart(keep)));
        assert_eq!(codes(&world, id(50)), expected, "{keep}");
        assert_eq!(world.object().version(), state.version());
        assert_eq!(world.status(id(20)), "unknown");
        world.append(id(50), vec![output("again"), end()]);
        assert_eq!(world.status(id(50)), "completed");
    }
}

#[test]
fn a_kept_command_without_an_answer_is_named() {
    // Entry 8 is the step that never ended.
    let mut world = ended(vec![run(9)]);
    let (code, text) = refused(&mut world, restart(9));
    assert_eq!(code, 400);
    assert!(text.contains("entry 8 (Run") && text.contains("at most 8"), "{text}");
    world.apply(Body::Control(restart(8)));
    assert_eq!(world.status(id(50)), "running");
}

#[test]
fn more_than_there_is_cannot_be_kept() {
    let mut world = ended(vec![]);
    assert_eq!(refused(&mut world, restart(10)).0, 400);
    assert_eq!(refused(&mut world, restart(u32::MAX)).0, 400);
}

/// A sleep that nobody waited for any more goes on until its time, or is over.
#[test]
fn sleeps_go_on() {
    let mut world = ended(vec![sleep(3000, 7), sleep(8000, 8), sleep(500, 9)]);
    assert!(world.timers().is_empty());
    world.at(4000).apply(Body::Control(restart(12)));
    let row = world.row(id(50));
    let answers = world.journal(id(50)).into_iter().filter(|message| message.code == Code::SLEEP_DONE);
    let answers: Vec<_> = answers.map(|message| message.decode::<Notification>().unwrap().id.unwrap()).collect();
    assert_eq!(answers, [NotificationId::Completion(9), NotificationId::Completion(7)]);
    assert_eq!((row.open_sleeps, world.timers().len()), (1, 1));
    let mut other = world.clone();
    world.at(8000).apply(fire());
    assert_eq!(
        (world.last_notification(id(50)).id, world.row(id(50)).open_sleeps),
        (Some(NotificationId::Completion(8)), 0)
    );
    other.apply(order(id(50), Verb::Kill));
    assert!(other.timers().is_empty());
}

/// A sleep may end while the repetition waits for its key.
#[test]
fn sleeps_go_on_in_the_mailbox() {
    let mut world = ended(vec![sleep(3000, 7), sleep(3001, 8)]);
    world.apply(invoked(invoke(2, flow_on("k"))));
    world.apply(Body::Control(restart(10)));
    assert_eq!((world.status(id(50)), world.row(id(50)).open_sleeps), ("pending", 2));
    world.at(3001).apply(fire());
    let row = world.row(id(50));
    assert_eq!((row.open_sleeps, &world.codes(id(50))[10..]), (0, &[Code::SLEEP_DONE, Code::SLEEP_DONE][..]));
    world.append(id(2), vec![output("x"), end()]);
    world.append(id(50), vec![output("again"), end()]);
    assert_eq!(world.status(id(50)), "completed");
}

#[test]
fn it_waits_for_its_key() {
    let mut world = ended(vec![]);
    world.apply(invoked(invoke(2, flow_on("k"))));
    let effects = world.apply(Body::Control(restart(1)));
    assert_eq!(enqueued(&effects), [id(50)]);
    assert_eq!(world.status(id(50)), "pending");
    assert!(world.append(id(2), vec![output("x"), end()]).contains(&start(id(50))));
    assert_eq!(world.rows.all::<Mailboxes>().len(), 1);
}

#[test]
fn the_version_stays_unless_another_one_is_wished() {
    for (wish, version) in [(None, Some("v1")), (Some(""), None), (Some("v2"), Some("v2"))] {
        let mut world = World::new();
        world.apply(invoked(keyed(1, flow_on("k"))));
        let Body::Append(append) = appended(id(1), 1, 1, 1, vec![output("x"), end()]) else { unreachable!() };
        world.apply(Body::Append(abide_model::command::Append { version: "v1".into(), ..append }));
        world.apply(Body::Control(Control { version: wish.map(Into::into), ..restart(1) }));
        assert_eq!(world.row(id(50)).version.as_deref(), version);
    }
}

#[test]
fn a_journal_that_is_gone_cannot_be_restarted() {
    let mut world = placed(Form::Flow, "completed").unwrap();
    world.apply(order(id(1), Verb::PurgeJournal));
    assert_eq!(refused(&mut world, restart(1)).0, 410);
    // A turn that was executed by its first record never had one.
    let mut world = World::new();
    let turn = record(id(1), Some(keyed(1, turn_on("k"))), version(0, 0), vec![]);
    world.apply(Body::Turn(turn));
    assert_eq!(refused(&mut world, restart(1)).0, 410);
}

#[test]
fn runs_of_workflows_and_edits_are_not_restarted() {
    for target in
        [Target { access: Access::Workflow as i32, ..flow_on("w") }, Target { form: Form::Edit as i32, ..turn_on("k") }]
    {
        let mut world = ended(vec![]);
        let row = CompletionRow { target: Some(target), ..world.completion(id(1)) };
        world.rows.0.insert(Completions::encode_key(&id(1)), Completions::encode_value(&row));
        assert_eq!(refused(&mut world, restart(1)).0, 422);
    }
}

#[test]
fn the_new_id_has_to_be_free_and_of_this_partition() {
    let mut world = ended(vec![]);
    let with = |new_id: Bytes| Control { new_id, ..restart(1) };
    assert_eq!(refused(&mut world, with(bytes(id(1)))).0, 409);
    assert_eq!(refused(&mut world, with(Bytes::from_static(b"x"))).0, 400);
    world.apply(invoked(invoke(30, plain_flow())));
    assert_eq!(refused(&mut world, with(bytes(id(30)))).0, 409);
    let mut world = World::of(0, 2);
    world.apply(invoked(keyed(1, flow_on("k"))));
    world.append(id(1), vec![output("x"), end()]);
    assert_eq!(refused(&mut world, with(bytes(far(50)))).0, 400);
}

/// It can be repeated as often as it is asked for.
#[test]
fn a_restarted_one_can_be_restarted() {
    let mut world = ended(vec![]);
    world.apply(Body::Control(restart(5)));
    world.append(id(50), vec![output("x"), end()]);
    let again = Control { new_id: bytes(id(51)), keep: 5, ..Control::new(id(50), Verb::Restart) };
    world.apply(Body::Control(again));
    assert_eq!(world.codes(id(51)).len(), 7);
    assert_eq!(world.row(id(51)).restarted_from, bytes(id(50)));
    assert!(world.rows.row::<Journals>(&(id(51), 6)).is_some());
}
