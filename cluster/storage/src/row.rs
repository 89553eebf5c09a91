//! The rows of the log database: the whole persistent layout.
//!
//! | row   | key                                            | value       |
//! |-------|------------------------------------------------|-------------|
//! | meta  | partition u16 BE, `1`, `0` u64 BE              | [`MetaRow`] |
//! | entry | partition u16 BE, `2`, index u64 BE            | [`EntryRow`] |
//!
//! Kind bytes and field numbers are persisted, so they must stay as they are. A value is a format version (one byte, now
//! [`FORMAT`]) and a protobuf message. A partition has one meta row from its first write on; it is rewritten by every
//! batch that changes the partition, which makes its revision the count of those changes.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::{EntryKind, HardState, LogEntry, LogPosition, Owner, StorageError, log::Bounds};

/// Format version of all rows.
pub(crate) const FORMAT: u8 = 1;

const KIND_META: u8 = 1;
const KIND_ENTRY: u8 = 2;

/// Key of a row.
pub(crate) type Key = [u8; 11];

/// Key of the meta row of a partition.
pub(crate) fn meta_key(partition: u32) -> Key {
    key(partition, KIND_META, 0)
}

/// Key of an entry of a partition.
pub(crate) fn entry_key(partition: u32, index: u64) -> Key {
    key(partition, KIND_ENTRY, index)
}

/// Index of the entry that a key made by [`entry_key`] names.
pub(crate) fn entry_index(key: &[u8]) -> Option<u64> {
    let index = key.get(3..)?.try_into().ok()?;
    Some(u64::from_be_bytes(index))
}

fn key(partition: u32, kind: u8, index: u64) -> Key {
    let partition = u16::try_from(partition).expect("partitions are below PARTITIONS_MAX");
    let mut key = [0; 11];
    key[..2].copy_from_slice(&partition.to_be_bytes());
    key[2] = kind;
    key[3..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Everything about a partition's log except its entries.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct MetaRow {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) vote: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) commit: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) start_index: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) start_term: u64,
    /// With `last_term`: which entries must exist, so that a missing tail is noticed.
    #[prost(uint64, tag = "6")]
    pub(crate) last_index: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) last_term: u64,
    /// Number of batches that changed the partition's log; the watermark compares it.
    #[prost(uint64, tag = "8")]
    pub(crate) revision: u64,
    /// Which generation of rows in the state store belongs to this log.
    #[prost(uint32, tag = "9")]
    pub(crate) generation: u32,
    /// The replica whose log this is; 0 when it was written before there were several.
    #[prost(uint64, tag = "10")]
    pub(crate) replica: u64,
    /// The replica was removed from its group.
    #[prost(bool, tag = "11")]
    pub(crate) removed: bool,
}

impl MetaRow {
    const NAME: &str = "log meta";

    pub(crate) fn new(
        hard_state: HardState,
        bounds: Bounds,
        revision: u64,
        generation: u8,
        owner: Option<Owner>,
    ) -> Self {
        Self {
            term: hard_state.term,
            vote: hard_state.vote,
            commit: hard_state.commit,
            start_index: bounds.start.index,
            start_term: bounds.start.term,
            last_index: bounds.last.index,
            last_term: bounds.last.term,
            revision,
            generation: u32::from(generation),
            replica: owner.map_or(0, |owner| owner.replica),
            removed: owner.is_some_and(|owner| owner.removed),
        }
    }

    pub(crate) fn owner(&self) -> Option<Owner> {
        (self.replica > 0).then_some(Owner { replica: self.replica, removed: self.removed })
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            start: LogPosition { index: self.start_index, term: self.start_term },
            last: LogPosition { index: self.last_index, term: self.last_term },
        }
    }

    pub(crate) fn to_value(&self) -> Bytes {
        envelope(self)
    }

    pub(crate) fn from_value(value: Bytes) -> Result<Self, StorageError> {
        open_envelope(Self::NAME, value)
    }
}

/// One log entry; its index is in the key.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct EntryRow {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
}

impl EntryRow {
    const NAME: &str = "log entry";

    pub(crate) fn to_value(entry: &LogEntry) -> Bytes {
        envelope(&Self { term: entry.term, kind: u32::from(entry.kind.tag()), data: entry.data.clone() })
    }

    pub(crate) fn from_value(index: u64, value: Bytes) -> Result<LogEntry, StorageError> {
        let row: Self = open_envelope(Self::NAME, value)?;
        let kind = u8::try_from(row.kind).ok().and_then(EntryKind::from_tag).ok_or_else(|| {
            StorageError::UndecodableRow { row: Self::NAME, reason: format!("entry kind {} is unknown", row.kind) }
        })?;
        Ok(LogEntry { index, term: row.term, kind, data: row.data })
    }
}

/// A message behind its format version.
pub(crate) fn envelope(message: &impl Message) -> Bytes {
    let mut value = Vec::with_capacity(1 + message.encoded_len());
    value.push(FORMAT);
    message.encode(&mut value).expect("a vector grows as needed");
    value.into()
}

/// The message in an envelope; shares its bytes.
pub(crate) fn open_envelope<M: Message + Default>(row: &'static str, mut value: Bytes) -> Result<M, StorageError> {
    match value.first() {
        Some(&FORMAT) => value.advance(1),
        Some(&found) => return Err(StorageError::UnknownFormat { row, found, known: FORMAT }),
        None => return Err(StorageError::UndecodableRow { row, reason: "empty".into() }),
    }
    M::decode(value).map_err(|error| StorageError::UndecodableRow { row, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LogEntry {
        LogEntry { index: 258, term: 3, kind: EntryKind::ConfChangeV2, data: Bytes::from_static(b"abc") }
    }

    fn meta() -> MetaRow {
        MetaRow {
            term: 1,
            vote: 2,
            commit: 300,
            start_index: 4,
            start_term: 5,
            last_index: 6,
            last_term: 7,
            revision: 8,
            generation: 0,
            replica: 0,
            removed: false,
        }
    }

    #[test]
    fn keys_are_golden() {
        assert_eq!(meta_key(0x0102), [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(entry_key(7, 0x0102), [0, 7, 2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(entry_index(&entry_key(7, u64::MAX)), Some(u64::MAX));
    }

    #[test]
    fn values_are_golden() {
        let bytes = [1, 8, 3, 16, 2, 26, 3, b'a', b'b', b'c'];
        assert_eq!(EntryRow::to_value(&entry()), bytes[..]);
        assert_eq!(EntryRow::from_value(258, Bytes::copy_from_slice(&bytes)).unwrap(), entry());

        let bytes = [1, 8, 1, 16, 2, 24, 172, 2, 32, 4, 40, 5, 48, 6, 56, 7, 64, 8];
        assert_eq!(meta().to_value(), bytes[..]);
        assert_eq!(MetaRow::from_value(Bytes::copy_from_slice(&bytes)).unwrap(), meta());

        let bytes = [1, 8, 1, 16, 2, 24, 172, 2, 32, 4, 40, 5, 48, 6, 56, 7, 64, 8, 72, 3];
        assert_eq!(MetaRow { generation: 3, ..meta() }.to_value(), bytes[..]);
        let bytes = [1, 8, 1, 16, 2, 24, 172, 2, 32, 4, 40, 5, 48, 6, 56, 7, 64, 8, 80, 5, 88, 1];
        assert_eq!(MetaRow { replica: 5, removed: true, ..meta() }.to_value(), bytes[..]);
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let error = MetaRow::from_value(Bytes::from_static(&[2, 8, 1])).unwrap_err();
        assert_eq!(error.code(), "ST008");
        assert!(error.to_string().contains("`log meta` has format version 2"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        for value in [&[][..], &[1, 255], &[1, 16, 9]] {
            let error = EntryRow::from_value(1, Bytes::copy_from_slice(value)).unwrap_err();
            assert_eq!(error.code(), "ST009", "{value:?}");
        }
    }
}
