//! SIGTERM: what is in flight is answered, what comes later is refused, nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::{Process, Program, ledger, wait};
use serde_json::json;

async fn until_line(program: &Program, prefix: &str, line: &str) {
    wait::until("the handler runs", || async {
        let lines = ledger::read(&program.ledger(), prefix);
        if lines.iter().any(|known| known == line) { Ok(()) } else { Err(lines) }
    })
    .await;
}

/// A connection that is open already, and a new one.
async fn is_refused(process: &Process) {
    for http in [process.ingress.clone(), e2e::Http::new(process.ingress.base().to_owned())] {
        match http.json("/Counter/late/add", 1).answer().await {
            Err(_) => {}
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
        }
    }
}

#[tokio::test]
async fn a_slow_turn_is_answered_and_later_requests_are_refused() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    assert_eq!(process.ingress.json("/Counter/c/add", 41).ok::<i64>().await, 41);
    let slow = tokio::spawn(process.ingress.json("/Counter/c/slow", 1_500).answer());
    until_line(&program, "c", "slow").await;
    process.terminate();
    // The signal has to be seen first.
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_refused(&process).await;
    let answer = slow.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.json::<i64>()), (200, 42));
    let ended = process.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let process = program.start();
    assert_eq!(process.ingress.get("/Counter/c/get").ok::<i64>().await, 42);
    assert_eq!(process.ingress.get("/Counter/late/get").ok::<i64>().await, 0);
    process.stop();
}

#[tokio::test]
async fn a_flow_in_flight_is_answered_or_goes_on_after_the_restart() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    let plan = json!({ "steps": 4, "work_ms": 250, "gap_ms": 0 });
    let call = tokio::spawn(process.ingress.json("/Steps/f/run", plan).key("once").answer());
    until_line(&program, "f", "1").await;
    process.terminate();
    let answer = call.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.json::<u64>()), (200, 6));
    let ended = process.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ledger::read(&program.ledger(), "f"), ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn the_end_of_the_time_to_drain_cuts_the_connection_and_not_the_flow() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    let id = process.ingress.json("/Steps/z/nap/send", 14_000).expect().await.invocation();
    let path = format!("/restate/invocation/{id}/attach");
    let waiting = tokio::spawn(process.ingress.get(&path).answer());
    until_line(&program, "z", "asleep").await;
    process.stop();
    assert!(waiting.await.unwrap().is_err(), "there was no result yet");
    let process = program.start();
    let slept: u64 = process.ingress.get(&path).ok().await;
    assert!(slept >= 14_000, "{slept} ms");
    assert_eq!(ledger::read(&program.ledger(), "z"), ["asleep", "awake"]);
    process.stop();
}

#[test]
fn a_process_that_is_stopped_as_soon_as_it_is_ready_ends_cleanly() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    for _ in 0..5 {
        program.start().stop();
    }
}
