//! What expires leaves the disk.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::{Program, files, report, wait};
use serde_json::Value;

/// Results to be kept for a while.
const RESULTS: usize = 20_000;
/// Requests that are under way at the same time.
const CONCURRENT: usize = 64;

/// Bytes of the tables.
fn size(folder: &Path) -> usize {
    files::snapshot(folder).values().flatten().map(Vec::len).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_expire_leave_the_disk() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let program = program.env("ABIDE_RETENTION__COMPLETED", "20s").env("ABIDE_STORAGE__CHECKPOINT_INTERVAL", "500ms");
    let program = program.env("ABIDE_STORAGE__OVERLAY_BYTES", "1 MiB");
    let process = program.start();
    let begun = Instant::now();
    let clients = (0..CONCURRENT).map(|client| {
        let http = process.ingress.clone();
        tokio::spawn(async move {
            for number in (client..RESULTS).step_by(CONCURRENT) {
                // Does not compress.
                let text: String = (0..32).map(|part| format!("{:016x}", e2e::random::mix(number as u64, part))).collect();
                let answer: String = http.json("/Echo/echo", &text).key(number.to_string()).ok().await;
                assert_eq!(answer, text);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let written = begun.elapsed();
    let data = program.data();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let peak = size(&data);
    wait::until("all results are forgotten", || async {
        let left: Value = process.admin.get("/invocations?limit=1").ok().await;
        if left["invocations"] == serde_json::json!([]) { Ok(()) } else { Err(left) }
    })
    .await;
    process.stop();
    let left = size(&data);
    report(&format!("{RESULTS} results in {written:?}: {peak} bytes, {left} when they had expired"));
}
