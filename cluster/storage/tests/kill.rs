//! A process that is killed while it writes: everything acknowledged is there, and the strict open does not take the rest
//! for damage.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use abide_storage::{FjallLog, FjallLogSettings, HardState, LogBatch, LogStore, LogWrite};
use common::entry;

const DIR: &str = "ABIDE_TEST_KILL_DIR";
const PARTITIONS: u64 = 3;
const ROUNDS: usize = 12;

/// A table in memory so small that tables are written and merged all the time.
fn open(dir: &Path) -> FjallLog {
    FjallLog::open(dir, FjallLogSettings { memtable_bytes: 64 << 10, ..FjallLogSettings::default() }).unwrap()
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "commits_until_killed", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let acknowledgements = lines.by_ref().filter_map(|line| line.strip_prefix("ack ")?.parse().ok());
        acknowledged = acknowledgements.take(1 + round * round * 7).last().unwrap_or(acknowledged);
        child.kill().unwrap();
        let rest = lines.filter_map(|line| line.strip_prefix("ack ")?.parse::<u64>().ok());
        acknowledged = rest.last().unwrap_or(acknowledged);
        child.wait().unwrap();

        let mut log = open(dir.path());
        let recovered = (0..PARTITIONS).map(|partition| log.recover(u32::try_from(partition).unwrap()).unwrap());
        let ends: Vec<u64> = recovered.map(|log| log.last().index).collect();
        // One batch writes all partitions: the one in flight is there for all of them, or for none.
        assert!(ends.iter().all(|&end| end == ends[0]), "{ends:?}");
        assert!(ends[0] == acknowledged || ends[0] == acknowledged + 1, "{acknowledged} acknowledged, {ends:?} found");
    }
    assert!(acknowledged > ROUNDS as u64, "{acknowledged}");
}

#[test]
#[ignore = "runs as a child of the test above"]
fn commits_until_killed() {
    let dir = PathBuf::from(env::var_os(DIR).unwrap());
    let mut log = open(&dir);
    let mut index = log.recover(0).unwrap().last().index;
    loop {
        index += 1;
        let write = |partition| LogWrite {
            partition,
            reset: None,
            owner: None,
            entries: vec![entry(index, 1, usize::try_from(index * 37 % 2_000).unwrap())],
            hard_state: Some(HardState { term: 1, vote: 1, commit: index - 1 }),
            trim_below: index.is_multiple_of(16).then(|| index - 8),
        };
        let partitions = 0..u32::try_from(PARTITIONS).unwrap();
        log.commit(&LogBatch { writes: partitions.map(write).collect(), sync: true }).unwrap();
        writeln!(std::io::stdout(), "ack {index}").unwrap();
    }
}
