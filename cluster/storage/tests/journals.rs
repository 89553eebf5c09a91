//! Life of the journal files: rotation, eviction, and the state store after damage.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{fs, path::Path};

use abide_storage::{LogBatch, LogStore, LogWrite, StateStore};
use bytes::Bytes;
use common::{batch, batches, copy_dir, open_log, open_state};

const MIB: usize = 1 << 20;

fn manifest(dir: &Path) -> String {
    fs::read_to_string(dir.join("MANIFEST")).unwrap()
}

#[test]
fn a_log_outlives_its_journals() {
    let dir = tempfile::tempdir().unwrap();
    let crashed = tempfile::tempdir().unwrap();
    let mut log = open_log(dir.path()).unwrap();
    for index in 1..=100 {
        log.commit(&batch(index, 2 * MIB)).unwrap();
    }
    assert!(!manifest(dir.path()).contains(r#""highest":0"#), "no journal was sealed in 200 MiB");
    let trim = LogWrite { trim_below: Some(98), ..LogWrite::default() };
    log.commit(&LogBatch { writes: vec![trim], sync: true }).unwrap();
    drop(log);

    copy_dir(dir.path(), crashed.path());
    let mut log = open_log(dir.path()).unwrap();
    let recovered = log.recover(0).unwrap();
    assert_eq!((recovered.start.index, recovered.last().index), (97, 100));
    assert_eq!(recovered.entries[2], common::entry(100, 1, 2 * MIB));
    assert_eq!(log.entries(0, 97, 99, 0).unwrap_err().code(), "ST013");
    assert_eq!(log.entries(0, 98, 101, 4 * MIB as u64).unwrap().len(), 2);
    log.commit(&batch(101, 10)).unwrap();
    drop(log);
    assert_eq!(open_log(dir.path()).unwrap().recover(0).unwrap().last().index, 101);

    // The newest journal holds the end of the log: without it the log is older than it was.
    let newest = |file: &fs::DirEntry| file.path().file_stem()?.to_str()?.parse::<u64>().ok();
    let files = fs::read_dir(crashed.path().join("engine")).unwrap().map(Result::unwrap);
    let newest = files.filter(|file| file.path().extension().is_some_and(|jnl| jnl == "jnl")).max_by_key(newest);
    fs::remove_file(newest.unwrap().path()).unwrap();
    assert_eq!(open_log(crashed.path()).unwrap_err().code(), "ST004");
}

/// A closed state store with one row in each of its batches.
fn state(dir: &Path, rows: u8) {
    let state = open_state(dir).unwrap();
    for row in 0..rows {
        state.write(vec![(Box::new([0, 0, row]), Some(Bytes::from_static(b"value")))]).unwrap();
    }
    state.sync().unwrap();
    drop(state);
    drop(open_state(dir).unwrap());
}

fn rows(dir: &Path) -> Result<Vec<u8>, &'static str> {
    let state = open_state(dir).map_err(|error| error.code())?;
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], _: &Bytes| {
        rows.push(key[2]);
        std::ops::ControlFlow::Continue(())
    };
    state.scan(&[0, 0], &[0, 1], visit).map_err(|error| error.code())?;
    Ok(rows)
}

#[test]
fn a_damaged_state_comes_back_as_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    state(dir.path(), 20);
    assert_eq!(rows(dir.path()), Ok((0..20).collect()));
    let path = dir.path().join("engine/0.jnl");
    let journal = fs::read(&path).unwrap();
    let batches = batches(&journal);
    for at in batches[12].clone().filter(|at| !(batches[12].start + 5..batches[12].start + 13).contains(at)) {
        let mut damaged = journal.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, damaged).unwrap();
        assert_eq!(rows(dir.path()), Ok((0..12).collect()), "byte {at}");
    }
}

#[test]
fn a_state_that_lost_files_says_so() {
    let dir = tempfile::tempdir().unwrap();
    state(dir.path(), 3);
    for (file, code) in [("0.jnl", "ST004"), ("version", "ST006")] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        fs::remove_file(copy.path().join("engine").join(file)).unwrap();
        assert_eq!(rows(copy.path()), Err(code), "{file}");
    }
}

#[test]
fn a_state_whose_creation_was_interrupted_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("engine/keyspaces")).unwrap();
    fs::write(dir.path().join("engine/0.jnl"), "").unwrap();
    assert_eq!(rows(dir.path()), Ok(vec![]));
}

#[test]
fn an_open_state_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let _state = open_state(dir.path()).unwrap();
    assert_eq!(open_state(dir.path()).unwrap_err().code(), "ST014");
}
