//! Helpers of the storage tests.
#![allow(dead_code, reason = "each test binary uses some of them")]

use std::{fs, path::Path};

use abide_storage::{
    EntryKind, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, HardState, LogBatch, LogEntry, LogWrite,
    StorageError,
};
use bytes::Bytes;

pub(crate) fn open_log(dir: &Path) -> Result<FjallLog, StorageError> {
    FjallLog::open(dir, FjallLogSettings { workers: 1, ..FjallLogSettings::default() })
}

pub(crate) fn open_state(dir: &Path) -> Result<FjallState, StorageError> {
    FjallState::open(dir, FjallStateSettings { workers: 1, cache_bytes: 1 << 20, ..FjallStateSettings::default() })
}

pub(crate) fn entry(index: u64, term: u64, bytes: usize) -> LogEntry {
    let data = Bytes::from(index.to_be_bytes().repeat(bytes.div_ceil(8)));
    LogEntry { index, term, kind: EntryKind::Normal, data: data.slice(..bytes) }
}

/// One synced entry of partition 0, with the hard state that goes with it.
pub(crate) fn batch(index: u64, bytes: usize) -> LogBatch {
    let hard_state = Some(HardState { term: 1, vote: 1, commit: index - 1 });
    let write = LogWrite { entries: vec![entry(index, 1, bytes)], hard_state, ..LogWrite::default() };
    LogBatch { writes: vec![write], sync: true }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_dir(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

/// Where the batches of a journal lie: a reader of its own, so that it can contradict the one under test.
pub(crate) fn batches(journal: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize, len: usize| {
        journal[at..at + len].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < journal.len() && journal[at] == 1 {
        let start = at;
        let items = number(at + 1, 4);
        at += 13;
        for _ in 0..items {
            assert_eq!(journal[at], 2);
            at += 21 + number(at + 11, 2) + number(at + 17, 4);
        }
        assert_eq!(journal[at], 3);
        at += 13;
        found.push(start..at);
    }
    found
}
