use abide::prelude::*;
use abide_model::command::{Access, Form, ScheduleFire};
use abide_model::limits::SCHEDULE_CATCH_UP_MAX;
use abide_sdk::Registry;

use super::*;
use crate::engine::EngineError;

/// 2026-11-23T06:47:12Z.
const NOW: Millis = Millis(1_795_416_432_000);

#[object]
struct Report {
    made: u64,
}

#[handlers]
impl Report {
    fn make(&mut self, _cx: &mut Turn, pages: u64) -> u64 {
        self.made += pages;
        self.made
    }
}

#[service]
struct Sweeper;

#[handlers]
impl Sweeper {
    async fn sweep(&self, _cx: &mut Flow) {}
}

const RETENTION: crate::engine::Retention =
    crate::engine::Retention { completed_ms: 1_000, journal_ms: 0, workflow_ms: 1_000 };

fn runner() -> Runner {
    Runner::new(Registry::builder().bind::<Report>().bind::<Sweeper>().build(), RETENTION)
}

fn nightly() -> Schedule {
    Schedule::cron("nightly", "0 3 * * *").zone("Europe/Berlin").call("Report", "make").key("main").input(&2)
}

fn row(schedule: &Schedule, due: Millis) -> ScheduleRow {
    let definition = schedule.definition(NOW).unwrap().1;
    ScheduleRow { definition: Some(definition), due: due.0, firing: true, ..ScheduleRow::default() }
}

fn fire(row: &ScheduleRow, now: Millis) -> ScheduleFire {
    runner().fire(row, now)
}

#[test]
fn a_run_is_a_complete_invocation() {
    let due = Millis(NOW.0 - 100);
    let fire = fire(&row(&nightly().header("X-Tenant", "a"), due), NOW);
    assert_eq!((fire.due, fire.skipped, fire.fault.as_str()), (due.0, 0, ""));
    assert_eq!(crate::date::rfc3339(Millis(fire.next)), "2026-11-24T02:00:00Z");
    let [run] = fire.runs.as_slice() else { panic!("{} runs", fire.runs.len()) };
    let target = run.target.clone().unwrap();
    assert_eq!(target.to_string(), "Report/main/make");
    assert_eq!((target.access(), target.form()), (Access::Exclusive, Form::Turn));
    assert_eq!((&run.input[..], run.schedule.as_str(), run.retention_ms), (&b"2"[..], "nightly", 1_000));
    assert_eq!(run.id().unwrap().partition_key, abide_model::id::PartitionKey::of("main"));
    let headers: Vec<_> = run.headers.iter().map(|header| (header.key.as_str(), header.value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("x-tenant", "a"),
            ("x-abide-schedule", "nightly"),
            ("x-abide-scheduled-at", "2026-11-23T06:47:11.900000000Z")
        ]
    );
}

#[test]
fn a_run_has_the_priority_of_its_headers() {
    let class = |schedule: &Schedule| {
        let run = fire(&row(schedule, NOW), NOW).runs.pop()?;
        Some(run.target.unwrap().class())
    };
    assert_eq!(class(&nightly()), Some(Priority::Normal));
    assert_eq!(class(&nightly().header("X-Abide-Priority", "low")), Some(Priority::Low));
    let urgent = nightly().header("x-abide-priority", "urgent");
    assert_eq!(class(&urgent), None);
    assert!(fire(&row(&urgent, NOW), NOW).fault.contains("`urgent` is no priority"));
}

#[test]
fn missed_runs_have_their_own_ids_and_times() {
    let sweep = Schedule::every("sweep", "1m").call("Sweeper", "sweep").catch_up(CatchUp::All);
    let fire = fire(&row(&sweep, NOW), NOW.plus(24 * 3_600_000));
    assert_eq!(fire.runs.len(), SCHEDULE_CATCH_UP_MAX);
    assert_eq!(fire.skipped, 24 * 60 + 1 - SCHEDULE_CATCH_UP_MAX as u64);
    let ids: std::collections::BTreeSet<_> = fire.runs.iter().map(|run| run.id.clone()).collect();
    assert_eq!(ids.len(), fire.runs.len());
    let places: std::collections::BTreeSet<_> = fire.runs.iter().map(|run| run.id().unwrap().partition_key).collect();
    assert!(places.len() > 1, "runs of services are spread");
}

/// What cannot be run is told, and the schedule goes on.
#[test]
fn a_handler_that_is_gone_is_a_fault() {
    for (schedule, fault) in [
        (nightly().call("Raport", "make"), "service `Raport` not found"),
        (nightly().call("Report", "mak"), "handler `mak` not found in service `Report`"),
        (Schedule::every("s", "1h").call("Report", "make"), "`Report` has keys: name one"),
        (nightly().call("Sweeper", "sweep"), "`Sweeper` is a service: it takes no key"),
    ] {
        let fire = fire(&row(&schedule, NOW), NOW);
        assert_eq!((fire.runs.len(), fire.skipped, fire.fault.as_str()), (0, 1, fault));
        assert!(fire.next > NOW.0);
    }
}

#[test]
fn a_rule_that_cannot_be_read_is_a_fault() {
    let mut row = row(&nightly(), NOW);
    for spec in ["", "cron", "every 0s from 0", "at never", "moon full", "\u{0}"] {
        row.definition.as_mut().unwrap().spec = spec.into();
        let fire = fire(&row, NOW);
        assert_eq!((fire.due, fire.runs.len(), fire.next), (NOW.0, 0, 0), "{spec}");
        assert!(fire.fault.contains("it cannot be told when the schedule is due"), "{spec}: {}", fire.fault);
    }
    row.definition = None;
    assert!(!fire(&row, NOW).fault.is_empty());
}

#[test]
fn a_schedule_is_known_again_however_it_is_written() {
    let known = |schedule: &Schedule| schedule.definition(NOW).unwrap().1;
    let later = NOW.plus(1_000);
    let same = nightly().zone("europe/berlin");
    assert!(same.describes(&known(&nightly()), later).unwrap());
    assert!(nightly().paused().describes(&known(&nightly()), later).unwrap(), "pausing is an operator's");
    for other in [nightly().zone("UTC"), nightly().input(&3), nightly().key("other"), nightly().overlap(Overlap::Skip)]
    {
        assert!(!other.describes(&known(&nightly()), later).unwrap(), "{other:?}");
    }
    let every = Schedule::every("sweep", "90s").call("Sweeper", "sweep");
    assert!(every.describes(&known(&every), later).unwrap(), "it began when it was created");
    let moved = every.clone().starting("2026-01-01T00:00:00Z");
    assert!(!moved.describes(&known(&every), later).unwrap());
    assert!(!Schedule { when: When::Every("91s".into()), ..every.clone() }.describes(&known(&every), later).unwrap());
}

#[test]
fn a_definition_can_be_taken_apart_and_put_together() {
    let header = nightly().header("X-A", "b").catch_up(CatchUp::One).paused();
    let single = Schedule::at("once", "2027-01-01T00:00:00Z").call("Sweeper", "sweep").overlap(Overlap::CancelOther);
    for schedule in [header, single, Schedule::every("e", "1h30m").call("Sweeper", "sweep")] {
        let definition = schedule.definition(NOW).unwrap().1;
        assert_eq!(Schedule::of(definition.clone()).definition(NOW.plus(5)).unwrap().1, definition);
    }
}

#[test]
fn faults_of_a_declaration() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no bytes"))
        }
    }
    for (schedule, message) in [
        (nightly().input(&Broken), "the input cannot be encoded as JSON: no bytes"),
        (Schedule::cron("a", "@daily"), "a schedule needs a `service` and a `handler` to invoke"),
        (Schedule::cron(" ", "@daily").call("a", "b"), "the name of a schedule has printable characters"),
        (Schedule::cron("n".repeat(300), "@daily").call("a", "b"), "the name of the schedule is longer than 256 bytes"),
        (Schedule::every("a", "1s").zone("UTC").call("a", "b"), "`zone` goes with `cron` only"),
        (Schedule::cron("a", "* * * *").call("a", "b"), "there are 4 fields"),
    ] {
        match schedule.definition(NOW) {
            Err(EngineError::Invalid { reason }) => assert!(reason.contains(message), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_times_to_come_begin_with_the_one_that_is_due() {
    let details = |row| ScheduleDetails { id: ScheduleId::of("nightly"), row };
    let mut row = row(&nightly(), Millis(NOW.0 + 500));
    let times = |row: &ScheduleRow| -> Vec<String> {
        details(row.clone()).upcoming(NOW, 2).into_iter().map(crate::date::rfc3339).collect()
    };
    assert_eq!(times(&row), ["2026-11-23T06:47:12.500000000Z", "2026-11-24T02:00:00Z"]);
    row.due = NOW.0 - 5;
    assert_eq!(times(&row), ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z"]);
    assert_eq!(details(row.clone()).status(), "waiting");
    row.paused = true;
    assert_eq!((times(&row).len(), details(row.clone()).status()), (0, "paused"));
    (row.paused, row.due) = (false, 0);
    assert_eq!((times(&row).len(), details(row).status()), (0, "over"));
}
