//! Workflows over HTTP: once per key, with promises, and forgotten after their retention.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::look::lines;
use e2e::{Http, Program, wait};
use serde_json::{Value, json};

async fn output(http: &Http) -> u16 {
    http.get("/restate/workflow/Approval/w/output").expect().await.status
}

#[tokio::test]
async fn a_workflow_runs_once_and_is_asked_before_during_and_after() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-life")).env("ABIDE_HANDLERS__SUSPEND_AFTER", "50ms");
    let process = program.start();
    let http = &process.ingress;
    // Before.
    assert_eq!(http.get("/Approval/w/status").ok::<String>().await, "");
    assert_eq!(http.post("/Approval/w/decision").ok::<Option<String>>().await, None);
    assert_eq!(output(http).await, 404);
    let submitted = http.json("/Approval/w/run/send", "letter").expect().await;
    assert_eq!((submitted.status, submitted.field("status")), (202, json!("Accepted")), "{}", submitted.text());
    let id = submitted.invocation();
    let again = http.json("/Approval/w/run/send", "another letter").expect().await;
    assert_eq!((again.status, again.field("status")), (202, json!("PreviouslyAccepted")), "{}", again.text());
    assert_eq!(again.invocation(), id);
    let lookup = json!({ "target": "workflow", "workflowName": "Approval", "workflowKey": "w" });
    let found: Value = http.json("/restate/lookup", &lookup).ok().await;
    assert_eq!(found["invocationId"], id.as_str());
    // During, before and after a kill.
    lines(&program, "w", 1).await;
    assert_eq!(http.json("/Approval/w/run", "letter").expect().await.status, 409);
    let keyed = http.json("/Approval/other/run", "letter").key("idempotent").expect().await;
    assert_eq!(keyed.status, 400, "{}", keyed.text());
    assert_eq!(output(http).await, 470);
    process.kill();
    let process = program.start();
    let http = &process.ingress;
    wait::until("it waits for the decision", || async {
        let status: String = http.get("/Approval/w/status").ok().await;
        if status == "waiting" { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(output(http).await, 470);
    let attached = tokio::spawn(http.get("/restate/workflow/Approval/w/attach").ok::<String>());
    http.json("/Approval/w/decide", "granted").ok::<()>().await;
    let second = http.json("/Approval/w/decide", "denied").expect().await;
    assert_eq!((second.status, second.header("x-restate-error-source")), (409, "invocation"), "{}", second.text());
    assert_eq!(attached.await.unwrap(), "letter: granted");
    // After, and after a kill.
    process.kill();
    let process = program.start();
    let http = &process.ingress;
    assert_eq!(http.get("/Approval/w/status").ok::<String>().await, "granted");
    assert_eq!(http.post("/Approval/w/decision").ok::<Option<String>>().await, Some("granted".to_owned()));
    assert_eq!(http.get("/restate/workflow/Approval/w/output").ok::<String>().await, "letter: granted");
    assert_eq!(http.get(&format!("/restate/invocation/{id}/attach")).ok::<String>().await, "letter: granted");
    assert_eq!(http.json("/restate/output", &lookup).ok::<String>().await, "letter: granted");
    let again = http.json("/Approval/w/run/send", "letter").expect().await;
    assert_eq!(again.field("status"), "PreviouslyAccepted", "{}", again.text());
    assert_eq!(http.json("/Approval/w/run", "letter").expect().await.status, 409);
    assert_eq!(lines(&program, "w", 2).await, ["begun", "ended"]);
    process.stop();
}

#[tokio::test]
async fn a_forgotten_workflow_can_run_again() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-life")).env("ABIDE_RETENTION__WORKFLOW", "1s");
    let process = program.start();
    let http = &process.ingress;
    for (document, decision) in [("first", "granted"), ("second", "denied")] {
        // Nothing is there of an earlier life: no state, no promise, no result.
        assert_eq!(http.get("/Approval/w/status").ok::<String>().await, "", "{document}");
        assert_eq!(http.post("/Approval/w/decision").ok::<Option<String>>().await, None, "{document}");
        let submitted = http.json("/Approval/w/run/send", document).expect().await;
        assert_eq!(submitted.field("status"), "Accepted", "{document}: {}", submitted.text());
        http.json("/Approval/w/decide", decision).ok::<()>().await;
        let result: String = http.get("/restate/workflow/Approval/w/attach").ok().await;
        assert_eq!(result, format!("{document}: {decision}"));
        assert_eq!(http.get("/Approval/w/status").ok::<String>().await, decision);
        wait::until("it is forgotten", || async {
            let status = output(http).await;
            if status == 404 { Ok(()) } else { Err(status) }
        })
        .await;
    }
    process.stop();
}
