use std::collections::BTreeMap;
use std::sync::Mutex;

use abide_model::command::{CatchUp, Overlap};
use abide_model::id::{PartitionKey, ScheduleId};
use abide_model::table::ScheduleRow;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::schedule::check_name;

/// 2026-11-23T06:47:12Z.
const NOW: Millis = Millis(1_795_416_432_000);

/// Keeps schedules as the machine would, without running them.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<BTreeMap<String, ScheduleRow>>>);

impl Fake {
    fn change(&self, name: &str, change: impl FnOnce(&mut ScheduleRow)) -> Result<(), EngineError> {
        check_name(name)?;
        let mut rows = self.0.lock().unwrap();
        let row = rows.get_mut(name).ok_or_else(|| EngineError::UnknownSchedule { name: name.into() })?;
        change(row);
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_raw(method, path, body).await
    }

    async fn ask_raw(&self, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = router(self.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

impl Schedules for Fake {
    async fn put(&self, schedule: Schedule, create_only: bool) -> Result<(), EngineError> {
        let (spec, mut definition) = schedule.definition(NOW)?;
        let mut rows = self.0.lock().unwrap();
        if create_only && rows.contains_key(&schedule.name) {
            return Err(EngineError::ScheduleExists { name: schedule.name });
        }
        definition.first_due = spec.next_after(NOW).map_or(0, |due| due.0);
        let row = rows.entry(schedule.name).or_insert_with(|| ScheduleRow {
            created_at: NOW.0,
            paused: definition.paused,
            ..ScheduleRow::default()
        });
        row.due = definition.first_due;
        row.definition = Some(definition);
        Ok(())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ScheduleDetails>, EngineError> {
        let rows = self.0.lock().unwrap();
        let rows = rows.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        Ok(rows.map(|(name, row)| ScheduleDetails { id: ScheduleId::of(name), row: row.clone() }).take(limit).collect())
    }

    async fn describe(&self, name: &str) -> Result<ScheduleDetails, EngineError> {
        let mut found = ScheduleRow::default();
        self.change(name, |row| found = row.clone())?;
        Ok(ScheduleDetails { id: ScheduleId::of(name), row: found })
    }

    async fn pause(&self, name: &str) -> Result<(), EngineError> {
        self.change(name, |row| row.paused = true)
    }

    async fn resume(&self, name: &str) -> Result<(), EngineError> {
        self.change(name, |row| row.paused = false)
    }

    async fn trigger(&self, name: &str) -> Result<InvocationId, EngineError> {
        let id = InvocationId { partition_key: PartitionKey(1), unique: 1 };
        self.change(name, |row| {
            row.runs += 1;
            row.last_run = Bytes::copy_from_slice(&id.to_bytes());
            row.active.push(row.last_run.clone());
        })?;
        Ok(id)
    }

    async fn reschedule(&self, name: &str, change: ScheduleChange) -> Result<(), EngineError> {
        let mut schedule = Schedule::of(self.describe(name).await?.definition());
        change.apply(&mut schedule);
        self.put(schedule, false).await
    }

    async fn delete(&self, name: &str) -> Result<(), EngineError> {
        self.change(name, |_| ())?;
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    fn now(&self) -> Millis {
        NOW
    }
}

fn nightly() -> Value {
    json!({
        "cron": "0 9 * * 1-5", "zone": "europe/berlin", "service": "Report", "key": "main", "handler": "make",
        "input": { "pages": 2 }, "headers": { "X-Tenant": "a" }, "catch_up": "one", "overlap": "cancel-other",
    })
}

#[tokio::test]
async fn a_schedule_from_its_creation_to_its_end() {
    let fake = Fake::default();
    let (status, created) = fake.ask(Method::PUT, "/schedules/nightly", nightly()).await;
    assert_eq!(status, 200, "{created}");
    for (field, value) in [
        ("name", json!("nightly")),
        ("id", json!(ScheduleId::of("nightly").to_string())),
        ("status", json!("waiting")),
        ("spec", json!("cron 0 9 * * 1-5 Europe/Berlin")),
        ("cron", json!("0 9 * * 1-5")),
        ("zone", json!("Europe/Berlin")),
        ("service", json!("Report")),
        ("key", json!("main")),
        ("handler", json!("make")),
        ("input", json!({ "pages": 2 })),
        ("headers", json!({ "x-tenant": "a" })),
        ("catch_up", json!("one")),
        ("overlap", json!("cancel-other")),
        ("last_run", Value::Null),
        ("active_runs", json!([])),
        ("runs", json!(0)),
        (
            "upcoming",
            json!([
                "2026-11-23T08:00:00Z",
                "2026-11-24T08:00:00Z",
                "2026-11-25T08:00:00Z",
                "2026-11-26T08:00:00Z",
                "2026-11-27T08:00:00Z"
            ]),
        ),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    let (status, refused) = fake.ask(Method::PUT, "/schedules/nightly?create_only=true", nightly()).await;
    assert_eq!((status, &refused["abide_code"]), (409, &json!("AB0400")));

    let (_, paused) = fake.ask(Method::PATCH, "/schedules/nightly/pause", Value::Null).await;
    assert_eq!(
        (&paused["status"], &paused["next_at"], &paused["upcoming"]),
        (&json!("paused"), &Value::Null, &json!([]))
    );
    let (_, resumed) = fake.ask(Method::PATCH, "/schedules/nightly/resume", Value::Null).await;
    assert_eq!(resumed["status"], "waiting");
    let (status, run) = fake.ask(Method::PATCH, "/schedules/nightly/trigger", Value::Null).await;
    let (_, described) = fake.ask(Method::GET, "/schedules/nightly", Value::Null).await;
    assert_eq!((status, &run["invocation_id"]), (200, &described["last_run"]));
    assert_eq!(described["active_runs"], json!([run["invocation_id"]]));

    let (status, gone) = fake.ask(Method::DELETE, "/schedules/nightly", Value::Null).await;
    assert_eq!((status, gone), (204, Value::Null));
    for (method, path) in [
        (Method::GET, "/schedules/nightly"),
        (Method::DELETE, "/schedules/nightly"),
        (Method::PATCH, "/schedules/nightly/trigger"),
    ] {
        let (status, body) = fake.ask(method.clone(), path, Value::Null).await;
        assert_eq!((status, &body["abide_code"]), (404, &json!("AB0404")), "{method} {path}");
    }
}

#[tokio::test]
async fn a_change_leaves_the_rest_as_it_is() {
    let fake = Fake::default();
    fake.ask(Method::PUT, "/schedules/s", nightly()).await;
    for (change, field, value) in [
        (json!({ "cron": "30 4 * * *" }), "spec", json!("cron 30 4 * * * Europe/Berlin")),
        (json!({ "zone": "UTC" }), "spec", json!("cron 30 4 * * * UTC")),
        (json!({ "every": "90s" }), "spec", json!("every 1m30s from 2026-11-23T06:47:12Z")),
        (json!({ "from": "2026-01-01T00:00:00Z" }), "spec", json!("every 1m30s from 2026-01-01T00:00:00Z")),
        (json!({ "at": "2027-01-01T00:00:00+01:00" }), "spec", json!("at 2026-12-31T23:00:00Z")),
        (json!({ "overlap": "skip" }), "overlap", json!("skip")),
        (json!({ "input": null }), "input", json!(null)),
        (json!({ "key": null }), "key", json!(null)),
        (json!({ "headers": {} }), "headers", json!({})),
        (json!({}), "catch_up", json!("one")),
    ] {
        let (status, changed) = fake.ask(Method::PATCH, "/schedules/s", change.clone()).await;
        assert_eq!((status, &changed[field]), (200, &value), "{change}");
        assert_eq!(changed["service"], "Report");
    }
    assert_eq!(fake.ask(Method::PATCH, "/schedules/other", json!({})).await.0, 404);
}

#[tokio::test]
async fn what_is_wrong_is_pointed_at() {
    let fake = Fake::default();
    for (changes, message) in [
        (json!({ "cron": "0 25 * * *" }), "cron expression `0 25 * * *`, at character 3 (`25`): the hour is a number"),
        (json!({ "cron": "0 0 30 2 *" }), "it never comes"),
        (json!({ "zone": "Europe/Berln" }), "time zone `Europe/Berln`: it is not in the IANA database"),
        (json!({ "every": "90s" }), "only one of `cron`, `every` and `at`"),
        (json!({ "cron": null }), "one of `cron`, `every` and `at` is missing"),
        (json!({ "cron": null, "every": "90s" }), "`zone` goes with `cron` only"),
        (json!({ "cron": null, "zone": null, "every": "9 parsecs" }), "period `9 parsecs`, at character 1 (`9`)"),
        (json!({ "cron": null, "zone": null, "every": "10ms" }), "the shortest period of a schedule is 1s"),
        (
            json!({ "cron": null, "zone": null, "at": "tomorrow" }),
            "time `tomorrow`: write a date, a time and an offset",
        ),
        (json!({ "from": "2026-01-01T00:00:00Z" }), "`from` goes with `every` only"),
        (json!({ "service": null }), "`service` is missing"),
        (json!({ "handler": null }), "`handler` is missing"),
        (json!({ "corn": "* * * * *" }), "unknown field `corn`, expected one of `cron`, `zone`"),
        (json!({ "overlap": "queue" }), "unknown variant `queue`, expected one of `allow`, `skip`, `cancel-other`"),
        (json!({ "headers": { "x-abide-schedule": "me" } }), "the header `x-abide-schedule` is set for each run"),
        (json!({ "headers": { "no spaces": "v" } }), "`no spaces` is not a name of a header"),
        (json!({ "headers": { "x": "a\nb" } }), "the value of the header `x` has characters"),
        (json!({ "input": "x".repeat(70_000) }), "the input of the schedule is longer than 65536 bytes"),
        (json!({ "key": "k".repeat(2_000) }), "the key of the schedule is longer than 1024 bytes"),
    ] {
        let mut body = nightly();
        for (field, value) in changes.as_object().unwrap() {
            body[field] = value.clone();
        }
        let (status, answer) = fake.ask(Method::PUT, "/schedules/s", body).await;
        let told = answer["message"].as_str().unwrap_or_default();
        assert!(status == 400 && told.contains(message), "{status} {told}, expected {message}");
        assert_eq!(answer["abide_code"], "AB0400");
    }
    for (method, path, status) in [
        (Method::PUT, "/schedules/a%0Ab", 400),
        (Method::PUT, "/schedules/s?create_only=maybe", 400),
        (Method::PATCH, "/schedules/s/explode", 404),
        (Method::GET, "/schedules?limit=0", 400),
        (Method::GET, "/schedules?limit=1001", 400),
        (Method::GET, "/schedules?limit=many", 400),
        (Method::POST, "/schedules/s", 405),
    ] {
        assert_eq!(fake.ask(method.clone(), path, nightly()).await.0, status, "{method} {path}");
    }
    let (status, answer) = fake.ask_raw(Method::PUT, "/schedules/s", "{\"cron\": 5").await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("at line 1 column"), "{answer}");
    let (status, _) = fake.ask_raw(Method::PUT, "/schedules/s", vec![b' '; BODY_BYTES_MAX + 1]).await;
    assert_eq!(status, 413);
    assert!(fake.0.lock().unwrap().is_empty());
    fake.ask(Method::PUT, "/schedules/s", nightly()).await;
    let (status, answer) = fake.ask(Method::PATCH, "/schedules/s", json!({ "paused": true })).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("use /pause"), "{answer}");
}

#[tokio::test]
async fn pages_follow_one_another() {
    let fake = Fake::default();
    for name in ["a", "b b", "c"] {
        fake.put(Schedule::cron(name, "@daily").call("Report", "make").input(&1), false).await.unwrap();
    }
    let (_, first) = fake.ask(Method::GET, "/schedules?limit=2", Value::Null).await;
    let names = |page: &Value| -> Vec<String> {
        page["schedules"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&first), &first["next"]), (vec!["a".into(), "b b".into()], &json!("b b")));
    assert!(first["schedules"][0].get("input").is_none(), "inputs are told one by one");
    let (_, second) = fake.ask(Method::GET, "/schedules?limit=2&after=b%20b", Value::Null).await;
    assert_eq!((names(&second), &second["next"]), (vec!["c".into()], &Value::Null));
}

/// A rule of a newer build, or a damaged one.
#[tokio::test]
async fn a_rule_that_cannot_be_read_is_shown() {
    let fake = Fake::default();
    fake.ask(Method::PUT, "/schedules/s", nightly()).await;
    fake.change("s", |row| row.definition.as_mut().unwrap().spec = "moon full".into()).unwrap();
    let (status, shown) = fake.ask(Method::GET, "/schedules/s", Value::Null).await;
    assert_eq!((status, &shown["upcoming"]), (200, &json!([])));
    assert!(shown["spec_fault"].as_str().unwrap().contains("`moon`"), "{shown}");
    assert_eq!(fake.ask(Method::PATCH, "/schedules/s", json!({ "overlap": "skip" })).await.0, 400);
    assert_eq!(fake.ask(Method::PATCH, "/schedules/s", json!({ "every": "1h" })).await.0, 200);
}

#[test]
fn words_of_the_program_are_those_of_the_model() {
    let body = ScheduleBody::read(br#"{"catch_up":"all","overlap":"allow","input":null}"#).unwrap();
    let change = body.into_change().unwrap();
    assert_eq!((change.catch_up, change.overlap), (Some(CatchUp::All), Some(Overlap::Allow)));
    assert_eq!(change.input, Some(Bytes::from_static(b"null")));
}
