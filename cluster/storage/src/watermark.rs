//! `WATERMARK`: what the log had acknowledged, written beside it.
//!
//! A log that lost its newest batches looks like one that never had them. So after each synced batch the log writes down
//! how far each partition is, and an open that finds less refuses.
//!
//! The file has three slots of [`SLOT_BYTES`]. The first, the anchor, is written and synced when the log is opened and
//! closed; the other two take turns and are *not* synced, so they cost one small `write` per commit. Each carries a checksum; the readable slot with the highest
//! sequence counts, and one is always readable. Promise: after a crash of the process the watermark is exact, up to the
//! batch that was being written. After a power cut it may be older, by as long as the operating system keeps written pages
//! in memory (half a minute by default), and never newer than the log, because it is written after the batch was synced.
//!
//! ```text
//! slot    = xxh3(rest):u64  len:u32  payload           little endian
//! payload = format version:u8  protobuf of WatermarkRow
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::{StorageError, log::PARTITIONS_MAX, row};

const NAME: &str = "WATERMARK";
const SLOT_BYTES: usize = 64 << 10;
const SLOTS: u64 = 3;
const HEADER_BYTES: usize = 12;
/// Tags, a partition number and four full-size numbers.
const MARK_BYTES_MAX: usize = 2 + 3 + 4 * 11;

const _: () = assert!(
    HEADER_BYTES + 16 + PARTITIONS_MAX as usize * MARK_BYTES_MAX <= SLOT_BYTES,
    "the marks of all partitions fit a slot"
);

/// How far the log of one partition was acknowledged.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Mark {
    #[prost(uint32, tag = "1")]
    pub(crate) partition: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) revision: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) vote: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) last_index: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct WatermarkRow {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(message, repeated, tag = "2")]
    marks: Vec<Mark>,
}

#[derive(Debug)]
pub(crate) struct Watermark {
    file: File,
    path: PathBuf,
    row: WatermarkRow,
}

impl Watermark {
    /// Creates the file of a new log.
    pub(crate) fn create(root: &Path) -> Result<Self, StorageError> {
        let path = root.join(NAME);
        let create = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            // Zeros on disk, so that later writes need no space.
            file.write_all_at(&vec![0; SLOT_BYTES * 3], 0)?;
            let mut created = Self { file, path: path.clone(), row: WatermarkRow { sequence: 1, marks: Vec::new() } };
            created.write_anchor()?;
            crate::files::sync_dir(root)?;
            Ok(created)
        };
        create().map_err(|error| StorageError::io("create", &path, error))
    }

    /// Opens the file of an existing log.
    pub(crate) fn open(root: &Path) -> Result<Self, StorageError> {
        let path = root.join(NAME);
        let damaged = |reason: &str| StorageError::GuardDamaged { path: path.clone(), reason: reason.into() };
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("it is missing")),
            opened => opened.map_err(|error| StorageError::io("open", &path, error))?,
        };
        let io = |error| StorageError::io("read", &path, error);
        if file.metadata().map_err(io)?.len() != SLOTS * SLOT_BYTES as u64 {
            return Err(damaged("it has the wrong length"));
        }
        let mut row: Option<WatermarkRow> = None;
        for slot in 0..SLOTS {
            let mut bytes = vec![0; SLOT_BYTES];
            file.read_exact_at(&mut bytes, slot * SLOT_BYTES as u64).map_err(io)?;
            if let Some(payload) = payload(&bytes) {
                let found: WatermarkRow = row::open_envelope("watermark", payload)?;
                row = row.filter(|row| row.sequence > found.sequence).or(Some(found));
            }
        }
        let row = row.ok_or_else(|| damaged("no slot has a valid checksum"))?;
        let mut watermark = Self { file, path: path.clone(), row };
        watermark.anchor()?;
        Ok(watermark)
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.row.marks
    }

    /// Notes how far a partition is; [`Watermark::write`] puts it down.
    pub(crate) fn set(&mut self, mark: Mark) {
        match self.row.marks.binary_search_by_key(&mark.partition, |mark| mark.partition) {
            Ok(at) => self.row.marks[at] = mark,
            Err(at) => self.row.marks.insert(at, mark),
        }
    }

    /// Puts the marks down, not synced.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.row.sequence += 1;
        let slot = 1 + self.row.sequence % (SLOTS - 1);
        self.file.write_all_at(&encode(&self.row), slot * SLOT_BYTES as u64)
    }

    /// Puts the marks down, durably.
    pub(crate) fn anchor(&mut self) -> Result<(), StorageError> {
        // The anchor may be the only readable slot, so another one is made durable before it is replaced.
        let replace = |this: &mut Self| {
            this.write()?;
            this.file.sync_data()?;
            this.write_anchor()
        };
        replace(self).map_err(|error| StorageError::io("write", &self.path, error))
    }

    fn write_anchor(&mut self) -> io::Result<()> {
        self.row.sequence += 1;
        self.file.write_all_at(&encode(&self.row), 0)?;
        self.file.sync_all()
    }
}

fn encode(row: &WatermarkRow) -> Vec<u8> {
    let payload = row::envelope(row);
    let len = u32::try_from(payload.len()).expect("a slot is smaller than 4 GiB").to_le_bytes();
    let mut slot = vec![0; 8];
    slot.extend(len);
    slot.extend(&payload);
    let checksum = xxh3_64(&slot[8..]).to_le_bytes();
    slot[..8].copy_from_slice(&checksum);
    slot
}

/// The payload of a slot with a valid checksum.
fn payload(slot: &[u8]) -> Option<Bytes> {
    let (checksum, rest) = slot.split_first_chunk::<8>()?;
    let len = u32::from_le_bytes(*rest.first_chunk::<4>()?) as usize;
    let checked = rest.get(..len.checked_add(4)?)?;
    let valid = len > 0 && xxh3_64(checked) == u64::from_le_bytes(*checksum);
    valid.then(|| Bytes::copy_from_slice(&checked[4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(partition: u32, revision: u64) -> Mark {
        Mark { partition, revision, term: 3, vote: 2, last_index: revision }
    }

    fn damage(root: &Path, slot: u64) {
        let file = OpenOptions::new().write(true).open(root.join(NAME)).unwrap();
        file.write_all_at(&[0xff; 32], slot * SLOT_BYTES as u64).unwrap();
    }

    #[test]
    fn the_slot_is_golden() {
        let row = WatermarkRow { sequence: 9, marks: vec![mark(1, 300)] };
        let payload = [1, 8, 9, 18, 12, 8, 1, 16, 172, 2, 24, 3, 32, 2, 40, 172, 2];
        let slot = encode(&row);
        assert_eq!(slot[8..12], [17, 0, 0, 0]);
        assert_eq!(slot[12..], payload);
        assert_eq!(u64::from_le_bytes(slot[..8].try_into().unwrap()), xxh3_64(&slot[8..]));
    }

    #[test]
    fn the_newest_readable_slot_counts() {
        let root = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(root.path()).unwrap();
        for revision in 1..=4 {
            watermark.set(mark(7, revision));
            watermark.set(mark(3, revision));
            watermark.write().unwrap();
        }
        let newest = 1 + watermark.row.sequence % 2;
        drop(watermark);
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(root.path().join(NAME), copy.path().join(NAME)).unwrap();
        assert_eq!(Watermark::open(copy.path()).unwrap().marks(), [mark(3, 4), mark(7, 4)]);
        damage(root.path(), newest);
        assert_eq!(Watermark::open(root.path()).unwrap().marks(), [mark(3, 3), mark(7, 3)]);
        // The open has anchored what it read.
        damage(root.path(), 1);
        damage(root.path(), 2);
        assert_eq!(Watermark::open(root.path()).unwrap().marks(), [mark(3, 3), mark(7, 3)]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Watermark::open(root.path()).unwrap_err().code(), "ST006");
        Watermark::create(root.path()).unwrap();
        damage(root.path(), 0);
        assert_eq!(Watermark::open(root.path()).unwrap_err().code(), "ST006");
        OpenOptions::new().write(true).open(root.path().join(NAME)).unwrap().set_len(5).unwrap();
        assert_eq!(Watermark::open(root.path()).unwrap_err().code(), "ST006");
    }

    #[test]
    fn all_partitions_fit() {
        let root = tempfile::tempdir().unwrap();
        let mut watermark = Watermark::create(root.path()).unwrap();
        watermark.row.sequence = u64::MAX - 9;
        for partition in 0..PARTITIONS_MAX {
            let most = u64::MAX;
            watermark.set(Mark { partition, revision: most, term: most, vote: most, last_index: most });
        }
        watermark.write().unwrap();
        assert_eq!(Watermark::open(root.path()).unwrap().marks().len(), PARTITIONS_MAX as usize);
    }
}
