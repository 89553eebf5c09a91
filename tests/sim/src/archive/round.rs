//! A round of a process: the state of what it leads, taken together and sent one after the other by the product's own code.
//! In between there are only requests to the store, so a run can stop it wherever it likes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use abide_snapshot::{
    Collected, Created, PartSizes, PointerMove, Repository, Retry, RetryPolicy, SnapshotError, SnapshotMeta,
};
use bytes::Bytes;

use super::bucket::CLUSTER;
use super::post::Post;

/// Further attempts at once: what takes time in a run is the store.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 3,
    attempt_timeout: Duration::from_hours(1),
    pause: Duration::ZERO,
    pause_max: Duration::ZERO,
};

/// A partition's state at one entry of its log.
pub(crate) struct Export {
    pub(crate) meta: SnapshotMeta,
    pub(crate) rows: Vec<(Bytes, Bytes)>,
}

/// How snapshots are made and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) partitions: u32,
    pub(crate) sizes: PartSizes,
    pub(crate) keep: usize,
    /// In ms of the store's clock.
    pub(crate) grace_ms: u64,
}

/// What became of one partition.
pub(crate) struct Made {
    pub(crate) partition: u32,
    pub(crate) created: Result<Created, SnapshotError>,
    pub(crate) collected: Option<Result<Collected, SnapshotError>>,
}

/// How a process reaches its snapshots.
#[derive(Clone, Default)]
pub(crate) struct Way {
    pub(crate) post: Post,
    /// Once it is opened.
    repository: Arc<OnceLock<Repository>>,
}

/// A round under way.
pub(crate) struct Round {
    /// When it began.
    pub(crate) since: u64,
    clock: Arc<AtomicU64>,
    work: Pin<Box<dyn Future<Output = Vec<Made>> + Send>>,
}

impl Round {
    pub(crate) fn new(since: u64, way: &Way, exports: Vec<Export>, rules: Rules) -> Self {
        let clock = Arc::new(AtomicU64::new(0));
        let work = Box::pin(all(way.clone(), exports, rules, Arc::clone(&clock)));
        Self { since, clock, work }
    }

    /// Goes on as far as it can. `now_ms` is the time by the store's clock.
    pub(crate) fn go_on(&mut self, now_ms: u64) -> Option<Vec<Made>> {
        self.clock.store(now_ms, Ordering::Relaxed);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        while flag.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(made) = self.work.as_mut().poll(&mut cx) {
                return Some(made);
            }
        }
        None
    }
}

/// Whether there is more to do.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn all(way: Way, exports: Vec<Export>, rules: Rules, clock: Arc<AtomicU64>) -> Vec<Made> {
    let mut all = Vec::new();
    for export in exports {
        let partition = export.meta.partition.0;
        let (created, collected) = match one(&way, export, rules, &clock).await {
            Ok((created, collected)) => (Ok(created), collected),
            Err(error) => (Err(error), None),
        };
        // The others would wait as long for nothing.
        let down = created.as_ref().is_err_and(SnapshotError::is_retryable);
        all.push(Made { partition, created, collected });
        if down {
            break;
        }
    }
    all
}

async fn one(
    way: &Way,
    Export { meta, rows }: Export,
    rules: Rules,
    clock: &AtomicU64,
) -> Result<(Created, Option<Result<Collected, SnapshotError>>), SnapshotError> {
    let partition = meta.partition;
    let repository = match way.repository.get() {
        Some(repository) => repository.clone(),
        None => {
            let store = Arc::new(Retry::new(Arc::new(way.post.clone()), RETRY));
            let repository = Repository::open_or_create(store, CLUSTER, rules.partitions).await?.on_calling_thread();
            way.repository.get_or_init(|| repository).clone()
        }
    };
    let rows = rows.into_iter().map(Ok::<_, std::convert::Infallible>);
    let created = repository.create_with_sizes(meta, rows, rules.sizes).await?;
    if created.pointer != PointerMove::Moved {
        return Ok((created, None));
    }
    let (grace, now_ms) = (Duration::from_millis(rules.grace_ms), clock.load(Ordering::Relaxed));
    let collected = repository.collect(partition, rules.keep, grace, now_ms).await;
    Ok((created, Some(collected)))
}
