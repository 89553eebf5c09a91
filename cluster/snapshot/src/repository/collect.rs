//! Removing what is no longer needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use abide_model::id::{Millis, PartitionId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{REQUESTS_MAX, REUSE_AGE, Repository};
use crate::{Depth, Listed, Manifest, ObjectInfo, PartHash, SnapshotError, SnapshotId, store::list_all};

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Sound snapshots that are left, newest first: manifests that can be read, with all their parts in the right size.
    pub kept: Vec<SnapshotId>,
    /// Snapshots that are not sound, but newer than the oldest that is kept. They stay and do not count. While the manifest
    /// of one cannot be read, no part is removed, since what it names is unknown.
    pub damaged: Vec<SnapshotId>,
    /// Snapshots that were removed.
    pub removed: Vec<SnapshotId>,
    /// Parts that were removed.
    pub removed_parts: u64,
    /// Their stored bytes.
    pub removed_bytes: u64,
}

impl Repository {
    /// Removes snapshots behind the newest `keep` sound ones (at least one), and then the parts that no snapshot names and
    /// that were written more than `grace` before `now_ms`, which is read from a clock like the store's.
    ///
    /// The snapshot the pointer names is never removed, and if it is not sound, nothing is. One whose index is not lower stays
    /// until it is older than [`REUSE_AGE`]: another node may have made it, and be about to move the pointer to it. The grace
    /// is for uploads under way: it must be longer than [`REUSE_AGE`] and the longest upload. A reader of a removed snapshot
    /// may find parts missing. Best the node collects that makes the partition's snapshots, one after the other; another one
    /// that finishes a snapshot in the middle of a collection may find its parts gone only if it was made of parts of snapshots
    /// that are removed just now.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] and the like if the pointer cannot be read, which the next creation mends, and all that a
    /// store may fail with. What was not removed by then, the next call removes.
    pub async fn collect(
        &self,
        partition: PartitionId,
        keep: usize,
        grace: Duration,
        now_ms: u64,
    ) -> Result<Collected, SnapshotError> {
        let pointed = match self.pointer(partition).await? {
            Some((Ok(pointer), _)) => Some(pointer.snapshot),
            None => None,
            // It names one of the snapshots, and it is unknown which.
            Some((Err(error), _)) => return Err(error),
        };
        let old_before_ms = now_ms.saturating_sub(Millis::of(grace));
        // The pointer may move to it still, or has moved since it was read. It never moves to an older index.
        let young_since_ms = now_ms.saturating_sub(Millis::of(grace.min(REUSE_AGE)));
        let may_be_pointed = |listed: &Listed| {
            listed.modified_ms >= young_since_ms && pointed.is_none_or(|pointed| listed.id.index >= pointed.index)
        };
        let mut collection = Collection::default();
        let listed = self.list(partition).await?;
        collection.parts = self.list_parts(partition).await?;
        for listed in listed {
            let is_enough = collection.done.kept.len() >= keep.max(1);
            if is_enough && pointed != Some(listed.id) && !may_be_pointed(&listed) {
                collection.done.removed.push(listed.id);
            } else {
                self.keep(listed.id, &mut collection).await?;
            }
        }
        if pointed.is_some_and(|pointed| !collection.done.kept.contains(&pointed)) {
            // The newest snapshot is missing or damaged: what is left may be all there is.
            collection.done.removed.clear();
            return Ok(collection.done);
        }
        self.delete(collection.done.removed.iter().map(|id| self.manifest_key(*id)).collect()).await?;
        self.collect_parts(partition, old_before_ms, &mut collection).await?;
        Ok(collection.done)
    }

    /// Takes note of what a snapshot names.
    async fn keep(&self, id: SnapshotId, collection: &mut Collection) -> Result<(), SnapshotError> {
        match self.manifest(id).await {
            Ok(manifest) => {
                let sound = collection.has_parts(&manifest);
                collection.named.extend(manifest.parts.iter().map(|part| part.hash));
                if sound { &mut collection.done.kept } else { &mut collection.done.damaged }.push(id);
            }
            Err(error) if error.is_about_snapshot() => {
                collection.names_all = false;
                collection.done.damaged.push(id);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn collect_parts(
        &self,
        partition: PartitionId,
        old_before_ms: u64,
        collection: &mut Collection,
    ) -> Result<(), SnapshotError> {
        // A snapshot that was finished since the first look names parts as well, perhaps old ones.
        for listed in self.list(partition).await? {
            let Collected { kept, damaged, .. } = &collection.done;
            if !kept.contains(&listed.id) && !damaged.contains(&listed.id) {
                self.keep(listed.id, collection).await?;
            }
        }
        if !collection.names_all {
            return Ok(());
        }
        let is_surplus = |(hash, part): &(&PartHash, &ObjectInfo)| {
            part.modified_ms < old_before_ms && !collection.named.contains(hash)
        };
        let surplus: Vec<_> = collection.parts.iter().filter(is_surplus).map(|(_, part)| part).collect();
        let (count, bytes) = (surplus.len() as u64, surplus.iter().map(|part| part.bytes).sum());
        self.delete(surplus.into_iter().map(|part| part.key.clone()).collect()).await?;
        (collection.done.removed_parts, collection.done.removed_bytes) = (count, bytes);
        Ok(())
    }

    /// All parts of a partition. Other objects beside them are none of ours.
    async fn list_parts(&self, partition: PartitionId) -> Result<BTreeMap<PartHash, ObjectInfo>, SnapshotError> {
        let prefix = self.parts(partition);
        let parts = list_all(&*self.store, &prefix, Depth::Children).await?.objects.into_iter();
        let named = parts.filter_map(|part| Some((part.key.strip_prefix(&prefix)?.parse().ok()?, part)));
        Ok(named.collect())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), SnapshotError> {
        let deletions = stream::iter(keys).map(|key| async move { self.store.delete(&key).await });
        Ok(deletions.buffer_unordered(REQUESTS_MAX).try_collect().await?)
    }
}

/// What is known in the course of a collection.
struct Collection {
    parts: BTreeMap<PartHash, ObjectInfo>,
    /// Parts of snapshots that stay.
    named: BTreeSet<PartHash>,
    /// Whether `named` has the parts of all of them.
    names_all: bool,
    done: Collected,
}

impl Default for Collection {
    fn default() -> Self {
        Self { parts: BTreeMap::new(), named: BTreeSet::new(), names_all: true, done: Collected::default() }
    }
}

impl Collection {
    fn has_parts(&self, manifest: &Manifest) -> bool {
        manifest
            .parts
            .iter()
            .all(|part| self.parts.get(&part.hash).is_some_and(|found| found.bytes == part.stored_bytes))
    }
}
