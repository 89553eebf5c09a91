//! Schedules through the whole driver: the machine asks, the node answers, handlers run.

use abide_host::Refusal;
use abide_model::command::{CatchUp, Overlap, ScheduleAction};
use abide_model::effect::Answer;
use abide_model::id::{Millis, ScheduleId};
use abide_model::limits::SCHEDULE_CATCH_UP_MAX;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::*;
use crate::engine::{Declared, EngineError};
use crate::schedule::{Schedule, ScheduleChange, ScheduleDetails, When, order};

const MINUTE: u64 = 60_000;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn ticking(name: &str, key: &str) -> Schedule {
    Schedule::every(name, "1s").call("Counter", "add").key(key).input(&1)
}

impl World {
    fn describe(&self, name: &str) -> ScheduleDetails {
        runtime().block_on(self.engine.schedules_describe(name)).unwrap()
    }

    fn put(&self, schedule: Schedule) {
        runtime().block_on(self.engine.schedules_put(schedule, false)).unwrap();
    }

    /// A schedule as it was put long ago, when nobody has run since.
    fn put_overdue(&self, schedule: &Schedule, first_due: Millis) {
        let (_, mut definition) = schedule.definition(first_due).unwrap();
        definition.first_due = first_due.0;
        let id = ScheduleId::of(&schedule.name);
        let (responder, receiver) = oneshot::channel();
        let partition = PartitionId::of(id.partition_key(), 4);
        let body = order(id, ScheduleAction::Put(definition)).body.unwrap();
        self.handle.query(Query::Control { partition, body, responder }).unwrap();
        assert_eq!(receiver.blocking_recv().unwrap(), Ok(Answer::Done));
    }

    /// Waits for something that is bound to happen.
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_schedule_runs_again_and_again_also_after_a_crash() {
    let mut world = World::new();
    world.put(ticking("tick", "a"));
    world.until("the first run", |world| world.value("a") >= 1);
    let (log, state) = world.crash();
    world = World::start(log, state, 1 << 20);
    let before = world.value("a");
    world.until("runs after the crash", |world| world.value("a") >= before + 2);
    world.until("every run is over", |world| world.describe("tick").row.active.is_empty());
    let details = world.describe("tick");
    assert_eq!((details.row.failed, details.status()), (0, "waiting"));
    assert!(details.row.last_run_at > 0);
    let runs = |world: &World| i64::try_from(world.describe("tick").row.runs).unwrap();
    world.until("as many turns as runs", |world| world.value("a") == runs(world));
    world.stop().unwrap();
}

/// What became due while nobody ran, within what counts as on time.
#[test]
fn what_is_due_at_a_restart_is_run() {
    let world = World::new();
    let at = clock::now().plus(300);
    world.put(Schedule::at("once", at.0.to_string()).call("Counter", "add").key("a").input(&5));
    let (log, state) = world.crash();
    while clock::now() <= at {
        std::thread::sleep(Duration::from_millis(20));
    }
    let world = World::start(log, state, 1 << 20);
    world.until("the run", |world| world.value("a") == 5);
    assert_eq!(world.describe("once").status(), "over");
    let (log, state) = world.crash();
    let world = World::start(log, state, 1 << 20);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((world.value("a"), world.describe("once").row.runs), (5, 1), "it runs once");
    world.stop().unwrap();
}

#[test]
fn missed_times_are_caught_up_by_the_policy() {
    let world = World::new();
    let now = clock::now();
    for (policy, missed, runs) in [
        (CatchUp::Skip, 30, 0),
        (CatchUp::One, 30, 1),
        (CatchUp::All, 30, 30),
        (CatchUp::All, 500, SCHEDULE_CATCH_UP_MAX),
    ] {
        let name = format!("{policy:?}-{missed}");
        // Half a minute from any time that is due, so that none is on time.
        let first = Millis(now.0 - missed * MINUTE + MINUTE / 2);
        let schedule = Schedule::every(&name, "1m").call("Counter", "add").key(&name).input(&1).catch_up(policy);
        world.put_overdue(&schedule, first);
        let runs = u64::try_from(runs).unwrap();
        world.until("the firing", |world| world.describe(&name).row.due > clock::now().0);
        world.until("the runs", |world| world.value(&name) == i64::try_from(runs).unwrap());
        world.until("their ends", |world| world.describe(&name).row.active.is_empty());
        let row = world.describe(&name).row;
        assert_eq!((row.runs, row.skipped), (runs, missed - runs), "{name}");
        assert_eq!(row.due, first.0 + missed * MINUTE);
    }
    world.stop().unwrap();
}

/// A handler that is gone, and a rule of which nothing can be made, stop neither the driver nor the other schedules.
#[test]
fn faults_are_recorded() {
    let world = World::new();
    let past = Millis(clock::now().0 - 100);
    world.put_overdue(&Schedule::every("gone", "1h").call("Nobody", "add"), past);
    world.until("the fault", |world| !world.describe("gone").row.last_fault.is_empty());
    let row = world.describe("gone").row;
    assert_eq!((row.last_fault.as_str(), row.runs, row.skipped), ("service `Nobody` not found", 0, 1));
    assert!(row.due > clock::now().0, "it goes on");

    let id = ScheduleId::of("moon");
    let (_, mut definition) =
        Schedule::cron("moon", "@daily").call("Counter", "add").key("a").definition(past).unwrap();
    (definition.spec, definition.first_due) = ("moon full".into(), past.0);
    let body = order(id, ScheduleAction::Put(definition)).body.unwrap();
    let (responder, receiver) = oneshot::channel();
    let partition = PartitionId::of(id.partition_key(), 4);
    world.handle.query(Query::Control { partition, body, responder }).unwrap();
    assert_eq!(receiver.blocking_recv().unwrap(), Ok(Answer::Done));
    world.until("the fault", |world| !world.describe("moon").row.last_fault.is_empty());
    assert_eq!(world.describe("moon").status(), "over");
    assert_eq!(world.value("a"), 0);
    world.stop().unwrap();
}

#[test]
fn orders_about_schedules() {
    let world = World::new();
    let engine = world.engine.clone();
    runtime().block_on(async {
        let hourly = Schedule::cron("hourly", "@hourly").call("Counter", "add").key("a").input(&3);
        assert_eq!(engine.schedules_declare(hourly.clone()).await, Ok(Declared::Created));
        assert_eq!(engine.schedules_declare(hourly.clone()).await, Ok(Declared::Unchanged));
        let exists = EngineError::ScheduleExists { name: "hourly".into() };
        assert_eq!(engine.schedules_put(hourly.clone(), true).await, Err(exists));

        engine.schedules_pause("hourly").await.unwrap();
        let paused = engine.schedules_describe("hourly").await.unwrap();
        assert_eq!((paused.status(), paused.row.due), ("paused", 0));
        let run = engine.schedules_trigger("hourly").await.unwrap();
        let completion = engine.attach(run).await.unwrap();
        assert_eq!(completion.outcome.kind, Some(OutcomeKind::Success("3".into())));
        assert_eq!(engine.schedules_declare(hourly.overlap(Overlap::Skip)).await, Ok(Declared::Replaced));
        let replaced = engine.schedules_describe("hourly").await.unwrap();
        assert_eq!((replaced.status(), replaced.row.runs), ("paused", 1), "it stays paused and keeps its counters");
        engine.schedules_resume("hourly").await.unwrap();
        let resumed = engine.schedules_describe("hourly").await.unwrap();
        assert!(resumed.row.due > clock::now().0 && !resumed.row.paused);

        let change = ScheduleChange { when: Some(When::Every("1d".into())), ..ScheduleChange::default() };
        engine.schedules_reschedule("hourly", change).await.unwrap();
        let changed = engine.schedules_describe("hourly").await.unwrap();
        assert!(changed.definition().spec.starts_with("every 1d from"), "{}", changed.definition().spec);
        assert_eq!(changed.definition().overlap(), Overlap::Skip);

        engine.schedules_delete("hourly").await.unwrap();
        let unknown = EngineError::UnknownSchedule { name: "hourly".into() };
        assert_eq!(engine.schedules_describe("hourly").await, Err(unknown.clone()));
        assert_eq!(engine.schedules_delete("hourly").await, Err(unknown.clone()));
        assert_eq!(engine.schedules_pause("hourly").await, Err(unknown.clone()));
        assert_eq!(engine.schedules_resume("hourly").await, Err(unknown.clone()));
        assert_eq!(engine.schedules_trigger("hourly").await, Err(unknown));
    });
    world.stop().unwrap();
}

#[test]
fn what_cannot_run_is_refused_when_it_is_handed_in() {
    let world = World::new();
    let put = |schedule: Schedule| runtime().block_on(world.engine.schedules_put(schedule, false)).unwrap_err();
    assert!(matches!(put(Schedule::cron("a", "@daily").call("Nobody", "x")), EngineError::UnknownService { .. }));
    assert!(matches!(put(Schedule::cron("a", "@daily").call("Counter", "x")), EngineError::UnknownHandler { .. }));
    for (schedule, message) in [
        (Schedule::cron("a", "@daily").call("Counter", "add"), "`Counter` has keys: name one"),
        (Schedule::at("a", "2020-01-01T00:00:00Z").call("Counter", "add").key("k"), "is in the past"),
        (Schedule::cron("a", "0 9 31 4 *").call("Counter", "add").key("k"), "it never comes"),
    ] {
        match put(schedule) {
            EngineError::Invalid { reason } => assert!(reason.contains(message), "{reason}"),
            other => panic!("{other}"),
        }
    }
    world.stop().unwrap();
}

/// Pages go over all partitions, each schedule is on one of them.
#[test]
fn all_schedules_are_listed() {
    let world = World::new();
    for n in 0..25 {
        world.put(Schedule::cron(format!("s{n}"), "@daily").call("Counter", "add").key("k").input(&1));
    }
    let mut names = std::collections::BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = runtime().block_on(world.engine.schedules_list(after.as_deref(), 10)).unwrap();
        after = page.last().map(|last| last.definition().name);
        assert!(page.len() <= 10);
        for details in &page {
            assert!(names.insert(details.definition().name), "{} is listed twice", details.id);
        }
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(names.len(), 25);
    let engine = world.engine.clone();
    world.stop().unwrap();
    let refused = runtime().block_on(engine.schedules_list(None, 10));
    assert_eq!(refused, Err(EngineError::Refused(Refusal::ShuttingDown)));
}
