//! The envelope of everything that is persisted or sent between nodes: one version byte, then a protobuf message.
//!
//! A reader refuses a version it does not know by name instead of guessing at the bytes.

use bytes::BufMut as _;
use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::view::ReadError;

/// The version this build writes, until the cluster has the features for another one.
pub const VERSION: u8 = 1;
/// The newest version this build reads. With the feature `next` it is the one of a build that is yet to come, whose
/// entries only differ by their number: for tests of clusters in which two builds run side by side.
pub const NEWEST: u8 = if cfg!(feature = "next") { 2 } else { 1 };
/// The highest level of features that this build has ([`crate::table::ClusterRow::features`]).
pub const FEATURES: u32 = NEWEST as u32;

/// Bytes that are not what the reader expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer build.
    #[error("{what} has format version {found}; this build reads up to {NEWEST}: start the newer build")]
    UnknownVersion {
        /// The type that was expected.
        what: &'static str,
        /// The version byte found.
        found: u8,
    },
    /// Not an encoding of the type.
    #[error("{what} does not decode: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

impl From<CodecError> for ReadError {
    fn from(error: CodecError) -> Self {
        Self(error.to_string())
    }
}

/// The version of log entries when this level of features is in force: one that every node reads.
#[must_use]
pub fn entry_version(features: u32) -> u8 {
    u8::try_from(features).unwrap_or(NEWEST).clamp(VERSION, NEWEST)
}

/// The versioned bytes of `message`.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Bytes {
    encode_as(VERSION, message)
}

/// The bytes of `message` in a version that this build reads.
#[must_use]
pub fn encode_as<M: Message>(version: u8, message: &M) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + message.encoded_len());
    bytes.put_u8(version);
    message.encode_raw(&mut bytes);
    bytes.freeze()
}

/// The message in `bytes`, sharing their memory where the type allows.
///
/// # Errors
/// [`CodecError`] when the version is unknown or the rest is not an `M`.
pub fn decode<M: Message + Default>(what: &'static str, bytes: &Bytes) -> Result<M, CodecError> {
    match bytes.first() {
        Some(&found) if (VERSION..=NEWEST).contains(&found) => {
            M::decode(bytes.slice(1..)).map_err(|error| CodecError::Malformed { what, reason: error.to_string() })
        }
        Some(&found) => Err(CodecError::UnknownVersion { what, found }),
        None => Err(CodecError::Malformed { what, reason: "no bytes".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Failure;

    #[test]
    fn entries_are_written_as_all_nodes_read_them() {
        assert_eq!((entry_version(0), entry_version(1), entry_version(99)), (VERSION, VERSION, NEWEST));
    }

    #[test]
    fn unknown_versions_are_refused_by_name() {
        let bytes = Bytes::from_static(&[9, 1, 2]);
        assert_eq!(
            decode::<Failure>("a failure", &bytes),
            Err(CodecError::UnknownVersion { what: "a failure", found: 9 })
        );
        assert!(matches!(decode::<Failure>("a failure", &Bytes::new()), Err(CodecError::Malformed { .. })));
    }
}
