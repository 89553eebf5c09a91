//! The state store of production.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use fjall::{Iter, Keyspace, OwnedWriteBatch, PersistMode, Readable as _, Snapshot};
use serde::{Deserialize, Serialize};

use crate::{
    StateSnapshot, StateStore, StateWrite, StorageError,
    engine::{Engine, Options, Place},
    preflight,
};

const STORE: &str = "state";
const ADVICE: &str = "rebuild the node's state from its peers or from a backup";

/// Sizes of the state store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FjallStateSettings {
    /// Size at which the table in memory goes to disk, in bytes. Default 8 MiB. Takes effect when the store is created.
    pub memtable_bytes: u64,
    /// Total size of the journals at which the engine starts to shorten them, in bytes; at least 64 MiB. Default 128 MiB.
    pub journal_bytes_max: u64,
    /// Size of the cache for blocks read from disk, in bytes. Default 24 MiB.
    pub cache_bytes: u64,
    /// Threads that write tables and merge them. Default 2: one never has to wait for a merge.
    pub workers: usize,
}

impl Default for FjallStateSettings {
    fn default() -> Self {
        Self { memtable_bytes: 8 << 20, journal_bytes_max: 128 << 20, cache_bytes: 24 << 20, workers: 2 }
    }
}

/// The state of a node in a fjall database of its own.
///
/// What a crash takes away is replayed from the log, so opening cuts an unreadable end of the newest journal: what
/// remains is a prefix of the batches written. The owner has to check that the log still reaches back to the applied
/// index it finds here; if not, synced state was lost.
#[derive(Debug)]
pub struct FjallState {
    engine: Engine,
    poisoned: AtomicBool,
}

impl FjallState {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::JournalDamaged`], [`StorageError::Engine`], [`StorageError::Io`].
    pub fn open(dir: &Path, settings: FjallStateSettings) -> Result<Self, StorageError> {
        let place = Place::lock(STORE, dir, ADVICE)?;
        if place.is_created()? {
            preflight::check_state(&place.dir)?;
        } else if place.exists("keyspaces/1")? {
            return Err(StorageError::GuardDamaged {
                path: place.dir.join("version"),
                reason: "the file is missing although the store was in use".into(),
            });
        } else {
            // A crash came between the first and the last step of creating the engine.
            place.remove()?;
        }
        let options = Options {
            memtable_bytes: settings.memtable_bytes,
            journal_bytes_max: settings.journal_bytes_max,
            cache_bytes: settings.cache_bytes,
            workers: settings.workers,
        };
        Ok(Self { engine: Engine::open(place, options)?, poisoned: AtomicBool::new(false) })
    }

    /// Bytes on disk, journals included.
    ///
    /// # Errors
    /// [`StorageError::Engine`] if the engine cannot look at its files.
    pub fn disk_bytes(&self) -> Result<u64, StorageError> {
        self.engine.db.disk_space().map_err(|error| self.engine.read_error(error))
    }

    fn check_alive(&self) -> Result<(), StorageError> {
        if self.poisoned.load(Ordering::Acquire) { Err(StorageError::Poisoned { store: STORE }) } else { Ok(()) }
    }

    fn poison(&self, error: fjall::Error) -> StorageError {
        self.poisoned.store(true, Ordering::Release);
        self.engine.indeterminate(error)
    }
}

impl StateStore for FjallState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.check_alive()?;
        let value = self.engine.keyspace.get(key).map_err(|error| self.engine.read_error(error))?;
        Ok(value.map(Into::into))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.check_alive()?;
        if from >= to {
            return Ok(());
        }
        visit_rows(self.engine.keyspace.range(from..to), visit).map_err(|error| self.engine.read_error(error))
    }

    fn snapshot(&self) -> Result<Box<dyn StateSnapshot>, StorageError> {
        self.check_alive()?;
        let Engine { keyspace, db, place } = &self.engine;
        let dir = place.dir.clone();
        Ok(Box::new(FjallSnapshot { snapshot: db.snapshot(), keyspace: keyspace.clone(), dir }))
    }

    fn write(&self, batch: Vec<StateWrite>) -> Result<(), StorageError> {
        self.check_alive()?;
        let Engine { keyspace, db, .. } = &self.engine;
        let mut rows = OwnedWriteBatch::with_capacity(db.clone(), batch.len());
        for (key, value) in batch {
            let key = Bytes::from(key);
            match value {
                Some(value) => rows.insert(keyspace, key, value),
                None => rows.remove(keyspace, key),
            }
        }
        rows.commit().and_then(|()| db.persist(PersistMode::Buffer)).map_err(|error| self.poison(error))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.check_alive()?;
        self.engine.db.persist(PersistMode::SyncAll).map_err(|error| self.poison(error))
    }
}

/// The state at one moment. The engine keeps what it needs for as long as this lives.
struct FjallSnapshot {
    snapshot: Snapshot,
    keyspace: Keyspace,
    dir: PathBuf,
}

impl StateSnapshot for FjallSnapshot {
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        if from >= to {
            return Ok(());
        }
        visit_rows(self.snapshot.range(&self.keyspace, from..to), visit).map_err(|error| StorageError::Engine {
            store: STORE,
            action: "read",
            path: self.dir.clone(),
            advice: ADVICE,
            source: Box::new(error),
        })
    }
}

fn visit_rows(rows: Iter, visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>) -> Result<(), fjall::Error> {
    for row in rows {
        let (key, value) = row.into_inner()?;
        if visit(&key, &value.into()).is_break() {
            break;
        }
    }
    Ok(())
}
