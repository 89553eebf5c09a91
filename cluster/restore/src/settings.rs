//! The settings of the cluster: all that is carried over of the meta group. Who belonged to the cluster, and where its
//! partitions were, is no longer so.

use std::sync::Arc;

use abide_model::id::{Millis, PartitionId};
use abide_model::table::{AppliedRow, Settings, Table};
use abide_snapshot::Repository;
use abide_storage::{LogPosition, LogWrite, StateStore, load_rows};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use crate::candidates::Candidates;
use crate::load::blocking;
use crate::{PassedOver, RestoreError, applied};

/// Where the restored meta group's log begins: behind the settings, as if its first entry had made them.
const START: LogPosition = LogPosition { index: 1, term: 1 };

/// What was carried over.
#[derive(Default)]
pub(crate) struct Carried {
    /// Number of settings.
    pub(crate) settings: usize,
    /// Beginning of the meta group's log, if it does not begin empty.
    pub(crate) log: Option<LogWrite>,
    pub(crate) passed: Vec<PassedOver>,
}

/// Writes the settings of the newest snapshot of the meta group; there need not be one.
pub(crate) async fn carry_over<S: StateStore>(
    repository: &Repository,
    as_of: Option<Millis>,
    store: &Arc<S>,
) -> Result<Carried, RestoreError> {
    let mut candidates = Candidates::of(repository, PartitionId::META, as_of).await?;
    while let Some((id, manifest)) = candidates.next().await? {
        match read(repository, &manifest).await {
            Ok(rows) if rows.is_empty() => break,
            Ok(rows) => {
                let settings = rows.len();
                let store = Arc::clone(store);
                blocking(move || load_rows(&*store, PartitionId::META.0, 0, rows).map(|()| store)).await.and_then(
                    |store| applied::write(&*store, PartitionId::META, &applied::alone(AppliedRow::default(), START)),
                )?;
                let log = Some(applied::log(PartitionId::META, START));
                return Ok(Carried { settings, log, passed: candidates.passed });
            }
            Err(RestoreError::Snapshot(error)) if error.is_about_snapshot() => candidates.pass(id, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(Carried { passed: candidates.passed, ..Carried::default() })
}

/// The rows of the settings.
async fn read(
    repository: &Repository,
    manifest: &abide_snapshot::Manifest,
) -> Result<Vec<(Bytes, Bytes)>, RestoreError> {
    let mut rows = Vec::new();
    let mut parts = std::pin::pin!(repository.read(manifest));
    while let Some(part) = parts.try_next().await? {
        rows.extend(part.filter(|(key, _)| key.first() == Some(&Settings::TAG)));
    }
    Ok(rows)
}
