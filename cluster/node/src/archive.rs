//! The archive: the state of partitions, saved outside of the nodes again and again, and on demand.
//!
//! Each node saves what it leads. A round takes the state of all of these partitions at one moment, between two commands of
//! any of them, and uploads them one after the other; rounds of all nodes begin at the same multiples of the interval. So
//! what is in the store at any time is of nearly one moment, and on one node of exactly one ([`abide_snapshot`] has the store,
//! `ops/decisions/0016` says what that is worth).
//!
//! Nothing that serves waits for this. A store that is down costs the age of the newest snapshot, which a metric tells.

mod backoff;
mod due;
mod keeper;
mod round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use abide_model::id::PartitionId;
use abide_snapshot::{Location, Repository, RetryPolicy, S3Credentials, SnapshotError, open};
use tokio::sync::{OnceCell, mpsc, oneshot};

use crate::cluster::wire::SavedPartition;
use crate::cluster::{Cluster, Saved};
use crate::config;
use crate::driver::DriverHandle;
use crate::metrics::ArchiveMetrics;

/// Most orders that wait for the one that is carried out.
const ORDERS_MAX: usize = 16;
/// Attempts at what the store cannot do at once: a longer outage is for the next round.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 4,
    attempt_timeout: Duration::from_secs(60),
    pause: Duration::from_millis(250),
    pause_max: Duration::from_secs(4),
};

/// An order to save partitions that this node leads.
struct Order {
    partitions: Vec<PartitionId>,
    done: oneshot::Sender<Vec<SavedPartition>>,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// Too many wait.
    #[error("other snapshots are to be made before; try again later")]
    Busy,
    /// The node ends.
    #[error("the node is stopping")]
    Stopping,
}

/// The archive of a node. Clones share it.
#[derive(Clone)]
pub(crate) struct Archive(Arc<Inner>);

struct Inner {
    place: Place,
    cluster: Cluster,
    driver: DriverHandle,
    metrics: ArchiveMetrics,
    orders: mpsc::Sender<Order>,
    repository: OnceCell<Repository>,
}

/// Where snapshots lie, and of which cluster.
pub(crate) struct Place {
    location: Location,
    credentials: S3Credentials,
    cluster_id: String,
    partitions: u32,
}

impl Place {
    /// Where the configuration says; `None` when it names no place.
    pub(crate) fn of(config: &config::Snapshot, cluster_id: &str, partitions: u32) -> Option<Self> {
        // A place that is none was a fault of the configuration.
        let location = config.to.parse().ok()?;
        let credentials = if config.access_key_id.is_empty() {
            S3Credentials::Chain
        } else {
            S3Credentials::Static {
                access_key_id: config.access_key_id.clone(),
                secret_access_key: config.secret_access_key.expose().to_owned(),
                session_token: None,
            }
        };
        Some(Self { location, credentials, cluster_id: cluster_id.to_owned(), partitions })
    }

    async fn open(&self) -> Result<Repository, SnapshotError> {
        let store = open(&self.location, self.credentials.clone(), RETRY).await?;
        Repository::open_or_create(store, &self.cluster_id, self.partitions).await
    }
}

/// Orders on their way to [`Archive::keep`].
pub(crate) struct Orders(mpsc::Receiver<Order>);

impl Archive {
    pub(crate) fn new(place: Place, cluster: Cluster, driver: DriverHandle) -> (Self, Orders) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let metrics = ArchiveMetrics::new(place.partitions);
        let inner = Inner { place, cluster, driver, metrics, orders, repository: OnceCell::new() };
        (Self(Arc::new(inner)), Orders(receiver))
    }

    /// The snapshots of the cluster; opened when they are needed for the first time, since the store may be down.
    pub(crate) async fn repository(&self) -> Result<&Repository, SnapshotError> {
        self.0.repository.get_or_try_init(|| self.0.place.open()).await
    }

    /// Saves partitions, of which this node should lead all; behind what is being saved already.
    pub(crate) async fn save(&self, partitions: Vec<PartitionId>) -> Result<Vec<SavedPartition>, NotTaken> {
        let (done, made) = oneshot::channel();
        self.0.orders.try_send(Order { partitions, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::Busy,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Stopping,
        })?;
        made.await.map_err(|_| NotTaken::Stopping)
    }

    /// All groups that can be saved.
    pub(crate) fn groups(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.0.place.partitions).map(PartitionId).chain([PartitionId::META])
    }
}

/// What the store has of a partition: the newest snapshot whose manifest can be read.
async fn newest(repository: &Repository, partition: PartitionId) -> Result<Option<Saved>, SnapshotError> {
    let mut by_index: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for listed in repository.list(partition).await? {
        by_index.entry(listed.id.index).or_default().push(listed.id);
    }
    for (_, ids) in by_index.into_iter().rev() {
        // Several of one index are those of a partition that stands still.
        let mut newest: Option<Saved> = None;
        for id in ids {
            match repository.manifest(id).await {
                Ok(manifest) => {
                    let created_at = manifest.meta.created_at;
                    if newest.is_none_or(|newest| created_at > newest.created_at) {
                        newest = Some(Saved { index: id.index, created_at, bytes: manifest.stored_bytes() });
                    }
                }
                Err(error) if error.is_about_snapshot() => {}
                Err(error) => return Err(error),
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}
