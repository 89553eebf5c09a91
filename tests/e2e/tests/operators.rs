//! What an operator sees and does through the admin door: panics and pauses, cancel, kill, resume.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::look::{becomes, lines};
use e2e::{Process, Program, ledger};
use hyper::Method;
use serde_json::Value;

fn actors() -> (Program, Process) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    (program, process)
}

async fn order(process: &Process, id: &str, verb: &str) -> u16 {
    process.admin.request(Method::PATCH, &format!("/invocations/{id}/{verb}")).expect().await.status
}

#[tokio::test]
async fn a_panic_is_retried_and_then_pauses() {
    let (program, process) = actors();
    let http = &process.ingress;
    assert_eq!(http.json("/Counter/p/add", 1).ok::<i64>().await, 1);
    let id = http.post("/Counter/p/explode/send").expect().await.invocation();
    let paused = becomes(&process, &id, "paused").await;
    assert_eq!(ledger::read(&program.ledger(), "p").len(), 3);
    let reason = paused["last_failure"]["message"].as_str().unwrap();
    assert!(reason.contains("this handler always panics"), "{paused}");
    assert_eq!(paused["target_service_name"], "Counter");
    assert_eq!(paused["target_handler_name"], "explode");
    assert_eq!(paused["target_service_key"], "p");
    // Its changes are gone, the node lives, other objects work, its own queue waits.
    assert_eq!(http.get("/Counter/p/get").ok::<i64>().await, 1);
    assert_eq!(http.json("/Counter/q/add", 1).ok::<i64>().await, 1);
    let behind = http.json("/Counter/p/add/send", 1).expect().await.invocation();
    assert_eq!(http.get(&format!("/restate/invocation/{behind}/output")).expect().await.status, 470);
    // It stays so after a kill of the process.
    process.kill();
    let process = program.start();
    becomes(&process, &id, "paused").await;
    // Resumed, it gets its attempts anew.
    assert!(matches!(order(&process, &id, "resume").await, 200 | 202));
    lines(&program, "p", 6).await;
    becomes(&process, &id, "paused").await;
    assert_eq!(ledger::read(&program.ledger(), "p").len(), 6);
    // Killed, it makes room.
    assert!(matches!(order(&process, &id, "kill").await, 200 | 202));
    let result = process.ingress.get(&format!("/restate/invocation/{id}/attach")).expect().await;
    assert_eq!((result.status, result.header("x-restate-error-source")), (409, "invocation"), "{}", result.text());
    assert_eq!(process.ingress.get(&format!("/restate/invocation/{behind}/attach")).ok::<i64>().await, 2);
    assert_eq!(order(&process, &id, "kill").await, 409);
    process.stop();
}

#[tokio::test]
async fn a_panic_that_goes_away_is_not_noticed() {
    let (program, process) = actors();
    assert_eq!(process.ingress.json("/Counter/f/flaky", 3).ok::<i64>().await, 1);
    assert_eq!(ledger::read(&program.ledger(), "f").len(), 3);
    assert_eq!(process.ingress.get("/Counter/f/get").ok::<i64>().await, 1);
    process.stop();
}

#[tokio::test]
async fn a_paused_flow_goes_on_with_repaired_code() {
    let (mut program, process) = actors();
    let id = process.ingress.post("/Steps/r/explode/send").expect().await.invocation();
    becomes(&process, &id, "paused").await;
    process.stop();
    program.set_env("E2E_FIXED", "1");
    let process = program.start();
    becomes(&process, &id, "paused").await;
    assert!(matches!(order(&process, &id, "resume").await, 200 | 202));
    assert_eq!(process.ingress.get(&format!("/restate/invocation/{id}/attach")).ok::<u64>().await, 7);
    // The step before the panic was kept all the time.
    assert_eq!(ledger::read(&program.ledger(), "r"), ["before"]);
    process.stop();
}

#[tokio::test]
async fn a_cancelled_flow_may_clean_up_and_a_killed_one_may_not() {
    let (program, process) = actors();
    for (key, verb, cleaned) in [("c", "cancel", true), ("k", "kill", false)] {
        let id = process.ingress.post(&format!("/Steps/{key}/wait/send")).expect().await.invocation();
        lines(&program, key, 1).await;
        assert!(matches!(order(&process, &id, verb).await, 200 | 202));
        let result = process.ingress.get(&format!("/restate/invocation/{id}/attach")).expect().await;
        assert_eq!((result.status, result.header("x-restate-error-source")), (409, "invocation"), "{}", result.text());
        let last = ledger::read(&program.ledger(), key).last().cloned().unwrap();
        assert_eq!(last == "failed", cleaned, "{verb}: {last}");
        let ended = becomes(&process, &id, "completed").await;
        assert_eq!(ended["outcome"]["result"], "failure", "{ended}");
        // The object is free again.
        let plan = serde_json::json!({ "steps": 1, "work_ms": 0, "gap_ms": 0 });
        assert_eq!(process.ingress.json(&format!("/Steps/{key}/run"), plan).ok::<u64>().await, 0);
    }
    process.stop();
}

#[tokio::test]
async fn orders_that_cannot_be_carried_out() {
    let (_program, process) = actors();
    let admin = &process.admin;
    assert_eq!(order(&process, "inv_nonsense", "kill").await, 400);
    assert_eq!(admin.get("/invocations/inv_nonsense").expect().await.status, 400);
    let lookup = serde_json::json!({
        "target": "idempotentInvocation", "service": "Counter", "key": "c", "handler": "add", "idempotencyKey": "never",
    });
    let never: Value = process.ingress.json("/restate/lookup", lookup).ok().await;
    let never = never["invocationId"].as_str().unwrap();
    assert_eq!(admin.get(&format!("/invocations/{never}")).expect().await.status, 404);
    for verb in ["cancel", "kill", "resume"] {
        assert_eq!(order(&process, never, verb).await, 404, "{verb}");
    }
    assert_eq!(order(&process, never, "explode").await, 404);
    // A web page that found the port is not an operator.
    let foreign = admin.get("/services").header("host", "evil.example").expect().await;
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    let services: Value = admin.get("/services").ok().await;
    assert_eq!(services["services"].as_array().unwrap().len(), 5);
    process.stop();
}
