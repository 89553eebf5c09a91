//! The port to the consensus logs of a node: what one loop turn writes, and what a restart reads back.

use std::ops::Range;

use bytes::Bytes;

use crate::StorageError;

/// Highest number of partitions one store holds, so that its watermark has a fixed size.
pub const PARTITIONS_MAX: u32 = 1024;
/// Generations of a partition's rows in the state store, counted round: the present one, and the one that a snapshot is
/// loaded into. They share two bytes of every key with the partition's number.
pub const GENERATIONS: u8 = 64;

const _: () = assert!(PARTITIONS_MAX as usize * GENERATIONS as usize <= 1 << 16, "both fit two bytes");

/// What a log entry is for. The numbers are persisted, so they must stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A batch of commands, or empty (the first entry of a leader).
    Normal = 0,
    /// A change of one member.
    ConfChange = 1,
    /// A change of several members through a joint configuration.
    ConfChangeV2 = 2,
}

impl EntryKind {
    /// The persisted number.
    #[must_use]
    pub fn tag(self) -> u8 {
        self as u8
    }

    /// The kind of a persisted number, if this build knows it.
    #[must_use]
    pub fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Normal),
            1 => Some(Self::ConfChange),
            2 => Some(Self::ConfChangeV2),
            _ => None,
        }
    }
}

/// One entry of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Position in the log, counted from 1, without gaps.
    pub index: u64,
    /// Term of the leader that appended it; never lower than that of the entry before.
    pub term: u64,
    /// What the entry is for.
    pub kind: EntryKind,
    /// The content; the log does not look into it.
    pub data: Bytes,
}

/// A replica's promises. Term and vote must never be forgotten: a replica that votes twice elects two leaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Highest term seen.
    pub term: u64,
    /// Replica voted for in `term`, 0 for none.
    pub vote: u64,
    /// Highest index known to be committed. A hint: may be older than the truth after a restart.
    pub commit: u64,
}

/// A place in a log; `0/0` is the place before the first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// Index of an entry.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
}

/// A log that begins anew behind a snapshot (rule P7). Term and vote are not touched by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReset {
    /// The last entry that the snapshot covers; what follows is appended behind it.
    pub start: LogPosition,
    /// Where in the state store the snapshot's rows are; see [`crate::Overlay::open`].
    pub generation: u8,
}

/// Whose a log is. What a replica promised is not another's, so this is written with the first promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The replica, at least 1.
    pub replica: u64,
    /// It does not belong to its group any more, and never will again: the log is kept only to say so.
    pub removed: bool,
}

/// Changes of one partition's log within one group commit, applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogWrite {
    /// The partition, lower than [`PARTITIONS_MAX`].
    pub partition: u32,
    /// Forgets all entries and begins behind a snapshot. A write with a reset has no entries and trims nothing.
    pub reset: Option<LogReset>,
    /// Whose the log is from now on, unless unchanged.
    pub owner: Option<Owner>,
    /// Consecutive entries. If there are any, everything from `entries[0].index` on is replaced: older entries above the
    /// last new index are removed.
    pub entries: Vec<LogEntry>,
    /// The replica's promises, unless unchanged.
    pub hard_state: Option<HardState>,
    /// Removes the entries below this index and remembers the last removed one as the start of the log. The entry
    /// before it must be in the log; a value at or below the present start changes nothing.
    pub trim_below: Option<u64>,
}

/// What one loop turn writes, for all partitions: all of it or nothing survives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBatch {
    /// At most one per partition.
    pub writes: Vec<LogWrite>,
    /// Whether the batch must be durable when `commit` returns. May be false only if nothing in the batch is promised to
    /// anyone (a new commit index). A store may sync although it was not asked to.
    pub sync: bool,
}

/// A partition's log as found at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// The last trimmed entry, `0/0` if nothing was ever trimmed.
    pub start: LogPosition,
    /// The replica's promises, all zero for a partition never written.
    pub hard_state: HardState,
    /// All entries after `start`, without gaps.
    pub entries: Vec<LogEntry>,
    /// Which generation of rows in the state store is the replica's; 0 until a snapshot was installed.
    pub generation: u8,
    /// Whose the log is; `None` for one never written, and for one of a build before there were several replicas.
    pub owner: Option<Owner>,
}

impl RecoveredLog {
    /// The last entry, or the start of the log if it is empty.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.start, |entry| LogPosition { index: entry.index, term: entry.term })
    }
}

/// The logs of all partitions of a node. One owner, one thread at a time.
pub trait LogStore: Send + 'static {
    /// Reads everything of one partition; an unknown partition is empty.
    ///
    /// # Errors
    /// Any [`StorageError`]: the log is not trustworthy, and the process has to stop.
    fn recover(&mut self, partition: u32) -> Result<RecoveredLog, StorageError>;

    /// The entries `low..high` as far as they exist, cut where their data would exceed `max_bytes`, but at least one
    /// if there is one.
    ///
    /// # Errors
    /// [`StorageError::NotInLog`] if `low` was trimmed; anything else is fatal.
    fn entries(&self, partition: u32, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, StorageError>;

    /// Writes a batch atomically; durable on return if [`LogBatch::sync`].
    ///
    /// # Errors
    /// [`StorageError::Indeterminate`]: the batch may or may not be there after a restart.
    /// [`StorageError::InvalidWrite`]: nothing was written. After any error every later call fails.
    fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError>;
}

/// Where a log starts and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The last trimmed entry.
    pub(crate) start: LogPosition,
    /// The last entry, or `start` if the log is empty.
    pub(crate) last: LogPosition,
}

/// What a [`LogWrite`] amounts to for a log with given [`Bounds`]; the one place where its rules are checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// How many of the new entries are trimmed by the same write, and so are not stored at all.
    pub(crate) skip: usize,
    /// Stored entries that fall to the trim (an empty range is possible).
    pub(crate) trimmed: Range<u64>,
    /// Stored entries above the last new one.
    pub(crate) cut: Range<u64>,
    /// Index of the new start of the log, if it moves.
    pub(crate) start: Option<u64>,
    /// The new end of the log, if there are new entries.
    pub(crate) last: Option<LogPosition>,
    /// Everything stored falls (`cut`), and the log begins here.
    pub(crate) reset: Option<LogReset>,
}

impl Plan {
    /// Checks a write against the log it is meant for.
    pub(crate) fn of(write: &LogWrite, bounds: Bounds) -> Result<Self, StorageError> {
        let refuse = |reason: String| Err(StorageError::InvalidWrite { partition: write.partition, reason });
        if write.partition >= PARTITIONS_MAX {
            return refuse(format!("the highest partition is {}", PARTITIONS_MAX - 1));
        }
        if let Some(reset) = write.reset {
            if !write.entries.is_empty() || write.trim_below.is_some() {
                return refuse("a reset comes alone".into());
            }
            if reset.generation >= GENERATIONS {
                return refuse(format!("generation {} is none of {GENERATIONS}", reset.generation));
            }
            return Ok(Self {
                skip: 0,
                trimmed: 0..0,
                cut: bounds.start.index + 1..bounds.last.index + 1,
                start: None,
                last: Some(reset.start),
                reset: Some(reset),
            });
        }
        let mut last = None;
        let mut cut = 0..0;
        if let (Some(first), Some(end)) = (write.entries.first(), write.entries.last()) {
            if first.index <= bounds.start.index || first.index > bounds.last.index + 1 {
                return refuse(format!(
                    "entries start at {}, the log holds {}..={}",
                    first.index,
                    bounds.start.index + 1,
                    bounds.last.index
                ));
            }
            if let Some(pair) = write.entries.windows(2).find(|pair| pair[1].index != pair[0].index + 1) {
                return refuse(format!("entry {} follows entry {}", pair[1].index, pair[0].index));
            }
            if let Some(pair) = write.entries.windows(2).find(|pair| pair[1].term < pair[0].term) {
                return refuse(format!("entry {} has a lower term than the entry before", pair[1].index));
            }
            last = Some(LogPosition { index: end.index, term: end.term });
            cut = end.index + 1..bounds.last.index + 1;
        }
        let last_index = last.unwrap_or(bounds.last).index;
        let mut plan = Self { skip: 0, trimmed: 0..0, cut, start: None, last, reset: None };
        if let Some(below) = write.trim_below
            && below > bounds.start.index + 1
        {
            if below - 1 > last_index {
                return refuse(format!("trim below {below}, the log ends at {last_index}"));
            }
            plan.start = Some(below - 1);
            plan.trimmed = bounds.start.index + 1..below.min(bounds.last.index + 1);
            plan.skip = write.entries.iter().take_while(|entry| entry.index < below).count();
        }
        Ok(plan)
    }
}

/// Refuses a batch that names a partition twice: the order of its two writes would be lost.
pub(crate) fn check_distinct(batch: &LogBatch) -> Result<(), StorageError> {
    for (at, write) in batch.writes.iter().enumerate() {
        if batch.writes[..at].iter().any(|earlier| earlier.partition == write.partition) {
            return Err(StorageError::InvalidWrite {
                partition: write.partition,
                reason: "a batch holds at most one write per partition".into(),
            });
        }
    }
    Ok(())
}

/// Cuts a page out of entries in index order: at least one, then as many as fit.
#[derive(Debug)]
pub(crate) struct Page {
    left: u64,
    entries: Vec<LogEntry>,
}

impl Page {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { left: max_bytes, entries: Vec::new() }
    }

    /// Adds an entry; false if the page is full and the entry does not belong to it.
    pub(crate) fn push(&mut self, entry: LogEntry) -> bool {
        let bytes = entry.data.len() as u64;
        if bytes > self.left && !self.entries.is_empty() {
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        self.entries.push(entry);
        true
    }

    pub(crate) fn into_entries(self) -> Vec<LogEntry> {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, kind: EntryKind::Normal, data: Bytes::new() }
    }

    fn bounds(start: u64, last: u64) -> Bounds {
        Bounds { start: LogPosition { index: start, term: 1 }, last: LogPosition { index: last, term: 1 } }
    }

    #[test]
    fn kinds_keep_their_numbers() {
        for (kind, tag) in [(EntryKind::Normal, 0), (EntryKind::ConfChange, 1), (EntryKind::ConfChangeV2, 2)] {
            assert_eq!(kind.tag(), tag);
            assert_eq!(EntryKind::from_tag(tag), Some(kind));
        }
        assert_eq!(EntryKind::from_tag(3), None);
    }

    #[test]
    fn an_overwrite_cuts_the_old_tail() {
        let write = LogWrite { entries: vec![entry(4, 2), entry(5, 2)], ..LogWrite::default() };
        let plan = Plan::of(&write, bounds(0, 9)).unwrap();
        assert_eq!(plan.cut, 6..10);
        assert_eq!(plan.last, Some(LogPosition { index: 5, term: 2 }));
        assert!(plan.trimmed.is_empty());
    }

    #[test]
    fn a_trim_into_the_new_entries_does_not_store_them() {
        let write = LogWrite { entries: vec![entry(4, 2), entry(5, 2)], trim_below: Some(5), ..LogWrite::default() };
        let plan = Plan::of(&write, bounds(1, 3)).unwrap();
        assert_eq!((plan.skip, plan.trimmed, plan.start), (1, 2..4, Some(4)));
    }

    #[test]
    fn a_trim_at_or_below_the_start_changes_nothing() {
        for below in 0..=8 {
            let write = LogWrite { trim_below: Some(below), ..LogWrite::default() };
            assert_eq!(Plan::of(&write, bounds(7, 9)).unwrap().start, None);
        }
    }

    #[test]
    fn a_reset_forgets_everything_and_comes_alone() {
        let reset = Some(LogReset { start: LogPosition { index: 40, term: 3 }, generation: 1 });
        let plan = Plan::of(&LogWrite { reset, ..LogWrite::default() }, bounds(7, 9)).unwrap();
        assert_eq!((plan.cut, plan.last, plan.reset), (8..10, Some(LogPosition { index: 40, term: 3 }), reset));
        let with_entries = LogWrite { reset, entries: vec![entry(41, 3)], ..LogWrite::default() };
        let with_trim = LogWrite { reset, trim_below: Some(8), ..LogWrite::default() };
        let generation = Some(LogReset { start: LogPosition::default(), generation: GENERATIONS });
        for write in [with_entries, with_trim, LogWrite { reset: generation, ..LogWrite::default() }] {
            assert_eq!(Plan::of(&write, bounds(7, 9)).unwrap_err().code(), "ST012");
        }
    }

    #[test]
    fn impossible_writes_are_refused() {
        let gap = LogWrite { entries: vec![entry(11, 1)], ..LogWrite::default() };
        let trimmed = LogWrite { entries: vec![entry(7, 1)], ..LogWrite::default() };
        let hole = LogWrite { entries: vec![entry(9, 1), entry(11, 1)], ..LogWrite::default() };
        let backwards = LogWrite { entries: vec![entry(9, 3), entry(10, 2)], ..LogWrite::default() };
        let beyond = LogWrite { trim_below: Some(11), ..LogWrite::default() };
        let partition = LogWrite { partition: PARTITIONS_MAX, ..LogWrite::default() };
        for write in [gap, trimmed, hole, backwards, beyond, partition] {
            let error = Plan::of(&write, bounds(7, 9)).unwrap_err();
            assert_eq!(error.code(), "ST012", "{write:?}");
        }
    }

    #[test]
    fn a_page_holds_one_entry_however_large() {
        let mut page = Page::new(0);
        assert!(page.push(LogEntry { data: Bytes::from_static(b"xyz"), ..entry(1, 1) }));
        assert!(!page.push(LogEntry { data: Bytes::from_static(b"x"), ..entry(2, 1) }));
        assert_eq!(page.into_entries().len(), 1);
    }
}
