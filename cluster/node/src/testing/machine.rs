//! The simulated computer of a world: two disks, and on them one process after the other.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use abide_host::{Host, HostSettings};
use abide_sdk::Registry;
use abide_storage::{MemLog, MemState};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::disk::WorldLog;
use super::shared::Shared;
use crate::cluster::Cluster;
use crate::driver::inspect::Probe;
use crate::driver::{Driver, DriverHandle, DriverSettings, FOUNDER, Fatal, Surroundings, Writers};
use crate::engine::{Engine, Retention};
use crate::{clock, random};

/// Most crashes in a row while a process starts; more can only come from a plan without end.
const STARTS_MAX: u32 = 1_000;
/// Spreads the lives of one seed over the seeds.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a world is made of.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) registry: Registry,
    pub(super) partitions: u32,
    pub(super) threads: usize,
    pub(super) retention: Retention,
    pub(super) suspend_after: Duration,
    pub(super) idle: Duration,
    pub(super) seed: u64,
}

pub(super) struct Machine {
    plan: Plan,
    shared: Arc<Shared>,
    log: MemLog,
    state: MemState,
    process: Option<Process>,
    /// When the write that is wanted now is done, on a slow disk.
    busy_until: Option<Instant>,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stepped {
    Done,
    /// Another process runs.
    Crashed,
}

/// One life of the node.
struct Process {
    // Dropped in this order: what handlers say while they are dropped reaches nobody.
    driver: Driver<WorldLog, MemState>,
    tasks: LocalSet,
    _host: Host,
}

impl Machine {
    /// Empty disks; nothing runs yet.
    pub(super) fn new(plan: Plan, shared: Arc<Shared>) -> Self {
        Self { plan, shared, log: MemLog::new(), state: MemState::new(), process: None, busy_until: None }
    }

    /// Starts the process, again when it crashes meanwhile. Needs the runtime.
    pub(super) fn start(&mut self) {
        for _ in 0..STARTS_MAX {
            match self.open() {
                Ok(()) => return,
                Err(fatal) => self.lose(&fatal.to_string()),
            }
        }
        panic!("the world's node crashed {STARTS_MAX} times while it started");
    }

    /// The process dies, with everything that is not durable; another one starts.
    pub(super) fn crash(&mut self, why: &str) {
        self.lose(why);
        self.start();
    }

    /// As [`Machine::crash`]; the other process starts after `span`. Only the clock tells it how long that was.
    pub(super) fn crash_for(&mut self, span: Duration) {
        self.lose("ordered by the test");
        clock::skip(span);
        self.start();
    }

    /// Ends the process for good.
    pub(super) fn end(&mut self) {
        self.shared.set_engine(None);
        self.process = None;
    }

    fn lose(&mut self, why: &str) {
        self.shared.trace(|trace| trace.line(&format!("CRASH       {why}")));
        self.end();
        self.busy_until = None;
        self.log.crash(0);
        self.state.crash(0);
    }

    fn open(&mut self) -> Result<(), Fatal> {
        let life = self.shared.next_life();
        self.shared.trace(|trace| trace.line(&format!("START       life {life}")));
        // Every life has numbers of its own, or it would give its invocations the ids of the one before.
        let seed = self.plan.seed.wrapping_add(life.wrapping_mul(GOLDEN_RATIO));
        random::reseed(seed);
        let Plan { registry, partitions, threads, retention, suspend_after, idle, .. } = self.plan.clone();
        let host_settings = HostSettings {
            partitions,
            threads,
            retention_ms: retention.completed_ms,
            workflow_retention_ms: retention.workflow_ms,
            journal_retention_ms: retention.journal_ms,
            suspend_after,
            idle,
            clock: clock::now,
            seed: Some(seed),
            ..HostSettings::default()
        };
        let (handle, events) = DriverHandle::new(host_settings.mailbox);
        let tasks = LocalSet::new();
        let host = {
            let _entered = tasks.enter();
            Host::start_in_place(&registry, &handle, host_settings).expect("the settings are in range")
        };
        let settings = DriverSettings {
            partitions,
            node: FOUNDER,
            meta: false,
            overlay_bytes: 1 << 20,
            checkpoint_interval: Duration::from_secs(5),
            attempts: 10_000,
            retention,
            writers: Writers::InPlace,
            evidence: None,
        };
        let log = WorldLog { disk: self.log.clone(), shared: Arc::clone(&self.shared) };
        let state = Arc::new(self.state.clone());
        let cluster = Cluster::new(FOUNDER);
        let surroundings = Surroundings {
            events,
            host: host.handle(),
            cluster: cluster.clone(),
            post: None,
            snapshots: None,
            lender: None,
        };
        let mut driver = Driver::open(log, &state, settings, surroundings, &registry)?;
        driver.watch(Arc::clone(&self.shared) as Arc<dyn Probe>);
        driver.lead()?;
        let engine = Engine::new(registry, handle, host.handle(), partitions, retention, cluster, None);
        self.shared.set_engine(Some(engine));
        self.process = Some(Process { driver, tasks, _host: host });
        Ok(())
    }

    /// The driver of the process that runs.
    pub(super) fn driver(&self) -> &Driver<WorldLog, MemState> {
        &self.process.as_ref().expect("a process runs until the world ends").driver
    }

    /// Lets handlers run that can; wakes `cx` when more can. A new process has to be polled once.
    pub(super) fn run_handlers(&mut self, cx: &mut Context<'_>) {
        if let Some(process) = &mut self.process {
            // It is ready when no task is left, which only says that the host has stopped.
            let _ = Pin::new(&mut process.tasks).poll(cx);
        }
    }

    /// Time to the next [`Machine::step`] that does something; `None` when only a new event can bring one about.
    pub(super) fn time_to_step(&mut self) -> Option<Duration> {
        let due = self.process.as_ref()?.driver.time_to_step()?;
        if !due.is_zero() {
            return Some(due);
        }
        let now = Instant::now();
        let until = *self.busy_until.get_or_insert_with(|| now + self.shared.draw_log_latency());
        Some(until.saturating_duration_since(now))
    }

    /// One turn of the driver. A crash in it is followed by another process.
    pub(super) fn step(&mut self) -> Stepped {
        self.busy_until = None;
        let Some(process) = &mut self.process else { return Stepped::Done };
        match process.driver.step() {
            Ok(()) => Stepped::Done,
            Err(fatal) => {
                self.crash(&fatal.to_string());
                Stepped::Crashed
            }
        }
    }
}
