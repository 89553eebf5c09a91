//! A disk that takes no more bytes: the process ends, and everything that was acknowledged is there once there is room.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::{Answer, Http, Program};
use serde_json::Value;

const CLIENTS: usize = 4;
/// The exit code of a node whose disk failed.
const EXIT_FATAL: i32 = 70;

/// What a client was told.
struct Told {
    /// Keys of the requests with the answer, in order.
    acknowledged: Vec<(String, i64)>,
    /// The request without an answer, or with one that says that the outcome is not known.
    open: String,
}

fn add(http: &Http, client: usize, key: &str) -> e2e::Sent {
    // Headers are a part of the request, and so of the log.
    let padding = "x".repeat(16_000);
    http.json(&format!("/Counter/full-{client}/add"), 1).header("x-padding", padding).key(key)
}

/// Adds until the node does not answer any more. `over` is set by whoever finds out first.
async fn fill(http: Http, client: usize, over: Arc<AtomicBool>) -> Told {
    let mut acknowledged: Vec<(String, i64)> = Vec::new();
    loop {
        let key = format!("f-{client}-{}", acknowledged.len());
        let was_over = over.load(Ordering::SeqCst);
        match add(&http, client, &key).answer().await {
            Ok(answer) if answer.status == 200 => {
                assert!(!was_over, "{key} was acknowledged after the failure");
                acknowledged.push((key, answer.json()));
            }
            Ok(Answer { status: 503 | 504, .. }) | Err(_) => {
                over.store(true, Ordering::SeqCst);
                return Told { acknowledged, open: key };
            }
            Ok(answer) => panic!("{key}: {} {}", answer.status, answer.text()),
        }
        assert!(acknowledged.len() < 50_000, "the disk does not become full");
    }
}

/// Fills the disk, makes room, and compares.
async fn fill_and_compare(program: &mut Program, make_room: impl FnOnce(&mut Program)) {
    let process = program.start();
    let over = Arc::new(AtomicBool::new(false));
    let clients = (0..CLIENTS).map(|client| tokio::spawn(fill(process.ingress.clone(), client, Arc::clone(&over))));
    let mut told = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        told.push(client.await.unwrap());
    }
    let ended = process.ended();
    assert_eq!(ended.code, Some(EXIT_FATAL), "{ended:?}");
    assert!(ended.stderr.contains("cannot go on"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);

    make_room(program);
    let process = program.start();
    for (client, Told { acknowledged, open }) in told.into_iter().enumerate() {
        let count = i64::try_from(acknowledged.len()).unwrap();
        assert!(count > 10, "client {client}: {count} are too few to tell anything");
        let value: i64 = process.ingress.get(&format!("/Counter/full-{client}/get")).ok().await;
        assert!(value == count || value == count + 1, "client {client}: {count} acknowledged, {value} found");
        for (key, result) in &acknowledged {
            let repeated: i64 = add(&process.ingress, client, key).ok().await;
            assert_eq!(repeated, *result, "{key}");
        }
        // Whatever became of it then, now it has happened once.
        assert_eq!(add(&process.ingress, client, &open).ok::<i64>().await, count + 1);
        assert_eq!(process.ingress.get(&format!("/Counter/full-{client}/get")).ok::<i64>().await, count + 1);
    }
    let version: Value = process.admin.get("/version").ok().await;
    assert!(version["version"].is_string());
    process.stop();
}

#[tokio::test]
async fn a_limit_on_the_size_of_files() {
    let mut program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    // The second start cuts off what the journals were given in advance, so that they grow from a small size.
    program.start().stop();
    program.start().stop();
    // 8 MiB in blocks of 512 bytes. Without the trap the signal would end the process before it sees the error.
    program.set_prelude(Some(r#"trap "" XFSZ; ulimit -f 16384"#));
    fill_and_compare(&mut program, |program| program.set_prelude(None)).await;
}

#[tokio::test]
async fn a_small_disk() {
    let Some(disk) = SmallDisk::mount() else {
        e2e::report("full_disk: a_small_disk is SKIPPED, mounting a tmpfs is not permitted here");
        return;
    };
    let mut program =
        Program::new(env!("CARGO_BIN_EXE_e2e-actors")).env("ABIDE_DATA", disk.0.join("data").to_str().unwrap());
    fill_and_compare(&mut program, |_| disk.grow()).await;
}

/// A file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let at = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(&at).output();
        let disk = Self(at);
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(disk)
    }

    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=200m"]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still be ending. Fails without harm when nothing was mounted.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}
