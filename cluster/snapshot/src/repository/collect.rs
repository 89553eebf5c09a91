//! Removing what is no longer needed.

use std::{collections::BTreeSet, time::Duration};

use abide_model::id::{Millis, PartitionId};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{REQUESTS_MAX, Repository};
use crate::{Depth, PartHash, SnapshotError, SnapshotId, store::list_all};

/// What a collection did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Snapshots that are left, newest first.
    pub kept: Vec<SnapshotId>,
    /// Snapshots that were removed.
    pub removed: Vec<SnapshotId>,
    /// Snapshots that cannot be read, but are newer than some that are kept. While there are any, no part is removed, since
    /// what they name is unknown.
    pub damaged: Vec<SnapshotId>,
    /// Parts that were removed.
    pub removed_parts: u64,
    /// Their stored bytes.
    pub removed_bytes: u64,
}

impl Repository {
    /// Removes snapshots behind the newest `keep` readable ones (at least one), and then the parts that no snapshot names and
    /// that were written more than `grace` before `now_ms`, which is read from a clock like the store's.
    ///
    /// The snapshot the pointer names is never removed. The grace is for uploads under way: it must be longer than
    /// [`REUSE_AGE`](super::REUSE_AGE) and the longest upload. A reader of a removed snapshot may find parts missing. One
    /// node at a time should collect a partition, and best the one that makes its snapshots; more do no harm as long
    /// as none collects between two others' looks for longer than the grace.
    ///
    /// # Errors
    /// All that a store may fail with; what was not removed by then, the next call removes.
    pub async fn collect(
        &self,
        partition: PartitionId,
        keep: usize,
        grace: Duration,
        now_ms: u64,
    ) -> Result<Collected, SnapshotError> {
        let mut collected = Collected::default();
        let mut named = BTreeSet::new();
        let pointed = match self.pointer(partition).await? {
            Some((Ok(pointer), _)) => Some(pointer.snapshot),
            None => None,
            // It names one of the snapshots. The next creation replaces it.
            Some((Err(error), _)) => return Err(error),
        };
        let mut surplus = Vec::new();
        for listed in self.list(partition).await? {
            let is_pointed = pointed == Some(listed.id);
            if collected.kept.len() >= keep.max(1) && !is_pointed {
                surplus.push(listed.id);
                continue;
            }
            match self.manifest(listed.id).await {
                Ok(manifest) => {
                    named.extend(manifest.parts.iter().map(|part| part.hash));
                    collected.kept.push(listed.id);
                }
                Err(error) if error.is_about_snapshot() => collected.damaged.push(listed.id),
                Err(error) => return Err(error),
            }
        }
        if pointed.is_some_and(|pointed| !collected.kept.contains(&pointed)) {
            // The newest snapshot is missing or damaged: what is left may be all there is.
            let all = self.list(partition).await?.into_iter().map(|listed| listed.id);
            collected.kept = all.filter(|id| !collected.damaged.contains(id)).collect();
            return Ok(collected);
        }
        self.delete(surplus.iter().map(|id| self.manifest_key(*id)).collect()).await?;
        collected.removed = surplus;
        self.collect_parts(partition, grace, now_ms, named, &mut collected).await?;
        Ok(collected)
    }

    async fn collect_parts(
        &self,
        partition: PartitionId,
        grace: Duration,
        now_ms: u64,
        mut named: BTreeSet<PartHash>,
        collected: &mut Collected,
    ) -> Result<(), SnapshotError> {
        let prefix = self.parts(partition);
        let parts = list_all(&*self.store, &prefix, Depth::Children).await?.objects;
        let old_before = now_ms.saturating_sub(Millis::of(grace));
        let mut unnamed = Vec::new();
        for part in parts.into_iter().filter(|part| part.modified_ms < old_before) {
            let hash = part.key.strip_prefix(&prefix).and_then(|name| name.parse::<PartHash>().ok());
            unnamed.extend(hash.filter(|hash| !named.contains(hash)).map(|hash| (hash, part)));
        }
        if unnamed.is_empty() {
            return Ok(());
        }
        // A snapshot that was finished since the first look names parts as well, perhaps old ones.
        for listed in self.list(partition).await? {
            if collected.kept.contains(&listed.id) || collected.damaged.contains(&listed.id) {
                continue;
            }
            match self.manifest(listed.id).await {
                Ok(manifest) => named.extend(manifest.parts.iter().map(|part| part.hash)),
                Err(error) if error.is_about_snapshot() => collected.damaged.push(listed.id),
                Err(error) => return Err(error),
            }
        }
        if !collected.damaged.is_empty() {
            return Ok(());
        }
        unnamed.retain(|(hash, _)| !named.contains(hash));
        self.delete(unnamed.iter().map(|(_, part)| part.key.clone()).collect()).await?;
        collected.removed_parts = unnamed.len() as u64;
        collected.removed_bytes = unnamed.iter().map(|(_, part)| part.bytes).sum();
        Ok(())
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), SnapshotError> {
        let deletions = stream::iter(keys).map(|key| async move { self.store.delete(&key).await });
        Ok(deletions.buffer_unordered(REQUESTS_MAX).try_collect().await?)
    }
}
