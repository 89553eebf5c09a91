//! Model of the log store.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::CommitOutcome;
use crate::{
    HardState, LogBatch, LogEntry, LogPosition, LogStore, LogWrite, Owner, RecoveredLog, StorageError,
    log::{Bounds, Page, Plan, check_distinct},
};

const STORE: &str = "log";

/// The consensus logs of a node on a simulated disk.
///
/// Batches are atomic and survive in order: after [`MemLog::crash`] all synced batches are there, then the first few of
/// the others, and never part of one. A torn last batch is one that did not survive.
#[derive(Clone, Debug, Default)]
pub struct MemLog {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// What a crash cannot take away.
    durable: Partitions,
    /// Accepted after the last sync, oldest first.
    unsynced: Vec<LogBatch>,
    /// `durable` with `unsynced` applied: what the running node reads.
    current: Partitions,
    fail_next: Option<CommitOutcome>,
    poisoned: bool,
    lie_about_sync: bool,
    commits: u64,
    syncs: u64,
}

impl MemLog {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine dies and starts again: of the batches not synced, the first `keep_unsynced` survive (all, if there are
    /// fewer). Lifts the poison.
    pub fn crash(&mut self, keep_unsynced: usize) {
        let mut disk = self.disk();
        let lost = disk.unsynced.len().saturating_sub(keep_unsynced);
        let kept = disk.unsynced.len() - lost;
        disk.unsynced.truncate(kept);
        disk.settle();
        disk.current = disk.durable.clone();
        disk.fail_next = None;
        disk.poisoned = false;
    }

    /// The process stops cleanly and starts again: everything accepted survives.
    pub fn restart(&mut self) {
        self.crash(usize::MAX);
    }

    /// Number of batches that a crash may take away.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    /// Number of batches accepted since the disk was new.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.disk().commits
    }

    /// Number of syncs since the disk was new, counted also while they are ignored.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// The next commit fails with [`StorageError::Indeterminate`]; `outcome` decides what a restart finds.
    pub fn fail_next_commit(&mut self, outcome: CommitOutcome) {
        self.disk().fail_next = Some(outcome);
    }

    /// From now on a sync is acknowledged but does nothing, as on a disk that lies. For tests that must notice.
    pub fn lie_about_sync(&mut self, lie: bool) {
        self.disk().lie_about_sync = lie;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogStore for MemLog {
    fn recover(&mut self, partition: u32) -> Result<RecoveredLog, StorageError> {
        let disk = self.disk();
        disk.check_alive()?;
        let Some(log) = disk.current.get(&partition) else { return Ok(RecoveredLog::default()) };
        Ok(RecoveredLog {
            start: log.start,
            hard_state: log.hard_state,
            entries: log.entries.iter().cloned().collect(),
            generation: log.generation,
            owner: log.owner,
        })
    }

    fn entries(&self, partition: u32, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, StorageError> {
        let disk = self.disk();
        disk.check_alive()?;
        let Some(log) = disk.current.get(&partition) else { return Ok(Vec::new()) };
        if log.bounds().last.index == 0 {
            return Ok(Vec::new());
        }
        if low <= log.start.index {
            return Err(StorageError::NotInLog { partition, index: low, start: log.start.index });
        }
        let mut page = Page::new(max_bytes);
        let skip = usize::try_from(low - log.start.index - 1).unwrap_or(usize::MAX);
        for entry in log.entries.iter().skip(skip).take_while(|entry| entry.index < high) {
            if !page.push(entry.clone()) {
                break;
            }
        }
        Ok(page.into_entries())
    }

    fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        self.disk().commit(batch)
    }
}

impl Disk {
    fn check_alive(&self) -> Result<(), StorageError> {
        if self.poisoned { Err(StorageError::Poisoned { store: STORE }) } else { Ok(()) }
    }

    fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        self.check_alive()?;
        let plans = self.plan(batch).inspect_err(|_| self.poisoned = true)?;
        if let Some(outcome) = self.fail_next.take() {
            self.poisoned = true;
            if outcome == CommitOutcome::Present {
                self.unsynced.push(batch.clone());
                self.settle();
            }
            return Err(StorageError::Indeterminate { store: STORE, reason: "injected".into() });
        }
        for (write, plan) in batch.writes.iter().zip(&plans) {
            self.current.entry(write.partition).or_default().apply(write, plan);
        }
        self.unsynced.push(batch.clone());
        self.commits += 1;
        if batch.sync {
            self.syncs += 1;
            if !self.lie_about_sync {
                self.settle();
            }
        }
        Ok(())
    }

    fn plan(&self, batch: &LogBatch) -> Result<Vec<Plan>, StorageError> {
        check_distinct(batch)?;
        let bounds =
            |write: &LogWrite| self.current.get(&write.partition).map_or(Bounds::default(), PartitionLog::bounds);
        batch.writes.iter().map(|write| Plan::of(write, bounds(write))).collect()
    }

    /// Makes all unsynced batches durable.
    fn settle(&mut self) {
        for batch in self.unsynced.drain(..) {
            for write in &batch.writes {
                let log = self.durable.entry(write.partition).or_default();
                let plan = Plan::of(write, log.bounds()).expect("the batch was checked when it was accepted");
                log.apply(write, &plan);
            }
        }
    }
}

type Partitions = BTreeMap<u32, PartitionLog>;

#[derive(Clone, Debug, Default)]
struct PartitionLog {
    start: LogPosition,
    hard_state: HardState,
    entries: VecDeque<LogEntry>,
    generation: u8,
    owner: Option<Owner>,
}

impl PartitionLog {
    fn bounds(&self) -> Bounds {
        let last = self.entries.back().map_or(self.start, |entry| LogPosition { index: entry.index, term: entry.term });
        Bounds { start: self.start, last }
    }

    fn apply(&mut self, write: &LogWrite, plan: &Plan) {
        self.owner = write.owner.or(self.owner);
        if let Some(reset) = plan.reset {
            self.entries.clear();
            self.start = reset.start;
            self.generation = reset.generation;
        }
        if let Some(first) = write.entries.first() {
            while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
                self.entries.pop_back();
            }
            self.entries.extend(write.entries.iter().cloned());
        }
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(start) = plan.start {
            while let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= start) {
                self.start = LogPosition { index: entry.index, term: entry.term };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::EntryKind;

    fn batch(index: u64, sync: bool) -> LogBatch {
        let entry = LogEntry { index, term: 1, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
        LogBatch { writes: vec![LogWrite { entries: vec![entry], ..LogWrite::default() }], sync }
    }

    fn last(log: &mut MemLog) -> u64 {
        log.recover(0).unwrap().last().index
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        for (keep, expected) in [(0, 2), (1, 3), (2, 4), (9, 4)] {
            let mut log = MemLog::new();
            for (index, sync) in [(1, false), (2, true), (3, false), (4, false)] {
                log.commit(&batch(index, sync)).unwrap();
            }
            assert_eq!(log.unsynced(), 2);
            log.crash(keep);
            assert_eq!(last(&mut log), expected);
        }
    }

    #[test]
    fn a_failed_commit_poisons_and_only_the_restart_tells() {
        for (outcome, expected) in [(CommitOutcome::Present, 2), (CommitOutcome::Absent, 1)] {
            let mut log = MemLog::new();
            log.commit(&batch(1, true)).unwrap();
            log.fail_next_commit(outcome);
            assert_eq!(log.commit(&batch(2, true)).unwrap_err().code(), "ST010");
            assert_eq!(log.commit(&batch(2, true)).unwrap_err().code(), "ST011");
            assert_eq!(log.recover(0).unwrap_err().code(), "ST011");
            assert_eq!(log.entries(0, 1, 2, 9).unwrap_err().code(), "ST011");
            log.crash(0);
            assert_eq!(last(&mut log), expected);
        }
    }

    #[test]
    fn a_lying_disk_loses_acknowledged_batches() {
        let mut log = MemLog::new();
        log.lie_about_sync(true);
        log.commit(&batch(1, true)).unwrap();
        log.crash(0);
        assert_eq!(last(&mut log), 0);
    }

    #[test]
    fn an_impossible_write_poisons() {
        let mut log = MemLog::new();
        assert_eq!(log.commit(&batch(2, true)).unwrap_err().code(), "ST012");
        assert_eq!(log.commit(&batch(1, true)).unwrap_err().code(), "ST011");
    }

    #[test]
    fn clones_share_the_disk() {
        let mut log = MemLog::new();
        let mut disk = log.clone();
        log.commit(&batch(1, true)).unwrap();
        disk.crash(0);
        assert_eq!(last(&mut disk), 1);
    }
}
