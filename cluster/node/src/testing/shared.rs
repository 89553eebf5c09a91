//! What the parts of a world share. All of them are on one thread; the locks are there because the ways into the engine
//! may be sent between threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use abide_model::effect::Effect;
use abide_model::id::PartitionId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::trace::Trace;
use super::{Crash, Side};
use crate::client::LocalTransport;
use crate::driver::inspect::Probe;
use crate::engine::Engine;

/// Shared by everything in a world.
pub(super) struct Shared(Mutex<Inner>);

struct Inner {
    trace: Trace,
    faults: Faults,
    /// Synced batches of the log since the world began.
    commits: u64,
    /// The process that runs now; it counts from 1.
    life: u64,
    engine: Option<Engine>,
    /// Idempotency keys that were given to requests without one.
    keys: u64,
    /// Wakes the loop of the world.
    root: Option<Waker>,
}

/// What goes wrong, and when.
struct Faults {
    random: ChaCha8Rng,
    /// Crashes to come, by the number of the commit.
    crashes: Vec<Crash>,
    /// Share of deliveries between partitions that are lost.
    loss: f64,
    /// How long a write of the log takes: at least, and at most.
    log_latency: (Duration, Duration),
}

impl Shared {
    pub(super) fn new(seed: u64, crashes: Vec<Crash>) -> Arc<Self> {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let faults = Faults { random, crashes, loss: 0.0, log_latency: (Duration::ZERO, Duration::ZERO) };
        let trace = Trace::default();
        let inner = Inner { trace, faults, commits: 0, life: 0, engine: None, keys: 0, root: None };
        Arc::new(Self(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the trace.
    pub(super) fn trace(&self, write: impl FnOnce(&mut Trace)) {
        write(&mut self.inner().trace);
    }

    pub(super) fn trace_text(&self) -> String {
        self.inner().trace.text()
    }

    pub(super) fn commits(&self) -> u64 {
        self.inner().commits
    }

    /// A batch is about to be synced: whether the process crashes there, and on which side.
    pub(super) fn commit(&self) -> Option<Side> {
        let mut inner = self.inner();
        inner.commits += 1;
        let number = inner.commits;
        let at = inner.faults.crashes.iter().position(|crash| crash.commit == number)?;
        Some(inner.faults.crashes.swap_remove(at).side)
    }

    pub(super) fn plan_crash(&self, crash: Crash) {
        self.inner().faults.crashes.push(crash);
    }

    pub(super) fn set_loss(&self, loss: f64) {
        self.inner().faults.loss = loss;
    }

    pub(super) fn set_log_latency(&self, least: Duration, most: Duration) {
        self.inner().faults.log_latency = (least, most);
    }

    /// How long the next write of the log takes.
    pub(super) fn draw_log_latency(&self) -> Duration {
        let mut inner = self.inner();
        let (least, most) = inner.faults.log_latency;
        if least == most {
            return least;
        }
        let span = u64::try_from((most - least).as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        least + Duration::from_millis(inner.faults.random.next_u64() % span)
    }

    /// Another process begins; returns its number.
    pub(super) fn next_life(&self) -> u64 {
        let mut inner = self.inner();
        inner.life += 1;
        inner.life
    }

    pub(super) fn life(&self) -> u64 {
        self.inner().life
    }

    pub(super) fn set_engine(&self, engine: Option<Engine>) {
        // Dropped outside the lock: the last handle of an engine drops what waits in it.
        let old = std::mem::replace(&mut self.inner().engine, engine);
        drop(old);
    }

    /// The way into the process that runs now; none after the world has ended.
    pub(super) fn engine(&self) -> Option<Engine> {
        self.inner().engine.clone()
    }

    pub(super) fn transport(&self) -> Option<LocalTransport> {
        self.engine().map(LocalTransport::new)
    }

    /// A fresh idempotency key.
    pub(super) fn next_key(&self) -> String {
        let mut inner = self.inner();
        inner.keys += 1;
        format!("world-{}", inner.keys)
    }

    pub(super) fn set_root(&self, waker: &Waker) {
        let mut inner = self.inner();
        if !inner.root.as_ref().is_some_and(|root| root.will_wake(waker)) {
            inner.root = Some(waker.clone());
        }
    }

    /// Lets the loop of the world look at what is to be done.
    pub(super) fn wake(&self) {
        let root = self.inner().root.clone();
        if let Some(root) = root {
            root.wake();
        }
    }
}

impl Probe for Shared {
    fn effect(&self, effect: &Effect) {
        self.trace(|trace| trace.effect(effect));
    }

    fn is_lost(&self, from: PartitionId, to: PartitionId) -> bool {
        /// 2^32.
        const RANGE: f64 = 4_294_967_296.0;
        let mut inner = self.inner();
        if inner.faults.loss <= 0.0 {
            return false;
        }
        let lost = f64::from(inner.faults.random.next_u32()) / RANGE < inner.faults.loss;
        if lost {
            inner.trace.line(&format!("lost        messages from {from} to {to}"));
        }
        lost
    }
}
