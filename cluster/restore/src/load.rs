//! One partition: the newest snapshot that is sound to its last byte.

use std::sync::Arc;

use abide_model::id::{Millis, PartitionId};
use abide_model::table::AppliedRow;
use abide_snapshot::{Manifest, Repository, SnapshotId};
use abide_storage::{Overlay, StateStore, StorageError, drop_rows, load_rows};
use futures_util::TryStreamExt as _;

use crate::candidates::Candidates;
use crate::{PassedOver, RestoreError, applied};

/// Rows that are removed at once.
const SWEEP_ROWS: usize = 10_000;

/// A partition whose rows are in the store.
pub(crate) struct Loaded {
    pub(crate) id: SnapshotId,
    pub(crate) manifest: Manifest,
    pub(crate) applied: AppliedRow,
    /// The highest index that any snapshot of the partition claims.
    pub(crate) highest: u64,
    pub(crate) passed: Vec<PassedOver>,
}

/// Loads the rows of the newest snapshot of `partition` into the first generation of `store`.
pub(crate) async fn load<S: StateStore>(
    repository: &Repository,
    partition: PartitionId,
    as_of: Option<Millis>,
    features: u32,
    store: &Arc<S>,
) -> Result<Loaded, RestoreError> {
    let mut candidates = Candidates::of(repository, partition, as_of).await?;
    let highest = candidates.highest();
    while let Some((id, manifest)) = candidates.next().await? {
        // An older one might be readable, but it is not what whoever upgraded wants back.
        if manifest.meta.features > features {
            return Err(RestoreError::NewerFeatures { found: manifest.meta.features, known: features });
        }
        match load_one(repository, &manifest, store).await {
            Ok(applied) => return Ok(Loaded { id, manifest, applied, highest, passed: candidates.passed }),
            Err(RestoreError::Snapshot(error)) if error.is_about_snapshot() => {
                candidates.pass(id, &error);
                let store = Arc::clone(store);
                blocking(move || sweep(&*store, partition)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(candidates.exhausted(partition))
}

async fn load_one<S: StateStore>(
    repository: &Repository,
    manifest: &Manifest,
    store: &Arc<S>,
) -> Result<AppliedRow, RestoreError> {
    let partition = manifest.meta.partition;
    let mut parts = std::pin::pin!(repository.read(manifest));
    while let Some(part) = parts.try_next().await? {
        let store = Arc::clone(store);
        blocking(move || load_rows(&*store, partition.0, 0, part)).await?;
    }
    applied::read(&Overlay::new(partition.0, Arc::clone(store)), manifest)
}

fn sweep<S: StateStore>(store: &S, partition: PartitionId) -> Result<(), StorageError> {
    while drop_rows(store, partition.0, 0, SWEEP_ROWS)? {}
    Ok(())
}

/// Does `work` where it may take its time.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, RestoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| abide_snapshot::SnapshotError::Interrupted { reason: error.to_string() })??)
}
