//! What expires leaves the disk.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use e2e::{Program, files, report, wait};
use serde_json::{Value, json};

/// Results to be kept for a while.
const RESULTS: usize = 16_000;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_expire_leave_the_disk() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let program = program.env("ABIDE_RETENTION__COMPLETED", "2s").env("ABIDE_STORAGE__CHECKPOINT_INTERVAL", "500ms");
    let program = program.env("ABIDE_STORAGE__OVERLAY_BYTES", "1 MiB");
    let process = program.start();
    let begun = Instant::now();
    let clients = (0..CONCURRENT).map(|client| {
        let http = process.ingress.clone();
        tokio::spawn(async move {
            for number in (client..RESULTS).step_by(CONCURRENT) {
                let sent = http.json("/Echo/large/send", RESULT_BYTES).key(number.to_string());
                assert_eq!(sent.expect().await.status, 202);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let time = begun.elapsed();
    wait::until("all results are forgotten", || async {
        let left: Value = process.admin.get("/invocations?limit=1").ok().await;
        if left["invocations"] == json!([]) { Ok(()) } else { Err(left) }
    })
    .await;
    process.stop();
    let (written, all, state) = (RESULTS * RESULT_BYTES, size(&program.data()), size(&program.data().join("state")));
    report(&format!(
        "{RESULTS} results of {RESULT_BYTES} bytes in {time:?}, {written} bytes of results: {all} are left on the disk, \
         {state} of them in the tables"
    ));
    // The engine gives space back as it compacts, which it does as more is written: the last tables stay.
    assert!(state < written / 2, "{state} of {written} bytes are left in the tables");
    assert!(all < written / 4 * 3, "{all} of {written} bytes are left");
    // What is left is nothing but space.
    let process = program.start();
    let left: Value = process.admin.get("/invocations").ok().await;
    assert_eq!(left["invocations"], json!([]));
    process.stop();
}
