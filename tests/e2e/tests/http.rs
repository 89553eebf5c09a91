//! The door for requests, as clients meet it: every row of the ingress protocol that native handlers can be reached by.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeSet;

use e2e::{Answer, Http, Process, Program, ledger, wait};
use hyper::Method;
use serde_json::{Value, json};

fn actors() -> (Program, Process) {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    (program, process)
}

async fn value(http: &Http, key: &str) -> i64 {
    http.get(&format!("/Counter/{key}/get")).ok().await
}

/// Checks an error: status and code, who made it, and what it says.
fn is_error(answer: &Answer, status: u16, source: &str, says: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.header("x-restate-error-source"), source, "{text}");
    assert_eq!(answer.header("content-type"), "application/json", "{text}");
    assert_eq!(answer.field("code"), status, "{text}");
    assert_eq!(answer.field("source"), source, "{text}");
    assert!(answer.field("message").as_str().unwrap().contains(says), "no `{says}` in {text}");
}

/// The id of the awakeable that `Steps/{key}/wait` hands out.
async fn awakeable(program: &Program, key: &str) -> String {
    wait::until("the id is handed out", || async {
        ledger::read(&program.ledger(), key).first().cloned().ok_or("no line")
    })
    .await
}

#[tokio::test]
async fn calls() {
    let (_program, process) = actors();
    let http = &process.ingress;
    let answer = http.json("/Counter/c/add", 5).expect().await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "5"));
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.header("x-restate-id").starts_with("inv_"), "{answer:?}");
    assert_eq!(answer.header("idempotency-expires"), "");
    // Other spellings of the same.
    assert_eq!(http.json("/restate/call/Counter/c/add", 5).ok::<i64>().await, 10);
    assert_eq!(http.json("/Counter/c/add/", 5).ok::<i64>().await, 15);
    assert_eq!(http.get("/Counter/c/get").ok::<i64>().await, 15);
    assert_eq!(http.post("/Counter/c/get").ok::<i64>().await, 15);
    // Keys are percent-decoded after the path is split.
    assert_eq!(http.json("/Counter/a%2Fb%20%C3%BC/add", 1).ok::<i64>().await, 1);
    assert_eq!(http.get("/Counter/a%2fb%20%c3%bc/get").ok::<i64>().await, 1);
    // A service has no key, a handler may answer nothing.
    assert_eq!(http.json("/Echo/echo", "hello").ok::<String>().await, "hello");
    let nothing = http.post("/Echo/nothing").expect().await;
    assert_eq!((nothing.status, nothing.text().as_str(), nothing.header("content-type")), (200, "", ""));
    // Objects call objects.
    assert_eq!(http.json("/Chain/top/descend", 20).ok::<u64>().await, 20);
    process.stop();
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_changes_nothing() {
    let (_program, process) = actors();
    let http = &process.ingress;
    http.json("/Counter/c/add", 7).ok::<i64>().await;
    let add = || http.json("/Counter/c/add", 1);
    let long = "k".repeat(1_025);
    let mibs = |size: usize| vec![b' '; size << 20];
    let cases = [
        (http.json("/Nobody/c/add", 1), 404, "Nobody"),
        (http.json("/Counter/c/subtract", 1), 404, "`Counter` exists, but has no handler `subtract`"),
        (http.json("/Echo/sing", 1), 404, "`Echo` exists, but has no handler `sing`"),
        (http.json("/Counter/add", 1), 400, "bad path"),
        (http.json("/Counter", 1), 400, "bad path"),
        (http.json("/Counter/c/add/now", 1), 400, "bad path"),
        (http.json("/Counter/%ff/add", 1), 400, "bad path"),
        (http.post("/Counter/c/secret"), 400, "the invoked service is not public"),
        (http.post("/Counter/c/add").header("content-type", "text/plain").body("1"), 400, "application/json"),
        (http.post("/Counter/c/add").body("1"), 400, "content-type"),
        (http.json(&format!("/Counter/{long}/add"), 1), 400, "the key is longer than 1024 bytes"),
        (add().key("i".repeat(257)), 400, "the idempotency key is longer than 256 bytes"),
        (http.json("/Counter/c/add", 1).body([b"1".to_vec(), mibs(8)].concat()), 413, "larger than"),
        (http.json(&format!("/Counter/c/add?{}", "q".repeat(8_200)), 1), 414, "longer than"),
        (add().header("x-large", "h".repeat(33_000)), 431, "headers"),
        (http.json("/Counter/c/add?delay=1s", 1), 400, "only sends can be delayed"),
        (http.json("/Counter/c/add/send?delay=soon", 1), 400, "bad delay"),
        (http.request(Method::DELETE, "/Counter/c/add"), 405, "GET, POST"),
        (http.request(Method::PUT, "/Counter/c/add"), 405, "GET, POST"),
        (http.post("/restate/health"), 405, "GET"),
        (http.get("/restate/invocation/inv_nonsense/attach"), 400, "bad invocation id"),
        (http.post("/restate/awakeables/sign_nonsense/resolve"), 400, "bad awakeable id"),
        (http.json("/restate/lookup", json!({ "target": "nothing" })), 400, "bad target"),
    ];
    for (request, status, says) in cases {
        is_error(&request.expect().await, status, "ingress", says);
    }
    // Malformed for the handler.
    for body in ["", "{", "\"one\"", "1.5", "1 1", "99999999999999999999"] {
        let answer = add().body(body).expect().await;
        assert_eq!(answer.status, 400, "`{body}`: {}", answer.text());
    }
    assert_eq!(value(http, "c").await, 7);
    assert_eq!(add().ok::<i64>().await, 8);
    process.stop();
}

#[tokio::test]
async fn the_failure_of_a_handler_is_its_callers_answer() {
    let (_program, process) = actors();
    let http = &process.ingress;
    for code in [400, 404, 409, 422, 470, 500, 570] {
        let answer = http.json("/Counter/c/refuse", code).expect().await;
        is_error(&answer, code, "invocation", &format!("refused with {code}"));
        assert!(answer.header("x-restate-id").starts_with("inv_"));
    }
    // Neither the change nor the message remained.
    assert_eq!(value(http, "c").await, 0);
    assert_eq!(value(http, "c-sent").await, 0);
    // A recorded failure is repeated like a result.
    for recorded in [false, true] {
        let answer = http.json("/Counter/c/refuse", 409).key("once").expect().await;
        is_error(&answer, 409, "invocation", "refused with 409");
        assert_eq!(!answer.header("idempotency-expires").is_empty(), recorded);
    }
    process.stop();
}

#[tokio::test]
async fn an_idempotency_key_makes_repetitions_one_invocation() {
    let (program, process) = actors();
    let http = &process.ingress;
    let first = http.json("/Counter/c/add", 5).key("k").expect().await;
    assert_eq!((first.status, first.text().as_str(), first.header("idempotency-expires")), (200, "5", ""));
    // The argument of a repetition does not count.
    let again = http.json("/Counter/c/add", 6).key("k").expect().await;
    assert_eq!((again.status, again.text().as_str()), (200, "5"));
    assert_eq!(again.header("x-restate-id"), first.header("x-restate-id"));
    let expires = again.header("idempotency-expires");
    assert!(expires.len() > 19 && expires.ends_with('Z') && &expires[10..11] == "T", "`{expires}`");
    // Another target, another invocation.
    assert_eq!(http.json("/Counter/d/add", 5).key("k").ok::<i64>().await, 5);
    // At the same time.
    let requests = (0..20).map(|_| tokio::spawn(http.json("/Counter/c/add", 1).key("at once").answer()));
    let mut ids = BTreeSet::new();
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "6"));
        ids.insert(answer.header("x-restate-id").to_owned());
    }
    assert_eq!(ids.len(), 1);
    let plan = json!({ "steps": 2, "work_ms": 50, "gap_ms": 0 });
    let requests = (0..5).map(|_| tokio::spawn(http.json("/Steps/s/run", plan.clone()).key("at once").answer()));
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "1"));
    }
    assert_eq!(ledger::read(&program.ledger(), "s"), ["0", "1"]);
    // After a kill.
    process.kill();
    let process = program.start();
    let again = process.ingress.json("/Counter/c/add", 5).key("k").expect().await;
    assert_eq!((again.text().as_str(), again.header("x-restate-id")), ("5", first.header("x-restate-id")));
    assert_eq!(value(&process.ingress, "c").await, 6);
    process.stop();
}

#[tokio::test]
async fn sends_and_their_results() {
    let (program, process) = actors();
    let http = &process.ingress;
    let sent = http.json("/Counter/c/add/send", 3).key("s").expect().await;
    assert_eq!((sent.field("status"), sent.field("executionTime")), (json!("Accepted"), Value::Null));
    let id = sent.invocation();
    assert_eq!(sent.header("x-restate-id"), id);
    let again = http.json("/restate/send/Counter/c/add", 3).key("s").expect().await;
    assert_eq!((again.field("status"), again.invocation()), (json!("PreviouslyAccepted"), id.clone()));
    let of_target = json!({
        "target": "idempotentInvocation", "service": "Counter", "key": "c", "handler": "add", "idempotencyKey": "s",
    });
    let of_id = json!({ "target": "invocation", "invocationId": id });
    for wait in ["attach", "output"] {
        if wait == "output" {
            // It ended when the first attach was answered.
            assert_eq!(value(http, "c").await, 3);
        }
        for request in [
            http.get(&format!("/restate/invocation/{id}/{wait}")),
            http.get(&format!("/restate/{wait}/{id}")),
            http.get(&format!("/restate/invocation/Counter/c/add/s/{wait}")),
            http.json(&format!("/restate/{wait}"), &of_target),
            http.json(&format!("/restate/{wait}"), &of_id),
        ] {
            let answer = request.expect().await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "3"));
            assert_eq!(answer.header("x-restate-id"), id);
        }
    }
    // In flight.
    let waiting = http.post("/Steps/w/wait/send").expect().await.invocation();
    let ticket = awakeable(&program, "w").await;
    let output = http.get(&format!("/restate/invocation/{waiting}/output")).expect().await;
    is_error(&output, 470, "ingress", "has not completed yet");
    let attached = tokio::spawn(http.get(&format!("/restate/invocation/{waiting}/attach")).answer());
    assert_eq!(http.json(&format!("/restate/a/{ticket}/resolve"), "go").expect().await.status, 202);
    assert_eq!(attached.await.unwrap().unwrap().json::<String>(), "go");
    // Never seen, but well formed: found by computing it, and nothing is known of it.
    let lookup = json!({
        "target": "idempotentInvocation", "service": "Counter", "key": "c", "handler": "add", "idempotencyKey": "never",
    });
    let never: Value = http.json("/restate/lookup", &lookup).ok().await;
    let never = never["invocationId"].as_str().unwrap().to_owned();
    assert!(never.starts_with("inv_") && never != id);
    let found: Value = http.json("/restate/lookup", &of_target).ok().await;
    assert_eq!(found["invocationId"], id);
    is_error(&http.get(&format!("/restate/invocation/{never}/output")).expect().await, 404, "ingress", "not found");
    let attach = http.get(&format!("/restate/invocation/{never}/attach")).expect().await;
    is_error(&attach, 404, "invocation", "not found");
    assert_eq!(attach.header("x-restate-id"), never);
    process.stop();
}

#[tokio::test]
async fn delays() {
    let (_program, process) = actors();
    let http = &process.ingress;
    for delay in ["200ms", "PT0.2S", "200"] {
        let key = format!("d-{}", delay.to_lowercase());
        let sent = http.json(&format!("/Counter/{key}/add/send?delay={delay}"), 1).expect().await;
        assert_eq!(sent.status, 202, "{delay}: {}", sent.text());
        let at = sent.field("executionTime");
        assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{}", sent.text());
        assert_eq!(value(http, &key).await, 0, "{delay}");
        let id = sent.invocation();
        assert_eq!(http.get(&format!("/restate/invocation/{id}/attach")).ok::<i64>().await, 1);
    }
    process.stop();
}

#[tokio::test]
async fn awakeables() {
    let (program, process) = actors();
    let http = &process.ingress;
    for (key, path, body, expected) in [
        ("long", "/restate/awakeables/ID/resolve", "\"yes\"", Ok("yes")),
        ("short", "/restate/a/ID/resolve", "\"yes\"", Ok("yes")),
        ("no", "/restate/awakeables/ID/reject", "out of stock", Err("out of stock")),
    ] {
        let call = tokio::spawn(http.post(&format!("/Steps/{key}/wait")).answer());
        let id = awakeable(&program, key).await;
        let completed = http.post(&path.replace("ID", &id)).body(body).expect().await;
        assert_eq!((completed.status, completed.text().as_str()), (202, ""));
        let answer = call.await.unwrap().unwrap();
        match expected {
            Ok(value) => assert_eq!((answer.status, answer.json::<String>().as_str()), (200, value)),
            Err(message) => is_error(&answer, 500, "invocation", message),
        }
        // Completing it again, or later than the end, has no effect and is no error.
        assert_eq!(http.post(&path.replace("ID", &id)).body(body).expect().await.status, 202);
    }
    // Completed while the waiting flow's process is gone and another has come.
    let id = http.post("/Steps/kept/wait/send").expect().await.invocation();
    let ticket = awakeable(&program, "kept").await;
    process.kill();
    let process = program.start();
    let http = &process.ingress;
    assert_eq!(http.json(&format!("/restate/a/{ticket}/resolve"), "late").expect().await.status, 202);
    assert_eq!(http.get(&format!("/restate/invocation/{id}/attach")).ok::<String>().await, "late");
    process.stop();
}

#[tokio::test]
async fn health() {
    let (_program, process) = actors();
    let health: Value = process.ingress.get("/restate/health").ok().await;
    let services: BTreeSet<_> = health["services"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(services, BTreeSet::from(["Chain", "Counter", "Echo", "List", "Steps"]));
    assert_eq!(process.admin.get("/health").expect().await.status, 200);
    process.stop();
}
