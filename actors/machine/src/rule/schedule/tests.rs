//! The cases of [`super`].

use abide_model::command::{
    Body, CatchUp, Command, Invoke, Next, Outcome, OutcomeKind, Overlap, ParcelBody, Response, ScheduleAction,
    ScheduleDefinition, ScheduleFire, ScheduleNext, ScheduleOrder, Sink,
};
use abide_model::effect::{Answer, Effect};
use abide_model::id::ScheduleId;
use abide_model::limits::{self, SCHEDULE_ACTIVE_MAX, SCHEDULE_CATCH_UP_MAX, SCHEDULE_FAULT_BYTES_MAX};
use abide_model::protocol::{Code, Header};
use abide_model::table::{Outbox, ScheduleRow, Schedules};
use bytes::Bytes;

use crate::testing::*;

const NAME: &str = "nightly";

fn schedule() -> ScheduleId {
    ScheduleId::of(NAME)
}

fn definition() -> ScheduleDefinition {
    ScheduleDefinition {
        name: NAME.into(),
        spec: "every 1000 from 0".into(),
        service: "S".into(),
        handler: "h".into(),
        first_due: 2000,
        ..ScheduleDefinition::default()
    }
}

fn to(action: ScheduleAction) -> Body {
    Body::Schedule(ScheduleOrder { id: Bytes::copy_from_slice(&schedule().to_bytes()), action: Some(action) })
}

fn put(definition: ScheduleDefinition) -> Body {
    to(ScheduleAction::Put(definition))
}

fn resumed(due: u64) -> Body {
    to(ScheduleAction::Resume(ScheduleNext { due }))
}

fn fired(due: u64, runs: &[u128], next: u64) -> Body {
    let runs = runs.iter().map(|n| invoke(*n, plain_flow())).collect();
    to(ScheduleAction::Fire(ScheduleFire { due, runs, next, ..ScheduleFire::default() }))
}

fn row(world: &World) -> ScheduleRow {
    world.rows.row::<Schedules>(&schedule()).expect("the schedule is there")
}

/// A world with the schedule, due at 2,000.
fn waiting(definition: ScheduleDefinition) -> World {
    let mut world = World::new();
    assert_eq!(world.ask(5, put(definition)), [timer_set(2000), answered(5, Answer::Done)]);
    world
}

/// A world where the schedule is firing, since 2,000.
fn firing(overlap: Overlap) -> World {
    let mut world = waiting(ScheduleDefinition { overlap: overlap as i32, ..definition() });
    let effects = world.at(2000).apply(fire());
    assert_eq!(effects, [Effect::ScheduleDue { schedule: schedule(), row: Box::new(row(&world)) }]);
    world
}

fn finish(world: &mut World, n: u128) {
    world.append(id(n), vec![output("ok"), end()]);
}

/// The states of the table, by name.
fn in_state(state: &str) -> World {
    let mut world = firing(Overlap::Allow);
    match state {
        "waiting" => {
            world.apply(fired(2000, &[], 3000));
        }
        "firing" => {}
        "paused" => {
            world.apply(to(ScheduleAction::Pause(true)));
        }
        "over" => {
            world.apply(fired(2000, &[], 0));
        }
        _ => world = World::new(),
    }
    assert_eq!(found(&world), if state == "absent" { None } else { Some(state) });
    world
}

const STATES: [&str; 5] = ["waiting", "firing", "paused", "over", "absent"];

fn found(world: &World) -> Option<&'static str> {
    let row = world.rows.row::<Schedules>(&schedule())?;
    Some(match row {
        ScheduleRow { paused: true, .. } => "paused",
        ScheduleRow { firing: true, .. } => "firing",
        ScheduleRow { due: 0, .. } => "over",
        _ => "waiting",
    })
}

fn answer(effects: &[Effect]) -> String {
    let answers: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Answered { request: 5, answer: Answer::Refused(failure) } => Some(failure.code.to_string()),
            Effect::Answered { request: 5, answer } => Some(format!("{answer:?}")),
            _ => None,
        })
        .collect();
    answers.join(" and ")
}

/// Every cell of the table.
#[test]
fn every_order_in_every_state() {
    let trigger = to(ScheduleAction::Trigger(invoke(60, plain_flow())));
    let create = put(ScheduleDefinition { create_only: true, first_due: 5000, ..definition() });
    let orders = [
        ("put", put(ScheduleDefinition { first_due: 5000, ..definition() })),
        ("create", create),
        ("pause", to(ScheduleAction::Pause(true))),
        ("resume", resumed(6000)),
        ("trigger", trigger),
        ("delete", to(ScheduleAction::Delete(true))),
        ("fire", fired(2000, &[61], 7000)),
        ("fire another", fired(1999, &[61], 7000)),
    ];
    for state in STATES {
        for (name, order) in &orders {
            let mut world = in_state(state);
            let before = world.rows.clone();
            let said = answer(&world.ask(5, order.clone()));
            let expected = match (*name, state) {
                ("put" | "create", "absent") => ("Done", Some("waiting")),
                (_, "absent") => ("NotFound", None),
                ("put", "paused") => ("Done", Some("paused")),
                ("put", _) => ("Done", Some("waiting")),
                ("create", _) => ("409", Some(state)),
                ("pause", _) => ("Done", Some("paused")),
                ("resume", "paused") => ("Done", Some("waiting")),
                ("resume" | "trigger", _) => ("Done", Some(state)),
                ("delete", _) => ("Done", None),
                ("fire", "firing") => ("Done", Some("waiting")),
                _ => ("409", Some(state)),
            };
            assert_eq!((said.as_str(), found(&world)), expected, "{name} when {state}");
            let changes = said == "Done"
                && !matches!((*name, state), ("pause", "paused"))
                && (*name != "resume" || state == "paused");
            assert_eq!(world.rows != before, changes, "{name} when {state}");
            assert_eq!(world.status(id(60)) == "running", *name == "trigger" && state != "absent");
            assert_eq!(world.status(id(61)) == "running", (*name, state) == ("fire", "firing"));
        }
    }
}

#[test]
fn it_fires_at_its_times_and_never_before() {
    let mut world = waiting(definition());
    assert_eq!(world.at(1999).apply(fire()), [timer_set(2000)]);
    world.at(2000).apply(fire());
    assert!(world.timers().is_empty() && row(&world).firing);
    // The leader is asked once.
    assert_eq!(world.at(2500).apply(fire()), []);
    let effects = world.ask(5, fired(2000, &[10], 3000));
    assert_eq!(effects, [timer_set(3000), answered(5, Answer::Done), accepted(0, id(10)), start(id(10))]);
    assert_eq!((row(&world).due, row(&world).firing), (3000, false));
    let run = world.row(id(10));
    assert_eq!((run.schedule.as_str(), run.one_way), (NAME, false));
    let sink = Sink::new(schedule().as_invocation(), row(&world).life, 0, Code::SCHEDULED_RUN_DONE);
    assert_eq!(run.sinks, [sink]);
    world.at(3000).apply(fire());
    assert!(row(&world).firing);
}

#[test]
fn a_new_leader_is_asked_again() {
    let mut world = firing(Overlap::Allow);
    let due = Effect::ScheduleDue { schedule: schedule(), row: Box::new(row(&world)) };
    assert_eq!(world.apply(lead(2)), [due]);
    world.apply(fired(2000, &[], 3000));
    assert_eq!(world.apply(lead(3)), [timer_set(3000)]);
}

/// The old leader's answer and the new one's say the same: only the first one counts.
#[test]
fn a_time_is_fired_once() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10], 3000));
    assert_eq!(refusal(&world.changes_nothing(5, fired(2000, &[11], 3000))), Some(409));
}

#[test]
fn a_run_that_ends_is_counted() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10, 11, 12], 3000));
    let now = row(&world);
    assert_eq!((now.runs, now.last_run_at, now.last_run), (3, 2000, bytes(id(12))));
    assert_eq!(now.active, [bytes(id(10)), bytes(id(11)), bytes(id(12))]);
    finish(&mut world, 10);
    world.fail(id(11), Next::Fail(true));
    let now = row(&world);
    assert_eq!((now.active, now.failed), (vec![bytes(id(12))], 1));
    assert_eq!(now.last_fault, format!("{}: boom (code 500)", id(11)));
    // Whoever tells the schedule leaves no letter.
    assert!(world.rows.all::<abide_model::table::Letters>().is_empty());
}

#[test]
fn overlapping_runs_run_beside_each_other() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10], 3000));
    world.at(3000).apply(fire());
    world.apply(fired(3000, &[11], 4000));
    assert_eq!((world.status(id(10)), world.status(id(11))), ("running", "running"));
}

#[test]
fn overlapping_runs_are_skipped() {
    let mut world = firing(Overlap::Skip);
    // Of those that are made up for, too: the second one would overlap.
    world.apply(fired(2000, &[10, 11], 3000));
    assert_eq!((row(&world).runs, row(&world).skipped, world.status(id(11))), (1, 1, "unknown"));
    world.at(3000).apply(fire());
    world.apply(fired(3000, &[12], 4000));
    assert_eq!((row(&world).runs, row(&world).skipped, world.status(id(12))), (1, 2, "unknown"));
    finish(&mut world, 10);
    world.at(4000).apply(fire());
    world.apply(fired(4000, &[13], 5000));
    assert_eq!((row(&world).runs, world.status(id(13))), (2, "running"));
}

#[test]
fn the_other_run_is_cancelled() {
    let mut world = firing(Overlap::CancelOther);
    world.apply(fired(2000, &[10], 3000));
    world.at(3000).apply(fire());
    world.apply(fired(3000, &[11, 12], 4000));
    // Each hears of it once, and is watched until it ends.
    assert_eq!(world.codes(id(10)), [Code::INPUT, Code::SIGNAL]);
    assert_eq!(world.codes(id(11)), [Code::INPUT, Code::SIGNAL]);
    assert_eq!(world.codes(id(12)), [Code::INPUT]);
    assert_eq!(row(&world).active.len(), 3);
    finish(&mut world, 10);
    finish(&mut world, 11);
    assert_eq!(row(&world).active, [bytes(id(12))]);
}

#[test]
fn a_trigger_does_not_wait_for_others() {
    let mut world = firing(Overlap::Skip);
    world.apply(fired(2000, &[10], 3000));
    let trigger = |n| to(ScheduleAction::Trigger(invoke(n, plain_flow())));
    world.apply(trigger(11));
    world.apply(to(ScheduleAction::Pause(true)));
    world.apply(trigger(12));
    assert_eq!((world.status(id(11)), world.status(id(12))), ("running", "running"));
    assert_eq!((row(&world).runs, row(&world).skipped, row(&world).due), (3, 0, 0));
    let malformed = Invoke { id: Bytes::from_static(b"x"), ..invoke(13, plain_flow()) };
    assert_eq!(refusal(&world.changes_nothing(5, to(ScheduleAction::Trigger(malformed)))), Some(400));
}

#[test]
fn nothing_is_due_while_paused() {
    let mut world = waiting(definition());
    world.apply(to(ScheduleAction::Pause(true)));
    assert!(world.timers().is_empty());
    assert_eq!(world.at(9000).apply(fire()), []);
    assert_eq!(world.ask(5, resumed(10_000)), [timer_set(10_000), answered(5, Answer::Done)]);
    assert_eq!(world.at(10_000).apply(fire()).len(), 1);
}

#[test]
fn a_put_replaces_the_definition_and_keeps_the_counters() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10], 3000));
    let before = row(&world);
    let other = ScheduleDefinition { handler: "other".into(), first_due: 8000, ..definition() };
    world.at(2200).apply(put(other.clone()));
    let expected = ScheduleRow { definition: Some(other), due: 8000, modified_at: 2200, ..before };
    assert_eq!(row(&world), expected);
    assert_eq!(world.timers().len(), 1);
    finish(&mut world, 10);
    assert!(row(&world).active.is_empty());
}

#[test]
fn it_can_be_created_paused() {
    let mut world = World::new();
    let definition = ScheduleDefinition { paused: true, first_due: 0, ..definition() };
    assert_eq!(world.ask(5, put(definition)), [answered(5, Answer::Done)]);
    assert_eq!((found(&world), row(&world).due), (Some("paused"), 0));
}

#[test]
fn a_one_shot_stays_listed() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10], 0));
    assert_eq!((found(&world), row(&world).runs), (Some("over"), 1));
    assert!(world.timers().is_empty());
}

/// Its runs belong to the schedule that started them, not to a later one of the same name.
#[test]
fn a_deleted_one_hears_of_its_runs_no_more() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10, 11], 3000));
    world.apply(to(ScheduleAction::Delete(true)));
    assert!(world.timers().is_empty());
    world.fail(id(10), Next::Fail(true));
    assert_eq!(found(&world), None);
    world.apply(put(definition()));
    world.fail(id(11), Next::Fail(true));
    assert_eq!((row(&world).failed, row(&world).active.len()), (0, 0));
}

#[test]
fn what_could_not_be_run_is_said() {
    let mut world = firing(Overlap::Allow);
    let fault = "ä".repeat(SCHEDULE_FAULT_BYTES_MAX);
    let fire = ScheduleFire { due: 2000, skipped: 4, fault, next: 3000, runs: vec![Invoke::default()] };
    world.apply(to(ScheduleAction::Fire(fire)));
    let now = row(&world);
    assert_eq!((now.skipped, now.runs, now.last_fault.as_str()), (5, 0, "the invocation id is malformed"));
    world.at(3000).apply(crate::testing::fire());
    let fault = "ä".repeat(SCHEDULE_FAULT_BYTES_MAX) + "x";
    let fire = ScheduleFire { due: 3000, fault, next: 0, ..ScheduleFire::default() };
    world.apply(to(ScheduleAction::Fire(fire)));
    assert_eq!(row(&world).last_fault.len(), SCHEDULE_FAULT_BYTES_MAX);
}

/// A full mailbox answers the schedule as it answers anybody.
#[test]
fn a_refused_run_is_a_failure() {
    let mut world = firing(Overlap::Allow);
    world.apply(fired(2000, &[10], 3000));
    let sink = Some(Sink::new(schedule().as_invocation(), row(&world).life, 0, Code::SCHEDULED_RUN_DONE));
    let refused = Response { sink, outcome: Some(failure(430, "full")), callee: bytes(id(10)) };
    world.apply(Body::Deliver(abide_model::command::Deliver {
        from: 0,
        first: 1,
        messages: vec![abide_model::command::Parcel::new(ParcelBody::Response(refused))],
    }));
    assert_eq!((row(&world).failed, row(&world).active.len()), (1, 0));
}

#[test]
fn runs_go_to_other_partitions_and_come_back() {
    let home = |partition| World::of(partition, 2);
    let partition = abide_model::id::PartitionId::of(schedule().partition_key(), 2).0;
    let mut world = home(partition);
    world.apply(put(definition()));
    world.at(2000).apply(fire());
    let away = if partition == 0 { far(10) } else { id(10) };
    let run = Invoke { id: bytes(away), ..invoke(10, plain_flow()) };
    world.apply(to(ScheduleAction::Fire(ScheduleFire { due: 2000, runs: vec![run], ..ScheduleFire::default() })));
    let outbox = world.rows.all::<Outbox>();
    let Some(ParcelBody::Invoke(sent)) = &outbox[0].1.body else { panic!("an invocation is sent: {outbox:?}") };
    assert_eq!((sent.id.clone(), sent.schedule.as_str()), (bytes(away), NAME));
    let done = Response { sink: sent.sink.clone(), outcome: Some(ok("x")), callee: sent.id.clone() };
    let parcel = abide_model::command::Parcel::new(ParcelBody::Response(done));
    assert_eq!(parcel.partition_key(), Some(schedule().partition_key()));
    let deliver = abide_model::command::Deliver { from: 1 - partition, first: 1, messages: vec![parcel] };
    world.apply(Body::Deliver(deliver));
    assert!(row(&world).active.is_empty());
    // The other one is not told about schedules of this one.
    let mut other = home(1 - partition);
    assert_eq!(refusal(&other.changes_nothing(5, put(definition()))), Some(400));
}

#[test]
fn watched_runs_are_bounded() {
    let mut world = firing(Overlap::Allow);
    let many: Vec<u128> = (100..100 + SCHEDULE_CATCH_UP_MAX as u128 + 5).collect();
    world.apply(fired(2000, &many, 0));
    let now = row(&world);
    assert_eq!((now.runs, now.skipped, now.active.len()), (SCHEDULE_CATCH_UP_MAX as u64, 5, SCHEDULE_ACTIVE_MAX));
    assert_eq!(now.active.last(), Some(&bytes(id(*many.last().unwrap()))));
    // One that is not watched any more changes nothing but the count of failures.
    world.fail(id(105), Next::Fail(true));
    assert_eq!((row(&world).failed, row(&world).active.len()), (1, SCHEDULE_ACTIVE_MAX));
}

#[test]
fn what_cannot_be_a_schedule_is_refused() {
    let long = |len: usize| "x".repeat(len + 1);
    let wrong: [fn(ScheduleDefinition) -> ScheduleDefinition; 10] = [
        |it| ScheduleDefinition { name: String::new(), ..it },
        |it| ScheduleDefinition { name: "other".into(), ..it },
        |it| ScheduleDefinition { service: String::new(), ..it },
        |it| ScheduleDefinition { handler: String::new(), ..it },
        |it| ScheduleDefinition { spec: String::new(), ..it },
        |it| ScheduleDefinition { first_due: 0, ..it },
        |it| ScheduleDefinition { spec: "x".repeat(limits::SCHEDULE_SPEC_BYTES_MAX + 1), ..it },
        |it| ScheduleDefinition { key: Some("x".repeat(limits::KEY_BYTES_MAX + 1)), ..it },
        |it| ScheduleDefinition { handler: "x".repeat(limits::NAME_BYTES_MAX + 1), ..it },
        |it| ScheduleDefinition { headers: vec![Header::default(); limits::HEADERS_MAX + 1], ..it },
    ];
    let mut world = World::new();
    for (n, wrong) in wrong.into_iter().enumerate() {
        assert_eq!(refusal(&world.changes_nothing(5, put(wrong(definition())))), Some(400), "{n}");
    }
    let name = long(limits::NAME_BYTES_MAX);
    let id = Bytes::copy_from_slice(&ScheduleId::of(&name).to_bytes());
    let action = Some(ScheduleAction::Put(ScheduleDefinition { name, ..definition() }));
    assert_eq!(refusal(&world.changes_nothing(5, Body::Schedule(ScheduleOrder { id, action }))), Some(400));
    let malformed = ScheduleOrder { id: Bytes::from_static(b"x"), action: Some(ScheduleAction::Delete(true)) };
    assert_eq!(refusal(&world.changes_nothing(5, Body::Schedule(malformed))), Some(400));
}

/// Replicas of different builds would part ways if one of them took it for something else.
#[test]
fn what_a_newer_build_orders_stops_this_one() {
    let newer = [
        Body::Schedule(ScheduleOrder { id: Bytes::copy_from_slice(&schedule().to_bytes()), action: None }),
        put(ScheduleDefinition { overlap: 9, ..definition() }),
        put(ScheduleDefinition { catch_up: 9, ..definition() }),
    ];
    for body in newer {
        let mut world = World::new();
        let error = world.machine.apply(&world.rows, Command { request: 0, body: Some(body) }).unwrap_err();
        assert!(error.0.contains("newer build"), "{error}");
    }
    assert_eq!(CatchUp::try_from(2), Ok(CatchUp::All));
}

/// A schedule and an invocation cannot be taken for each other, whatever a sink says.
#[test]
fn a_run_is_not_a_call() {
    let mut world = firing(Overlap::Allow);
    let flow = world.start_flow(1, plain_flow());
    let life = world.row(flow).life;
    let to_flow = Sink::new(flow, life, 1, Code::SCHEDULED_RUN_DONE);
    let to_schedule = Sink::new(schedule().as_invocation(), row(&world).life, 1, Code::CALL_DONE);
    let outcome = Some(Outcome { kind: Some(OutcomeKind::Success(Bytes::new())) });
    let messages = [to_flow, to_schedule].map(|sink| {
        let response = Response { sink: Some(sink), outcome: outcome.clone(), callee: Bytes::new() };
        abide_model::command::Parcel::new(ParcelBody::Response(response))
    });
    let before = world.rows.all::<Schedules>();
    world.apply(Body::Deliver(abide_model::command::Deliver { from: 0, first: 1, messages: messages.to_vec() }));
    assert_eq!((world.codes(flow), world.rows.all::<Schedules>()), (vec![Code::INPUT], before));
}
