//! Model of the state store.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::CommitOutcome;
use crate::{StateSnapshot, StateStore, StateWrite, StorageError};

const STORE: &str = "state";

/// The state of a node on a simulated disk.
///
/// A written batch becomes durable by a sync; after [`MemState::crash`] all synced batches are there, then the first few
/// of the others, and never part of one.
#[derive(Clone, Debug, Default)]
pub struct MemState {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Rows,
    unsynced: Vec<Vec<StateWrite>>,
    current: Rows,
    fail_next: Option<CommitOutcome>,
    poisoned: bool,
    lie_about_sync: bool,
    writes: u64,
    syncs: u64,
}

impl MemState {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The machine dies and starts again: of the batches not synced, the first `keep_batches` survive (all, if there are
    /// fewer). Lifts the poison.
    pub fn crash(&self, keep_batches: usize) {
        let mut disk = self.disk();
        disk.unsynced.truncate(keep_batches);
        disk.settle();
        disk.current = disk.durable.clone();
        disk.fail_next = None;
        disk.poisoned = false;
    }

    /// The process stops cleanly and starts again: everything written survives.
    pub fn restart(&self) {
        self.crash(usize::MAX);
    }

    /// Number of batches that a crash may take away.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    /// Number of batches written since the disk was new.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.disk().writes
    }

    /// Number of syncs since the disk was new, counted also while they are ignored.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// The next write fails with [`StorageError::Indeterminate`]; `outcome` decides whether a crash finds it among the
    /// batches not synced.
    pub fn fail_next_commit(&self, outcome: CommitOutcome) {
        self.disk().fail_next = Some(outcome);
    }

    /// From now on a sync is acknowledged but does nothing, as on a disk that lies. For tests that must notice.
    pub fn lie_about_sync(&self, lie: bool) {
        self.disk().lie_about_sync = lie;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let disk = self.disk();
        disk.check_alive()?;
        Ok(disk.current.get(key).cloned())
    }

    /// Holds the lock of the store during the scan: `visit` must not call the store.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        let disk = self.disk();
        disk.check_alive()?;
        scan(&disk.current, from, to, visit);
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn StateSnapshot>, StorageError> {
        let disk = self.disk();
        disk.check_alive()?;
        Ok(Box::new(MemSnapshot(disk.current.clone())))
    }

    fn write(&self, batch: Vec<StateWrite>) -> Result<(), StorageError> {
        let mut disk = self.disk();
        disk.check_alive()?;
        if let Some(outcome) = disk.fail_next.take() {
            disk.poisoned = true;
            if outcome == CommitOutcome::Present {
                disk.unsynced.push(batch);
            }
            return Err(StorageError::Indeterminate { store: STORE, reason: "injected".into() });
        }
        apply(&mut disk.current, &batch);
        disk.unsynced.push(batch);
        disk.writes += 1;
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut disk = self.disk();
        disk.check_alive()?;
        disk.syncs += 1;
        if !disk.lie_about_sync {
            disk.settle();
        }
        Ok(())
    }
}

impl Disk {
    fn check_alive(&self) -> Result<(), StorageError> {
        if self.poisoned { Err(StorageError::Poisoned { store: STORE }) } else { Ok(()) }
    }

    /// Makes all unsynced batches durable.
    fn settle(&mut self) {
        for batch in self.unsynced.drain(..) {
            apply(&mut self.durable, &batch);
        }
    }
}

type Rows = BTreeMap<Box<[u8]>, Bytes>;

/// A copy of all rows.
struct MemSnapshot(Rows);

impl StateSnapshot for MemSnapshot {
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        scan(&self.0, from, to, visit);
        Ok(())
    }
}

fn scan(rows: &Rows, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>) {
    if from >= to {
        return;
    }
    let range = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
    for (key, value) in range {
        if visit(key, value).is_break() {
            break;
        }
    }
}

fn apply(rows: &mut Rows, batch: &[StateWrite]) {
    for (key, value) in batch {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(store: &MemState, key: &[u8]) -> Result<(), StorageError> {
        store.write(vec![(key.into(), Some(Bytes::from_static(b"v")))])
    }

    fn has(store: &MemState, key: &[u8]) -> bool {
        store.get(key).unwrap().is_some()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest() {
        let store = MemState::new();
        for key in [b"a", b"b"] {
            write(&store, key).unwrap();
        }
        store.sync().unwrap();
        for key in [b"c", b"d"] {
            write(&store, key).unwrap();
        }
        assert!(has(&store, b"d"));
        store.crash(1);
        assert_eq!([b"a", b"b", b"c", b"d"].map(|key| has(&store, key)), [true, true, true, false]);
    }

    #[test]
    fn a_failed_write_poisons_and_only_the_restart_tells() {
        for (outcome, present) in [(CommitOutcome::Present, true), (CommitOutcome::Absent, false)] {
            let store = MemState::new();
            store.fail_next_commit(outcome);
            assert_eq!(write(&store, b"a").unwrap_err().code(), "ST010");
            assert_eq!(store.sync().unwrap_err().code(), "ST011");
            assert_eq!(store.get(b"a").unwrap_err().code(), "ST011");
            store.restart();
            assert_eq!(has(&store, b"a"), present);
        }
    }

    #[test]
    fn a_lying_disk_loses_synced_batches() {
        let store = MemState::new();
        store.lie_about_sync(true);
        write(&store, b"a").unwrap();
        store.sync().unwrap();
        store.crash(0);
        assert!(!has(&store, b"a"));
    }
}
