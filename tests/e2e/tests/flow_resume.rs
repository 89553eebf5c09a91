//! A flow that is killed between any two of its steps goes on after the last one that was committed.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use e2e::{Http, Process, Program, ledger, wait};
use serde_json::{Value, json};

const STEPS: u64 = 5;
const SUM: u64 = STEPS * (STEPS - 1) / 2;

async fn begin(process: &Process, key: &str, work_ms: u64, gap_ms: u64) -> String {
    let plan = json!({ "steps": STEPS, "work_ms": work_ms, "gap_ms": gap_ms });
    process.ingress.json(&format!("/Steps/{key}/run/send"), plan).expect().await.invocation()
}

/// Waits until the ledger has the line of this step.
async fn ran(program: &Program, key: &str, step: u64) {
    wait::until("the step runs", || async {
        let lines = ledger::read(&program.ledger(), key);
        if lines.contains(&step.to_string()) { Ok(()) } else { Err(lines) }
    })
    .await;
}

/// Waits until the results of this many steps are in the journal.
async fn committed(admin: &Http, id: &str, steps: usize) {
    wait::until("the step is committed", || async {
        let invocation: Value = admin.get(&format!("/invocations/{id}")).ok().await;
        let journal = invocation["journal"].as_array().unwrap();
        let results = journal.iter().filter(|entry| entry["type"] == "RunCompletion").count();
        if results >= steps { Ok(()) } else { Err(invocation) }
    })
    .await;
}

/// Starts the program again, and checks the result and what ran. `twice` is the step that may have run again.
async fn resumes(program: &Program, key: &str, id: &str, twice: Option<u64>) {
    let process = program.start();
    let result: u64 = process.ingress.get(&format!("/restate/invocation/{id}/attach")).ok().await;
    assert_eq!(result, SUM);
    let state: u64 = process.ingress.get(&format!("/Steps/{key}/done")).ok().await;
    assert_eq!(state, SUM);
    process.stop();
    let mut lines: Vec<u64> = ledger::read(&program.ledger(), key).iter().map(|line| line.parse().unwrap()).collect();
    let all = lines.clone();
    assert!(lines.is_sorted(), "{lines:?}");
    lines.dedup();
    assert_eq!(lines, (0..STEPS).collect::<Vec<_>>(), "{all:?}");
    for step in 0..STEPS {
        let times = all.iter().filter(|ran| **ran == step).count();
        assert!(times == 1 || (times == 2 && twice == Some(step)), "step {step} ran {times} times: {all:?}");
    }
}

#[tokio::test]
async fn a_kill_within_a_step_repeats_at_most_this_step() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    for step in 0..STEPS {
        let key = format!("within-{step}");
        let process = program.start();
        let id = begin(&process, &key, 40, 0).await;
        ran(&program, &key, step).await;
        process.kill();
        resumes(&program, &key, &id, Some(step)).await;
    }
}

#[tokio::test]
async fn a_kill_at_the_end_of_a_step_repeats_at_most_this_step() {
    // Here the line and the commit of its step are as close together as they can be.
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    for step in 0..STEPS {
        let key = format!("end-{step}");
        let process = program.start();
        let id = begin(&process, &key, 0, 15).await;
        ran(&program, &key, step).await;
        process.kill();
        resumes(&program, &key, &id, Some(step)).await;
    }
}

#[tokio::test]
async fn a_kill_after_the_commit_of_a_step_repeats_nothing() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    for step in 0..STEPS - 1 {
        let key = format!("after-{step}");
        let process = program.start();
        let id = begin(&process, &key, 0, 1_000).await;
        committed(&process.admin, &id, usize::try_from(step).unwrap() + 1).await;
        let before = ledger::read(&program.ledger(), &key).len() as u64;
        assert!(before > step, "{before} lines");
        process.kill();
        // On a machine so slow that the next step had begun, that one may run again; the committed one may not.
        let twice = (before > step + 1).then(|| before - 1);
        resumes(&program, &key, &id, twice).await;
    }
}

#[tokio::test]
async fn a_flow_survives_any_number_of_kills() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let mut process = program.start();
    let id = begin(&process, "often", 20, 0).await;
    for step in 0..STEPS {
        ran(&program, "often", step).await;
        process.kill();
        process = program.start();
    }
    let result: u64 = process.ingress.get(&format!("/restate/invocation/{id}/attach")).ok().await;
    assert_eq!(result, SUM);
    let lines = ledger::read(&program.ledger(), "often");
    for step in 0..STEPS {
        let times = lines.iter().filter(|line| **line == step.to_string()).count();
        assert!((1..=2).contains(&times), "step {step} ran {times} times: {lines:?}");
    }
    process.stop();
}
