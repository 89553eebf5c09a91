//! Timers fire after a restart, and never early.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Http, Program, ledger, wait};
use serde_json::Value;

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

async fn first_item(http: &Http, key: &str) -> u64 {
    wait::until("the delayed message arrives", || async {
        let items: Vec<u64> = http.get(&format!("/List/{key}/items")).ok().await;
        items.first().copied().ok_or(items)
    })
    .await
}

#[tokio::test]
async fn delayed_sends_execute_after_a_restart_and_never_early() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    let mut due = Vec::new();
    // Some are due while no process is running, some after the restart.
    for (number, delay) in [1, 50, 400, 800, 2_500, 3_000].into_iter().enumerate() {
        let earliest = now() + delay;
        let path = format!("/List/late-{number}/stamp/send?delay={delay}ms");
        let answer = process.ingress.post(&path).expect().await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        // A short delay may be over when the send is accepted.
        assert!(delay < 400 || answer.field("executionTime").is_string(), "{}", answer.text());
        due.push((format!("late-{number}"), earliest));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    process.kill();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let process = program.start();
    for (key, earliest) in &due {
        let at = first_item(&process.ingress, key).await;
        assert!(at >= *earliest, "{key} ran {} ms early", earliest - at);
        assert!(at < earliest + 10_000, "{key} ran {} ms late", at - earliest);
    }
    // Once each.
    for (key, _) in &due {
        let items: Vec<u64> = process.ingress.get(&format!("/List/{key}/items")).ok().await;
        assert_eq!(items.len(), 1, "{key}: {items:?}");
    }
    process.stop();
}

#[tokio::test]
async fn a_flow_sleeps_across_a_kill_and_a_clean_restart() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors")).env("ABIDE_HANDLERS__SUSPEND_AFTER", "100ms");
    let process = program.start();
    let id = process.ingress.json("/Steps/sleeper/nap/send", 2_500).expect().await.invocation();
    // The step before the sleep is committed when the sleep is.
    wait::until("it sleeps", || async {
        let invocation: Value = process.admin.get(&format!("/invocations/{id}")).ok().await;
        let journal = invocation["journal"].as_array().unwrap();
        if journal.iter().any(|entry| entry["type"] == "Sleep") { Ok(()) } else { Err(invocation) }
    })
    .await;
    process.kill();
    let process = program.start();
    let answer = process.ingress.get(&format!("/restate/invocation/{id}/output")).expect().await;
    assert_eq!(answer.status, 470, "{}", answer.text());
    process.stop();
    let process = program.start();
    let slept: u64 = process.ingress.get(&format!("/restate/invocation/{id}/attach")).ok().await;
    assert!(slept >= 2_500, "{slept} ms");
    assert_eq!(ledger::read(&program.ledger(), "sleeper"), ["asleep", "awake"]);
    process.stop();
}
