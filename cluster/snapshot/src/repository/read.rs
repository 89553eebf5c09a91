//! Finding, checking and reading snapshots.

use abide_model::id::PartitionId;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::{PARTS_HELD_MAX, Repository};
use crate::{
    Manifest, PartDescriptor, PartReader, PartSequence, SnapshotError, SnapshotId, limits::PART_STORED_BYTES_ACCEPTED,
};

/// The newest snapshot of a partition that can be restored.
#[derive(Debug)]
pub struct Latest {
    /// The snapshot.
    pub id: SnapshotId,
    /// What it consists of; all its parts were there a moment ago.
    pub manifest: Manifest,
    /// Newer ones, and the pointer, that were passed over. Not empty means that somebody should look.
    pub skipped: Vec<Skipped>,
}

/// Something that looked like a snapshot and is none.
#[derive(Debug)]
pub struct Skipped {
    /// The snapshot; `None` for the pointer.
    pub id: Option<SnapshotId>,
    /// What is wrong with it.
    pub error: SnapshotError,
}

/// What is wrong with a snapshot, if anything.
#[derive(Debug)]
pub struct Verified {
    /// The snapshot's manifest, which is sound.
    pub manifest: Manifest,
    /// What is wrong with its parts.
    pub faults: Vec<SnapshotError>,
}

impl Repository {
    /// The newest snapshot of a partition that is sound as far as its manifest and the sizes of its parts tell.
    ///
    /// The manifests count, not the pointer: one that was left behind by a crash or put back by somebody hides nothing, and
    /// one that names a snapshot which the listing does not show yet adds it.
    ///
    /// # Errors
    /// All that a store may fail with. Damage is no error here, unless nothing sound is left: then it is that of the newest
    /// snapshot.
    pub async fn latest(&self, partition: PartitionId) -> Result<Option<Latest>, SnapshotError> {
        self.newest(partition, None).await
    }

    /// The same among the snapshots before `id`: what to read when the content of `id` turns out to be damaged.
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub async fn latest_before(&self, id: SnapshotId) -> Result<Option<Latest>, SnapshotError> {
        self.newest(id.partition, Some(id)).await
    }

    async fn newest(
        &self,
        partition: PartitionId,
        before: Option<SnapshotId>,
    ) -> Result<Option<Latest>, SnapshotError> {
        let mut skipped = Vec::new();
        let mut candidates: Vec<_> = self.list(partition).await?.into_iter().map(|listed| listed.id).collect();
        let mut pointed = None;
        match self.pointer(partition).await? {
            None => {}
            Some((Ok(pointer), _)) => {
                candidates.push(pointer.snapshot);
                pointed = Some(pointer);
            }
            Some((Err(error), _)) => skipped.push(Skipped { id: None, error }),
        }
        candidates.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
        candidates.dedup();
        candidates.retain(|id| before.is_none_or(|before| *id < before));
        for id in candidates {
            let pointed = pointed.as_ref().filter(|pointer| pointer.snapshot == id);
            match self.restorable(id, pointed.map(|pointer| &pointer.checksum)).await {
                Ok(manifest) => return Ok(Some(Latest { id, manifest, skipped })),
                Err(error) if error.is_about_snapshot() => {
                    tracing::warn!(snapshot = %id, code = error.code(), %error, "a snapshot cannot be used");
                    skipped.push(Skipped { id: Some(id), error });
                }
                Err(error) => return Err(error),
            }
        }
        match skipped.into_iter().next() {
            Some(skipped) => Err(skipped.error),
            None => Ok(None),
        }
    }

    /// The manifest of a snapshot whose parts are all there.
    async fn restorable(&self, id: SnapshotId, checksum: Option<&[u8; 32]>) -> Result<Manifest, SnapshotError> {
        let manifest = self.manifest(id).await?;
        if checksum.is_some_and(|checksum| manifest.checksum() != *checksum) {
            let reason = "its checksum is not the one of the pointer".into();
            return Err(SnapshotError::Damaged { object: self.manifest_key(id), reason });
        }
        match self.look_at_parts(&manifest).await?.into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(manifest),
        }
    }

    /// Checks a snapshot: its manifest and the sizes of its parts, and with `deep` the content of all parts, which reads
    /// all of them.
    ///
    /// # Errors
    /// What is wrong with the manifest, and all that a store may fail with. Faults of parts are in the answer.
    pub async fn verify(&self, id: SnapshotId, deep: bool) -> Result<Verified, SnapshotError> {
        let manifest = self.manifest(id).await?;
        if !deep {
            let faults = self.look_at_parts(&manifest).await?;
            return Ok(Verified { manifest, faults });
        }
        let mut faults = Vec::new();
        let mut sequence = PartSequence::new();
        {
            let mut parts = std::pin::pin!(self.opened(manifest.meta.partition, manifest.parts.clone()));
            while let Some(part) = parts.next().await {
                match part.and_then(|part| Ok(sequence.accept(&part)?)) {
                    Err(error) if error.is_about_snapshot() => faults.push(error),
                    result => result?,
                }
            }
        }
        Ok(Verified { manifest, faults })
    }

    /// The parts of a snapshot in order, each checked before it is handed out. Some are fetched ahead: at most five are in
    /// memory.
    ///
    /// Ends behind the first error. The receiver must not use what it has before the end: only then is it a snapshot.
    pub fn read(&self, manifest: &Manifest) -> impl Stream<Item = Result<PartReader, SnapshotError>> + Send + use<> {
        let owner = self.check_owner("the manifest to be read", manifest);
        let parts = manifest.parts.clone();
        let repository = self.clone();
        let partition = manifest.meta.partition;
        let mut sequence = PartSequence::new();
        let parts = stream::once(async move { owner.map(|()| repository.opened(partition, parts)) });
        let parts = parts.try_flatten().and_then(move |part| {
            let accepted = sequence.accept(&part);
            async move { accepted.map(|()| part).map_err(SnapshotError::from) }
        });
        until_error(parts)
    }

    /// Fetches and opens parts, each by itself.
    fn opened(
        &self,
        partition: PartitionId,
        parts: Vec<PartDescriptor>,
    ) -> impl Stream<Item = Result<PartReader, SnapshotError>> + Send + use<> {
        let repository = self.clone();
        let fetches = stream::iter(parts).map(move |part| {
            let repository = repository.clone();
            async move { repository.fetch(partition, part).await }
        });
        fetches.buffered(PARTS_HELD_MAX)
    }

    /// Fetches a part and checks it where that may take its time.
    async fn fetch(&self, partition: PartitionId, part: PartDescriptor) -> Result<PartReader, SnapshotError> {
        let key = self.part_key(partition, part.hash);
        let object = self.store.get(&key, part.stored_bytes.min(PART_STORED_BYTES_ACCEPTED)).await?;
        if self.on_calling_thread {
            return Ok(PartReader::open(&part, &object.bytes)?);
        }
        let opened = tokio::task::spawn_blocking(move || PartReader::open(&part, &object.bytes)).await;
        Ok(opened.map_err(|error| SnapshotError::Interrupted { reason: error.to_string() })??)
    }
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// The stream up to and including its first error.
fn until_error(
    stream: impl Stream<Item = Result<PartReader, SnapshotError>> + Send,
) -> impl Stream<Item = Result<PartReader, SnapshotError>> + Send {
    let mut is_over = false;
    stream.take_while(move |item| {
        let take = !is_over;
        is_over = item.is_err();
        async move { take }
    })
}
