//! A data folder from snapshots.

use std::path::PathBuf;
use std::sync::Arc;

use abide_model::id::{Millis, PartitionId};
use abide_model::table::{Sequences, Table};
use abide_snapshot::{Repository, SnapshotId};
use abide_storage::{
    DataDir, DataDirError, Expected, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, LogBatch, LogPosition,
    LogStore as _, LogWrite, Overlay, StateStore, load_rows,
};

use crate::exchange::Exchange;
use crate::load::{Loaded, blocking, load};
use crate::{Gap, RestoreError, applied, error, settings};

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

/// What was restored.
#[derive(Clone, Debug)]
pub struct Report {
    /// The cluster that the snapshots are of.
    pub from: String,
    /// The cluster that was founded.
    pub cluster_id: String,
    /// The partitions.
    pub partitions: Vec<Restored>,
    /// Messages between them that do not fit; see [`crate::exchange`].
    pub gaps: Vec<Gap>,
    /// Settings of the cluster that were carried over.
    pub settings: usize,
    /// Snapshots of the meta group that were passed over.
    pub passed: Vec<PassedOver>,
}

/// A partition that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The snapshot.
    pub id: SnapshotId,
    /// Time of its log: nothing later is there.
    pub log_time: Millis,
    /// When it was made.
    pub created_at: Millis,
    /// Rows.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Newer ones that were passed over.
    pub passed: Vec<PassedOver>,
}

/// A snapshot that looked newer, and could not be used.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// The snapshot.
    pub id: SnapshotId,
    /// The stable code of what is wrong with it.
    pub code: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Report {
    /// Messages that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.lost).sum()
    }

    /// Messages whose senders do not know of them.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.unknown).sum()
    }

    /// When the first and the last of the snapshots were made.
    #[must_use]
    pub fn span(&self) -> (Millis, Millis) {
        let times = || self.partitions.iter().map(|restored| restored.created_at);
        (times().min().unwrap_or_default(), times().max().unwrap_or_default())
    }
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
    let count = repository.cluster().partitions;
    let mut loaded = Vec::new();
    for partition in (0..count).map(PartitionId) {
        loaded.push(load(repository, partition, order.as_of, order.features, &store).await?);
    }
    let gaps = settle(&loaded, &*store, |partition| Overlay::new(partition.0, Arc::clone(&store)))?;
    let carried = settings::carry_over(repository, order.as_of, &store).await?;
    let keeps_id = order.cluster_id == repository.cluster().cluster_id;
    let mut writes = Vec::new();
    for partition in &loaded {
        writes.push(found(&*store, partition, keeps_id)?);
    }
    writes.extend(carried.log);
    let data = order.data.clone();
    // The tables first: a log without them would be refused, tables without a log are nobody's.
    blocking(move || {
        store.sync()?;
        drop(store);
        let mut log = FjallLog::open(&data.join("log"), FjallLogSettings::default())?;
        log.commit(&LogBatch { writes, sync: true })
    })
    .await?;
    DataDir::complete(&order.data, &identity(order, count))?;
    Ok(Report {
        from: repository.cluster().cluster_id.clone(),
        cluster_id: order.cluster_id.clone(),
        partitions: loaded.into_iter().map(Restored::from).collect(),
        gaps,
        settings: carried.settings,
        passed: carried.passed,
    })
}

/// Makes the numbers of messages fit.
fn settle<S: StateStore>(
    loaded: &[Loaded],
    store: &S,
    view: impl Fn(PartitionId) -> Overlay<S>,
) -> Result<Vec<Gap>, RestoreError> {
    let mut exchange = Exchange::default();
    for partition in loaded.iter().map(|loaded| loaded.id.partition) {
        exchange.read(partition, &view(partition)).map_err(error::rows(partition))?;
    }
    let (raises, gaps) = exchange.settle();
    for raise in raises {
        let key = Sequences::encode_key(&raise.key).into_vec().into();
        let value = Sequences::encode_value(&abide_model::table::SequenceRow { last: raise.last });
        load_rows(store, raise.partition.0, 0, [(key, value)])?;
    }
    Ok(gaps)
}

/// Makes a partition one of a single replica; returns where its log begins.
fn found<S: StateStore>(store: &S, loaded: &Loaded, keeps_id: bool) -> Result<LogWrite, RestoreError> {
    let partition = loaded.id.partition;
    let mut start = LogPosition { index: loaded.applied.index, term: loaded.applied.term };
    if keeps_id && loaded.highest > start.index {
        // What is saved from now on has to be newer than everything that is there under this id, sound or not.
        start = LogPosition { index: loaded.highest, term: start.term + 1 };
    }
    applied::write(store, partition, &applied::alone(loaded.applied.clone(), start))?;
    Ok(applied::log(partition, start))
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

impl From<Loaded> for Restored {
    fn from(loaded: Loaded) -> Self {
        let Loaded { id, manifest, passed, .. } = loaded;
        let (rows, bytes) = (manifest.rows(), manifest.raw_bytes());
        let meta = manifest.meta;
        Self { id, log_time: meta.log_time, created_at: meta.created_at, rows, bytes, passed }
    }
}
