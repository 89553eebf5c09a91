//! The log as raft-rs reads it: the tail in memory, the rest behind it.

use std::cell::RefCell;
use std::collections::VecDeque;

use abide_storage::{EntryKind, HardState, LogEntry, LogPosition, RecoveredLog};
use raft::eraftpb::{ConfState, Entry, EntryType, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use crate::wire::SnapshotPoint;

/// The entries that raft may ask for.
///
/// Invariant: `cached` is contiguous and ends at the last entry of the log. Entries between `start` and the cache are on
/// disk only: raft is told that they are temporarily unavailable, and the request is noted for the shell.
pub(crate) struct RaftLog {
    start: LogPosition,
    /// Index of the entry before the first cached one.
    floor: u64,
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    /// Terms of all entries from `start` on, as runs: a term, and the first index that has it.
    runs: VecDeque<LogPosition>,
    hard_state: HardState,
    conf_state: ConfState,
    /// The state that the shell can send.
    offered: Option<SnapshotPoint>,
    /// Entries read from disk for the next request.
    page: Vec<Entry>,
    /// What raft asked for in vain. raft reads through a shared reference.
    asked: RefCell<Asked>,
}

/// What raft could not be given.
#[derive(Default)]
pub(crate) struct Asked {
    /// Entries that are on disk.
    pub(crate) entries: Option<Fetch>,
    /// Any snapshot.
    pub(crate) snapshot: bool,
}

/// A request for entries that are on disk.
pub(crate) struct Fetch {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) max_bytes: u64,
    pub(crate) context: GetEntriesContext,
}

impl RaftLog {
    pub(crate) fn new(recovered: RecoveredLog, hard_state: HardState, conf_state: ConfState) -> Self {
        let mut log = Self {
            start: recovered.start,
            floor: recovered.start.index,
            cached: VecDeque::new(),
            cached_bytes: 0,
            runs: VecDeque::from([recovered.start]),
            hard_state,
            conf_state,
            offered: None,
            page: Vec::new(),
            asked: RefCell::default(),
        };
        for entry in recovered.entries {
            log.push(to_raft(entry));
        }
        log
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn set_conf_state(&mut self, conf_state: ConfState) {
        self.conf_state = conf_state;
    }

    /// Takes new entries, replacing everything from the first one's index on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.cached.back().is_some_and(|last| last.index >= first.index) {
            if let Some(entry) = self.cached.pop_back() {
                self.cached_bytes -= entry.data.len();
            }
        }
        // The first run is that of `start`, which stays.
        while self.runs.len() > 1 && self.runs.back().is_some_and(|run| run.index >= first.index) {
            self.runs.pop_back();
        }
        for entry in entries {
            self.push(entry.clone());
        }
    }

    fn push(&mut self, entry: Entry) {
        if self.runs.back().is_none_or(|run| run.term != entry.term) {
            self.runs.push_back(LogPosition { index: entry.index, term: entry.term });
        }
        self.cached_bytes += entry.data.len();
        self.cached.push_back(entry);
    }

    /// Forgets applied entries from memory while there are more than `keep_bytes`.
    pub(crate) fn evict(&mut self, applied: u64, keep_bytes: usize) {
        while self.cached_bytes > keep_bytes && self.cached.front().is_some_and(|first| first.index <= applied) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(entry) = self.cached.pop_front() {
            self.cached_bytes -= entry.data.len();
            self.floor = entry.index;
        }
    }

    /// Forgets the entries up to and with `through` for good.
    pub(crate) fn trim(&mut self, through: u64) {
        if through <= self.start.index {
            return;
        }
        let Some(term) = self.known_term(through) else { return };
        while self.cached.front().is_some_and(|first| first.index <= through) {
            self.forget_first();
        }
        self.begin_at(LogPosition { index: through, term });
    }

    /// Begins anew behind a snapshot.
    pub(crate) fn reset(&mut self, start: LogPosition) {
        self.cached.clear();
        self.cached_bytes = 0;
        self.floor = start.index;
        self.runs.clear();
        self.begin_at(start);
    }

    fn begin_at(&mut self, start: LogPosition) {
        while self.runs.front().is_some_and(|run| run.index <= start.index) {
            self.runs.pop_front();
        }
        self.runs.push_front(start);
        self.start = start;
        self.floor = self.floor.max(start.index);
    }

    pub(crate) fn start(&self) -> LogPosition {
        self.start
    }

    /// The state that may be sent to followers from now on.
    pub(crate) fn offer(&mut self, point: Option<SnapshotPoint>) {
        self.offered = point;
    }

    pub(crate) fn offered(&self) -> Option<&SnapshotPoint> {
        self.offered.as_ref()
    }

    /// Entries from disk, for the request that follows.
    pub(crate) fn set_page(&mut self, entries: Vec<LogEntry>) {
        self.page = entries.into_iter().map(to_raft).collect();
    }

    /// What raft asked for in vain since the last time.
    pub(crate) fn take_asked(&self) -> Asked {
        self.asked.take()
    }

    /// The term of an entry from `start` on.
    pub(crate) fn known_term(&self, index: u64) -> Option<u64> {
        if index < self.start.index || index > self.last() {
            return None;
        }
        self.runs.iter().rev().find(|run| run.index <= index).map(|run| run.term)
    }

    fn last(&self) -> u64 {
        self.cached.back().map_or(self.floor, |entry| entry.index)
    }

    fn offset(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.floor + 1)?).ok()
    }

    /// The part of the page that begins at `low`.
    fn paged(&self, low: u64, high: u64) -> Option<Vec<Entry>> {
        let first = self.page.first().filter(|first| first.index == low)?;
        let count = usize::try_from(high.checked_sub(first.index)?).ok()?;
        Some(self.page.iter().take(count).cloned().collect())
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
        context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let max_size = max_size.into();
        let mut entries = match (self.offset(low), self.offset(high)) {
            (Some(_), Some(to)) if to > self.cached.len() => {
                return Err(Error::Store(StorageError::Unavailable));
            }
            (Some(from), Some(to)) => self.cached.range(from..to).cloned().collect(),
            // Only applied entries leave memory, and only for followers they are read again.
            _ => match self.paged(low, high) {
                Some(entries) => entries,
                None => {
                    if context.can_async() {
                        let max_bytes = max_size.unwrap_or(u64::MAX);
                        let high = high.min(self.floor + 1);
                        self.asked.borrow_mut().entries = Some(Fetch { low, high, max_bytes, context });
                    }
                    return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
                }
            },
        };
        raft::util::limit_size(&mut entries, max_size);
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.start.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.known_term(index).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The offered state, when the log goes on behind it.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.offered {
            Some(point) if point.index >= request_index.max(self.start.index) => Ok(point.to_raft()),
            _ => {
                self.asked.borrow_mut().snapshot = true;
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
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
        assert!(log.take_asked().entries.is_none(), "nobody would wait for them");
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
        assert_eq!([1, 2, 3].map(|index| log.term(index).unwrap()), [1, 1, 2]);
    }

    /// A slow follower is served from disk, and terms are known although the entries are not in memory.
    #[test]
    fn evicted_entries_are_fetched() {
        let mut log = log(1..=6);
        log.evict(6, 0);
        assert_eq!((log.last_index().unwrap(), [1, 3, 6].map(|index| log.term(index).unwrap())), (6, [1, 2, 3]));
        let context = || GetEntriesContext::empty(true);
        assert!(log.entries(2, 7, 100, context()).is_err());
        let asked = log.take_asked().entries.unwrap();
        assert_eq!((asked.low, asked.high, asked.max_bytes), (2, 7, 100));
        let entry =
            |index| LogEntry { index, term: index / 3 + 1, kind: EntryKind::Normal, data: Bytes::from_static(b"x") };
        log.set_page(vec![entry(2), entry(3)]);
        assert_eq!(log.entries(2, 7, 100, context()).unwrap().len(), 2);
        log.append(&[to_raft(entry(7))]);
        assert_eq!(indexes(&log, 7, 8, None).unwrap(), [7]);
        log.trim(4);
        assert_eq!((log.term(4).unwrap(), log.term(5).unwrap(), log.term(7).unwrap()), (2, 2, 3));
    }

    #[test]
    fn a_reset_begins_behind_the_snapshot() {
        let mut log = log(1..=6);
        assert!(log.snapshot(0, 2).is_err() && log.take_asked().snapshot);
        log.reset(LogPosition { index: 40, term: 7 });
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap(), log.term(40).unwrap()), (41, 40, 7));
        log.offer(Some(SnapshotPoint { index: 39, term: 7, members: None }));
        assert!(log.snapshot(0, 2).is_err(), "the log does not go on behind it");
        log.offer(Some(SnapshotPoint { index: 40, term: 7, members: None }));
        assert_eq!(log.snapshot(0, 2).unwrap().get_metadata().index, 40);
        assert!(log.snapshot(41, 2).is_err());
    }
}
