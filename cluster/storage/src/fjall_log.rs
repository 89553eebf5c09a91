//! The log store of production.

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use serde::{Deserialize, Serialize};

use crate::{
    GENERATIONS, HardState, LogBatch, LogEntry, LogPosition, LogStore, LogWrite, Owner, PARTITIONS_MAX, RecoveredLog,
    StorageError,
    engine::{Engine, Options, Place},
    files,
    log::{Bounds, Page, Plan, check_distinct},
    manifest::{self, Manifest},
    preflight,
    row::{EntryRow, MetaRow, entry_index, entry_key, meta_key},
    watermark::{Mark, Watermark},
};

const STORE: &str = "log";

/// Sizes of the log store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FjallLogSettings {
    /// Size at which the table in memory goes to disk, in bytes. Default 16 MiB: it also decides how far a journal grows
    /// beyond 64 MiB. Takes effect when the store is created.
    pub memtable_bytes: u64,
    /// Total size of the journals at which the engine starts to shorten them, in bytes; at least 64 MiB. Default 128 MiB.
    /// Bounds the time an open takes.
    pub journal_bytes_max: u64,
    /// Size of the cache for blocks read from disk, in bytes. Default 8 MiB: recent entries are read from memory.
    pub cache_bytes: u64,
    /// Threads that write tables and merge them. Default 2: one never has to wait for a merge.
    pub workers: usize,
}

impl Default for FjallLogSettings {
    fn default() -> Self {
        Self { memtable_bytes: 16 << 20, journal_bytes_max: 128 << 20, cache_bytes: 8 << 20, workers: 2 }
    }
}

/// The consensus logs of a node in a fjall database of their own.
///
/// A commit is one engine batch and one `fdatasync`. A batch that need not be synced and changes hard states only is
/// kept in memory and joins the next batch; every other batch is synced. So at most one batch is ever unsynced, which lets
/// the open tell an interrupted write from damage.
///
/// Layout of the directory: `engine/` (fjall), `MANIFEST`, `WATERMARK`, `LOCK`.
#[derive(Debug)]
pub struct FjallLog {
    engine: Engine,
    root: PathBuf,
    watermark: Watermark,
    manifest: Manifest,
    /// Number of journals when the manifest was written.
    journals: usize,
    tails: BTreeMap<u32, Tail>,
    poisoned: bool,
}

/// What the meta row of a partition says, and what it will say after the next batch.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    bounds: Bounds,
    hard_state: HardState,
    generation: u8,
    owner: Option<Owner>,
    revision: u64,
    /// The hard state here is newer than the one in the row.
    staged: bool,
}

impl Tail {
    fn of(partition: u32, row: &MetaRow) -> Result<Self, StorageError> {
        let generation = u8::try_from(row.generation).ok().filter(|generation| *generation < GENERATIONS);
        let generation = generation
            .ok_or_else(|| damaged(partition, format!("its meta row names generation {}", row.generation)))?;
        let (bounds, hard_state, revision) = (row.bounds(), row.hard_state(), row.revision);
        Ok(Self { bounds, hard_state, generation, owner: row.owner(), revision, staged: false })
    }

    fn row(&self) -> MetaRow {
        MetaRow::new(self.hard_state, self.bounds, self.revision, self.generation, self.owner)
    }

    fn mark(&self, partition: u32) -> Mark {
        Mark {
            partition,
            revision: self.revision,
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            last_index: self.bounds.last.index,
        }
    }
}

impl FjallLog {
    /// Opens the log in `dir`, or creates it.
    ///
    /// Verifies everything that can be verified without reading the entries: the set of journal files, each batch in
    /// them, and that each partition is at least where the watermark saw it. An interrupted last write is cut off.
    ///
    /// # Errors
    /// [`StorageError::InUse`] and [`StorageError::Io`] leave the log as it was, try again once the cause is gone. With
    /// [`StorageError::is_quarantine`] the replica must not come back under its identity.
    pub fn open(dir: &Path, settings: FjallLogSettings) -> Result<Self, StorageError> {
        let place = Place::lock(STORE, dir, "replace this replica")?;
        let created = match Manifest::read(dir)? {
            Some(manifest) if manifest.ready => {
                preflight::check_log(&place.dir, manifest)?;
                true
            }
            // A crash came between the first and the last step of creating the log.
            Some(_) => {
                place.remove()?;
                false
            }
            None if place.exists("")? => return Err(Manifest::missing(dir)),
            None => {
                Manifest::creating().write(dir)?;
                false
            }
        };
        let watermark = if created { Watermark::open(dir)? } else { Watermark::create(dir)? };
        let options = Options {
            memtable_bytes: settings.memtable_bytes,
            journal_bytes_max: settings.journal_bytes_max,
            cache_bytes: settings.cache_bytes,
            workers: settings.workers,
        };
        let engine = Engine::open(place, options)?;
        let mut log = Self {
            engine,
            root: dir.to_path_buf(),
            watermark,
            manifest: Manifest::creating(),
            journals: 0,
            tails: BTreeMap::new(),
            // A log that is refused must be left as it was, also by the drop of this value.
            poisoned: true,
        };
        log.check_watermark()?;
        log.note_journals()?;
        log.poisoned = false;
        Ok(log)
    }

    /// Bytes on disk, journals included.
    ///
    /// # Errors
    /// [`StorageError::Engine`] if the engine cannot look at its files.
    pub fn disk_bytes(&self) -> Result<u64, StorageError> {
        self.engine.db.disk_space().map_err(|error| self.engine.read_error(error))
    }

    fn check_watermark(&mut self) -> Result<(), StorageError> {
        for mark in self.watermark.marks() {
            let tail = self.tail(mark.partition)?;
            let Mark { partition, revision: acknowledged, .. } = *mark;
            if tail.revision < acknowledged {
                return Err(StorageError::LostAcknowledged { partition, acknowledged, recovered: tail.revision });
            }
            // Terms never go back, and the same revision is the same promise.
            let found = tail.mark(partition);
            if found.term < mark.term || (found.revision == acknowledged && found != *mark) {
                let reason = format!("the watermark saw {mark:?}, the log holds {found:?}");
                return Err(StorageError::LogDamaged { partition, reason });
            }
        }
        Ok(())
    }

    /// Brings the manifest up to date with the journal files.
    fn note_journals(&mut self) -> Result<(), StorageError> {
        let dir = &self.engine.place.dir;
        self.journals = self.engine.db.journal_count();
        let manifest = Manifest::of(&manifest::journals(dir)?)
            .ok_or_else(|| StorageError::JournalMissing { path: dir.clone(), reason: "there is none".into() })?;
        if manifest != self.manifest {
            // A power cut must not leave a manifest that names a file which does not exist yet.
            files::sync_dir(dir).map_err(|error| StorageError::io("sync", dir, error))?;
            manifest.write(&self.root)?;
            self.manifest = manifest;
        }
        Ok(())
    }

    fn check_alive(&self) -> Result<(), StorageError> {
        if self.poisoned { Err(StorageError::Poisoned { store: STORE }) } else { Ok(()) }
    }

    /// What is known about a partition, read from its meta row at first sight.
    fn tail(&self, partition: u32) -> Result<Tail, StorageError> {
        if let Some(tail) = self.tails.get(&partition) {
            return Ok(*tail);
        }
        if partition >= PARTITIONS_MAX {
            return Ok(Tail::default());
        }
        match self.get(&meta_key(partition))? {
            Some(value) => Tail::of(partition, &MetaRow::from_value(value)?),
            None => Ok(Tail::default()),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let value = self.engine.keyspace.get(key).map_err(|error| self.engine.read_error(error))?;
        Ok(value.map(Into::into))
    }

    /// Visits stored entries until `visit` answers false; whether they are gapless is for the caller to check.
    fn scan(
        &self,
        partition: u32,
        low: u64,
        high: Bound<u64>,
        mut visit: impl FnMut(LogEntry) -> Result<bool, StorageError>,
    ) -> Result<(), StorageError> {
        let bounds = (Bound::Included(entry_key(partition, low)), high.map(|high| entry_key(partition, high)));
        for row in self.engine.keyspace.range(bounds) {
            let (key, value) = row.into_inner().map_err(|error| self.engine.read_error(error))?;
            let index = entry_index(&key).ok_or_else(|| damaged(partition, format!("a row has the key {key:?}")))?;
            if !visit(EntryRow::from_value(index, value.into())?)? {
                break;
            }
        }
        Ok(())
    }

    fn try_commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        check_distinct(batch)?;
        let mut changes = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            let tail = self.tail(write.partition)?;
            changes.push((write, Plan::of(write, tail.bounds)?, tail));
        }
        let may_wait = |write: &LogWrite| {
            let LogWrite { partition: _, hard_state: _, reset, owner, entries, trim_below } = write;
            entries.is_empty() && trim_below.is_none() && reset.is_none() && owner.is_none()
        };
        if !batch.sync && batch.writes.iter().all(may_wait) {
            for (write, _, mut tail) in changes {
                if let Some(hard_state) = write.hard_state {
                    tail.hard_state = hard_state;
                    tail.staged = true;
                }
                self.tails.insert(write.partition, tail);
            }
            return Ok(());
        }
        let entries: usize = batch.writes.iter().map(|write| write.entries.len()).sum();
        let mut rows = OwnedWriteBatch::with_capacity(self.engine.db.clone(), entries + changes.len());
        let mut tails = self.staged_except(batch);
        for (write, plan, tail) in changes {
            tails.push((write.partition, self.put_rows(&mut rows, write, &plan, tail)?));
        }
        self.write(rows, tails)
    }

    /// The partitions with a hard state that waits for a batch, and are not in this one.
    fn staged_except(&self, batch: &LogBatch) -> Vec<(u32, Tail)> {
        let waits = |partition: u32| batch.writes.iter().all(|write| write.partition != partition);
        let staged = self.tails.iter().filter(|(partition, tail)| tail.staged && waits(**partition));
        staged.map(|(partition, tail)| (*partition, *tail)).collect()
    }

    /// Adds the entries that a write changes; answers the tail after it.
    fn put_rows(
        &self,
        rows: &mut OwnedWriteBatch,
        write: &LogWrite,
        plan: &Plan,
        mut tail: Tail,
    ) -> Result<Tail, StorageError> {
        let keyspace = &self.engine.keyspace;
        for index in plan.trimmed.clone().chain(plan.cut.clone()) {
            rows.remove(keyspace, entry_key(write.partition, index));
        }
        for entry in &write.entries[plan.skip..] {
            rows.insert(keyspace, entry_key(write.partition, entry.index), EntryRow::to_value(entry));
        }
        if let Some(index) = plan.start {
            let term = self.term_after(write, index)?;
            tail.bounds.start = LogPosition { index, term };
        }
        if let Some(reset) = plan.reset {
            tail.bounds.start = reset.start;
            tail.generation = reset.generation;
        }
        tail.owner = write.owner.or(tail.owner);
        tail.bounds.last = plan.last.unwrap_or(tail.bounds.last);
        tail.hard_state = write.hard_state.unwrap_or(tail.hard_state);
        Ok(tail)
    }

    /// The term of an entry as it is after `write`.
    fn term_after(&self, write: &LogWrite, index: u64) -> Result<u64, StorageError> {
        if let Some(entry) = write.entries.iter().find(|entry| entry.index == index) {
            return Ok(entry.term);
        }
        let value = self.get(&entry_key(write.partition, index))?;
        let value = value.ok_or_else(|| damaged(write.partition, format!("entry {index} is missing")))?;
        Ok(EntryRow::from_value(index, value)?.term)
    }

    /// Adds the meta rows of the changed partitions, and makes everything durable.
    fn write(&mut self, mut rows: OwnedWriteBatch, mut tails: Vec<(u32, Tail)>) -> Result<(), StorageError> {
        for (partition, tail) in &mut tails {
            tail.revision += 1;
            tail.staged = false;
            rows.insert(&self.engine.keyspace, meta_key(*partition), tail.row().to_value());
        }
        if rows.is_empty() {
            return Ok(());
        }
        rows.commit()
            .and_then(|()| self.engine.db.persist(PersistMode::SyncData))
            .map_err(|error| self.engine.indeterminate(error))?;
        for (partition, tail) in tails {
            self.watermark.set(tail.mark(partition));
            self.tails.insert(partition, tail);
        }
        self.watermark.write().map_err(|error| self.engine.indeterminate(format!("watermark: {error}")))?;
        if self.engine.db.journal_count() != self.journals {
            self.note_journals().map_err(|error| self.engine.indeterminate(error))?;
        }
        Ok(())
    }
}

impl LogStore for FjallLog {
    fn recover(&mut self, partition: u32) -> Result<RecoveredLog, StorageError> {
        self.check_alive()?;
        if partition >= PARTITIONS_MAX {
            return Ok(RecoveredLog::default());
        }
        let tail = self.tail(partition)?;
        let Bounds { start, last } = tail.bounds;
        let Tail { hard_state, generation, owner, .. } = tail;
        let mut recovered = RecoveredLog { start, hard_state, entries: Vec::new(), generation, owner };
        let mut end = start;
        self.scan(partition, 0, Bound::Included(u64::MAX), |entry| {
            if entry.index != end.index + 1 || entry.term < end.term {
                let found = format!("entry {} of term {}", entry.index, entry.term);
                return Err(damaged(partition, format!("{found} follows entry {} of term {}", end.index, end.term)));
            }
            end = LogPosition { index: entry.index, term: entry.term };
            recovered.entries.push(entry);
            Ok(true)
        })?;
        if end != last {
            let reason = format!("it ends at {end:?}, and its meta row says {last:?}");
            return Err(damaged(partition, reason));
        }
        self.tails.insert(partition, tail);
        Ok(recovered)
    }

    fn entries(&self, partition: u32, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, StorageError> {
        self.check_alive()?;
        let Bounds { start, last } = self.tail(partition)?.bounds;
        if last.index == 0 {
            return Ok(Vec::new());
        }
        if low <= start.index {
            return Err(StorageError::NotInLog { partition, index: low, start: start.index });
        }
        let high = high.min(last.index + 1);
        if low >= high {
            return Ok(Vec::new());
        }
        let mut page = Page::new(max_bytes);
        let mut next = low;
        let mut full = false;
        self.scan(partition, low, Bound::Excluded(high), |entry| {
            if entry.index != next {
                return Err(damaged(partition, format!("entry {next} is missing")));
            }
            next += 1;
            full = !page.push(entry);
            Ok(!full)
        })?;
        if !full && next != high {
            return Err(damaged(partition, format!("entry {next} is missing")));
        }
        Ok(page.into_entries())
    }

    fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        self.check_alive()?;
        let result = self.try_commit(batch);
        self.poisoned = result.is_err();
        result
    }
}

/// A clean stop also keeps what was not promised to anyone, and anchors the watermark. Failures are of no consequence: a
/// crash would leave the same.
impl Drop for FjallLog {
    fn drop(&mut self) {
        if self.poisoned {
            return;
        }
        let staged = self.staged_except(&LogBatch::default());
        let rows = OwnedWriteBatch::with_capacity(self.engine.db.clone(), staged.len());
        let closed =
            self.write(rows, staged).and_then(|()| self.watermark.anchor()).and_then(|()| self.note_journals());
        if let Err(error) = closed {
            tracing::warn!(%error, "log was not closed cleanly");
        }
    }
}

fn damaged(partition: u32, reason: String) -> StorageError {
    StorageError::LogDamaged { partition, reason }
}
