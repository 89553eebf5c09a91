//! A data directory that cannot be used is refused: with what to do, with an exit code, and without writing anything.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::fs;
use std::path::Path;

use e2e::{Ended, Program, files};

/// A program whose folder has some data.
async fn with_data() -> Program {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    for number in 0..50 {
        let path = format!("/Counter/c{}/add", number % 5);
        assert_eq!(process.ingress.json(&path, 1).expect().await.status, 200);
    }
    process.stop();
    program
}

/// Runs the program, which must refuse `folder` and leave it as it was.
fn refused(program: &Program, folder: &Path, says: &[&str]) -> Ended {
    let before = files::snapshot(folder);
    let ended = program.run();
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    for text in says {
        assert!(ended.stderr.contains(text), "no `{text}` in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let after = files::snapshot(folder);
    let changed: Vec<_> = after.iter().filter(|(path, found)| before.get(*path) != Some(found)).collect();
    let changed: Vec<_> = changed.into_iter().map(|(path, _)| path).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{changed:?}");
    ended
}

#[tokio::test]
async fn a_directory_in_use() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    let process = program.start();
    assert_eq!(process.ingress.json("/Counter/c/add", 1).ok::<i64>().await, 1);
    // Not compared: the other process writes there.
    let ended = program.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for text in ["in use by another process", "stop that process", "DD001"] {
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
    assert_eq!(process.ingress.json("/Counter/c/add", 1).ok::<i64>().await, 2);
    process.stop();
}

#[tokio::test]
async fn another_number_of_partitions() {
    let mut program = with_data().await;
    program.set_env("ABIDE_PARTITIONS", "4");
    refused(&program, &program.data(), &["has 8 partitions", "says 4", "set it back", "DD005"]);
    program.set_env("ABIDE_PARTITIONS", "8");
    let process = program.start();
    assert_eq!(process.ingress.get("/Counter/c0/get").ok::<i64>().await, 10);
    process.stop();
}

#[test]
fn a_folder_with_something_else() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    fs::create_dir(program.data()).unwrap();
    fs::write(program.data().join("holiday.txt"), "photos").unwrap();
    refused(&program, &program.data(), &["is not a data directory", "choose an empty or a new directory", "DD007"]);
}

#[test]
fn a_file() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"));
    fs::write(program.data(), "not a folder").unwrap();
    refused(&program, &program.data(), &["is not a data directory", "DD007"]);
}

#[tokio::test]
async fn a_newer_format() {
    let program = with_data().await;
    let path = program.data().join("IDENTITY");
    let mut identity: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    identity["format"] = 99.into();
    fs::write(&path, identity.to_string()).unwrap();
    refused(&program, &program.data(), &["has format 99", "run the newer version", "DD004"]);
}

#[tokio::test]
async fn a_damaged_identity() {
    let program = with_data().await;
    fs::write(program.data().join("IDENTITY"), "{\"format\":1").unwrap();
    refused(&program, &program.data(), &["IDENTITY", "is damaged", "restore the file from a backup", "DD008"]);
}

#[tokio::test]
async fn a_damaged_journal_of_the_log() {
    let program = with_data().await;
    let journals = program.data().join("log/engine");
    let largest = |folder: &Path| {
        let journals = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let journals = journals.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
        journals.max_by_key(|path| written(path)).unwrap()
    };
    let path = largest(&journals);
    let mut journal = fs::read(&path).unwrap();
    let middle = written(&path) / 2;
    journal[middle] ^= 0x55;
    fs::write(&path, &journal).unwrap();
    refused(&program, &program.data(), &["damaged at byte", "keep the files", "ST003"]);
    // The byte was the only thing that was wrong.
    journal[middle] ^= 0x55;
    fs::write(&path, &journal).unwrap();
    let process = program.start();
    assert_eq!(process.ingress.get("/Counter/c4/get").ok::<i64>().await, 10);
    process.stop();
}

/// Bytes of a journal without the zeros behind what was written.
fn written(path: &Path) -> usize {
    let content = fs::read(path).unwrap();
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[tokio::test]
async fn a_missing_journal_of_the_log() {
    let program = with_data().await;
    for entry in fs::read_dir(program.data().join("log/engine")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            fs::remove_file(path).unwrap();
        }
    }
    refused(&program, &program.data(), &["put the missing files back", "ST004"]);
}

#[test]
fn settings_that_cannot_work_are_all_told_and_nothing_is_created() {
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors"))
        .env("ABIDE_PARTITIONS", "0")
        .env("ABIDE_STORAGE__OVERLAY_BYTES", "lots")
        .env("ABIDE_NO_SUCH_SETTING", "1");
    let ended = program.run();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for text in ["partitions", "overlay_bytes", "no_such_setting"] {
        assert!(ended.stderr.to_lowercase().contains(text), "no `{text}` in: {}", ended.stderr);
    }
    assert!(!program.data().exists());
}

#[test]
fn a_taken_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-actors")).env("ABIDE_INGRESS", addr.clone());
    let ended = program.run();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&addr), "{}", ended.stderr);
}
