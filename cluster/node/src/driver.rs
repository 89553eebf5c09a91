//! The driver: one thread that carries all partitions of a node through log, disk and tables.
//!
//! A turn of its loop takes what arrived, lets every partition make entries of it, writes all of them with one fsync,
//! applies what is committed, and hands out effects and answers. What arrives during the fsync is the next turn's
//! batch: under load batches grow by themselves, and an idle node waits for nothing.
//!
//! Nothing leaves before the fsync of what it depends on. When the log or the tables fail, the outcome of everything
//! under way is unknown, and the loop ends with [`Fatal`]: the process has to stop.

mod answer;
mod attempts;
mod checkpoint;
mod dispatch;
mod event;
#[cfg(feature = "testing")]
pub(crate) mod inspect;
mod load;
mod schedules;
mod waiters;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use abide_host::HostHandle;
use abide_model::command::{Body, Command, OutboxAck};
use abide_model::id::{InvocationId, PartitionId};
use abide_partition::{Input, Output, Partition, PartitionError, PartitionSettings};
use abide_sdk::Registry;
use abide_storage::{LogBatch, LogStore, LogWrite, Overlay, StateStore, StorageError};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use tokio::time::Instant;

use crate::clock;
use crate::engine::Retention;
use crate::metrics::{Completions, DriverMetrics};
use crate::schedule::Runner;
use answer::Answers;
use attempts::Attempts;
pub(crate) use checkpoint::CheckpointWriter;
use checkpoint::Checkpoints;
pub(crate) use event::{DriverHandle, Event, Query};
use schedules::DueSchedules;
use waiters::Waiters;

/// Length of a raft tick.
const TICK: Duration = Duration::from_millis(100);
/// How often gauges are refreshed.
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// How long an acknowledgement to another partition waits for company, so that it costs no fsync of its own.
const ACK_DELAY: Duration = Duration::from_millis(20);
/// Most events that one turn takes, so that a flood cannot delay the fsync of what is proposed.
const EVENTS_PER_TURN_MAX: usize = 4096;

/// The driver cannot go on; the process has to stop, and a restart finds everything that was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log or the state store failed: whether the last batch is durable is unknown.
    #[error("storage failed, the outcome of requests under way is unknown: {0}")]
    Storage(#[from] StorageError),
    /// A partition cannot go on.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The checkpoint thread ended.
    #[error("the checkpoint thread is gone")]
    CheckpointThread,
}

/// Bounds of the driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriverSettings {
    /// Number of partitions.
    pub(crate) partitions: u32,
    /// Bytes of all overlays together at which checkpoints begin; at twice as much proposals stop.
    pub(crate) overlay_bytes: usize,
    /// Longest time between two checkpoints of a partition with changes.
    pub(crate) checkpoint_interval: Duration,
    /// Most flows and retried turns with a running attempt.
    pub(crate) attempts: usize,
    /// How long what is completed is kept, where services and handlers do not say.
    pub(crate) retention: Retention,
    /// Who writes checkpoints.
    pub(crate) checkpoints: CheckpointWriter,
}

/// The state of the driver's thread.
pub(crate) struct Driver<L, S> {
    partitions: Vec<Slot<S>>,
    log: L,
    settings: DriverSettings,
    events: Receiver<Event>,
    host: HostHandle,
    /// Events for each shard of the host, gathered during a turn.
    outbox: Vec<Vec<abide_host::HostEvent>>,
    waiters: Waiters,
    answers: Answers,
    attempts: Attempts,
    /// Invocations whose attempt became due in this turn.
    starts: VecDeque<InvocationId>,
    schedules: DueSchedules,
    checkpoints: Checkpoints,
    activations: u64,
    deferred: VecDeque<DeferredAck>,
    metrics: DriverMetrics,
    completions: Completions,
    commands_since_sync: usize,
    next_tick: Instant,
    next_stats: Instant,
    stopping: bool,
    /// Who watches, in the test world.
    #[cfg(feature = "testing")]
    probe: Option<Arc<dyn inspect::Probe>>,
}

/// A partition and what the driver knows of it.
struct Slot<S> {
    partition: Partition<S>,
    /// Whether it may have something to do.
    dirty: bool,
    /// Commands proposed in this turn, with the time of the first.
    proposed_at: Option<Instant>,
    last_checkpoint: Instant,
}

/// An acknowledgement that waits for company.
struct DeferredAck {
    to: PartitionId,
    ack: OutboxAck,
    due: Instant,
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Opens all partitions from `log` and `state`.
    pub(crate) fn open(
        mut log: L,
        state: &Arc<S>,
        settings: DriverSettings,
        events: Receiver<Event>,
        host: HostHandle,
        registry: &Registry,
    ) -> Result<Self, Fatal> {
        let mut partitions = Vec::new();
        for id in 0..settings.partitions {
            let recovered = log.recover(id)?;
            let overlay = Overlay::new(id, Arc::clone(state));
            let options = PartitionSettings::single(PartitionId(id), settings.partitions);
            let partition = Partition::open(options, recovered, overlay)?;
            clock::raise(partition.stats().log_time);
            partitions.push(Slot { partition, dirty: true, proposed_at: None, last_checkpoint: Instant::now() });
        }
        let shards = host.shards();
        Ok(Self {
            partitions,
            log,
            events,
            outbox: (0..shards).map(|_| Vec::new()).collect(),
            host,
            waiters: Waiters::default(),
            answers: Answers::new(settings.partitions),
            attempts: Attempts::new(settings.attempts, registry),
            starts: VecDeque::new(),
            schedules: DueSchedules::new(Runner::new(registry.clone(), settings.retention)),
            checkpoints: Checkpoints::start(Arc::clone(state), settings.checkpoints),
            activations: 0,
            deferred: VecDeque::new(),
            metrics: DriverMetrics::new(settings.partitions),
            completions: Completions::new(registry),
            commands_since_sync: 0,
            next_tick: Instant::now(),
            next_stats: Instant::now(),
            stopping: false,
            #[cfg(feature = "testing")]
            probe: None,
            settings,
        })
    }

    /// Runs until it is told to stop, then writes everything out. `ready` is called when every partition leads.
    ///
    /// On an error the driver must be kept until the process has ended: dropping it would close databases that failed.
    pub(crate) fn run(&mut self, ready: impl FnOnce()) -> Result<(), Fatal> {
        self.lead()?;
        ready();
        while !self.stopping {
            self.wait()?;
            self.step()?;
        }
        self.close()
    }

    /// Brings every partition to leadership, with its tables complete.
    pub(crate) fn lead(&mut self) -> Result<(), Fatal> {
        for index in 0..self.partitions.len() {
            self.handle(index, Input::Campaign)?;
        }
        // The tables are complete only when all that the log holds is committed again: nobody may read before.
        while self.partitions.iter().any(|slot| slot.dirty) {
            self.pump()?;
        }
        self.start_attempts()?;
        self.flush_host();
        Ok(())
    }

    /// One turn of the loop with what is there; never waits for more.
    pub(crate) fn step(&mut self) -> Result<(), Fatal> {
        self.take_events()?;
        self.propose_due_acks()?;
        self.fire_schedules()?;
        self.pump()?;
        self.release_held()?;
        self.start_attempts()?;
        self.flush_host();
        self.begin_checkpoints()?;
        self.refresh_gauges();
        Ok(())
    }

    /// Takes what arrived.
    fn take_events(&mut self) -> Result<(), Fatal> {
        let events = self.events.clone();
        let done = self.checkpoints.done();
        loop {
            match done.try_recv() {
                Ok(done) => self.checkpointed(done)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(Fatal::CheckpointThread),
            }
        }
        for _ in 0..EVENTS_PER_TURN_MAX {
            if self.is_choked() {
                break;
            }
            let Ok(event) = events.try_recv() else { break };
            self.take(event)?;
        }
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            for index in 0..self.partitions.len() {
                self.handle(index, Input::Tick)?;
            }
        }
        let now = clock::now();
        for index in 0..self.partitions.len() {
            if self.partitions[index].partition.poll_timeout().is_some_and(|due| due <= now) {
                self.handle(index, Input::Wake)?;
            }
        }
        Ok(())
    }

    /// Sleeps until something arrives or is due. While checkpoints cannot keep up, requests do not count.
    fn wait(&mut self) -> Result<(), Fatal> {
        let wait = self.time_to_tick().min(self.time_to_work().unwrap_or(Duration::MAX));
        if wait.is_zero() {
            return Ok(());
        }
        let (events, done) = (self.events.clone(), self.checkpoints.done());
        if self.is_choked() {
            return match done.recv_timeout(wait) {
                Ok(done) => self.checkpointed(done),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => Err(Fatal::CheckpointThread),
            };
        }
        crossbeam_channel::select! {
            recv(events) -> event => match event {
                Ok(event) => self.take(event),
                Err(_) => {
                    self.stopping = true;
                    Ok(())
                }
            },
            recv(done) -> done => match done {
                Ok(done) => self.checkpointed(done),
                Err(_) => Err(Fatal::CheckpointThread),
            },
            default(wait) => Ok(()),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Fatal> {
        match event {
            Event::Order(order) => self.order(*order),
            Event::Query(query) => self.query(*query),
            Event::Stop => {
                self.stopping = true;
                Ok(())
            }
        }
    }

    /// Time to the next tick.
    fn time_to_tick(&self) -> Duration {
        self.next_tick.saturating_duration_since(Instant::now())
    }

    /// Time to the first thing that is due by itself, ticks apart; `None` when nothing is.
    pub(crate) fn time_to_work(&self) -> Option<Duration> {
        if !self.starts.is_empty() || self.can_fire() || self.partitions.iter().any(|slot| slot.dirty) {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let time = clock::now();
        let timers = self.partitions.iter().filter_map(|slot| slot.partition.poll_timeout());
        let timers = timers.map(|due| Duration::from_millis(due.0.saturating_sub(time.0)));
        let ack = self.deferred.front().map(|ack| ack.due.saturating_duration_since(now));
        timers.chain(ack).min()
    }

    /// Checkpoints cannot keep up: new work waits outside, where the bounded queue refuses it.
    fn is_choked(&self) -> bool {
        let bytes: usize = self.partitions.iter().map(|slot| slot.partition.view().bytes()).sum();
        bytes > 2 * self.settings.overlay_bytes
    }

    pub(crate) fn propose(&mut self, partition: PartitionId, command: Command) -> Result<(), Fatal> {
        let index = partition.0 as usize;
        self.partitions[index].proposed_at.get_or_insert_with(Instant::now);
        self.commands_since_sync += 1;
        self.handle(index, Input::Propose(command))
    }

    fn handle(&mut self, index: usize, input: Input) -> Result<(), Fatal> {
        let slot = &mut self.partitions[index];
        slot.dirty = true;
        Ok(slot.partition.handle(input, clock::now())?)
    }

    /// One round: what the partitions want written goes to the log at once, then they go on. Rounds that follow from it
    /// (a message to another partition) belong to the next turn, and share its fsync with what arrived meanwhile.
    fn pump(&mut self) -> Result<(), Fatal> {
        let mut batch = LogBatch::default();
        let mut writers = Vec::new();
        for index in 0..self.partitions.len() {
            if std::mem::take(&mut self.partitions[index].dirty)
                && let Some((write, sync)) = self.drain(index)?
            {
                batch.writes.push(write);
                batch.sync |= sync;
                writers.push(index);
            }
        }
        if writers.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        self.log.commit(&batch)?;
        let commands = std::mem::take(&mut self.commands_since_sync);
        self.metrics.synced(commands, started.elapsed());
        for index in writers {
            self.handle(index, Input::Persisted)?;
        }
        for index in 0..self.partitions.len() {
            if !self.partitions[index].dirty {
                continue;
            }
            // Effects and messages of what is committed now; a further write waits for the next round.
            self.drain_committed(index)?;
        }
        Ok(())
    }

    /// Carries out outputs of a partition until it wants something written.
    fn drain(&mut self, index: usize) -> Result<Option<(LogWrite, bool)>, Fatal> {
        while let Some(output) = self.partitions[index].partition.poll_output()? {
            if let Output::Persist { write, sync } = output {
                return Ok(Some((write, sync)));
            }
            self.carry_out(index, output)?;
        }
        Ok(None)
    }

    /// Carries out outputs that are there already, without making new entries.
    fn drain_committed(&mut self, index: usize) -> Result<(), Fatal> {
        while let Some(output) = self.partitions[index].partition.take_output() {
            self.carry_out(index, output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, index: usize, output: Output) -> Result<(), Fatal> {
        match output {
            Output::Persist { .. } => unreachable!("writes are taken by the caller"),
            Output::Leading { term } => {
                tracing::info!(partition = %self.partition_id(index), term, "leading");
                Ok(())
            }
            Output::Effect(effect) => {
                self.effect(effect);
                Ok(())
            }
            #[cfg(feature = "testing")]
            Output::Deliver { to, .. } if self.is_lost(self.partition_id(index), to) => Ok(()),
            Output::Deliver { to, delivery } => self.propose(to, Command::new(Body::Deliver(delivery))),
            Output::Acknowledge { to, ack } => {
                self.deferred.push_back(DeferredAck { to, ack, due: Instant::now() + ACK_DELAY });
                Ok(())
            }
            Output::Applied { commands, .. } => {
                self.metrics.entry_proposed(commands);
                self.metrics.applied(commands);
                if let Some(at) = self.partitions[index].proposed_at.take() {
                    self.metrics.committed(at.elapsed());
                }
                Ok(())
            }
        }
    }

    /// Acknowledgements go with the next entry of their partition, or alone when they have waited long enough.
    fn propose_due_acks(&mut self) -> Result<(), Fatal> {
        let now = Instant::now();
        let mut waiting = VecDeque::new();
        let mut due: std::collections::BTreeMap<(PartitionId, u32), OutboxAck> = std::collections::BTreeMap::new();
        for deferred in std::mem::take(&mut self.deferred) {
            let busy = self.partitions[deferred.to.0 as usize].dirty;
            if busy || deferred.due <= now {
                // The highest number says it for all below.
                due.entry((deferred.to, deferred.ack.by))
                    .and_modify(|ack| ack.up_to = ack.up_to.max(deferred.ack.up_to))
                    .or_insert(deferred.ack);
            } else {
                waiting.push_back(deferred);
            }
        }
        self.deferred = waiting;
        for ((to, _), ack) in due {
            self.propose(to, Command::new(Body::OutboxAck(ack)))?;
        }
        Ok(())
    }

    fn partition_id(&self, index: usize) -> PartitionId {
        PartitionId(u32::try_from(index).expect("partition numbers are u32"))
    }

    fn flush_host(&mut self) {
        for (shard, events) in self.outbox.iter_mut().enumerate() {
            if !events.is_empty() {
                self.host.deliver(shard, std::mem::take(events));
            }
        }
    }

    fn refresh_gauges(&mut self) {
        if Instant::now() < self.next_stats {
            return;
        }
        self.next_stats = Instant::now() + STATS_INTERVAL;
        for index in 0..self.partitions.len() {
            let id = self.partition_id(index);
            let partition = &self.partitions[index].partition;
            let stats = partition.stats();
            self.metrics.set_apply_lag(id, stats.committed - stats.applied);
            self.metrics.set_overlay_bytes(id, stats.overlay_bytes as u64);
            self.metrics.set_outbox(id, stats.unacknowledged);
            self.metrics.set_timers_due(id, load::timers_due(partition.view(), stats.timers_from, clock::now()));
            self.metrics.set_letters(id, load::letters(partition.view()));
        }
    }

    /// Writes the tables out, so that the next start has nothing to replay.
    fn close(&mut self) -> Result<(), Fatal> {
        self.flush_host();
        self.checkpoints.finish(&mut self.partitions)?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
