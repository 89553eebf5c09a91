//! Snapshots of partitions' state: what a replica is rebuilt from when the log no longer begins at the beginning.

#![allow(dead_code, reason = "stores and the repository follow")]

mod error;
mod id;
pub mod limits;

mod part;

mod envelope;
mod manifest;
mod pointer;

pub use error::{LocationError, PartError, SnapshotError, StoreError};
pub use id::{ParseNameError, PartHash, SnapshotId};
pub use manifest::{Manifest, SnapshotKind, SnapshotMeta};
pub use part::{PART_FORMAT, Part, PartBuilder, PartDescriptor, PartReader, PartSequence, PartSizes};
pub use pointer::{ClusterDescriptor, REPOSITORY_FORMAT};
