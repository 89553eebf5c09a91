//! Limits of the format. Readers refuse what exceeds them before they spend memory on it.

/// A part is closed at the first boundary its rows suggest past this many raw bytes.
pub const PART_RAW_BYTES_MIN: u64 = 1 << 20;

/// Raw bytes between two boundaries that rows suggest, on average. With [`PART_RAW_BYTES_MIN`] it makes parts of 2 MiB.
pub const PART_RAW_BYTES_SPREAD: u64 = 1 << 20;

/// A part is closed before it exceeds this many raw bytes, boundary or not; only a single larger row makes a larger part.
pub const PART_RAW_BYTES_MAX: u64 = 8 << 20;

/// Bytes of the key and value of one row. Rows of the state are far smaller (values of objects end at 4 MiB).
pub const ROW_BYTES_MAX: u64 = 64 << 20;

/// Raw bytes that a reader accepts of a part: one row of [`ROW_BYTES_MAX`] and its framing.
pub const PART_RAW_BYTES_ACCEPTED: u64 = ROW_BYTES_MAX + 64;

/// Stored bytes that a reader accepts of a part: incompressible content grows a little.
pub const PART_STORED_BYTES_ACCEPTED: u64 = PART_RAW_BYTES_ACCEPTED + (PART_RAW_BYTES_ACCEPTED >> 7) + 1024;

/// Parts of one snapshot: 100 GB and more of state in one partition.
pub const PARTS_MAX: usize = 100_000;

/// Bytes of a manifest: that many parts whose first keys have some hundred bytes each.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Bytes of the pointer and of a cluster's description.
pub const SMALL_OBJECT_BYTES_MAX: u64 = 4096;

/// Bytes of the key of an object within its store.
pub const OBJECT_KEY_BYTES_MAX: usize = 900;

const _: () = assert!(PART_RAW_BYTES_MIN + PART_RAW_BYTES_SPREAD < PART_RAW_BYTES_MAX);
const _: () = assert!(PART_RAW_BYTES_MAX < PART_RAW_BYTES_ACCEPTED);
