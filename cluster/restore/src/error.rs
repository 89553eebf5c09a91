//! Why a folder was not restored, or not copied.

use std::path::PathBuf;

use abide_model::id::PartitionId;
use abide_model::view::ReadError;
use abide_snapshot::{SnapshotError, StoreError};
use abide_storage::{DataDirError, StorageError};

/// A folder was not restored or not copied. A folder that a restore has begun to fill is no node's: nobody starts on it by
/// mistake, and it can be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is something in the folder already. Nothing was changed.
    #[error("`{}` is not empty: {reason}; restore into an empty or a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What is there.
        reason: String,
    },
    /// A partition has no snapshot that can be used.
    #[error("{partition} has no snapshot that can be restored: {reason}")]
    NothingSound {
        /// The partition.
        partition: PartitionId,
        /// What is wrong with those there are.
        reason: String,
    },
    /// The place has snapshots of other clusters than was thought, or of none.
    #[error("{reason}")]
    WhichCluster {
        /// What there is, and what to do.
        reason: String,
    },
    /// The snapshots were made by a newer version.
    #[error(
        "the snapshots need a program with features of level {found}, this one has {known}; use that of the newer version"
    )]
    NewerFeatures {
        /// The level they need.
        found: u32,
        /// The level of this build.
        known: u32,
    },
    /// The rows of a partition are not those of a state.
    #[error("the state of {partition} is not as it should be: {source}")]
    Rows {
        /// The partition.
        partition: PartitionId,
        /// What is wrong.
        source: ReadError,
    },
    /// The log of a partition has entries that its tables lack.
    #[error(
        "{partition} has {entries} entries in its log that are not in its tables, so a copy would lack them: the node was not \
         stopped properly. Start it and stop it again, or let the running node make the snapshot; `--allow-incomplete` copies \
         what is in the tables"
    )]
    Incomplete {
        /// The partition.
        partition: PartitionId,
        /// How many.
        entries: u64,
    },
    /// The folder is not of a node.
    #[error("`{}` is not the data folder of a node", path.display())]
    NoNode {
        /// The folder.
        path: PathBuf,
    },
    /// A snapshot could not be made or read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The databases failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The folder was refused, or could not be made.
    #[error(transparent)]
    Folder(#[from] DataDirError),
}

impl RestoreError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotEmpty { .. } => "RS001",
            Self::NothingSound { .. } => "RS002",
            Self::WhichCluster { .. } => "RS003",
            Self::NewerFeatures { .. } => "RS004",
            Self::Rows { .. } => "RS005",
            Self::Incomplete { .. } => "RS006",
            Self::NoNode { .. } => "RS007",
            Self::Snapshot(error) => error.code(),
            Self::Storage(error) => error.code(),
            Self::Folder(error) => error.code(),
        }
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Snapshot(error.into())
    }
}

/// Of what a read of a partition's rows says.
pub(crate) fn rows(partition: PartitionId) -> impl Fn(ReadError) -> RestoreError {
    move |source| RestoreError::Rows { partition, source }
}
