//! The log of a world: the model disk, with a crash at a chosen sync.

use std::sync::Arc;

use abide_storage::{CommitOutcome, LogBatch, LogEntry, LogStore, MemLog, RecoveredLog, StorageError};

use super::Side;
use super::shared::Shared;

pub(super) struct WorldLog {
    pub(super) disk: MemLog,
    pub(super) shared: Arc<Shared>,
}

impl LogStore for WorldLog {
    fn recover(&mut self, partition: u32) -> Result<RecoveredLog, StorageError> {
        self.disk.recover(partition)
    }

    fn entries(&self, partition: u32, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, StorageError> {
        self.disk.entries(partition, low, high, max_bytes)
    }

    fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
        let crash = if batch.sync { self.shared.commit() } else { None };
        match crash {
            Some(Side::Before) => self.disk.fail_next_commit(CommitOutcome::Absent),
            Some(Side::After) => {
                self.disk.fail_next_commit(CommitOutcome::Present);
                self.shared.trace(|trace| trace.committed(batch));
            }
            None => self.shared.trace(|trace| trace.committed(batch)),
        }
        self.disk.commit(batch)
    }
}
