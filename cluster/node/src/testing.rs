//! Tests of handlers against the real engine, in memory, with a virtual clock and one seed.
//!
//! A [`World`] is a node without sockets, threads and files: the same driver, partitions, rules and handler host, on one
//! thread, over model disks. How to use it is told at `abide::testing`, which offers these items to programs.
//!
//! | file | what it is |
//! |---|---|
//! | `run` | the loop: test, handlers and driver in turn; finds out that nothing can happen any more |
//! | `machine` | the simulated computer: two disks, and on them one process after the other |
//! | `disk` | the log, with a crash at a chosen sync |
//! | `transport` | the client that repeats what was not answered |
//! | `crashes` | a test again and again, with a crash at every commit |
//! | `shared` | what they share: trace, faults, the way into the process that runs |
//! | `trace`, `stuck`, `seed` | what a failing test prints |
//!
//! Time is tokio's, paused ([`crate::clock`] follows it); randomness comes from the seed (`random` is reseeded for
//! every process). Nothing else of the engine knows that it is in a world.

mod crashes;
mod disk;
mod machine;
mod run;
mod seed;
mod shared;
mod stuck;
mod trace;
mod transport;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use abide_host::Refusal;
use abide_model::effect::Answer;
use abide_model::id::{AwakeableId, InvocationId, Millis, ObjectId, ScheduleId};
use abide_model::protocol::{Failure, SignalId, SignalResult, Value};
use abide_sdk::{Client, Entity, Handlers, Registry, RegistryBuilder, Service};
use serde::Serialize;

pub use crate::engine::{EngineError, InvocationDetails};
pub use crashes::{Crashes, crash_at_every_commit};
use machine::{Machine, Plan};
use run::{Failed, Ran};
use shared::Shared;
use transport::WorldTransport;

use crate::clock;
use crate::engine::{Engine, Order, Retention};
use crate::schedule::{Schedule, ScheduleDetails};

/// 2026-01-01 00:00 UTC.
const EPOCH: Millis = Millis(1_767_225_600_000);
/// Turns of the driver that a test may wait for one await, unless it says otherwise.
const PATIENCE: u64 = 10_000;

/// On which side of becoming durable the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The commit is lost.
    Before,
    /// The commit is durable; nothing that follows from it was done.
    After,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// A crash to come.
#[derive(Clone, Copy, Debug)]
struct Crash {
    /// At which synced batch of the log, counted from 1 since the world began.
    commit: u64,
    side: Side,
}

/// What a [`World`] is made of.
#[must_use = "a world begins with `run`"]
pub struct WorldBuilder {
    registry: RegistryBuilder,
    schedules: Vec<Schedule>,
    partitions: u32,
    threads: usize,
    retention: Retention,
    suspend_after: Duration,
    idle: Duration,
    epoch: Millis,
    patience: u64,
    seed: Option<u64>,
}

impl WorldBuilder {
    /// Binds an object or a service.
    pub fn bind<T: Handlers>(mut self) -> Self {
        self.registry = self.registry.bind::<T>();
        self
    }

    /// Binds a service that `make` constructs: the way to give it doubles of what it needs.
    pub fn bind_with<T: Handlers + Service>(mut self, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.registry = self.registry.bind_with(make);
        self
    }

    /// Declares a schedule before the test begins. A later one replaces an earlier one of the same name.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.retain(|known| known.name != schedule.name);
        self.schedules.push(schedule);
        self
    }

    /// Number of partitions, at least 1. Default 4, so that most messages go from one to another.
    ///
    /// # Panics
    /// On 0.
    pub fn partitions(mut self, partitions: u32) -> Self {
        assert!(partitions > 0, "a world has at least one partition");
        self.partitions = partitions;
        self
    }

    /// The seed of all randomness, unless `ABIDE_SEED` gives another. Default: a new one for every run.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// What the virtual clock shows at the beginning. Default: 2026-01-01 00:00 UTC.
    pub fn starting_at(mut self, epoch: Millis) -> Self {
        self.epoch = epoch;
        self
    }

    /// How long results are kept. Default 24 h, as in a node.
    pub fn retention(mut self, retention: Duration) -> Self {
        let ms = Millis::of(retention);
        (self.retention.completed_ms, self.retention.workflow_ms) = (ms, ms);
        self
    }

    /// After how long a flow that only waits leaves memory. Default 30 s, as in a node.
    pub fn suspend_after(mut self, suspend_after: Duration) -> Self {
        self.suspend_after = suspend_after;
        self
    }

    /// After how long an unused object leaves memory; more than 0. Default 60 s, as in a node.
    ///
    /// # Panics
    /// On 0.
    pub fn idle(mut self, idle: Duration) -> Self {
        assert!(!idle.is_zero(), "an object stays in memory for a while");
        self.idle = idle;
        self
    }

    /// Most turns of the engine's loop that the test may wait for one of its awaits, [`World::advance`] apart; after that it
    /// fails, as something is repeated without end. Default 10 000.
    pub fn patience(mut self, turns: u64) -> Self {
        self.patience = turns;
        self
    }

    /// Runs a test in the world, on this thread, outside any runtime. When it fails, prints the trace and the seed.
    ///
    /// # Panics
    /// With the test's own panic, or when the test waits for something that never comes.
    pub fn run<T>(self, test: impl AsyncFnOnce(World) -> T) -> T {
        let seed = seed::choose(self.seed);
        let Ran { result, trace, .. } = self.seed(seed).execute(Vec::new(), test);
        let hint = || eprintln!("{trace}run the test again with {}={seed}", seed::VARIABLE);
        match result {
            Ok(value) => value,
            Err(Failed::Panic(panic)) => {
                hint();
                std::panic::resume_unwind(panic)
            }
            Err(Failed::Stuck(report)) => {
                hint();
                panic!("{report}")
            }
        }
    }

    /// Runs a test with the seed that was set.
    fn execute<T>(self, crashes: Vec<Crash>, test: impl AsyncFnOnce(World) -> T) -> Ran<T> {
        let plan = Plan {
            registry: self.registry.build(),
            partitions: self.partitions,
            threads: self.threads,
            retention: self.retention,
            suspend_after: self.suspend_after,
            idle: self.idle,
            seed: self.seed.unwrap_or_default(),
        };
        let schedules = self.schedules;
        run::run(plan, self.epoch, self.patience, crashes, async move |world: World| {
            for schedule in schedules {
                world.declare(schedule).await;
            }
            test(world).await
        })
    }
}

impl Default for WorldBuilder {
    fn default() -> Self {
        Self {
            registry: Registry::builder(),
            schedules: Vec::new(),
            partitions: 4,
            threads: 2,
            retention: Retention::from(&crate::config::Retention::default()),
            suspend_after: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            epoch: EPOCH,
            patience: PATIENCE,
            seed: None,
        }
    }
}

/// A node in memory, as its test sees it. See the [module](self).
pub struct World {
    inner: Rc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    machine: RefCell<Machine>,
    registry: Registry,
    epoch: Millis,
    seed: u64,
    /// Calls of [`World::advance`] under way.
    advancing: Cell<u32>,
    /// The test ordered a crash, with a downtime of this length.
    crash: Cell<Option<Duration>>,
    /// Who waits until nothing can happen without time passing.
    settling: RefCell<Vec<Waker>>,
}

impl World {
    /// A world without handlers yet.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Typed clients. Their requests survive crashes: they carry an idempotency key, and are repeated when the answer was
    /// lost.
    #[must_use]
    pub fn client(&self) -> Client {
        let (shared, registry) = (Arc::clone(&self.inner.shared), self.inner.registry.clone());
        Client::new(Arc::new(WorldTransport { shared, registry }))
    }

    /// Lets `span` of virtual time pass. Everything that becomes due on the way happens, in order; what can run at its end has
    /// run when it returns. Resolution: 1 ms.
    pub async fn advance(&self, span: Duration) {
        let _advancing = Advancing::begin(&self.inner.advancing);
        tokio::time::sleep(span).await;
        self.settle().await;
    }

    /// Lets everything happen that can without time passing.
    pub async fn settle(&self) {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            self.inner.settling.borrow_mut().push(cx.waker().clone());
            self.inner.shared.wake();
            Poll::Pending
        })
        .await;
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Millis {
        clock::now()
    }

    /// How much virtual time has passed since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_millis(clock::now().0.saturating_sub(self.inner.epoch.0))
    }

    /// The durable state of an object; what was never written is as its `Default`. Turns and flows that are under way do
    /// not show before they commit.
    ///
    /// # Panics
    /// When the stored fields do not fit `T`.
    #[must_use]
    pub fn state<T: Entity>(&self, key: &str) -> T {
        let object = ObjectId { service: T::NAME.to_owned(), key: key.to_owned() };
        let machine = self.inner.machine.borrow();
        let fields = machine.driver().state(&object).expect("the model disk can be read");
        T::load(&fields).unwrap_or_else(|error| panic!("the state of {}/{key}: {error}", T::NAME))
    }

    /// Everything known about an invocation; `None` when nothing is kept of it.
    #[must_use]
    pub fn invocation(&self, id: InvocationId) -> Option<InvocationDetails> {
        self.inner.machine.borrow().driver().invocation(id).expect("the model disk can be read")
    }

    /// Everything known about a schedule; `None` when there is none of this name.
    #[must_use]
    pub fn schedule(&self, name: &str) -> Option<ScheduleDetails> {
        let machine = self.inner.machine.borrow();
        machine.driver().schedule(ScheduleId::of(name)).expect("the model disk can be read")
    }

    /// Invocations that are not completed.
    #[must_use]
    pub fn unfinished(&self) -> Vec<InvocationDetails> {
        let machine = self.inner.machine.borrow();
        let ids = machine.driver().unfinished().expect("the model disk can be read");
        let details = ids.into_iter().map(|id| machine.driver().invocation(id));
        details.filter_map(|details| details.expect("the model disk can be read")).collect()
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn control(&self, id: InvocationId, order: Order) -> Result<Answer, EngineError> {
        self.ask(async |engine| engine.control(id, order.clone()).await).await
    }

    /// Completes an awakeable with a value.
    ///
    /// # Errors
    /// [`EngineError::Refused`]; [`EngineError::Invalid`] when the value does not encode.
    pub async fn resolve_awakeable(&self, id: AwakeableId, value: &impl Serialize) -> Result<Answer, EngineError> {
        let content = serde_json::to_vec(value)
            .map_err(|error| EngineError::Invalid { reason: format!("the value does not encode: {error}") })?;
        self.signal(id, SignalResult::Value(Value { content: content.into() })).await
    }

    /// Completes an awakeable with a failure.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn reject_awakeable(&self, id: AwakeableId, message: &str) -> Result<Answer, EngineError> {
        self.signal(id, SignalResult::Failure(Failure::new(500, message))).await
    }

    /// # Panics
    /// When the schedule is refused.
    async fn declare(&self, schedule: Schedule) {
        if let Err(error) = self.ask(async |engine| engine.schedules_declare(schedule.clone()).await).await {
            panic!("schedule `{}`: {error}", schedule.name);
        }
    }

    async fn signal(&self, id: AwakeableId, result: SignalResult) -> Result<Answer, EngineError> {
        self.ask(async |engine| engine.signal(id.invocation, SignalId::Index(id.signal), result.clone()).await).await
    }

    /// Asks the engine, again after every crash.
    async fn ask<T>(&self, ask: impl AsyncFn(Engine) -> Result<T, EngineError>) -> Result<T, EngineError> {
        loop {
            let life = self.inner.shared.life();
            let engine = self.inner.shared.engine().ok_or(Refusal::ShuttingDown)?;
            match ask(engine).await {
                Err(EngineError::Refused(Refusal::OutcomeUnknown | Refusal::ShuttingDown))
                    if self.inner.shared.life() != life => {}
                answer => return answer,
            }
        }
    }

    /// Lets the process die now, with everything in its memory and whatever is not durable. Another one has started when
    /// this returns, and has done what it can without time passing.
    pub async fn crash(&self) {
        self.down_for(Duration::ZERO).await;
    }

    /// As [`World::crash`], but the other process starts `span` later by the virtual time: what became due meanwhile is
    /// late. Timers of the test itself do not see that time.
    pub async fn down_for(&self, span: Duration) {
        self.inner.crash.set(Some(span));
        self.settle().await;
    }

    /// What can go wrong, to be switched on.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults { shared: &self.inner.shared }
    }

    /// Durable commits so far: synced batches of the log.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.shared.commits()
    }

    /// What happened so far, a line each, oldest first: commands when they were durable, effects when they were carried out.
    /// For people; the lines may change between versions. At most the last 10 000.
    #[must_use]
    pub fn trace(&self) -> String {
        self.inner.shared.trace_text()
    }

    /// The seed of the world.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.inner.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn new(shared: Arc<Shared>, plan: Plan, epoch: Millis) -> Rc<Self> {
        let (registry, seed) = (plan.registry.clone(), plan.seed);
        let machine = RefCell::new(Machine::new(plan, Arc::clone(&shared)));
        let (advancing, crash, settling) = (Cell::new(0), Cell::new(None), RefCell::default());
        Rc::new(Self { shared, machine, registry, epoch, seed, advancing, crash, settling })
    }
}

/// Counts one [`World::advance`], also when it is given up.
struct Advancing<'a>(&'a Cell<u32>);

impl<'a> Advancing<'a> {
    fn begin(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Advancing<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// What can go wrong in a world; everything is off at the beginning. What is switched on stays on over crashes.
#[derive(Clone, Copy)]
pub struct Faults<'a> {
    shared: &'a Shared,
}

impl Faults<'_> {
    /// The process dies at the commit that is `ahead` after the last one, counted from 1.
    pub fn crash_at_commit(&self, ahead: u64, side: Side) {
        self.shared.plan_crash(Crash { commit: self.shared.commits() + ahead, side });
    }

    /// Every write of the log takes this long: what arrives meanwhile shares it. Zero at the beginning.
    pub fn slow_log(&self, latency: Duration) {
        self.shared.set_log_latency(latency, latency);
    }

    /// Every write of the log takes a time of its own, up to `longest`, drawn from the seed in steps of 1 ms: each seed
    /// brings other things together.
    pub fn uneven_log(&self, longest: Duration) {
        self.shared.set_log_latency(Duration::ZERO, longest);
    }

    /// This share of the messages between partitions is lost on the way, from 0.0 to below 1.0; they are sent again.
    ///
    /// # Panics
    /// Outside that range.
    pub fn lose_messages(&self, share: f64) {
        assert!((0.0..1.0).contains(&share), "a share from 0.0 to below 1.0, not {share}");
        self.shared.set_loss(share);
    }
}

impl fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

/// How a test ends: without a value, or with a `Result`.
#[diagnostic::on_unimplemented(message = "a test returns `()` or a `Result`, not `{Self}`")]
pub trait TestOutcome {
    /// Panics when the test has failed.
    ///
    /// # Panics
    /// When the outcome is an error.
    fn assert_success(self);
}

impl TestOutcome for () {
    fn assert_success(self) {}
}

impl<E: fmt::Debug> TestOutcome for Result<(), E> {
    fn assert_success(self) {
        if let Err(error) = self {
            panic!("the test returned an error: {error:?}");
        }
    }
}
