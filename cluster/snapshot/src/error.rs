//! Everything that can go wrong with snapshots. Codes are stable; each has a line in the runbooks.

use crate::{PartHash, SnapshotId};

/// An object store could not do what it was asked.
///
/// Only [`Unavailable`](Self::Unavailable) is worth another attempt; [`Retry`](crate::Retry) makes them. No variant carries
/// credentials.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no object `{key}`")]
    NotFound {
        /// The object.
        key: String,
    },

    /// A conditional write found another content than it expected. Nothing was written by this attempt.
    #[error("object `{key}` was written by somebody else in the meantime")]
    PreconditionFailed {
        /// The object.
        key: String,
    },

    /// The store did not answer, or said that it cannot now. A write may have taken place nevertheless.
    #[error("cannot {action} `{key}`: {reason}; the store is unavailable, check the network and the service")]
    Unavailable {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The object or prefix.
        key: String,
        /// The reason given.
        reason: String,
    },

    /// The store knows who asks and refuses, or does not know who asks.
    #[error(
        "cannot {action} `{key}`: {reason}; check the credentials, their rights on the bucket, and the node's clock"
    )]
    Denied {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The object or prefix.
        key: String,
        /// The reason given.
        reason: String,
    },

    /// The store cannot write conditionally, without which two nodes could undo each other's snapshots.
    #[error(
        "the store does not support conditional writes ({reason}); use one that does: S3, or a compatible store that \
         honours `If-None-Match` and `If-Match` of PUT"
    )]
    Unsupported {
        /// What it answered.
        reason: String,
    },

    /// What the store returned contradicts itself or exceeds what such an object can have.
    #[error("object `{key}` is not what it should be: {reason}")]
    Corrupt {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The request can never succeed: a missing bucket, a wrong region, an impossible key.
    #[error("cannot {action} `{key}`: {reason}; correct the location of the snapshots in the configuration")]
    Rejected {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The object or prefix.
        key: String,
        /// The reason given.
        reason: String,
    },
}

impl StoreError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "SN001",
            Self::PreconditionFailed { .. } => "SN002",
            Self::Unavailable { .. } => "SN003",
            Self::Denied { .. } => "SN004",
            Self::Unsupported { .. } => "SN005",
            Self::Corrupt { .. } => "SN006",
            Self::Rejected { .. } => "SN007",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A text that does not name a place for snapshots.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "`{text}` is not a location of snapshots: {reason}; write `s3://bucket/prefix?region=…`, `file:///folder` or the path of \
     a folder"
)]
pub struct LocationError {
    /// The text, without its query.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl LocationError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "SN010"
    }
}

/// Rows cannot be made a part, or bytes are not the part they were declared to be.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// The bytes are not what the descriptor declares. Nothing was taken from them.
    #[error("part `{hash}` is damaged: {reason}")]
    Damaged {
        /// The part, as declared.
        hash: PartHash,
        /// What contradicts the declaration.
        reason: String,
    },

    /// The part was written by a newer version.
    #[error(
        "part `{hash}` has format version {found}, this build reads version {known}; run the newer version of the program"
    )]
    UnknownFormat {
        /// The part.
        hash: PartHash,
        /// The version found.
        found: u8,
        /// The newest version this build reads.
        known: u8,
    },

    /// A row does not follow the one before it.
    #[error("row {row} of the state is not behind the row before it; this is a defect of the program, report it")]
    Unordered {
        /// Number of the row in the stream, from 0.
        row: u64,
    },

    /// A row exceeds what a part may hold.
    #[error(
        "row {row} of the state has {bytes} bytes, a part takes up to {max}; this is a defect of the program, report it"
    )]
    RowTooLarge {
        /// Number of the row in the stream, from 0.
        row: u64,
        /// Bytes of key and value.
        bytes: u64,
        /// The limit.
        max: u64,
    },

    /// The compressor failed, usually for want of memory.
    #[error("cannot compress a part: {reason}")]
    Compressor {
        /// The reason it gave.
        reason: String,
    },
}

impl PartError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "SN011",
            Self::UnknownFormat { .. } => "SN012",
            Self::Unordered { .. } => "SN013",
            Self::RowTooLarge { .. } => "SN014",
            Self::Compressor { .. } => "SN015",
        }
    }
}

/// A snapshot could not be made, read or removed. What was the newest good snapshot before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// A part is wrong.
    #[error(transparent)]
    Part(#[from] PartError),

    /// A manifest, a pointer or a cluster's description does not decode, or contradicts itself.
    #[error("`{object}` is damaged: {reason}; an older snapshot is used if there is one")]
    Damaged {
        /// The object, or what it is.
        object: String,
        /// What is wrong with it.
        reason: String,
    },

    /// An object was written by a newer version.
    #[error(
        "`{object}` has format version {found}, this build reads version {known}; run the newer version of the program"
    )]
    UnknownFormat {
        /// The object, or what it is.
        object: String,
        /// The version found.
        found: u8,
        /// The newest version this build reads.
        known: u8,
    },

    /// An object says that it belongs elsewhere: it was copied, swapped or forged, or the configuration is wrong.
    #[error(
        "`{object}` is of {what} `{found}`, expected is `{expected}`; correct the cluster or the location of the snapshots"
    )]
    Foreign {
        /// The object, or what it is.
        object: String,
        /// Which property differs.
        what: &'static str,
        /// Its value in the object.
        found: String,
        /// The value it should have.
        expected: String,
    },

    /// The place holds nothing of the cluster.
    #[error("there are no snapshots of cluster `{cluster}` here; `clusters` lists those there are")]
    NoCluster {
        /// The cluster.
        cluster: String,
    },

    /// The rows to be written could not be read.
    #[error("cannot read the state to be written: {reason}")]
    Rows {
        /// The reason given by their source.
        reason: String,
    },

    /// A newer snapshot of the partition was there first.
    #[error("a snapshot at index {index} comes too late: `{newest}` is newer")]
    Superseded {
        /// Index of the snapshot that was to be made.
        index: u64,
        /// The newest snapshot.
        newest: SnapshotId,
    },

    /// A snapshot would exceed a limit of the format.
    #[error("the snapshot has {found} {what}, the format takes up to {max}; use more partitions")]
    LimitExceeded {
        /// What is limited.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// The limit.
        max: u64,
    },

    /// The caller's description of a snapshot or cluster is impossible.
    #[error("impossible {what}: {reason}; this is a defect of the program, report it")]
    Invalid {
        /// What was described.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A helper thread ended early: it panicked, or the runtime shuts down.
    #[error("work on a snapshot was interrupted: {reason}")]
    Interrupted {
        /// The reason.
        reason: String,
    },
}

impl SnapshotError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Part(error) => error.code(),
            Self::Damaged { .. } => "SN016",
            Self::UnknownFormat { .. } => "SN017",
            Self::Foreign { .. } => "SN018",
            Self::NoCluster { .. } => "SN019",
            Self::Rows { .. } => "SN020",
            Self::Superseded { .. } => "SN021",
            Self::LimitExceeded { .. } => "SN022",
            Self::Invalid { .. } => "SN023",
            Self::Interrupted { .. } => "SN024",
        }
    }

    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }

    /// Whether the error speaks about one snapshot, so that another one may be sound: it is damaged, misses an object, is of
    /// another place or of a newer version.
    #[must_use]
    pub fn is_about_snapshot(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error, StoreError::NotFound { .. } | StoreError::Corrupt { .. }),
            Self::Part(_) | Self::Damaged { .. } | Self::UnknownFormat { .. } | Self::Foreign { .. } => true,
            _ => false,
        }
    }
}
