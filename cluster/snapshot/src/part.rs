//! Parts: the state of a partition, cut into pieces that are named by their content.
//!
//! The state is a stream of rows (key, value), ordered by key. [`PartBuilder`] cuts it where the rows themselves suggest it:
//! a key that did not change suggests the same boundary again, so a change makes new parts only around it, and everything else
//! of a snapshot is already in the store. [`PartReader`] gives the rows back, after it has checked that they are what the
//! descriptor declares. No store is involved: peers send each other the same parts.
//!
//! ```text
//! raw    = version (one byte, now 1) · protobuf message { repeated Row { bytes key = 1; bytes value = 2 } = 1 }
//! stored = zstd(raw), one frame
//! name   = BLAKE3(stored)
//! ```
//!
//! The name is of the *stored* bytes: the same name is then always the same object of the same size, damage is found before
//! the decompressor sees it, and an upload over an existing part cannot change it. The price is that another version of the
//! compressor may give all parts new names once.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    PartError, PartHash,
    limits::{
        PART_RAW_BYTES_ACCEPTED, PART_RAW_BYTES_MAX, PART_RAW_BYTES_MIN, PART_RAW_BYTES_SPREAD,
        PART_STORED_BYTES_ACCEPTED, ROW_BYTES_MAX,
    },
};

mod row;

use row::{framed_len, put_row, take_row};

/// Newest format of a part that this build reads, and the one it writes.
pub const PART_FORMAT: u8 = 1;

/// Higher levels cost more time than they save space on rows that are mostly protobuf and JSON.
const ZSTD_LEVEL: i32 = 3;

/// What is to be known of a part before one has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartDescriptor {
    /// Its name.
    pub hash: PartHash,
    /// Bytes after decompression.
    pub raw_bytes: u64,
    /// Bytes as stored and sent.
    pub stored_bytes: u64,
    /// Number of rows, at least one.
    pub rows: u64,
    /// Key of the first row.
    pub first_key: Bytes,
}

/// A part with its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it is.
    pub descriptor: PartDescriptor,
    /// The stored bytes.
    pub bytes: Bytes,
}

/// Where parts end, in raw bytes. Affects which parts an unchanged state gives again, not whether they can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartSizes {
    /// No boundary before.
    pub min: u64,
    /// Distance of suggested boundaries behind `min`, on average.
    pub spread: u64,
    /// A boundary before this is exceeded, suggested or not.
    pub max: u64,
}

impl Default for PartSizes {
    /// [`PART_RAW_BYTES_MIN`], [`PART_RAW_BYTES_SPREAD`] and [`PART_RAW_BYTES_MAX`].
    fn default() -> Self {
        Self { min: PART_RAW_BYTES_MIN, spread: PART_RAW_BYTES_SPREAD, max: PART_RAW_BYTES_MAX }
    }
}

impl PartSizes {
    /// Whether a part may end behind this row. Depends on the row alone, and on its size so that small and large rows make
    /// parts of the same size.
    fn suggests_end(&self, key: &[u8], row_bytes: u64) -> bool {
        let odds = (u64::MAX / self.spread.max(1)).saturating_mul(row_bytes);
        xxh3_64(key) <= odds
    }
}

/// Cuts a stream of rows into parts.
#[derive(Debug)]
pub struct PartBuilder {
    sizes: PartSizes,
    raw: BytesMut,
    rows: u64,
    first_key: Bytes,
    last_key: Bytes,
    rows_before: u64,
    at_end: bool,
}

impl Default for PartBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PartBuilder {
    /// A builder of parts of the usual size.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sizes(PartSizes::default())
    }

    /// A builder of parts of other sizes, for tests: all replicas should cut alike.
    #[must_use]
    pub fn with_sizes(sizes: PartSizes) -> Self {
        Self {
            sizes,
            raw: BytesMut::new(),
            rows: 0,
            first_key: Bytes::new(),
            last_key: Bytes::new(),
            rows_before: 0,
            at_end: false,
        }
    }

    /// Adds a row, whose key must be greater than the one before. Returns the part before it, if that is complete.
    ///
    /// # Errors
    /// [`PartError::Unordered`] or [`PartError::RowTooLarge`]; the builder is then of no further use.
    pub fn push(&mut self, key: Bytes, value: &[u8]) -> Result<Option<Part>, PartError> {
        let row = self.rows_before + self.rows;
        if row > 0 && key <= self.last_key {
            return Err(PartError::Unordered { row });
        }
        let bytes = (key.len() + value.len()) as u64;
        if bytes > ROW_BYTES_MAX {
            return Err(PartError::RowTooLarge { row, bytes, max: ROW_BYTES_MAX });
        }
        let framed = framed_len(&key, value);
        let is_full = self.rows > 0 && self.raw.len() as u64 + framed > self.sizes.max;
        let part = if self.at_end || is_full { self.close()? } else { None };
        if self.rows == 0 {
            self.raw.put_u8(PART_FORMAT);
            self.first_key = key.clone();
        }
        put_row(&mut self.raw, &key, value);
        self.rows += 1;
        self.at_end = self.raw.len() as u64 >= self.sizes.min && self.sizes.suggests_end(&key, framed);
        self.last_key = key;
        Ok(part)
    }

    /// The last part; `None` if there was no row since the one before.
    ///
    /// # Errors
    /// [`PartError::Compressor`].
    pub fn finish(mut self) -> Result<Option<Part>, PartError> {
        self.close()
    }

    fn close(&mut self) -> Result<Option<Part>, PartError> {
        if self.rows == 0 {
            return Ok(None);
        }
        let stored = zstd::bulk::compress(&self.raw, ZSTD_LEVEL)
            .map_err(|error| PartError::Compressor { reason: error.to_string() })?;
        let descriptor = PartDescriptor {
            hash: PartHash::of(&stored),
            raw_bytes: self.raw.len() as u64,
            stored_bytes: stored.len() as u64,
            rows: self.rows,
            first_key: std::mem::take(&mut self.first_key),
        };
        self.raw.clear();
        self.rows_before += self.rows;
        self.rows = 0;
        self.at_end = false;
        Ok(Some(Part { descriptor, bytes: stored.into() }))
    }
}

/// The rows of a part that was found to be what its descriptor declares.
#[derive(Clone, Debug)]
pub struct PartReader {
    descriptor: PartDescriptor,
    rest: Bytes,
    last_key: Bytes,
}

impl PartReader {
    /// Checks the stored bytes of a part against its descriptor: size and name first, then the raw size, the number of rows, the
    /// first key, and that keys increase.
    ///
    /// Takes up to the declared raw size of memory, and no more than
    /// [`PART_RAW_BYTES_ACCEPTED`]. Decompresses and hashes up to that much on
    /// the calling thread.
    ///
    /// # Errors
    /// [`PartError::Damaged`] or [`PartError::UnknownFormat`].
    pub fn open(descriptor: &PartDescriptor, stored: &[u8]) -> Result<Self, PartError> {
        let damaged = |reason: String| PartError::Damaged { hash: descriptor.hash, reason };
        descriptor.check().map_err(damaged)?;
        if stored.len() as u64 != descriptor.stored_bytes {
            return Err(damaged(format!("it has {} bytes instead of {}", stored.len(), descriptor.stored_bytes)));
        }
        if PartHash::of(stored) != descriptor.hash {
            return Err(damaged("its content does not have this hash".into()));
        }
        let raw_bytes = usize::try_from(descriptor.raw_bytes).expect("check() has bounded the size");
        // The output is given and is the decompressor's window as well: it can neither grow nor make another buffer.
        let mut raw = vec![0; raw_bytes];
        let found = zstd::bulk::decompress_to_buffer(stored, &mut raw)
            .map_err(|error| damaged(format!("it does not decompress to {raw_bytes} bytes: {error}")))?;
        if found != raw_bytes {
            return Err(damaged(format!("it decompresses to {found} bytes instead of {raw_bytes}")));
        }
        let mut rest = Bytes::from(raw);
        match rest.first() {
            Some(&PART_FORMAT) => rest.advance(1),
            Some(&found) => {
                return Err(PartError::UnknownFormat { hash: descriptor.hash, found, known: PART_FORMAT });
            }
            None => return Err(damaged("it is empty".into())),
        }
        let last_key = check_rows(descriptor, rest.clone()).map_err(damaged)?;
        Ok(Self { descriptor: descriptor.clone(), rest, last_key })
    }

    /// What the part is.
    #[must_use]
    pub fn descriptor(&self) -> &PartDescriptor {
        &self.descriptor
    }

    /// Key of its last row.
    #[must_use]
    pub fn last_key(&self) -> &Bytes {
        &self.last_key
    }
}

impl Iterator for PartReader {
    type Item = (Bytes, Bytes);

    /// The next row. Keys and values share the memory of the part.
    fn next(&mut self) -> Option<Self::Item> {
        if !self.rest.has_remaining() {
            return None;
        }
        let row = take_row(&mut self.rest).expect("open() has decoded every row");
        Some((row.key, row.value))
    }
}

/// Opens the parts of one snapshot one after the other, and sees to it that they are in order.
#[derive(Debug, Default)]
pub struct PartSequence {
    last_key: Option<Bytes>,
}

impl PartSequence {
    /// The sequence before its first part.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts the next part if its keys are greater than those of the part before.
    ///
    /// # Errors
    /// [`PartError::Damaged`].
    pub fn accept(&mut self, part: &PartReader) -> Result<(), PartError> {
        let first_key = &part.descriptor.first_key;
        if self.last_key.as_ref().is_some_and(|last| first_key <= last) {
            let reason = "its keys are not behind those of the part before".into();
            return Err(PartError::Damaged { hash: part.descriptor.hash, reason });
        }
        self.last_key = Some(part.last_key.clone());
        Ok(())
    }
}

impl PartDescriptor {
    /// Whether a part can have these numbers.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.raw_bytes > PART_RAW_BYTES_ACCEPTED {
            return Err(format!(
                "{} raw bytes are declared, a part has up to {PART_RAW_BYTES_ACCEPTED}",
                self.raw_bytes
            ));
        }
        if self.stored_bytes > PART_STORED_BYTES_ACCEPTED {
            let stored = self.stored_bytes;
            return Err(format!("{stored} stored bytes are declared, a part has up to {PART_STORED_BYTES_ACCEPTED}"));
        }
        if self.rows == 0 || self.rows > self.raw_bytes {
            return Err(format!("{} rows in {} raw bytes are declared", self.rows, self.raw_bytes));
        }
        Ok(())
    }
}

/// Looks at all rows; returns the last key.
fn check_rows(descriptor: &PartDescriptor, mut rest: Bytes) -> Result<Bytes, String> {
    let mut rows = 0;
    let mut last_key = Bytes::new();
    while rest.has_remaining() {
        let row = take_row(&mut rest)?;
        if rows == 0 && row.key != descriptor.first_key {
            return Err("its first key is another one".into());
        }
        if rows > 0 && row.key <= last_key {
            return Err(format!("row {rows} is not behind the row before it"));
        }
        last_key = row.key;
        rows += 1;
    }
    if rows != descriptor.rows {
        return Err(format!("it has {rows} rows instead of {}", descriptor.rows));
    }
    Ok(last_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<(Bytes, Bytes)> {
        [("", "x"), ("a", ""), ("b", "yz")].map(|(key, value)| (Bytes::from(key), Bytes::from(value))).into()
    }

    fn part(rows: &[(Bytes, Bytes)]) -> Part {
        let mut builder = PartBuilder::new();
        for (key, value) in rows {
            assert_eq!(builder.push(key.clone(), value).unwrap(), None);
        }
        builder.finish().unwrap().unwrap()
    }

    #[test]
    fn raw_bytes_are_golden() {
        let part = part(&rows());
        let raw = zstd::bulk::decompress(&part.bytes, 1000).unwrap();
        let expected =
            [&[1][..], &[10, 3, 18, 1, b'x'], &[10, 3, 10, 1, b'a'], &[10, 7, 10, 1, b'b', 18, 2, b'y', b'z']].concat();
        assert_eq!(raw, expected);
        assert_eq!(part.descriptor.raw_bytes, expected.len() as u64);
        let reader = PartReader::open(&part.descriptor, &part.bytes).unwrap();
        assert_eq!(reader.last_key(), "b");
        assert_eq!(reader.collect::<Vec<_>>(), rows());
    }

    /// Stored parts written by any earlier build must stay readable; what the compressor makes of rows may change.
    #[test]
    fn stored_bytes_of_earlier_builds_are_readable() {
        let stored = [
            40, 181, 47, 253, 32, 20, 161, 0, 0, 1, 10, 3, 18, 1, 120, 10, 3, 10, 1, 97, 10, 7, 10, 1, 98, 18, 2, 121,
            122,
        ];
        let descriptor = PartDescriptor {
            hash: PartHash::of(&stored),
            raw_bytes: 20,
            stored_bytes: stored.len() as u64,
            rows: 3,
            first_key: Bytes::new(),
        };
        assert_eq!(PartReader::open(&descriptor, &stored).unwrap().collect::<Vec<_>>(), rows());
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let mut builder = PartBuilder::new();
        builder.push(Bytes::from("b"), b"").unwrap();
        for key in ["b", "a", ""] {
            assert_eq!(builder.push(Bytes::from(key), b"").unwrap_err().code(), "SN013");
        }
        let (first, second) = (part(&rows()[..2]), part(&rows()[1..]));
        let open = |part: &Part| PartReader::open(&part.descriptor, &part.bytes).unwrap();
        let mut sequence = PartSequence::new();
        sequence.accept(&open(&first)).unwrap();
        assert_eq!(sequence.accept(&open(&second)).unwrap_err().code(), "SN011");
    }

    /// A part of rows that nobody would write: the descriptor fits, so only the look at the rows can find it.
    #[test]
    fn nonsense_behind_a_right_hash_is_refused() {
        let cases: [(&str, &[u8]); 7] = [
            ("SN012", &[2, 10, 0]),
            ("SN011", &[1, 10, 5, 10, 1, b'a']),
            ("SN011", &[1, 16, 1]),
            ("SN011", &[1, 10, 3, 10, 1, b'b', 10, 3, 10, 1, b'a']),
            ("SN011", &[1, 10, 3, 10, 1, b'a', 10, 3, 10, 1, b'a']),
            ("SN011", &[1, 255]),
            ("SN011", &[1]),
        ];
        for (code, raw) in cases {
            let stored = zstd::bulk::compress(raw, ZSTD_LEVEL).unwrap();
            let descriptor = PartDescriptor {
                hash: PartHash::of(&stored),
                raw_bytes: raw.len() as u64,
                stored_bytes: stored.len() as u64,
                rows: raw.iter().filter(|byte| **byte == 10).count().div_ceil(2).max(1) as u64,
                first_key: Bytes::copy_from_slice(if raw.contains(&b'b') { b"b" } else { b"a" }),
            };
            assert_eq!(PartReader::open(&descriptor, &stored).unwrap_err().code(), code, "{raw:?}");
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let stored = zstd::bulk::compress(&vec![0; 100 << 20], ZSTD_LEVEL).unwrap();
        assert!(stored.len() < 1 << 20);
        for raw_bytes in [0, 1, 1000, PART_RAW_BYTES_ACCEPTED, 100 << 20, u64::MAX] {
            let descriptor = PartDescriptor {
                hash: PartHash::of(&stored),
                raw_bytes,
                stored_bytes: stored.len() as u64,
                rows: 1,
                first_key: Bytes::new(),
            };
            assert_eq!(PartReader::open(&descriptor, &stored).unwrap_err().code(), "SN011", "{raw_bytes}");
        }
    }

    #[test]
    fn large_rows_have_parts_of_their_own() {
        let sizes = PartSizes { min: 100, spread: 100, max: 200 };
        let mut builder = PartBuilder::with_sizes(sizes);
        let mut parts = Vec::new();
        for key in 0..10u8 {
            parts.extend(builder.push(Bytes::copy_from_slice(&[key]), &[0; 500]).unwrap());
        }
        parts.extend(builder.finish().unwrap());
        assert_eq!(parts.len(), 10);
        let too_large = vec![0; usize::try_from(ROW_BYTES_MAX).unwrap()];
        let error = PartBuilder::new().push(Bytes::from("k"), &too_large).unwrap_err();
        assert_eq!(error.code(), "SN014");
        let largest = &too_large[1..];
        let mut builder = PartBuilder::new();
        builder.push(Bytes::from("k"), largest).unwrap();
        let part = builder.finish().unwrap().unwrap();
        assert_eq!(PartReader::open(&part.descriptor, &part.bytes).unwrap().next().unwrap().1, largest);
    }
}
