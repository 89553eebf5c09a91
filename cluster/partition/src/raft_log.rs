//! The log as raft-rs reads it: the tail in memory, the rest behind it.

use std::collections::VecDeque;

use abide_storage::{EntryKind, HardState, LogEntry, LogPosition, RecoveredLog};
use raft::eraftpb::{ConfState, Entry, EntryType, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

/// The entries that raft may ask for.
///
/// Invariant: `cached` is contiguous and ends at the last entry of the log. Entries between `start` and the cache are on
/// disk only: raft is told that they are temporarily unavailable. With one voter nobody asks for them.
pub(crate) struct RaftLog {
    start: LogPosition,
    /// The entry before the first cached one.
    floor: LogPosition,
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    hard_state: HardState,
    conf_state: ConfState,
}

impl RaftLog {
    pub(crate) fn new(recovered: RecoveredLog, hard_state: HardState, conf_state: ConfState) -> Self {
        let cached: VecDeque<Entry> = recovered.entries.into_iter().map(to_raft).collect();
        let cached_bytes = cached.iter().map(|entry| entry.data.len()).sum();
        Self { start: recovered.start, floor: recovered.start, cached, cached_bytes, hard_state, conf_state }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Takes new entries, replacing everything from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.cached.back().is_some_and(|last| last.index >= first.index) {
            if let Some(entry) = self.cached.pop_back() {
                self.cached_bytes -= entry.data.len();
            }
        }
        self.cached_bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.cached.extend(entries.iter().cloned());
    }

    /// Forgets applied entries from memory while there are more than `keep_bytes`.
    pub(crate) fn evict(&mut self, applied: u64, keep_bytes: usize) {
        while self.cached_bytes > keep_bytes && self.cached.front().is_some_and(|first| first.index <= applied) {
            if let Some(entry) = self.cached.pop_front() {
                self.cached_bytes -= entry.data.len();
                self.floor = LogPosition { index: entry.index, term: entry.term };
            }
        }
    }

    /// Forgets the entries up to and with `through` for good. Their terms stay known only for the last of them.
    pub(crate) fn trim(&mut self, through: u64) {
        if through <= self.start.index {
            return;
        }
        let term = Storage::term(self, through).unwrap_or(self.floor.term);
        while self.cached.front().is_some_and(|first| first.index <= through) {
            if let Some(entry) = self.cached.pop_front() {
                self.cached_bytes -= entry.data.len();
                self.floor = LogPosition { index: entry.index, term: entry.term };
            }
        }
        self.start = LogPosition { index: through, term };
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    fn last(&self) -> u64 {
        self.cached.back().map_or(self.floor.index, |entry| entry.index)
    }

    fn offset(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.floor.index + 1)?).ok()
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(to_raft_hard_state(self.hard_state), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let (Some(from), Some(to)) = (self.offset(low), self.offset(high)) else {
            return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
        };
        if to > self.cached.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut entries: Vec<Entry> = self.cached.range(from..to).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.start.index {
            return Ok(self.start.term);
        }
        if index < self.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        if index == self.floor.index {
            return Ok(self.floor.term);
        }
        match self.offset(index) {
            None => Err(Error::Store(StorageError::LogTemporarilyUnavailable)),
            Some(offset) => {
                self.cached.get(offset).map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
            }
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// The stored form of a raft entry. The data is shared, not copied.
pub(crate) fn from_raft(entry: &Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    LogEntry { index: entry.index, term: entry.term, kind, data: entry.data.clone() }
}

fn to_raft(entry: LogEntry) -> Entry {
    let mut raft_entry = Entry { index: entry.index, term: entry.term, data: entry.data, ..Entry::default() };
    raft_entry.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    raft_entry
}

pub(crate) fn from_raft_hard_state(hard_state: &raft::eraftpb::HardState) -> HardState {
    HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}

fn to_raft_hard_state(hard_state: HardState) -> raft::eraftpb::HardState {
    raft::eraftpb::HardState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
        ..raft::eraftpb::HardState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn log(range: std::ops::RangeInclusive<u64>) -> RaftLog {
        let entries = range
            .map(|index| LogEntry {
                index,
                term: index / 3 + 1,
                kind: EntryKind::Normal,
                data: Bytes::from(vec![0; 10]),
            })
            .collect();
        let recovered = RecoveredLog { entries, ..RecoveredLog::default() };
        RaftLog::new(recovered, HardState::default(), ConfState::default())
    }

    fn indexes(log: &RaftLog, low: u64, high: u64, max: Option<u64>) -> raft::Result<Vec<u64>> {
        log.entries(low, high, max, GetEntriesContext::empty(false))
            .map(|entries| entries.iter().map(|entry| entry.index).collect())
    }

    #[test]
    fn reads_ranges_and_terms() {
        let log = log(1..=6);
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (1, 6));
        assert_eq!(indexes(&log, 2, 5, None).unwrap(), [2, 3, 4]);
        assert_eq!(indexes(&log, 2, 5, Some(0)).unwrap(), [2], "at least one entry");
        assert_eq!((log.term(0).unwrap(), log.term(6).unwrap()), (0, 3));
        assert!(log.term(7).is_err());
    }

    #[test]
    fn evicted_entries_are_unavailable_and_trimmed_ones_are_compacted() {
        let mut log = log(1..=6);
        log.evict(4, 25);
        assert!(matches!(indexes(&log, 2, 5, None), Err(Error::Store(StorageError::LogTemporarilyUnavailable))));
        assert_eq!(indexes(&log, 5, 7, None).unwrap(), [5, 6]);
        assert_eq!(log.term(4).unwrap(), 2);
        log.trim(5);
        assert!(matches!(indexes(&log, 5, 7, None), Err(Error::Store(StorageError::Compacted))));
        assert_eq!((log.first_index().unwrap(), log.term(5).unwrap()), (6, 2));
        assert_eq!(indexes(&log, 6, 7, None).unwrap(), [6]);
    }

    #[test]
    fn an_append_replaces_the_tail() {
        let mut log = log(1..=6);
        log.append(&[Entry { index: 4, term: 9, ..Entry::default() }]);
        assert_eq!((log.last_index().unwrap(), log.term(4).unwrap()), (4, 9));
    }
}
