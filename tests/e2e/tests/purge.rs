//! The space of what expires is used again.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use e2e::{Http, Program, files, report, wait};
use serde_json::{Value, json};

/// Times that results are written and forgotten: more is written in all than may be left.
const ROUNDS: usize = 5;
/// Results of a round.
const RESULTS: usize = 4_000;
/// Bytes of each.
const RESULT_BYTES: usize = 16 << 10;
/// Requests that are under way at the same time.
const CONCURRENT: usize = 64;

/// Bytes that the files of a folder occupy; its databases reserve more by name.
fn size(folder: &Path) -> usize {
    let files = files::snapshot(folder);
    let blocks = files.keys().filter_map(|path| path.metadata().ok()).map(|file| file.blocks() * 512);
    usize::try_from(blocks.sum::<u64>()).unwrap()
}

/// Writes the results of a round.
async fn write(http: &Http, round: usize) {
    let clients = (0..CONCURRENT).map(|client| {
        let http = http.clone();
        tokio::spawn(async move {
            for number in (client..RESULTS).step_by(CONCURRENT) {
                let sent = http.json("/Echo/large/send", RESULT_BYTES).key(format!("{round}-{number}"));
                assert_eq!(sent.expect().await.status, 202);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn space_of_results_that_expire_is_used_again() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let program = program.env("ABIDE_RETENTION__COMPLETED", "2s").env("ABIDE_STORAGE__CHECKPOINT_INTERVAL", "500ms");
    let program = program.env("ABIDE_STORAGE__OVERLAY_BYTES", "1 MiB");
    let process = program.start();
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        write(&process.ingress, round).await;
        wait::until("all results are forgotten", || async {
            let known: Value = process.admin.get("/invocations?limit=1").ok().await;
            if known["invocations"] == json!([]) { Ok(()) } else { Err(known) }
        })
        .await;
        left.push(size(&program.data()));
    }
    process.stop();
    let (all, state) = (size(&program.data()), size(&program.data().join("state")));
    let written = ROUNDS * RESULTS * RESULT_BYTES;
    report(&format!(
        "{written} bytes of results were written and have expired: {all} are left, {state} of them in the tables; \
         after each round {left:?}"
    ));
    // The engine gives space back when it merges tables, which it does as more is written and not by itself: what expired
    // last stays. That does not grow with what was written before.
    assert!(all < written / 4 * 3, "{all} of {written} bytes are left");
    // What is left is nothing but space.
    let process = program.start();
    let known: Value = process.admin.get("/invocations").ok().await;
    assert_eq!(known["invocations"], json!([]));
    process.stop();
}
