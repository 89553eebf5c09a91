//! What both stores share of the engine: its directory, its options, its errors.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, config::CompressionPolicy};

use crate::{StorageError, files};

/// The least that the engine accepts as bound of its journals, in bytes.
const JOURNAL_BYTES_MIN: u64 = 64 << 20;

/// The options that differ between the stores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) memtable_bytes: u64,
    pub(crate) journal_bytes_max: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) workers: usize,
}

/// An open database with its one keyspace.
///
/// The fields are dropped in this order: the lock of the directory goes last.
pub(crate) struct Engine {
    pub(crate) keyspace: Keyspace,
    pub(crate) db: Database,
    pub(crate) place: Place,
}

impl Engine {
    /// Opens the engine, or creates it if its directory is missing.
    pub(crate) fn open(place: Place, options: Options) -> Result<Self, StorageError> {
        let db = Database::builder(&place.dir)
            // Recovery of compressed journals depends on bit-identical output of the compressor.
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .worker_threads(options.workers.max(1))
            .max_journaling_size(options.journal_bytes_max.max(JOURNAL_BYTES_MIN))
            .cache_size(options.cache_bytes)
            .open()
            .map_err(|error| place.error("open", error))?;
        let keyspace = db
            .keyspace(place.store, || {
                KeyspaceCreateOptions::default()
                    .max_memtable_size(options.memtable_bytes)
                    .data_block_compression_policy(CompressionPolicy::disabled())
            })
            .map_err(|error| place.error("open", error))?;
        if let Some(root) = place.dir.parent() {
            // The engine makes its own directory durable, not its name.
            files::sync_dir(root).map_err(|error| StorageError::io("sync", root, error))?;
        }
        Ok(Self { keyspace, db, place })
    }

    pub(crate) fn read_error(&self, error: fjall::Error) -> StorageError {
        self.place.error("read", error)
    }

    pub(crate) fn indeterminate(&self, error: impl std::fmt::Display) -> StorageError {
        StorageError::Indeterminate { store: self.place.store, reason: error.to_string() }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Where a store lives, locked.
#[derive(Debug)]
pub(crate) struct Place {
    /// `log` or `state`, also the name of the keyspace.
    pub(crate) store: &'static str,
    /// The directory of the engine; what guards it lies in the parent.
    pub(crate) dir: PathBuf,
    advice: &'static str,
    _lock: File,
}

impl Place {
    /// Creates `root` if needed and locks it.
    pub(crate) fn lock(store: &'static str, root: &Path, advice: &'static str) -> Result<Self, StorageError> {
        files::create_dir(root).map_err(|error| StorageError::io("create", root, error))?;
        let lock = files::lock_store(store, root)?;
        Ok(Self { store, dir: root.join("engine"), advice, _lock: lock })
    }

    /// Whether the engine finished creating its files.
    pub(crate) fn is_created(&self) -> Result<bool, StorageError> {
        self.exists("version")
    }

    /// Whether a file or directory of the engine exists.
    pub(crate) fn exists(&self, name: &str) -> Result<bool, StorageError> {
        let path = self.dir.join(name);
        path.try_exists().map_err(|error| StorageError::io("look at", &path, error))
    }

    /// Removes an engine that was never used.
    pub(crate) fn remove(&self) -> Result<(), StorageError> {
        if self.exists("")? {
            fs::remove_dir_all(&self.dir).map_err(|error| StorageError::io("remove", &self.dir, error))?;
        }
        Ok(())
    }

    fn error(&self, action: &'static str, error: fjall::Error) -> StorageError {
        StorageError::Engine {
            store: self.store,
            action,
            path: self.dir.clone(),
            advice: self.advice,
            source: Box::new(error),
        }
    }
}
