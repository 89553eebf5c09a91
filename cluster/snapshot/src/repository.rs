//! All snapshots of a cluster in one store.
//!
//! ```text
//! <cluster id>/cluster                     whose snapshots these are, see [`ClusterDescriptor`]
//! <cluster id>/probe                       shows that the store honours conditions
//! <cluster id>/p0003/parts/<name>          parts, by content; shared by the snapshots of the partition
//! <cluster id>/p0003/snapshots/<id>        manifests
//! <cluster id>/p0003/latest                pointer to the newest snapshot that was verified after its upload
//! ```
//!
//! A snapshot is there once its manifest is, and the manifest comes behind all its parts. The pointer comes last, behind a
//! look at everything it stands for, and is replaced only under the condition that it still is what was read; so it never
//! moves to a lower index, whatever a slow or a paused node still does. Whatever interrupts a creation leaves parts or a
//! manifest that the next [`collect`](Repository::collect) finds.
//!
//! Nothing that is read is trusted: every object says which cluster and partition it is of, manifests are named by their
//! checksums and parts by their hashes.

use std::sync::Arc;

use abide_model::id::PartitionId;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    ClusterDescriptor, Manifest, ObjectStore, PartDescriptor, PartError, PartHash, REPOSITORY_FORMAT, SnapshotError,
    SnapshotId, StoreError,
    limits::{MANIFEST_BYTES_MAX, SMALL_OBJECT_BYTES_MAX},
    pointer::Pointer,
    store::{Depth, Tag, is_segment, list_all, probe_conditions},
};

mod collect;
mod create;
mod read;

pub use collect::Collected;
pub use create::{Created, PointerMove, REUSE_AGE};
pub use read::{Latest, Skipped, Verified};

/// Requests of one call that are under way at a time.
const REQUESTS_MAX: usize = 8;

/// Parts of one call that are held at a time while they are sent or read: what a call takes of memory.
const PARTS_HELD_MAX: usize = 4;

/// The snapshots of one cluster. Clones share the store.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    cluster: ClusterDescriptor,
    on_calling_thread: bool,
}

/// A snapshot that is listed. Whether it is sound, only a look at it tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The snapshot.
    pub id: SnapshotId,
    /// When its manifest was written, in milliseconds since the epoch, by the store's clock.
    pub modified_ms: u64,
}

impl Repository {
    /// Opens the snapshots of a cluster that is known, to make new ones; the first time describes it in the store.
    ///
    /// # Errors
    /// [`SnapshotError::Foreign`] if the store has the cluster with another number of partitions,
    /// [`StoreError::Unsupported`] if it does not honour conditions, and all that a store may fail with.
    pub async fn open_or_create(
        store: Arc<dyn ObjectStore>,
        cluster_id: &str,
        partitions: u32,
    ) -> Result<Self, SnapshotError> {
        check_cluster_id(cluster_id)?;
        if partitions == 0 {
            return Err(SnapshotError::Invalid { what: "cluster", reason: "it has no partitions".into() });
        }
        let cluster = ClusterDescriptor { cluster_id: cluster_id.to_owned(), partitions, format: REPOSITORY_FORMAT };
        // Each time: the store behind a location may have become another one.
        probe_conditions(&*store, &format!("{cluster_id}/probe")).await?;
        let repository = match Self::open(Arc::clone(&store), cluster_id).await {
            Err(SnapshotError::NoCluster { .. }) => {
                match store.put_if_absent(&cluster_key(cluster_id), cluster.encode()).await {
                    Ok(_) => Self { store, cluster, on_calling_thread: false },
                    // Another node came first.
                    Err(StoreError::PreconditionFailed { .. }) => Self::open(store, cluster_id).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            result => result?,
        };
        same(&cluster_key(cluster_id), "number of partitions", &repository.cluster.partitions, &partitions)?;
        Ok(repository)
    }

    /// Opens the snapshots of a cluster of which nothing else is left.
    ///
    /// # Errors
    /// [`SnapshotError::NoCluster`], [`SnapshotError::Foreign`], [`SnapshotError::Damaged`], and all that a store may fail
    /// with.
    pub async fn open(store: Arc<dyn ObjectStore>, cluster_id: &str) -> Result<Self, SnapshotError> {
        check_cluster_id(cluster_id)?;
        let cluster = read_cluster(&*store, cluster_id).await?;
        Ok(Self { store, cluster, on_calling_thread: false })
    }

    /// The clusters that the store has snapshots of, each with its description, or why that cannot be read.
    ///
    /// # Errors
    /// All that a store may fail with while it lists.
    pub async fn clusters(
        store: &dyn ObjectStore,
    ) -> Result<Vec<(String, Result<ClusterDescriptor, SnapshotError>)>, SnapshotError> {
        let page = list_all(store, "", Depth::Children).await?;
        let mut found = Vec::new();
        for cluster_id in page.folders.into_iter().filter(|folder| is_segment(folder)) {
            match read_cluster(store, &cluster_id).await {
                // A folder of somebody else.
                Err(SnapshotError::NoCluster { .. }) => {}
                Err(error) if !error.is_about_snapshot() => return Err(error),
                result => found.push((cluster_id, result)),
            }
        }
        Ok(found)
    }

    /// Whose snapshots these are.
    #[must_use]
    pub fn cluster(&self) -> &ClusterDescriptor {
        &self.cluster
    }

    /// What the store is, for logs.
    #[must_use]
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// Does everything on the thread that asks, also what takes its time: cutting, compressing, checking. Needs no runtime
    /// then, and does the same steps in the same order each time, which a simulator wants.
    #[must_use]
    pub fn on_calling_thread(self) -> Self {
        Self { on_calling_thread: true, ..self }
    }

    /// What the pointer of a partition names, whether it is sound or not. What is to be restored, [`latest`](Self::latest)
    /// tells: the pointer is only where the next creation begins.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] and the like if the pointer cannot be read, and all that a store may fail with.
    pub async fn pointed(&self, partition: PartitionId) -> Result<Option<SnapshotId>, SnapshotError> {
        let Some((pointer, _)) = self.pointer(partition).await? else { return Ok(None) };
        Ok(Some(pointer?.snapshot))
    }

    /// The snapshots of a partition, newest first.
    ///
    /// # Errors
    /// All that a store may fail with.
    pub async fn list(&self, partition: PartitionId) -> Result<Vec<Listed>, SnapshotError> {
        let prefix = self.snapshots(partition);
        let page = list_all(&*self.store, &prefix, Depth::Children).await?;
        let ids = page.objects.into_iter().filter_map(|object| {
            let id: SnapshotId = object.key.strip_prefix(&prefix)?.parse().ok()?;
            (id.partition == partition).then_some(Listed { id, modified_ms: object.modified_ms })
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort_by_key(|listed| std::cmp::Reverse(listed.id));
        ids.dedup_by_key(|listed| listed.id);
        Ok(ids)
    }

    /// The manifest of a snapshot, which is sound and of this cluster and partition then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`SnapshotError::Damaged`], [`SnapshotError::Foreign`], [`SnapshotError::UnknownFormat`],
    /// and all that a store may fail with.
    pub async fn manifest(&self, id: SnapshotId) -> Result<Manifest, SnapshotError> {
        let key = self.manifest_key(id);
        let object = self.store.get(&key, MANIFEST_BYTES_MAX).await?;
        self.check_manifest(&key, id, object.bytes)
    }

    fn check_manifest(&self, key: &str, id: SnapshotId, stored: Bytes) -> Result<Manifest, SnapshotError> {
        let (manifest, checksum) = Manifest::decode(key, stored)?;
        self.check_owner(key, &manifest)?;
        same(key, "snapshot", &manifest.id_with(&checksum), &id)?;
        Ok(manifest)
    }

    /// Whether a manifest is of this cluster.
    fn check_owner(&self, object: &str, manifest: &Manifest) -> Result<(), SnapshotError> {
        same(object, "cluster", &manifest.cluster_id, &self.cluster.cluster_id)?;
        same(object, "number of partitions", &manifest.partitions, &self.cluster.partitions)
    }

    /// The pointer of a partition and its version; an error inside is about the pointer's content.
    async fn pointer(
        &self,
        partition: PartitionId,
    ) -> Result<Option<(Result<Pointer, SnapshotError>, Option<Tag>)>, SnapshotError> {
        let key = self.pointer_key(partition);
        let object = match self.store.get(&key, SMALL_OBJECT_BYTES_MAX).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error @ StoreError::Corrupt { .. }) => return Ok(Some((Err(error.into()), None))),
            result => result?,
        };
        let pointer = Pointer::decode(&key, object.bytes).and_then(|pointer| {
            same(&key, "cluster", &pointer.cluster_id, &self.cluster.cluster_id)?;
            same(&key, "partition", &pointer.snapshot.partition, &partition)?;
            Ok(pointer)
        });
        Ok(Some((pointer, Some(object.tag))))
    }

    /// Asks for all parts of a snapshot; returns those that are missing or of another size, with the reason.
    async fn look_at_parts(&self, manifest: &Manifest) -> Result<Vec<SnapshotError>, SnapshotError> {
        let partition = manifest.meta.partition;
        let looks = stream::iter(manifest.parts.clone()).map(|part| async move {
            match self.look_at_part(partition, &part).await {
                Err(error) if error.is_about_snapshot() => Ok(Some(error)),
                Err(error) => Err(error),
                Ok(_) => Ok(None),
            }
        });
        let faults: Vec<_> = looks.buffered(REQUESTS_MAX).try_collect().await?;
        Ok(faults.into_iter().flatten().collect())
    }

    /// Whether the store has a part in its size; returns when it was written.
    async fn look_at_part(&self, partition: PartitionId, part: &PartDescriptor) -> Result<u64, SnapshotError> {
        let found = self.store.head(&self.part_key(partition, part.hash)).await?;
        if found.bytes != part.stored_bytes {
            let reason = format!("the store has {} bytes of it instead of {}", found.bytes, part.stored_bytes);
            return Err(PartError::Damaged { hash: part.hash, reason }.into());
        }
        Ok(found.modified_ms)
    }

    fn folder(&self, partition: PartitionId) -> String {
        format!("{}/p{:04}", self.cluster.cluster_id, partition.0)
    }

    fn snapshots(&self, partition: PartitionId) -> String {
        format!("{}/snapshots/", self.folder(partition))
    }

    fn parts(&self, partition: PartitionId) -> String {
        format!("{}/parts/", self.folder(partition))
    }

    fn manifest_key(&self, id: SnapshotId) -> String {
        format!("{}{id}", self.snapshots(id.partition))
    }

    fn part_key(&self, partition: PartitionId, hash: PartHash) -> String {
        format!("{}{hash}", self.parts(partition))
    }

    fn pointer_key(&self, partition: PartitionId) -> String {
        format!("{}/latest", self.folder(partition))
    }
}

fn cluster_key(cluster_id: &str) -> String {
    format!("{cluster_id}/cluster")
}

async fn read_cluster(store: &dyn ObjectStore, cluster_id: &str) -> Result<ClusterDescriptor, SnapshotError> {
    let key = cluster_key(cluster_id);
    let object = match store.get(&key, SMALL_OBJECT_BYTES_MAX).await {
        Err(StoreError::NotFound { .. }) => return Err(SnapshotError::NoCluster { cluster: cluster_id.to_owned() }),
        result => result?,
    };
    let cluster = ClusterDescriptor::decode(&key, object.bytes)?;
    same(&key, "cluster", &cluster.cluster_id.as_str(), &cluster_id)?;
    Ok(cluster)
}

fn check_cluster_id(cluster_id: &str) -> Result<(), SnapshotError> {
    if cluster_id.len() <= 100 && is_segment(cluster_id) {
        return Ok(());
    }
    let reason = "it has up to 100 letters, digits, `.`, `_` and `-`, and does not begin with a dot".into();
    Err(SnapshotError::Invalid { what: "cluster id", reason })
}

/// Refuses what is of somebody else.
fn same<T: PartialEq + ToString>(
    object: &str,
    what: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), SnapshotError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_string().escape_debug().take(100).collect(), expected.to_string());
    Err(SnapshotError::Foreign { object: object.to_owned(), what, found, expected })
}
