//! One script of operations, run over the model and the real store; any difference is a defect of one of them.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::Arc};

use abide_model::view::{RawView, Write, WriteOp};
use abide_storage::{
    EntryKind, FjallLog, GENERATIONS, HardState, LogBatch, LogEntry, LogPosition, LogReset, LogStore, LogWrite, MemLog,
    MemState, Overlay, Owner, StateStore, StateWrite,
};
use bytes::Bytes;
use common::{open_log, open_state};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

fn runner(cases: u32, seed: u64) -> TestRunner {
    let rng_seed = RngSeed::Fixed(seed);
    TestRunner::new(ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() })
}

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum LogOp {
    /// One write per chosen partition.
    Commit {
        parts: Vec<Part>,
        sync: bool,
    },
    Entries {
        partition: u32,
        low: u64,
        len: u64,
        max_bytes: u64,
    },
    Restart,
    /// A write that no log can hold, then the restart it makes necessary.
    Invalid {
        partition: u32,
    },
}

/// A change relative to what the log holds at that time.
#[derive(Clone, Debug)]
struct Part {
    partition: u32,
    append: u64,
    overwrite: u64,
    new_term: bool,
    hard_state: bool,
    /// Parts of 8 of the log to trim.
    trim: Option<u64>,
    bytes: usize,
    /// Behind a snapshot instead of all that.
    reset: bool,
}

fn log_op() -> impl Strategy<Value = LogOp> {
    let part = (
        0..PARTITIONS,
        0..5_u64,
        0..4_u64,
        any::<bool>(),
        any::<bool>(),
        proptest::option::weighted(0.2, 0..9_u64),
        0..300_usize,
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(partition, append, overwrite, new_term, hard_state, trim, bytes, reset)| Part {
            partition,
            append,
            overwrite: if overwrite == 3 { 3 } else { 0 },
            new_term,
            hard_state,
            trim,
            bytes,
            reset,
        });
    let hard_state_only = (0..PARTITIONS).prop_map(|partition| Part {
        partition,
        append: 0,
        overwrite: 0,
        new_term: false,
        hard_state: true,
        trim: None,
        bytes: 0,
        reset: false,
    });
    prop_oneof![
        8 => (vec(part, 1..4), any::<bool>()).prop_map(|(parts, sync)| LogOp::Commit { parts, sync }),
        2 => vec(hard_state_only, 1..3).prop_map(|parts| LogOp::Commit { parts, sync: false }),
        3 => (0..PARTITIONS, 0..20_u64, 0..20_u64, 0..1_000_u64)
            .prop_map(|(partition, low, len, max_bytes)| LogOp::Entries { partition, low, len, max_bytes }),
        1 => Just(LogOp::Restart),
        1 => (0..PARTITIONS).prop_map(|partition| LogOp::Invalid { partition }),
    ]
}

/// The write that a part means for the log as the model holds it.
fn write(model: &mut MemLog, part: &Part) -> LogWrite {
    let log = model.recover(part.partition).unwrap();
    let first = log.last().index + 1 - part.overwrite.min(log.entries.len() as u64);
    let term = log.last().term.max(log.hard_state.term).max(1) + u64::from(part.new_term || part.overwrite > 0);
    let kind = |index| if index % 5 == 0 { EntryKind::ConfChangeV2 } else { EntryKind::Normal };
    let entries: Vec<_> = (first..first + part.append)
        .map(|index| LogEntry { kind: kind(index), ..common::entry(index, term, part.bytes) })
        .collect();
    let last = entries.last().map_or(log.last().index, |entry| entry.index);
    let hard_state = part.hard_state.then_some(HardState { term, vote: term % 3, commit: last / 2 });
    if part.reset {
        let start = LogPosition { index: last + part.append + 1, term };
        let generation = (log.generation + 1) % GENERATIONS;
        let reset = Some(LogReset { start, generation });
        let owner = Some(Owner { replica: term, removed: part.new_term });
        return LogWrite { partition: part.partition, reset, owner, hard_state, ..LogWrite::default() };
    }
    LogWrite {
        partition: part.partition,
        reset: None,
        owner: None,
        entries,
        hard_state,
        trim_below: part.trim.map(|eighths| log.start.index + 1 + (last - log.start.index) * eighths.min(8) / 8),
    }
}

fn restart(model: &mut MemLog, real: FjallLog, dir: &Path) -> FjallLog {
    model.restart();
    drop(real);
    let mut real = open_log(dir).unwrap();
    compare(model, &mut real);
    real
}

fn compare(model: &mut MemLog, real: &mut FjallLog) {
    for partition in 0..PARTITIONS {
        assert_eq!(model.recover(partition).unwrap(), real.recover(partition).unwrap(), "partition {partition}");
    }
}

fn run_log(ops: &[LogOp]) {
    let dir = tempfile::tempdir().unwrap();
    let (mut model, mut real) = (MemLog::new(), open_log(dir.path()).unwrap());
    for op in ops {
        match op {
            LogOp::Commit { parts, sync } => {
                let mut writes: Vec<LogWrite> = Vec::new();
                for part in parts {
                    if writes.iter().all(|write| write.partition != part.partition) {
                        writes.push(write(&mut model, part));
                    }
                }
                let batch = LogBatch { writes, sync: *sync };
                model.commit(&batch).unwrap();
                real.commit(&batch).unwrap();
            }
            LogOp::Entries { partition, low, len, max_bytes } => {
                let read = |store: &dyn LogStore| {
                    store.entries(*partition, *low, low + len, *max_bytes).map_err(|error| error.to_string())
                };
                assert_eq!(read(&model), read(&real));
            }
            LogOp::Restart => real = restart(&mut model, real, dir.path()),
            LogOp::Invalid { partition } => {
                let index = model.recover(*partition).unwrap().last().index + 2;
                let hole = LogWrite {
                    partition: *partition,
                    entries: vec![common::entry(index, 9, 1)],
                    ..LogWrite::default()
                };
                let batch = LogBatch { writes: vec![hole], sync: true };
                for code in ["ST012", "ST011"] {
                    assert_eq!(model.commit(&batch).unwrap_err().code(), code);
                    assert_eq!(real.commit(&batch).unwrap_err().code(), code);
                }
                assert_eq!(real.recover(*partition).unwrap_err().code(), "ST011");
                // What was staged when the store was poisoned is lost, which the model has to follow.
                model.restart();
                drop(real);
                real = open_log(dir.path()).unwrap();
                for partition in 0..PARTITIONS {
                    let hard_state = real.recover(partition).unwrap().hard_state;
                    let write = LogWrite { partition, hard_state: Some(hard_state), ..LogWrite::default() };
                    model.commit(&LogBatch { writes: vec![write], sync: true }).unwrap();
                }
            }
        }
    }
    compare(&mut model, &mut real);
    restart(&mut model, real, dir.path());
}

#[test]
fn logs_conform() {
    runner(24, 1)
        .run(&vec(log_op(), 1..60), |ops| {
            run_log(&ops);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_batch_names_a_partition_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = LogWrite { hard_state: Some(HardState::default()), ..LogWrite::default() };
    let batch = LogBatch { writes: vec![write.clone(), write], sync: true };
    assert_eq!(MemLog::new().commit(&batch).unwrap_err().code(), "ST012");
    assert_eq!(open_log(dir.path()).unwrap().commit(&batch).unwrap_err().code(), "ST012");
}

#[test]
fn a_hard_state_that_need_not_be_synced_joins_the_next_batch() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut log = open_log(dir.path()).unwrap();
    let hard_state = |partition, commit| {
        let hard_state = Some(HardState { term: 1, vote: 1, commit });
        LogWrite { partition, hard_state, ..LogWrite::default() }
    };
    log.commit(&LogBatch { writes: vec![hard_state(1, 5)], sync: false }).unwrap();
    assert_eq!(log.recover(1).unwrap().hard_state.commit, 5);
    common::copy_dir(dir.path(), copy.path());
    assert_eq!(open_log(copy.path()).unwrap().recover(1).unwrap().hard_state.commit, 0);
    log.commit(&LogBatch { writes: vec![hard_state(2, 7)], sync: true }).unwrap();
    common::copy_dir(dir.path(), copy.path());
    let mut crashed = open_log(copy.path()).unwrap();
    assert_eq!([1, 2].map(|partition| crashed.recover(partition).unwrap().hard_state.commit), [5, 7]);
}

#[derive(Clone, Debug)]
enum StateOp {
    Write(Vec<(u8, Option<u8>)>),
    Sync,
    Scan(u8, u8),
    Restart,
}

fn state_op() -> impl Strategy<Value = StateOp> {
    prop_oneof![
        6 => vec((0..24_u8, any::<Option<u8>>()), 0..8).prop_map(StateOp::Write),
        1 => Just(StateOp::Sync),
        3 => (0..24_u8, 0..26_u8).prop_map(|(from, to)| StateOp::Scan(from, to)),
        1 => Just(StateOp::Restart),
    ]
}

/// Keys that are prefixes of each other are where orders go wrong.
fn key(number: u8) -> Box<[u8]> {
    vec![number / 4; usize::from(number % 4) + 1].into()
}

fn value(number: u8) -> Bytes {
    Bytes::from(vec![number; usize::from(number) % 40])
}

fn scan(store: &impl StateStore, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Bytes)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &Bytes| {
        rows.push((key.to_vec(), value.clone()));
        if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(from, to, visit).unwrap();
    rows
}

fn run_state(ops: &[StateOp]) {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut real) = (MemState::new(), open_state(dir.path()).unwrap());
    for op in ops {
        match op {
            StateOp::Write(rows) => {
                let batch: Vec<StateWrite> = rows.iter().map(|&(at, new)| (key(at), new.map(value))).collect();
                model.write(batch.clone()).unwrap();
                real.write(batch).unwrap();
            }
            StateOp::Sync => {
                model.sync().unwrap();
                real.sync().unwrap();
            }
            StateOp::Scan(from, to) => {
                let (from, to) = (key(*from), key(*to));
                assert_eq!(model.get(&from).unwrap(), real.get(&from).unwrap());
                for limit in [1, 3, usize::MAX] {
                    assert_eq!(scan(&model, &from, &to, limit), scan(&real, &from, &to, limit));
                }
            }
            StateOp::Restart => {
                model.restart();
                drop(real);
                real = open_state(dir.path()).unwrap();
            }
        }
    }
    assert_eq!(scan(&model, &[], &[255], usize::MAX), scan(&real, &[], &[255], usize::MAX));
}

#[test]
fn states_conform() {
    runner(24, 2)
        .run(&vec(state_op(), 1..40), |ops| {
            run_state(&ops);
            Ok(())
        })
        .unwrap();
}

#[derive(Clone, Debug)]
enum OverlayOp {
    Apply(Vec<(u8, Option<u8>, bool)>),
    Freeze,
    Checkpointed,
    Read { from: u8, to: u8, limit: usize },
}

fn overlay_op() -> impl Strategy<Value = OverlayOp> {
    prop_oneof![
        6 => vec((0..24_u8, any::<Option<u8>>(), any::<bool>()), 1..6).prop_map(OverlayOp::Apply),
        2 => Just(OverlayOp::Freeze),
        2 => Just(OverlayOp::Checkpointed),
        4 => (0..24_u8, 0..26_u8, 1..8_usize).prop_map(|(from, to, limit)| OverlayOp::Read { from, to, limit }),
    ]
}

/// Runs an overlay of partition 1 against a plain map, while partitions 0 and 2 hold rows that must not be seen.
fn run_overlay(base: Arc<impl StateStore>, ops: &[OverlayOp]) {
    for partition in [[0, 0], [0, 2]] {
        let foreign = |at| ([&partition[..], &key(at)].concat().into(), Some(value(1)));
        base.write((0..24).map(foreign).collect()).unwrap();
    }
    let mut overlay = Overlay::new(1, Arc::clone(&base));
    let mut reference: BTreeMap<Box<[u8]>, Bytes> = BTreeMap::new();
    let mut in_flight = None;
    for op in ops {
        match op {
            OverlayOp::Apply(rows) => {
                let mut writes = Vec::new();
                for &(at, new, insert) in rows {
                    let key = key(at);
                    let op = match new.map(value) {
                        None => WriteOp::Delete,
                        Some(value) if insert && !reference.contains_key(&key) => WriteOp::Insert(value),
                        Some(value) => WriteOp::Put(value),
                    };
                    match &op {
                        WriteOp::Delete => reference.remove(&key),
                        WriteOp::Put(value) | WriteOp::Insert(value) => reference.insert(key.clone(), value.clone()),
                    };
                    writes.push(Write { key, op });
                }
                overlay.apply(writes);
            }
            OverlayOp::Freeze => {
                let busy = overlay.is_frozen();
                if let Some(checkpoint) = overlay.freeze() {
                    assert!(!busy);
                    assert_eq!(overlay.active_bytes(), 0);
                    assert_eq!(checkpoint.writes().len(), checkpoint.rows());
                    in_flight = Some(checkpoint);
                }
            }
            OverlayOp::Checkpointed => {
                if let Some(checkpoint) = in_flight.take() {
                    base.write(checkpoint.writes()).unwrap();
                    overlay.checkpointed();
                    assert_eq!(overlay.bytes(), overlay.active_bytes());
                }
            }
            OverlayOp::Read { from, to, limit } => check_read(&overlay, &reference, &key(*from), &key(*to), *limit),
        }
    }
    check_read(&overlay, &reference, &[], &[255], usize::MAX);
}

fn check_read(overlay: &impl RawView, reference: &BTreeMap<Box<[u8]>, Bytes>, from: &[u8], to: &[u8], limit: usize) {
    assert_eq!(overlay.get_raw(from).unwrap().as_ref(), reference.get(from));
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &Bytes| {
        rows.push((Box::from(key), value.clone()));
        if rows.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    overlay.scan_raw(from, to, visit).unwrap();
    let expected: Vec<(Box<[u8]>, Bytes)> = if from < to {
        let range = reference.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    } else {
        Vec::new()
    };
    assert_eq!(rows, expected);
}

#[test]
fn an_overlay_above_the_model_reads_like_a_map() {
    let run = |ops: Vec<_>| {
        run_overlay(Arc::new(MemState::new()), &ops);
        Ok(())
    };
    runner(1_000, 3).run(&vec(overlay_op(), 1..60), run).unwrap();
}

#[test]
fn an_overlay_above_fjall_reads_like_a_map() {
    let run = |ops: Vec<_>| {
        let dir = tempfile::tempdir().unwrap();
        run_overlay(Arc::new(open_state(dir.path()).unwrap()), &ops);
        Ok(())
    };
    runner(16, 4).run(&vec(overlay_op(), 1..60), run).unwrap();
}
