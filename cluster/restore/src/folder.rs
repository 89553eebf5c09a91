//! A data folder from snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use abide_model::id::Millis;
use abide_snapshot::Repository;
use abide_storage::{
    DataDir, DataDirError, Expected, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, LogBatch,
    LogStore as _, StateStore as _,
};

use crate::RestoreError;
use crate::fill::{FillOrder, Filled, Report, fill};
use crate::load::blocking;

/// What is to be restored, and as what.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The folder, which is empty or missing.
    pub data: PathBuf,
    /// Only snapshots made by then count.
    pub as_of: Option<Millis>,
    /// The id of the cluster that is founded; that of the snapshots only when the old cluster will never be again.
    pub cluster_id: String,
    /// The identity of the new disk, which nothing ever had.
    pub store_uuid: String,
    /// The level of features that this build has.
    pub features: u32,
}

/// Fills a folder with the newest sound snapshot of every partition, as node 1 of a new cluster. The next start of a node on
/// it founds the cluster; others join as always.
///
/// Members of the groups are forgotten: each has one replica, on node 1. Numbers of messages between partitions are made to
/// fit ([`crate::exchange`]). Of the meta group only settings are carried over.
///
/// # Errors
/// [`RestoreError::NotEmpty`] before anything is written; anything else may leave a folder on which no node starts.
pub async fn restore(repository: &Repository, order: &RestoreOrder) -> Result<Report, RestoreError> {
    DataDir::prepare(&order.data).map_err(|error| match error {
        DataDirError::NotADataDir { path, reason } => RestoreError::NotEmpty { path, reason: reason.to_owned() },
        error => error.into(),
    })?;
    let store = Arc::new(FjallState::open(&order.data.join("state"), FjallStateSettings::default())?);
    let RestoreOrder { as_of, features, .. } = *order;
    let order_of_rows = FillOrder { as_of, cluster_id: order.cluster_id.clone(), features };
    let Filled { log: writes, report } = fill(repository, &order_of_rows, &store).await?;
    let data = order.data.clone();
    // The tables first: a log without them would be refused, tables without a log are nobody's.
    blocking(move || {
        store.sync()?;
        drop(store);
        let mut log = FjallLog::open(&data.join("log"), FjallLogSettings::default())?;
        log.commit(&LogBatch { writes, sync: true })
    })
    .await?;
    DataDir::complete(&order.data, &identity(order, repository.cluster().partitions))?;
    Ok(report)
}

fn identity(order: &RestoreOrder, partitions: u32) -> Expected {
    Expected {
        cluster: None,
        node: None,
        partitions,
        cluster_id_if_new: order.cluster_id.clone(),
        node_id_if_new: 1,
        store_uuid_if_new: order.store_uuid.clone(),
    }
}
