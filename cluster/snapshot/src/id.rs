//! Names: of parts by their content, of snapshots by what they are of.

use std::{fmt, str::FromStr};

use abide_model::id::PartitionId;

/// A text that is not the printed form of a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseNameError {
    text: String,
    expected: &'static str,
}

impl ParseNameError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// The name of a part: BLAKE3 of its stored bytes. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartHash(pub [u8; 32]);

impl PartHash {
    /// The name of these stored bytes.
    #[must_use]
    pub fn of(stored: &[u8]) -> Self {
        Self(*blake3::hash(stored).as_bytes())
    }
}

impl fmt::Display for PartHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PartHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PartHash {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return Err(ParseNameError::new(text, "the name of a part (64 hexadecimal digits)"));
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).expect("hexadecimal digits are ASCII");
            *byte = u8::from_str_radix(digits, 16).expect("two hexadecimal digits are a byte");
        }
        Ok(Self(bytes))
    }
}

/// A snapshot of a partition. Printed as `snap_p3_000000001234_89abcdef`.
///
/// Ordered by partition, then by index, so that the greatest of a partition is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The partition.
    pub partition: PartitionId,
    /// Index of the last log entry that the snapshot contains.
    pub index: u64,
    /// First four bytes of the manifest's checksum, so that a name fits only one manifest.
    pub tag: u32,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snap_{}_{:012}_{:08x}", self.partition, self.index, self.tag)
    }
}

impl FromStr for SnapshotId {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut fields = text.strip_prefix("snap_")?.split('_');
            let partition = fields.next()?.parse().ok()?;
            let index = fields.next()?.parse().ok()?;
            let tag = u32::from_str_radix(fields.next()?, 16).ok()?;
            Some(Self { partition, index, tag })
        };
        // One printed form only: no signs, no missing or superfluous zeros, nothing behind.
        parse()
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| ParseNameError::new(text, "a snapshot id (`snap_p`, partition, index, tag)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_golden() {
        let id = SnapshotId { partition: PartitionId(3), index: 1234, tag: 0x89ab_cdef };
        assert_eq!(id.to_string(), "snap_p3_000000001234_89abcdef");
        assert_eq!("snap_p3_000000001234_89abcdef".parse(), Ok(id));
        let id = SnapshotId { partition: PartitionId(u32::MAX), index: u64::MAX, tag: 0 };
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "snap_",
            "snap_p3_1234_89abcdef",
            "snap_p3_000000001234_89ABCDEF",
            "snap_p+3_000000001234_89abcdef",
            "snap_p3_+00000001234_89abcdef",
            "snap_p3_000000001234_89abcdef_",
            "snap_p3_000000001234_89abcde",
            "snap_p03_000000001234_89abcdef",
        ] {
            assert!(text.parse::<SnapshotId>().is_err(), "{text}");
        }
        let hash = PartHash::of(b"x").to_string();
        assert_eq!(hash.parse(), Ok(PartHash::of(b"x")));
        assert!(hash.to_uppercase().parse::<PartHash>().is_err());
        assert!(hash[1..].parse::<PartHash>().is_err());
        assert!("é".repeat(32).parse::<PartHash>().is_err());
    }

    #[test]
    fn the_newest_is_the_greatest() {
        let id = |index| SnapshotId { partition: PartitionId(1), index, tag: 0 };
        assert!(id(1_000_000_000_000) > id(999_999_999_999));
    }
}
