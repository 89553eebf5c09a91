//! One round: the state of some partitions, taken together and sent one after the other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use abide_model::id::{Millis, PartitionId};
use abide_model::setting::SNAPSHOT_KEEP;
use abide_snapshot::{Created, PointerMove, Repository, SnapshotError, SnapshotKind, SnapshotMeta};
use abide_storage::paged_rows;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Archive;
use crate::clock;
use crate::cluster::Saved;
use crate::cluster::wire::SavedPartition;
use crate::driver::{Exported, PeerInput};

/// Bytes of rows that are read at once.
const PAGE_BYTES: usize = 1 << 20;
/// How long the driver may take to hand out the state: a checkpoint is in its way, perhaps on a slow disk.
const EXPORT_PATIENCE: Duration = Duration::from_secs(60);
/// Parts that no snapshot names are removed when they are older: far more than any upload takes, and than the age up to
/// which an upload relies on them ([`abide_snapshot::REUSE_AGE`]).
const GRACE: Duration = Duration::from_hours(24);

const _: () = assert!(GRACE.as_secs() > 8 * abide_snapshot::REUSE_AGE.as_secs());

/// What became of a round.
pub(super) struct Round {
    pub(super) saved: Vec<SavedPartition>,
    /// Whether the next one should wait.
    pub(super) failed: bool,
}

/// Why a partition was not saved.
#[derive(Debug, thiserror::Error)]
enum NotSaved {
    #[error("this node does not lead it (any more)")]
    NotHere,
    #[error("its state was not to be had in time")]
    NoExport,
    #[error("the one before failed: {0}")]
    StoreDown(String),
    #[error("{0} ({code})", code = .0.code())]
    Snapshot(#[from] SnapshotError),
}

impl Archive {
    /// Saves partitions, all as of one moment.
    pub(super) async fn round(&self, partitions: &[PartitionId]) -> Round {
        let mut round = Round { saved: Vec::new(), failed: false };
        let mut down: Option<String> = None;
        // That of the whole round, and no later than what it holds.
        let moment = Millis(clock::wall());
        for (partition, exported) in self.exports(partitions).await {
            let saved = match (exported, &down) {
                (_, Some(reason)) => Err(NotSaved::StoreDown(reason.clone())),
                (Ok(exported), None) => self.make(exported, moment).await,
                (Err(error), None) => Err(error),
            };
            match saved {
                Ok(saved) => round.saved.push(saved),
                Err(error) => {
                    let failure = error.to_string();
                    if let NotSaved::Snapshot(error) = &error
                        && error.is_retryable()
                    {
                        // It was tried several times: the others would wait as long for nothing.
                        down = Some(failure.clone());
                    }
                    self.note(partition, &error, &mut round);
                    round.saved.push(SavedPartition { partition: partition.0, failure, ..SavedPartition::default() });
                }
            }
        }
        round
    }

    fn note(&self, partition: PartitionId, error: &NotSaved, round: &mut Round) {
        match error {
            // Another node leads it now, and saves it.
            NotSaved::NotHere | NotSaved::Snapshot(SnapshotError::Superseded { .. }) => {
                tracing::info!(%partition, %error, "not saved here");
            }
            _ => {
                tracing::warn!(%partition, %error, "a snapshot was not made");
                self.0.metrics.failed();
                round.failed = true;
            }
        }
    }

    /// The state of partitions, all of it taken in one turn of the driver.
    async fn exports(&self, partitions: &[PartitionId]) -> Vec<(PartitionId, Result<Arc<Exported>, NotSaved>)> {
        let (mut wanted, mut coming) = (Vec::new(), Vec::new());
        for id in partitions {
            let (ready, export) = oneshot::channel();
            wanted.push((*id, ready));
            coming.push((*id, export));
        }
        let until = Instant::now() + EXPORT_PATIENCE;
        let asked = self.0.driver.mail(PeerInput::Snapshots(wanted));
        let mut exports = Vec::new();
        for (id, export) in coming {
            let exported = if asked { tokio::time::timeout_at(until, export).await.ok() } else { None };
            exports.push((
                id,
                match exported {
                    Some(exported) => exported.map_err(|_| NotSaved::NotHere),
                    None => Err(NotSaved::NoExport),
                },
            ));
        }
        exports
    }

    /// Sends one, and removes what it makes superfluous.
    async fn make(&self, exported: Arc<Exported>, moment: Millis) -> Result<SavedPartition, NotSaved> {
        let started = Instant::now();
        let repository = self.repository().await?;
        let partition = exported.partition;
        let meta = self.meta(&exported, moment);
        let rows = paged_rows(move |after| {
            exported.rows.lock().unwrap_or_else(PoisonError::into_inner).page(after, PAGE_BYTES)
        });
        let created = repository.create(meta, rows).await?;
        let meta = &created.manifest.meta;
        let bytes = created.manifest.stored_bytes();
        self.0.cluster.note_saved(partition, Saved { index: meta.index, created_at: meta.created_at, bytes });
        self.0.metrics.made(started.elapsed(), &created);
        tracing::info!(snapshot = %created.id, bytes, uploaded = created.uploaded_bytes, "a snapshot is made");
        if created.pointer == PointerMove::Moved {
            self.collect(repository, partition).await;
        }
        Ok(self.outcome(&created))
    }

    fn meta(&self, exported: &Exported, moment: Millis) -> SnapshotMeta {
        let Exported { partition, point, log_time, state_hash, .. } = exported;
        SnapshotMeta {
            kind: if *partition == PartitionId::META { SnapshotKind::Meta } else { SnapshotKind::Partition },
            partition: *partition,
            index: point.index,
            term: point.term,
            log_time: *log_time,
            state_hash: *state_hash,
            node_id: u64::from(self.0.cluster.node().0),
            features: self.0.cluster.wanted().cluster.features,
            // It is compared with the store's clock and with those of other nodes.
            created_at: moment,
        }
    }

    /// What is too much in the store. It does no harm there: a failure is for the next time.
    async fn collect(&self, repository: &Repository, partition: PartitionId) {
        let keep = self.0.cluster.wanted().number(&SNAPSHOT_KEEP);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        match repository.collect(partition, keep, GRACE, clock::wall()).await {
            Ok(collected) => {
                self.0.metrics.removed(collected.removed.len());
                if !collected.damaged.is_empty() {
                    tracing::warn!(%partition, damaged = ?collected.damaged, "there are snapshots that are not sound");
                }
            }
            Err(error) => tracing::warn!(%partition, code = error.code(), %error, "old snapshots were not removed"),
        }
    }

    fn outcome(&self, created: &Created) -> SavedPartition {
        let meta = &created.manifest.meta;
        SavedPartition {
            partition: meta.partition.0,
            failure: String::new(),
            id: created.id.to_string(),
            index: meta.index,
            created_at: meta.created_at.0,
            rows: created.manifest.rows(),
            bytes: created.manifest.stored_bytes(),
            uploaded_bytes: created.uploaded_bytes,
            uploaded_parts: created.uploaded_parts,
            reused_parts: created.reused_parts,
            node: self.0.cluster.node().0,
        }
    }
}
