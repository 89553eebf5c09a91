//! Making a snapshot.

use std::{error::Error, sync::Mutex, time::Duration};

use abide_model::id::PartitionId;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::{PARTS_HELD_MAX, Repository};
use crate::{
    Manifest, Part, PartBuilder, PartDescriptor, PartHash, PartSizes, SnapshotError, SnapshotId, SnapshotMeta,
    StoreError, limits::PARTS_MAX, pointer::Pointer,
};

/// A part that no snapshot names, but that is already in the store, is used only if it is younger than this: an older one may be
/// about to be collected. The grace of [`collect`](Repository::collect) has to exceed this and the longest upload.
pub const REUSE_AGE: Duration = Duration::from_mins(15);

/// Attempts to move the pointer against others who move it at the same time. Each failure is another's success, and who
/// succeeds has made a whole snapshot in between.
const POINTER_ATTEMPTS_MAX: usize = 10;

/// Parts that wait between the thread that makes them and the tasks that send them.
const PARTS_QUEUED_MAX: usize = 1;

/// A snapshot that was stored and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Created {
    /// What it consists of.
    pub manifest: Manifest,
    /// Its name.
    pub id: SnapshotId,
    /// Parts that were sent.
    pub uploaded_parts: u64,
    /// Their stored bytes.
    pub uploaded_bytes: u64,
    /// Parts that were in the store already.
    pub reused_parts: u64,
    /// What became of the pointer.
    pub pointer: PointerMove,
}

/// Whether a snapshot became the newest one of its partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PointerMove {
    /// It did.
    Moved,
    /// A newer one was finished in the meantime; this one is sound, but will be collected before that.
    Kept(SnapshotId),
}

impl Repository {
    /// Makes a snapshot of rows that come in the order of their keys.
    ///
    /// The rows are read, cut and compressed on a thread of their own and may block. At most six parts (of 8 MiB, or of one
    /// larger row) are in memory. When this fails, or is dropped, the newest snapshot is still the one before; what was sent is
    /// used by the next attempt or collected.
    ///
    /// # Errors
    /// [`SnapshotError::Superseded`] if there is a newer one, [`SnapshotError::Rows`] if the rows fail,
    /// [`PartError`](crate::PartError) if they are out of order or too large, [`SnapshotError::Damaged`] and the like if what is
    /// in the store afterwards is not what was sent, and all that a store may fail with.
    pub async fn create<I, E>(&self, meta: SnapshotMeta, rows: I) -> Result<Created, SnapshotError>
    where
        I: Iterator<Item = Result<(Bytes, Bytes), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.create_with_sizes(meta, rows, PartSizes::default()).await
    }

    /// As [`create`](Self::create) with parts of other sizes, for tests.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn create_with_sizes<I, E>(
        &self,
        meta: SnapshotMeta,
        rows: I,
        sizes: PartSizes,
    ) -> Result<Created, SnapshotError>
    where
        I: Iterator<Item = Result<(Bytes, Bytes), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut manifest = Manifest {
            cluster_id: self.cluster.cluster_id.clone(),
            partitions: self.cluster.partitions,
            meta,
            parts: Vec::new(),
        };
        manifest.check_new()?;
        let known = self.known_parts(&manifest).await?;
        let upload = self.upload(&manifest, rows, sizes, &known).await?;
        manifest.parts = upload.parts;
        let (stored, checksum) = manifest.encode_checked()?;
        let id = manifest.id_with(&checksum);
        let key = self.manifest_key(id);
        match self.store.put_if_absent(&key, stored.clone()).await {
            // An earlier attempt with the same outcome. That it is the same is looked at next.
            Ok(_) | Err(StoreError::PreconditionFailed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if self.manifest(id).await? != manifest {
            let reason = "it is not the manifest that was written".into();
            return Err(SnapshotError::Damaged { object: key, reason });
        }
        if let Some(fault) = self.look_at_parts(&manifest).await?.into_iter().next() {
            return Err(fault);
        }
        let pointer = self.move_pointer(id, checksum).await?;
        Ok(Created {
            id,
            manifest,
            uploaded_parts: upload.uploaded_parts,
            uploaded_bytes: upload.uploaded_bytes,
            reused_parts: upload.reused_parts,
            pointer,
        })
    }

    /// The parts of the newest snapshot: what [`collect`](Self::collect) keeps while this one is made.
    async fn known_parts(&self, new: &Manifest) -> Result<Known, SnapshotError> {
        let partition = new.meta.partition;
        let mut known = Known { hashes: Vec::new(), young_since_ms: 0 };
        let age = u64::try_from(REUSE_AGE.as_millis()).expect("a constant of minutes");
        known.young_since_ms = new.meta.created_at.0.saturating_sub(age);
        let newest = match self.pointer(partition).await? {
            Some((Ok(pointer), _)) => pointer.snapshot,
            // Nothing is known to be kept then: what is not young is sent again.
            None | Some((Err(_), _)) => return Ok(known),
        };
        if newest.index > new.meta.index {
            return Err(SnapshotError::Superseded { index: new.meta.index, newest });
        }
        match self.manifest(newest).await {
            Ok(manifest) => known.hashes = manifest.parts.into_iter().map(|part| part.hash).collect(),
            Err(error) if error.is_about_snapshot() => {
                tracing::warn!(snapshot = %newest, %error, "the newest snapshot cannot be read; a whole one is made");
            }
            Err(error) => return Err(error),
        }
        known.hashes.sort_unstable();
        Ok(known)
    }

    /// Sends the parts that the store does not have.
    async fn upload<I, E>(
        &self,
        manifest: &Manifest,
        rows: I,
        sizes: PartSizes,
        known: &Known,
    ) -> Result<Upload, SnapshotError>
    where
        I: Iterator<Item = Result<(Bytes, Bytes), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let parts = Parts::new(rows, sizes);
        if self.on_calling_thread {
            return self.send(manifest.meta.partition, stream::iter(parts), known).await;
        }
        let (sender, receiver) = mpsc::channel(PARTS_QUEUED_MAX);
        let builder = tokio::task::spawn_blocking(move || hand_on(parts, &sender));
        let parts = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
        let upload = self.send(manifest.meta.partition, parts, known).await;
        // The receiver is gone by now, so the builder ends at its next part if it has not already.
        builder.await.map_err(|error| SnapshotError::Interrupted { reason: error.to_string() })?;
        upload
    }

    /// Sends those of the parts that the store does not have.
    async fn send(
        &self,
        partition: PartitionId,
        parts: impl Stream<Item = Result<Part, SnapshotError>>,
        known: &Known,
    ) -> Result<Upload, SnapshotError> {
        let upload = Mutex::new(Upload::default());
        let sent = parts.map(|part| async {
            let part = part?;
            let is_there = match self.look_at_part(partition, &part.descriptor).await {
                Ok(modified_ms) => known.has(part.descriptor.hash) || modified_ms >= known.young_since_ms,
                Err(error) if error.is_about_snapshot() => false,
                Err(error) => return Err(error),
            };
            if !is_there {
                self.store.put(&self.part_key(partition, part.descriptor.hash), part.bytes).await?;
            }
            let mut upload = upload.lock().expect("nobody panics while counting");
            if is_there {
                upload.reused_parts += 1;
            } else {
                upload.uploaded_parts += 1;
                upload.uploaded_bytes += part.descriptor.stored_bytes;
            }
            Ok::<_, SnapshotError>(part.descriptor)
        });
        let descriptors: Result<Vec<PartDescriptor>, _> = sent.buffered(PARTS_HELD_MAX).try_collect().await;
        let mut upload = upload.into_inner().expect("nobody panics while counting");
        upload.parts = descriptors?;
        Ok(upload)
    }

    /// Makes a verified snapshot the newest, unless there is a newer one.
    async fn move_pointer(&self, id: SnapshotId, checksum: [u8; 32]) -> Result<PointerMove, SnapshotError> {
        let key = self.pointer_key(id.partition);
        let new = Pointer { cluster_id: self.cluster.cluster_id.clone(), snapshot: id, checksum };
        for _ in 0..POINTER_ATTEMPTS_MAX {
            let result = match self.pointer(id.partition).await? {
                None => self.store.put_if_absent(&key, new.encode()).await,
                Some((Ok(found), _)) if found == new => return Ok(PointerMove::Moved),
                Some((Ok(found), _)) if found.snapshot.index > id.index => {
                    return Ok(PointerMove::Kept(found.snapshot));
                }
                Some((Ok(_), Some(tag))) => self.store.put_if_match(&key, new.encode(), &tag).await,
                Some((Err(error), Some(tag))) => {
                    // What it pointed to is unknown. The manifests know what is newest.
                    let newest = self.list(id.partition).await?.into_iter().map(|listed| listed.id);
                    for newer in newest.take_while(|newest| newest.index > id.index) {
                        match self.manifest(newer).await {
                            Ok(_) => return Ok(PointerMove::Kept(newer)),
                            Err(error) if error.is_about_snapshot() => {}
                            Err(error) => return Err(error),
                        }
                    }
                    tracing::warn!(snapshot = %id, %error, "a damaged pointer is replaced");
                    self.store.put_if_match(&key, new.encode(), &tag).await
                }
                Some((Err(error), None)) => return Err(error),
                Some((Ok(_), None)) => unreachable!("a pointer that was read has a version"),
            };
            match result {
                Ok(_) => return Ok(PointerMove::Moved),
                // Somebody moved it, or this did and the answer was lost.
                Err(StoreError::PreconditionFailed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let reason = format!("it changed {POINTER_ATTEMPTS_MAX} times while it was to be moved");
        Err(StoreError::Unavailable { action: "move", key, reason }.into())
    }
}

/// Which parts need not be sent if the store has them.
struct Known {
    /// Those of the newest snapshot, sorted.
    hashes: Vec<PartHash>,
    young_since_ms: u64,
}

impl Known {
    fn has(&self, hash: PartHash) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }
}

#[derive(Default)]
struct Upload {
    parts: Vec<PartDescriptor>,
    uploaded_parts: u64,
    uploaded_bytes: u64,
    reused_parts: u64,
}

/// The parts that rows are cut into. Ends behind the first error.
struct Parts<I> {
    rows: I,
    /// None once all rows are cut, or cannot be.
    builder: Option<PartBuilder>,
    count: usize,
}

impl<I> Parts<I> {
    fn new(rows: I, sizes: PartSizes) -> Self {
        Self { rows, builder: Some(PartBuilder::with_sizes(sizes)), count: 0 }
    }
}

impl<I, E> Parts<I>
where
    I: Iterator<Item = Result<(Bytes, Bytes), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    /// The next part, with the builder as long as there may be more.
    fn cut(&mut self, mut builder: PartBuilder) -> Result<Option<Part>, SnapshotError> {
        for row in &mut self.rows {
            let (key, value) = row.map_err(|error| SnapshotError::Rows { reason: error.into().to_string() })?;
            let Some(part) = builder.push(key, &value)? else { continue };
            self.count += 1;
            if self.count >= PARTS_MAX {
                let (found, max) = (self.count as u64 + 1, PARTS_MAX as u64);
                return Err(SnapshotError::LimitExceeded { what: "parts", found, max });
            }
            self.builder = Some(builder);
            return Ok(Some(part));
        }
        Ok(builder.finish()?)
    }
}

impl<I, E> Iterator for Parts<I>
where
    I: Iterator<Item = Result<(Bytes, Bytes), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Item = Result<Part, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let builder = self.builder.take()?;
        self.cut(builder).transpose()
    }
}

/// Hands parts on until nobody takes them any more.
fn hand_on(
    parts: impl Iterator<Item = Result<Part, SnapshotError>>,
    sender: &mpsc::Sender<Result<Part, SnapshotError>>,
) {
    for part in parts {
        if sender.blocking_send(part).is_err() {
            return;
        }
    }
}
