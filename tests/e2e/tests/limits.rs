//! Limits at the door and in the engine: rates, concurrency, deadlocks.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::{Duration, Instant};

use e2e::look::lines;
use e2e::{Program, ledger};
use serde_json::Value;

fn life() -> (Program, e2e::Process) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-life"));
    let process = program.start();
    (program, process)
}

#[tokio::test]
async fn what_comes_too_fast_is_refused_and_does_not_run() {
    let (program, process) = life();
    let http = &process.ingress;
    http.post("/Gate/a/rated").ok::<()>().await;
    assert_eq!(http.post("/Gate/b/rated/send").expect().await.status, 202);
    for (path, idempotency) in [("/Gate/a/rated", "1"), ("/Gate/c/rated", "2"), ("/Gate/c/rated/send", "3")] {
        let refused = http.post(path).key(idempotency).expect().await;
        assert_eq!((refused.status, refused.field("abide_code")), (429, "AB0431".into()), "{}", refused.text());
        assert_eq!(refused.header("x-restate-error-source"), "ingress");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=1_800).contains(&wait), "{wait} s");
        assert!(refused.header("x-restate-id").is_empty(), "{:?}", refused.headers);
    }
    // A key's own rate does not concern others, and whoever waits as told is let in.
    http.post("/Gate/a/rated_by_key").ok::<()>().await;
    http.post("/Gate/b/rated_by_key").ok::<()>().await;
    let refused = http.post("/Gate/a/rated_by_key").expect().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"), "{}", refused.text());
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    http.post("/Gate/a/rated_by_key").ok::<()>().await;
    // Nothing of what was refused has run, or will.
    let known: Value = process.admin.get("/invocations?filter=handler%3Drated").ok().await;
    assert_eq!(known["invocations"].as_array().unwrap().len(), 1, "{known}");
    process.stop();
    let mut ran = ledger::read(&program.ledger(), "rated");
    ran.sort();
    assert_eq!(ran, ["a", "b"]);
    assert_eq!(ledger::read(&program.ledger(), "rated-by-key"), ["a", "b", "a"]);
}

#[tokio::test]
async fn one_at_a_time_is_one_at_a_time() {
    let (program, process) = life();
    for key in ["a", "b", "c", "d", "e", "f"] {
        let path = format!("/Gate/{key}/alone/send");
        assert_eq!(process.ingress.post(&path).expect().await.status, 202);
    }
    let lines = lines(&program, "alone", 12).await;
    for pair in lines.chunks(2) {
        let (entered, left) = (pair[0].strip_prefix("enters "), pair[1].strip_prefix("leaves "));
        assert!(entered.is_some() && entered == left, "{lines:?}");
    }
    process.stop();
}

#[tokio::test]
async fn a_circle_of_calls_is_told_at_once() {
    let (_program, process) = life();
    let http = &process.ingress;
    assert_eq!(http.json("/Ring/a/pass", ["b", "c"]).ok::<usize>().await, 2);
    for (path, named) in [(vec!["b", "a"], vec!["Ring/a", "Ring/b"]), (vec!["a"], vec!["Ring/a"])] {
        let begun = Instant::now();
        let answer = http.json("/Ring/a/pass", &path).expect().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!((answer.status, answer.header("x-restate-error-source")), (508, "invocation"), "{}", answer.text());
        for object in named {
            assert!(answer.text().contains(object), "{}", answer.text());
        }
    }
    // All of them are free.
    assert_eq!(http.json("/Ring/b/pass", ["a"]).ok::<usize>().await, 1);
    process.stop();
}
