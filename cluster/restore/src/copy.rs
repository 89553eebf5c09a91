//! Snapshots from the data folder of a node that does not run.

use std::path::PathBuf;
use std::sync::Arc;

use abide_model::id::{Millis, PartitionId};
use abide_model::table::{Applied, AppliedRow};
use abide_model::view::View;
use abide_snapshot::{Created, ObjectStore, Repository, SnapshotKind, SnapshotMeta};
use abide_storage::{
    DataDir, Expected, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, Identity, LogStore as _, Overlay,
    paged_rows,
};

use crate::{RestoreError, error};

/// Bytes of rows that are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// What is to be copied.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// The folder of the node, which must not run.
    pub data: PathBuf,
    /// Whether entries of the log that are not in the tables may be left out.
    pub allow_incomplete: bool,
    /// What time it is.
    pub now: Millis,
    /// The level of features that a reader has to know.
    pub features: u32,
}

/// A partition that was copied.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Its snapshot.
    pub created: Created,
    /// Entries of the log that it lacks.
    pub missing: u64,
}

/// Makes a snapshot of every partition that the folder of a stopped node holds, under the id of its cluster.
///
/// A node that was stopped properly has everything in its tables. After a crash the newest entries are in the log alone, and
/// are not copied: see [`RestoreError::Incomplete`].
///
/// # Errors
/// [`RestoreError`]; snapshots that were made by then stay.
pub async fn copy(store: Arc<dyn ObjectStore>, order: &CopyOrder) -> Result<Vec<Copied>, RestoreError> {
    let identity = DataDir::look(&order.data)?.ok_or_else(|| RestoreError::NoNode { path: order.data.clone() })?;
    // Nobody else uses the folder as long as this is held.
    let folder = DataDir::open_or_create(&order.data, &expected(&identity))?;
    let mut log = FjallLog::open(&folder.log_dir(), FjallLogSettings::default())?;
    let state = Arc::new(FjallState::open(&folder.state_dir(), FjallStateSettings::default())?);
    let mut found = Vec::new();
    for partition in (0..identity.partitions).map(PartitionId).chain([PartitionId::META]) {
        let recovered = log.recover(partition.0)?;
        if recovered.owner.is_some_and(|owner| owner.removed) {
            continue;
        }
        let view = Overlay::open(partition.0, recovered.generation, Arc::clone(&state));
        let Some(applied) = view.get::<Applied>(&()).map_err(error::rows(partition))? else { continue };
        let missing = recovered.last().index.saturating_sub(applied.index);
        if missing > 0 && !order.allow_incomplete {
            return Err(RestoreError::Incomplete { partition, entries: missing });
        }
        found.push((partition, applied, missing, view.export()?));
    }
    let repository = Repository::open_or_create(store, &identity.cluster_id, identity.partitions).await?;
    let mut copied = Vec::new();
    for (partition, applied, missing, export) in found {
        let rows = paged_rows(move |after| export.page(after, PAGE_BYTES));
        let created = repository.create(meta(partition, &applied, identity.node_id, order), rows).await?;
        copied.push(Copied { created, missing });
    }
    Ok(copied)
}

fn meta(partition: PartitionId, applied: &AppliedRow, node_id: u64, order: &CopyOrder) -> SnapshotMeta {
    SnapshotMeta {
        kind: if partition == PartitionId::META { SnapshotKind::Meta } else { SnapshotKind::Partition },
        partition,
        index: applied.index,
        term: applied.term,
        log_time: Millis(applied.log_time),
        state_hash: applied.state_hash,
        node_id,
        features: order.features,
        created_at: order.now,
    }
}

fn expected(identity: &Identity) -> Expected {
    Expected {
        cluster: Some(identity.cluster_id.clone()),
        node: Some(identity.node_id),
        partitions: identity.partitions,
        cluster_id_if_new: identity.cluster_id.clone(),
        node_id_if_new: identity.node_id,
        store_uuid_if_new: identity.store_uuid.clone(),
    }
}
