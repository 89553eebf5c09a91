//! Snapshots of partitions' state: what a replica is rebuilt from when the log no longer begins at the beginning.
//!
//! Three layers, each of use without the next:
//!
//! * **Rows and parts** ([`PartBuilder`], [`PartReader`]): the state is a stream of rows in the order of their keys, cut where
//!   the rows suggest it into parts that are named by their content. No I/O; peers send each other the same parts.
//! * **Stores** ([`ObjectStore`]): S3 and what speaks its protocol ([`S3Store`]), a folder ([`FolderStore`]), and memory as the
//!   model of their promises ([`MemoryStore`]). [`Retry`] makes further attempts. [`Location`] is the one line of
//!   configuration, [`open`] opens it. One conformance suite runs over all.
//! * **[`Repository`]**: all snapshots of a cluster in one store. [`create`](Repository::create) sends what the store does not
//!   have, [`latest`](Repository::latest) finds the newest sound one, [`read`](Repository::read) gives its parts back,
//!   [`verify`](Repository::verify) looks for damage, [`collect`](Repository::collect) removes what is no longer needed.
//!
//! ```
//! # use std::{convert::Infallible, sync::Arc, time::Duration};
//! # use abide_model::id::{Millis, PartitionId};
//! # use abide_snapshot::{Location, Repository, RetryPolicy, S3Credentials, SnapshotKind, SnapshotMeta, open};
//! # use bytes::Bytes;
//! # use futures_util::TryStreamExt as _;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let text = format!("file://{}", folder.path().display());
//! let location: Location = text.parse()?; // or `s3://bucket/prefix?region=eu-central-1`
//! let store = open(&location, S3Credentials::Chain, RetryPolicy::default()).await?;
//! let repository = Repository::open_or_create(store, "cluster-1", 8).await?;
//!
//! let meta = SnapshotMeta {
//!     kind: SnapshotKind::Partition,
//!     partition: PartitionId(3),
//!     index: 1234,
//!     term: 5,
//!     log_time: Millis(1_700_000_000_000),
//!     state_hash: 0xfeed,
//!     node_id: 1,
//!     features: 1,
//!     created_at: Millis(1_700_000_000_100),
//! };
//! let rows = [("a", "1"), ("b", "2")].map(|(key, value)| Ok::<_, Infallible>((Bytes::from(key), Bytes::from(value))));
//! let created = repository.create(meta, rows.into_iter()).await?;
//!
//! let latest = repository.latest(PartitionId(3)).await?.expect("one was just made");
//! assert_eq!(latest.id, created.id);
//! let parts: Vec<_> = repository.read(&latest.manifest).try_collect().await?;
//! let restored: Vec<(Bytes, Bytes)> = parts.into_iter().flatten().collect();
//! assert_eq!(restored.len(), 2);
//!
//! let now_ms = 1_700_000_000_200;
//! repository.collect(PartitionId(3), 3, Duration::from_hours(24), now_ms).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing here reads a clock, except for the pauses between attempts; callers say what time it is. Everything asynchronous
//! needs a tokio runtime with its timer, and can be dropped at any point without harm.

mod error;
mod id;
pub mod limits;

mod part;

mod envelope;
mod manifest;
mod pointer;

pub mod store;

mod repository;

pub use error::{LocationError, PartError, SnapshotError, StoreError};
pub use id::{ParseNameError, PartHash, SnapshotId};
pub use manifest::{Manifest, SnapshotKind, SnapshotMeta};
pub use part::{PART_FORMAT, Part, PartBuilder, PartDescriptor, PartReader, PartSequence, PartSizes};
pub use pointer::{ClusterDescriptor, REPOSITORY_FORMAT};
pub use repository::{Collected, Created, Latest, Listed, PointerMove, REUSE_AGE, Repository, Skipped, Verified};
pub use store::{
    Depth, FolderStore, Location, MemoryStore, Object, ObjectInfo, ObjectStore, Page, Retry, RetryPolicy,
    S3Credentials, S3Settings, S3Store, Tag, open,
};
