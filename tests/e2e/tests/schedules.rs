//! Schedules in real time: what is missed while nobody runs, the calendar, and the orders of an operator.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::look::lines;
use e2e::{Answer, Cli, Process, Program, ledger, wait};
use hyper::Method;
use serde_json::{Value, json};

/// Times that are not later than this are run as if they were on time, whatever the policy (`SCHEDULE_LATE_MS`).
const ON_TIME: Duration = Duration::from_secs(10);

fn life() -> (Program, Process, Cli) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-life"));
    let process = program.start();
    let cli = Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), &process);
    (program, process, cli)
}

async fn put(process: &Process, name: &str, body: Value) -> Answer {
    let path = format!("/schedules/{name}");
    process.admin.request(Method::PUT, &path).body(serde_json::to_vec(&body).unwrap()).expect().await
}

/// The times for which a schedule has run, as its handler wrote them down, in seconds from the first.
fn ran(program: &Program, name: &str) -> BTreeSet<u64> {
    let lines = ledger::read(&program.ledger(), name);
    // A turn that was killed before its commit is executed again; another run would have another id.
    let runs: BTreeMap<&str, &str> = lines.iter().map(|line| line.split_once(' ').unwrap()).collect();
    let ids: BTreeSet<&str> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(ids.len(), runs.len(), "{name} has run twice for a time: {lines:?}");
    let first = second_of_day(lines.first().unwrap());
    runs.keys().map(|time| (86_400 + second_of_day(time) - first) % 86_400).collect()
}

/// Of a time such as `2026-11-24T18:00:00.000Z`.
fn second_of_day(time: &str) -> u64 {
    let clock = time[11..19].split(':').map(|number| number.parse::<u64>().unwrap());
    clock.fold(0, |sum, number| 60 * sum + number)
}

#[tokio::test]
async fn what_was_missed_follows_the_policy() {
    const POLICIES: [&str; 3] = ["all", "one", "skip"];
    let (program, process, cli) = life();
    for policy in POLICIES {
        let line = format!("schedules create {policy} Clock/tick --every 1s --catch-up {policy}");
        assert_eq!(cli.ok(&line)["status"], "waiting");
    }
    for policy in POLICIES {
        lines(&program, policy, 1).await;
    }
    process.kill();
    tokio::time::sleep(ON_TIME + Duration::from_millis(3_500)).await;
    let process = program.start();
    let cli = Cli::new(env!("CARGO_BIN_EXE_e2e-abide"), &process);
    for policy in POLICIES {
        // The ten that are on time, and the next one.
        lines(&program, policy, 12).await;
        let paused = cli.ok(&format!("schedules pause {policy}"));
        assert_eq!(paused["status"], "paused", "{paused}");
        let known = wait::until("its runs are over", || async {
            let known = cli.ok(&format!("schedules describe {policy}"));
            if known["active"] == 0 { Ok(known) } else { Err(known) }
        })
        .await;
        let ran = ran(&program, policy);
        assert_eq!(known["runs"], ran.len(), "{known}");
        let (first, last) = (*ran.first().unwrap(), *ran.last().unwrap());
        let missing: Vec<u64> = (first..=last).filter(|second| !ran.contains(second)).collect();
        assert_eq!(known["skipped"], missing.len(), "{policy}: {missing:?}, {known}");
        let gap = missing.first().zip(missing.last());
        match policy {
            "all" => assert_eq!(gap, None),
            // One run stands for those that were missed: the gap is one shorter than without it.
            "one" => assert!((1..=4).contains(&missing.len()), "{missing:?} {ran:?}"),
            _ => assert!((2..=5).contains(&missing.len()), "{missing:?} {ran:?}"),
        }
        if let Some((begin, end)) = gap {
            assert_eq!(end - begin + 1, missing.len() as u64, "{policy} has two gaps: {missing:?}");
        }
    }
    process.stop();
}

#[tokio::test]
async fn the_calendar_and_what_is_wrong_with_it() {
    let (program, process, cli) = life();
    let target = |when: Value| {
        let mut body = json!({ "service": "Clock", "handler": "tick" });
        body.as_object_mut().unwrap().extend(when.as_object().unwrap().clone());
        body
    };
    let nightly = target(json!({ "cron": "30 3 * * 1-5", "zone": "Europe/Berlin", "catch_up": "one" }));
    let answer = put(&process, "nightly", nightly).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let known: Value = answer.json();
    assert_eq!((&known["cron"], &known["zone"]), (&json!("30 3 * * 1-5"), &json!("Europe/Berlin")), "{known}");
    for time in known["upcoming"].as_array().unwrap() {
        // In winter, or in summer.
        let clock = &time.as_str().unwrap()[11..16];
        assert!(matches!(clock, "02:30" | "01:30"), "{known}");
    }
    for (when, points_at) in [
        (json!({ "cron": "61 3 * * *" }), "61"),
        (json!({ "cron": "0 3 * * frog" }), "frog"),
        (json!({ "cron": "0 3 * *" }), "cron"),
        (json!({ "cron": "0 3 30 2 *" }), "never"),
        (json!({ "cron": "0 3 * * *", "zone": "Mars/Olympus" }), "Mars/Olympus"),
        (json!({ "every": "soon" }), "soon"),
        (json!({ "every": "0s" }), "0s"),
        (json!({ "at": "tomorrow" }), "tomorrow"),
        (json!({ "every": "1s", "at": "2126-01-01T00:00:00Z" }), "only one of"),
        (json!({ "every": "1s", "key": "k" }), "takes no key"),
        (json!({ "every": "1s", "catch_up": "some" }), "some"),
        (json!({}), "`cron`, `every` and `at`"),
    ] {
        let answer = put(&process, "wrong", target(when.clone())).await;
        assert_eq!(answer.status, 400, "{when}: {}", answer.text());
        assert!(answer.text().contains(points_at), "{when}: {}", answer.text());
    }
    let unknown = put(&process, "wrong", json!({ "every": "1s", "service": "Clock", "handler": "tock" })).await;
    assert!(matches!(unknown.status, 400 | 404) && unknown.text().contains("tock"), "{}", unknown.text());
    let told = cli.run("schedules create wrong Clock/tick --every soon");
    assert_eq!((told.code, &told.document["error"]["status"]), (2, &json!(400)), "{told:?}");
    assert_eq!(cli.run("schedules describe wrong").code, 3);
    let list = cli.ok("schedules list");
    assert_eq!(list["schedules"].as_array().unwrap().len(), 1, "{list}");
    process.kill();
    let process = program.start();
    let again: Value = process.admin.get("/schedules/nightly").ok().await;
    assert_eq!(again["upcoming"], known["upcoming"]);
    process.stop();
}

#[tokio::test]
async fn schedules_are_paused_triggered_and_deleted_by_the_command() {
    let (program, process, cli) = life();
    cli.ok("schedules create s Clock/tick --every 1s --paused");
    assert_eq!(cli.run("schedules create s Clock/tick --every 1h").code, 4);
    // Paused, it runs only when it is told to.
    let run = cli.ok("schedules trigger s");
    let run = run["invocation_id"].as_str().unwrap();
    lines(&program, "s", 1).await;
    let made = cli.ok(&format!("invocations describe {run}"));
    assert_eq!((&made["schedule"], &made["invoked_by"]), (&json!("s"), &json!("schedule")), "{made}");
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(ledger::read(&program.ledger(), "s").len(), 1);
    cli.ok("schedules resume s");
    lines(&program, "s", 3).await;
    let edited = cli.ok("schedules edit s --every 1h");
    assert_eq!((&edited["every"], &edited["status"]), (&json!("1h"), &json!("waiting")), "{edited}");
    let before = cli.ok("schedules describe s")["runs"].as_u64().unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(cli.ok("schedules describe s")["runs"], before);
    // A time that comes once has to come yet.
    assert_eq!(cli.run("schedules create once Clock/tick --at 2000-01-01T00:00:00Z").code, 2);
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() + 1_000;
    cli.ok(&format!("schedules create once Clock/tick --at {soon}"));
    lines(&program, "once", 1).await;
    assert_eq!(cli.ok("schedules describe once")["status"], "over");
    assert_eq!(cli.run("schedules delete s").code, 2, "nobody was asked");
    cli.ok("schedules delete s -y");
    for verb in ["describe", "pause", "resume", "trigger"] {
        assert_eq!(cli.run(&format!("schedules {verb} s")).code, 3, "{verb}");
    }
    assert_eq!(cli.run("schedules delete s -y").code, 3);
    process.stop();
}
