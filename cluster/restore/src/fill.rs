//! Tables from snapshots, in whatever store they are to be.

use std::sync::Arc;

use abide_model::id::{Millis, PartitionId};
use abide_model::table::{SequenceRow, Sequences, Table};
use abide_snapshot::{Repository, SnapshotId};
use abide_storage::{LogPosition, LogWrite, Overlay, StateStore, load_rows};

use crate::exchange::Exchange;
use crate::load::{Loaded, load};
use crate::{Gap, RestoreError, applied, error, settings};

/// What is to be restored, and as what.
#[derive(Clone, Debug)]
pub struct FillOrder {
    /// Only snapshots made by then count.
    pub as_of: Option<Millis>,
    /// The id of the cluster that is founded.
    pub cluster_id: String,
    /// The level of features that this build has.
    pub features: u32,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Filled {
    /// Where the logs begin that belong to the tables. To be written when these are durable.
    pub log: Vec<LogWrite>,
    /// What was found and what became of it.
    pub report: Report,
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

/// Fills an empty store with the newest sound snapshot of every partition, each with one replica, on node 1.
///
/// # Errors
/// [`RestoreError`]; what is in the store then is of no use.
pub async fn fill<S: StateStore>(
    repository: &Repository,
    order: &FillOrder,
    store: &Arc<S>,
) -> Result<Filled, RestoreError> {
    let mut loaded = Vec::new();
    for partition in (0..repository.cluster().partitions).map(PartitionId) {
        loaded.push(load(repository, partition, order.as_of, order.features, store).await?);
    }
    let gaps = settle(&loaded, &**store, |partition| Overlay::new(partition.0, Arc::clone(store)))?;
    let carried = settings::carry_over(repository, order.as_of, store).await?;
    let keeps_id = order.cluster_id == repository.cluster().cluster_id;
    let mut log = Vec::new();
    for partition in &loaded {
        log.push(found(&**store, partition, keeps_id)?);
    }
    log.extend(carried.log);
    let report = Report {
        from: repository.cluster().cluster_id.clone(),
        cluster_id: order.cluster_id.clone(),
        partitions: loaded.into_iter().map(Restored::from).collect(),
        gaps,
        settings: carried.settings,
        passed: carried.passed,
    };
    Ok(Filled { log, report })
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
        let value = Sequences::encode_value(&SequenceRow { last: raise.last });
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

impl From<Loaded> for Restored {
    fn from(loaded: Loaded) -> Self {
        let Loaded { id, manifest, passed, .. } = loaded;
        let (rows, bytes) = (manifest.rows(), manifest.raw_bytes());
        let meta = manifest.meta;
        Self { id, log_time: meta.log_time, created_at: meta.created_at, rows, bytes, passed }
    }
}
