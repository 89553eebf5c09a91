//! Snapshots of partitions' state: what a replica is rebuilt from when the log no longer begins at the beginning.

#![allow(dead_code, reason = "the repository follows")]

mod error;
mod id;
pub mod limits;

mod part;

mod envelope;
mod manifest;
mod pointer;

pub mod store;

pub use error::{LocationError, PartError, SnapshotError, StoreError};
pub use id::{ParseNameError, PartHash, SnapshotId};
pub use manifest::{Manifest, SnapshotKind, SnapshotMeta};
pub use part::{PART_FORMAT, Part, PartBuilder, PartDescriptor, PartReader, PartSequence, PartSizes};
pub use pointer::{ClusterDescriptor, REPOSITORY_FORMAT};
pub use store::{
    Depth, FolderStore, Location, MemoryStore, Object, ObjectInfo, ObjectStore, Page, Retry, RetryPolicy,
    S3Credentials, S3Settings, S3Store, Tag, open,
};
