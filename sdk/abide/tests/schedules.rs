//! Schedules that a program declares, and those that it changes.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use abide::prelude::*;
use abide::{CatchUp, Config, EngineError, Running, Schedule, ScheduleChange, Server, StartError, When};

#[object]
struct Tally {
    count: u32,
}

#[handlers]
impl Tally {
    fn add(&mut self, _cx: &mut Turn, step: u32) {
        self.count += step;
    }

    fn count(&self, _cx: &Read) -> u32 {
        self.count
    }
}

fn schedule(name: &str, handler: &str) -> Schedule {
    Schedule::cron(name, "0 3 1 1 *").call("Tally", handler).key("a").input(&2)
}

async fn start(dir: &Path, schedules: impl IntoIterator<Item = Schedule>) -> Result<Running, StartError> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { data: dir.join("data"), ..Config::default() };
    config.ingress.addr = any_port;
    config.admin.addr = any_port;
    config.peer.addr = any_port;
    let server = Server::builder().bind::<Tally>().config(config);
    schedules.into_iter().fold(server, abide::ServerBuilder::schedule).start().await
}

async fn names(node: &Running) -> Vec<String> {
    let all = node.schedules().list(None, 100).await.unwrap();
    let mut names: Vec<_> = all.iter().map(|schedule| schedule.definition().name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_declared_is_there_and_stays_as_an_operator_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), [schedule("yearly", "add").paused(), schedule("yearly", "add")]).await.unwrap();
    assert_eq!(node.schedules().describe("yearly").await.unwrap().status(), "waiting", "the later one counts");
    node.schedules().pause("yearly").await.unwrap();
    node.stop().await;

    let node = start(dir.path(), [schedule("yearly", "add")]).await.unwrap();
    assert_eq!(node.schedules().describe("yearly").await.unwrap().status(), "paused");
    node.stop().await;

    let changed = schedule("yearly", "add").catch_up(CatchUp::One);
    let node = start(dir.path(), [changed]).await.unwrap();
    let known = node.schedules().describe("yearly").await.unwrap();
    assert_eq!((known.status(), known.definition().catch_up()), ("paused", CatchUp::One));
    node.stop().await;
}

/// The data directory is free again.
#[tokio::test]
async fn a_schedule_that_cannot_be_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let Err(refused) = start(dir.path(), [schedule("good", "add"), schedule("bad", "subtract")]).await else {
        panic!("it started")
    };
    assert!(matches!(&refused, StartError::Schedule { name, .. } if name == "bad"), "{refused:?}");
    assert!(refused.to_string().contains("schedule `bad`") && refused.to_string().contains("subtract"), "{refused}");
    let refused = start(dir.path(), [Schedule::cron("bad", "61 * * * *").call("Tally", "add").key("a")]).await;
    assert!(refused.is_err_and(|refused| refused.to_string().contains("schedule `bad`")));
    start(dir.path(), []).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_program_changes_its_schedules() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), []).await.unwrap();
    let schedules = node.schedules();
    schedules.create(schedule("one", "add")).await.unwrap();
    let refused = schedules.create(schedule("one", "add")).await.unwrap_err();
    assert!(matches!(refused, EngineError::ScheduleExists { .. }), "{refused:?}");
    schedules.put(Schedule::every("two", "1h").call("Tally", "add").key("b").input(&1)).await.unwrap();
    assert_eq!(names(&node).await, ["one", "two"]);

    let run = schedules.trigger("one").await.unwrap();
    node.client().invocation(run).attach::<()>().await.unwrap();
    assert_eq!(node.client().object::<Tally>("a").count().await.unwrap(), 2);

    schedules.pause("two").await.unwrap();
    let change = ScheduleChange { when: Some(When::Every("1s".into())), ..ScheduleChange::default() };
    schedules.reschedule("two", change).await.unwrap();
    schedules.resume("two").await.unwrap();
    let begun = Instant::now();
    while node.client().object::<Tally>("b").count().await.unwrap() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for name in ["one", "two"] {
        schedules.delete(name).await.unwrap();
        let refused = schedules.describe(name).await.unwrap_err();
        assert!(matches!(refused, EngineError::UnknownSchedule { .. }), "{refused:?}");
    }
    assert!(names(&node).await.is_empty());
    node.stop().await;
}
