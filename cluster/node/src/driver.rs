//! The driver: one thread that carries all partitions of a node through log, disk and tables.
//!
//! A turn of its loop takes what arrived, lets every partition make entries of it, writes all of them with one fsync,
//! applies what is committed, and hands out effects and answers. What arrives during the fsync is the next turn's
//! batch: under load batches grow by themselves, and an idle node waits for nothing. In a cluster a thread of its own does the
//! fsync, only so that one that hangs does not make the node deaf ([`log`], [`disk`]).
//!
//! Nothing leaves before the fsync of what it depends on. When the log or the tables fail, the outcome of everything
//! under way is unknown, and the loop ends with [`Fatal`]: the process has to stop.

mod answer;
mod attempts;
mod checkpoint;
mod disk;
mod disk_health;
mod dispatch;
mod event;
mod evidence;
#[cfg(feature = "testing")]
pub(crate) mod inspect;
mod load;
mod loans;
mod log;
mod mail;
mod replicas;
mod rounds;
mod schedules;
mod snapshots;
mod status;
mod waiters;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use abide_host::HostHandle;
use abide_model::command::{Body, Command, OutboxAck};
use abide_model::id::{InvocationId, Millis, NodeId, PartitionId};
use abide_partition::{Input, Output, Partition, PartitionError};
use abide_sdk::Registry;
use abide_storage::{LogBatch, LogStore, LogWrite, StateStore, StorageError};
use crossbeam_channel::{Receiver, TryRecvError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock;
use crate::cluster::{Cluster, Post};
use crate::engine::Retention;
use crate::metrics::{Completions, DriverMetrics};
use crate::schedule::Runner;
use answer::Answers;
use attempts::Attempts;
use checkpoint::Checkpoints;
use disk::Disk;
pub(crate) use event::{DriverHandle, Event, Events, Overtaken, PeerInput, Query};
use loans::Loans;
pub(crate) use loans::{Lender, Loan, LoanEvent, News};
use log::Log;
use mail::Outgoing;
pub(crate) use mail::decode_frame;
pub(crate) use replicas::FOUNDER;
use rounds::{ReadNames, Rounds};
use schedules::DueSchedules;
use snapshots::Exports;
pub(crate) use snapshots::{Exported, Sender as SnapshotSender, Sending};
use waiters::Waiters;

/// Length of a raft tick. An election begins after 8 to 14 of them without a leader.
const TICK: Duration = Duration::from_millis(50);
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
    /// The log's thread ended, and the log with it.
    #[error("the log's thread is gone")]
    LogThread,
}

/// Who writes to the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Threads of their own, one for the log and one for checkpoints: a disk that hangs does not make the node deaf.
    Threads,
    /// The driver itself, at once: everything happens in one order.
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only the test world has one thread for all"))]
    InPlace,
}

/// Bounds of the driver.
#[derive(Clone, Debug)]
pub(crate) struct DriverSettings {
    /// Number of partitions.
    pub(crate) partitions: u32,
    /// This node.
    pub(crate) node: NodeId,
    /// Whether it keeps the meta group, without which it cannot have company.
    pub(crate) meta: bool,
    /// Bytes of all overlays together at which checkpoints begin; at twice as much proposals stop.
    pub(crate) overlay_bytes: usize,
    /// Longest time between two checkpoints of a partition with changes.
    pub(crate) checkpoint_interval: Duration,
    /// Most flows and retried turns with a running attempt.
    pub(crate) attempts: usize,
    /// How long what is completed is kept, where services and handlers do not say.
    pub(crate) retention: Retention,
    /// Who writes to the disks.
    pub(crate) writers: Writers,
    /// Where to save what a replica has that is found to be wrong.
    pub(crate) evidence: Option<PathBuf>,
}

/// What the driver is connected to.
pub(crate) struct Surroundings {
    /// What happens.
    pub(crate) events: Events,
    /// The handler threads.
    pub(crate) host: HostHandle,
    /// What is known of the cluster.
    pub(crate) cluster: Cluster,
    /// The way to other nodes, if there can be any.
    pub(crate) post: Option<Arc<dyn Post>>,
    /// Who sends snapshots to other nodes.
    pub(crate) snapshots: Option<SnapshotSender>,
    /// Who carries attempts to other nodes.
    pub(crate) lender: Option<Lender>,
}

/// The state of the driver's thread.
pub(crate) struct Driver<L, S> {
    /// The replicas of this node.
    slots: BTreeMap<PartitionId, Slot<S>>,
    log: Log<L>,
    /// What is to be written next: at most one write of each partition.
    unwritten: LogBatch,
    /// Reads of the log that wait for it to come back.
    fetches: Vec<Fetch>,
    disk: Disk,
    state: Arc<S>,
    settings: DriverSettings,
    events: Receiver<Event>,
    mail: Receiver<PeerInput>,
    host: HostHandle,
    cluster: Cluster,
    outgoing: Outgoing,
    snapshots: Option<SnapshotSender>,
    /// Events for each shard of the host, gathered during a turn.
    outbox: Vec<Vec<abide_host::HostEvent>>,
    waiters: Waiters,
    answers: Answers,
    attempts: Attempts,
    loans: Loans,
    /// Invocations whose attempt became due in this turn.
    starts: VecDeque<InvocationId>,
    schedules: DueSchedules,
    checkpoints: Checkpoints,
    activations: u64,
    deferred: VecDeque<DeferredAck>,
    metrics: DriverMetrics,
    completions: Completions,
    commands_since_sync: usize,
    reads: ReadNames,
    /// The tables of the meta group have changed.
    meta_changed: bool,
    /// The level of features that is in force.
    features: u32,
    next_tick: Instant,
    next_stats: Instant,
    next_status: Instant,
    next_watch: Instant,
    boot: u64,
    /// There are no other nodes, as of the last tick.
    alone: bool,
    stopping: bool,
    /// Who waits until this node leads nothing that another one could.
    retiring: Option<oneshot::Sender<()>>,
    /// Who watches, in the test world.
    #[cfg(feature = "testing")]
    probe: Option<Arc<dyn inspect::Probe>>,
}

/// A replica and what the driver knows of it.
struct Slot<S> {
    partition: Partition<S>,
    /// Since when it is open.
    opened: Instant,
    /// Whether it may have something to do.
    dirty: bool,
    /// Commands proposed in this turn, with the time of the first.
    proposed_at: Option<Instant>,
    last_checkpoint: Instant,
    /// Applied index that is synced in the state store.
    durable: u64,
    /// Reads that wait for a quorum.
    rounds: Rounds,
    /// Its state for other nodes.
    exports: Exports,
    /// Since when it leads.
    leads_since: Option<Instant>,
    /// Looks in a row at which it differed from others, and no majority said who is right.
    disputes: u32,
    /// It was found to be wrong, and answers nobody any more.
    condemned: bool,
    /// The term of another leader, of which it may not hear before its write is durable.
    deposed: Option<u64>,
    /// When it last handed its leadership over because of the disk.
    urged: Option<Instant>,
}

impl<S: StateStore> Slot<S> {
    /// When it has something to do by itself; never while it may not act.
    fn timeout(&self) -> Option<Millis> {
        self.partition.poll_timeout().filter(|_| !self.partition.is_writing())
    }
}

/// Entries that a replica wants from its log.
struct Fetch {
    partition: PartitionId,
    low: u64,
    high: u64,
    max_bytes: u64,
}

/// An acknowledgement that waits for company.
struct DeferredAck {
    to: PartitionId,
    ack: OutboxAck,
    due: Instant,
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Opens all replicas that `log` and `state` hold; a founding node has one of everything.
    pub(crate) fn open(
        log: L,
        state: &Arc<S>,
        settings: DriverSettings,
        surroundings: Surroundings,
        registry: &Registry,
    ) -> Result<Self, Fatal> {
        let Surroundings { events, host, cluster, post, snapshots, lender } = surroundings;
        let Events { events, mail } = events;
        let shards = host.shards();
        let (now, boot) = (Instant::now(), clock::now().0);
        let mut driver = Self {
            slots: BTreeMap::new(),
            log: Log::start(log, settings.writers),
            unwritten: LogBatch::default(),
            fetches: Vec::new(),
            disk: Disk::new(now),
            state: Arc::clone(state),
            events,
            mail,
            outbox: (0..shards).map(|_| Vec::new()).collect(),
            host,
            cluster,
            outgoing: Outgoing::new(post),
            snapshots,
            waiters: Waiters::default(),
            answers: Answers::default(),
            attempts: Attempts::new(settings.attempts, registry),
            loans: Loans::new(registry, lender),
            starts: VecDeque::new(),
            schedules: DueSchedules::new(Runner::new(registry.clone(), settings.retention)),
            checkpoints: Checkpoints::start(Arc::clone(state), settings.writers),
            activations: 0,
            deferred: VecDeque::new(),
            metrics: DriverMetrics::new(settings.partitions),
            completions: Completions::new(registry),
            commands_since_sync: 0,
            reads: ReadNames::new(settings.node, boot),
            meta_changed: true,
            features: 0,
            next_tick: now,
            next_stats: now,
            next_status: now,
            next_watch: now,
            boot,
            alone: false,
            stopping: false,
            retiring: None,
            #[cfg(feature = "testing")]
            probe: None,
            settings,
        };
        driver.open_replicas()?;
        driver.publish_meta()?;
        Ok(driver)
    }

    /// Runs until it is told to stop, then writes everything out. `ready` is called when every partition leads that is
    /// only here.
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

    /// Brings every partition to leadership that has no other voter, with its tables complete.
    pub(crate) fn lead(&mut self) -> Result<(), Fatal> {
        for id in self.hosted() {
            if self.slots[&id].partition.is_alone() {
                self.handle(id, Input::Campaign)?;
            }
        }
        // The tables are complete only when all that the log holds is committed again: nobody may read before.
        while self.slots.values().any(|slot| slot.dirty) || self.log.is_writing() {
            self.pump()?;
            self.finish_write(log::PATIENCE)?;
        }
        self.publish_meta()?;
        self.start_attempts()?;
        self.flush_host();
        Ok(())
    }

    /// One turn of the loop with what is there; never waits for more.
    pub(crate) fn step(&mut self) -> Result<(), Fatal> {
        self.take_events()?;
        self.propose_due_acks()?;
        self.fire_schedules()?;
        self.ask_rounds()?;
        self.pump()?;
        self.release_held()?;
        self.start_attempts()?;
        self.flush_host();
        self.begin_checkpoints()?;
        self.publish_meta()?;
        self.tell_status()?;
        self.watch_replicas()?;
        self.outgoing.flush();
        self.refresh_gauges();
        Ok(())
    }

    /// The replicas of this node.
    fn hosted(&self) -> Vec<PartitionId> {
        self.slots.keys().copied().collect()
    }

    /// Takes what arrived.
    fn take_events(&mut self) -> Result<(), Fatal> {
        let (events, mail) = (self.events.clone(), self.mail.clone());
        let done = self.checkpoints.done();
        loop {
            match done.try_recv() {
                Ok(done) => self.checkpointed(done)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(Fatal::CheckpointThread),
            }
        }
        // Other nodes go first: they decide whether this one may act at all.
        for _ in 0..EVENTS_PER_TURN_MAX {
            let Ok(input) = mail.try_recv() else { break };
            self.peer(input)?;
        }
        for _ in 0..EVENTS_PER_TURN_MAX {
            if self.is_closed() {
                break;
            }
            let Ok(event) = events.try_recv() else { break };
            self.take(event)?;
        }
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.alone = self.cluster.is_alone();
            let alone = self.alone;
            for id in self.hosted() {
                // While a replica may not act, time stands still for it: it would have to make up for it all at once.
                if !self.slots[&id].partition.is_writing() {
                    self.handle(id, Input::Tick)?;
                }
                // Other nodes pass requests on before they have replicas.
                if let Some(slot) = self.slots.get_mut(&id).filter(|_| !alone) {
                    slot.partition.remember();
                }
            }
            self.guard_disk()?;
            self.retire()?;
            self.look_after_loans()?;
        }
        let now = clock::now();
        for id in self.hosted() {
            if self.slots[&id].timeout().is_some_and(|due| due <= now) {
                self.handle(id, Input::Wake)?;
            }
        }
        Ok(())
    }

    /// Sleeps until something arrives or is due. While there is no room for requests they do not count.
    fn wait(&mut self) -> Result<(), Fatal> {
        let wait = self.time_to_tick().min(self.time_to_work().unwrap_or(Duration::MAX));
        if wait.is_zero() {
            return Ok(());
        }
        let events = if self.is_closed() { crossbeam_channel::never() } else { self.events.clone() };
        let (mail, checkpointed, written) = (self.mail.clone(), self.checkpoints.done(), self.log.done());
        crossbeam_channel::select! {
            recv(events) -> event => match event {
                Ok(event) => self.take(event),
                Err(_) => {
                    self.stopping = true;
                    Ok(())
                }
            },
            recv(mail) -> input => match input {
                Ok(input) => self.peer(input),
                // The handle holds the sender as long as there is one.
                Err(_) => Ok(()),
            },
            recv(checkpointed) -> done => match done {
                Ok(done) => self.checkpointed(done),
                Err(_) => Err(Fatal::CheckpointThread),
            },
            recv(written) -> done => match done {
                Ok(done) => self.log.take(done),
                Err(_) => Err(Fatal::LogThread),
            },
            default(wait) => Ok(()),
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Fatal> {
        match event {
            Event::Order(order) => self.order(*order),
            Event::Query(query) => self.query(*query),
            Event::Loan(event) => self.loan(*event),
            Event::Retire(done) => {
                self.retiring = Some(done);
                Ok(())
            }
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
        if !self.starts.is_empty() || self.can_fire() || self.slots.values().any(|slot| slot.dirty) {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let time = clock::now();
        let timers = self.slots.values().filter_map(Slot::timeout);
        let timers = timers.map(|due| Duration::from_millis(due.0.saturating_sub(time.0)));
        let ack = self.deferred.front().map(|ack| ack.due.saturating_duration_since(now));
        timers.chain(ack).min()
    }

    /// Checkpoints cannot keep up: new work waits outside, where the bounded queue refuses it.
    fn is_choked(&self) -> bool {
        let bytes: usize = self.slots.values().map(|slot| slot.partition.view().bytes()).sum();
        bytes > 2 * self.settings.overlay_bytes
    }

    /// There is no room for requests.
    fn is_closed(&self) -> bool {
        self.is_choked() || self.is_stuck()
    }

    /// Puts a command into the log of a partition that this node leads; drops it otherwise.
    pub(crate) fn propose(&mut self, partition: PartitionId, command: Command) -> Result<(), Fatal> {
        let Some(slot) = self.slots.get_mut(&partition).filter(|slot| slot.partition.leading().is_some()) else {
            return Ok(());
        };
        slot.proposed_at.get_or_insert_with(Instant::now);
        self.commands_since_sync += 1;
        self.handle(partition, Input::Propose(command))
    }

    /// Puts a command into the log of a partition, wherever its leader is. It may be lost on the way.
    fn propose_anywhere(&mut self, partition: PartitionId, body: Body) -> Result<(), Fatal> {
        if self.leads(partition) {
            return self.propose(partition, Command::new(body));
        }
        self.outgoing.propose(&self.cluster, partition, body);
        Ok(())
    }

    /// Whether this node leads a partition, with complete tables.
    pub(crate) fn leads(&self, partition: PartitionId) -> bool {
        let slot = self.slots.get(&partition);
        slot.is_some_and(|slot| slot.partition.leading().is_some() && !slot.condemned && slot.deposed.is_none())
    }

    fn handle(&mut self, id: PartitionId, input: Input) -> Result<(), Fatal> {
        let Some(slot) = self.slots.get_mut(&id) else { return Ok(()) };
        slot.dirty = true;
        Ok(slot.partition.handle(input, clock::now())?)
    }

    /// One round: what the partitions want written goes to the log at once, then they go on. Rounds that follow from it
    /// (a message to another partition) belong to the next turn, and share its fsync with what arrived meanwhile. So does
    /// all that comes up while a batch is under way for long.
    fn pump(&mut self) -> Result<(), Fatal> {
        self.finish_write(Duration::ZERO)?;
        for id in self.hosted() {
            if self.slots.get_mut(&id).is_some_and(|slot| std::mem::take(&mut slot.dirty))
                && let Some((write, sync)) = self.drain(id)?
            {
                self.unwritten.writes.push(write);
                self.unwritten.sync |= sync;
            }
        }
        // Followers write at the same time as this node.
        self.outgoing.flush();
        // A replica that went may have waited for the log meanwhile.
        self.finish_write(Duration::ZERO)?;
        if self.log.is_writing() || self.unwritten.writes.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.commands_since_sync);
        self.log.begin(std::mem::take(&mut self.unwritten), commands, self.alone)?;
        self.finish_write(log::PATIENCE)
    }

    /// Waits so long for the batch that is under way; once it is in the log, its partitions go on.
    fn finish_write(&mut self, patience: Duration) -> Result<(), Fatal> {
        let Some(written) = self.log.wait(patience)? else { return Ok(()) };
        self.metrics.synced(written.commands, written.took);
        for fetch in std::mem::take(&mut self.fetches) {
            self.fetch(fetch)?;
        }
        for id in written.partitions {
            self.handle(id, Input::Persisted)?;
        }
        if written.sync {
            self.disk.synced(written.took);
            if written.took >= disk_health::LONG {
                // Before more is proposed.
                self.guard_disk()?;
            }
        }
        for id in self.hosted() {
            if self.slots.get(&id).is_some_and(|slot| slot.dirty) {
                // Effects and messages of what is committed now; a further write waits for the next round.
                self.drain_committed(id)?;
            }
        }
        self.outgoing.flush();
        Ok(())
    }

    /// Reads the log for a replica.
    fn fetch(&mut self, fetch: Fetch) -> Result<(), Fatal> {
        let Fetch { partition, low, high, max_bytes } = fetch;
        let entries = self.log.store()?.entries(partition.0, low, high, max_bytes).or_else(|error| match error {
            StorageError::NotInLog { .. } => Ok(Vec::new()),
            error => Err(error),
        })?;
        self.handle(partition, Input::Fetched { low, entries })
    }

    /// Carries out outputs of a partition until it wants something written.
    fn drain(&mut self, id: PartitionId) -> Result<Option<(LogWrite, bool)>, Fatal> {
        while let Some(slot) = self.slots.get_mut(&id)
            && let Some(output) = slot.partition.poll_output()?
        {
            if let Output::Persist { write, sync } = output {
                return Ok(Some((write, sync)));
            }
            self.carry_out(id, output)?;
        }
        Ok(None)
    }

    /// Carries out outputs that are there already, without making new entries.
    fn drain_committed(&mut self, id: PartitionId) -> Result<(), Fatal> {
        while let Some(slot) = self.slots.get_mut(&id)
            && let Some(output) = slot.partition.take_output()
        {
            self.carry_out(id, output)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, id: PartitionId, output: Output) -> Result<(), Fatal> {
        match output {
            Output::Persist { .. } => unreachable!("writes are taken by the caller"),
            Output::Send(message) => {
                self.outgoing.letter(id, *message);
                Ok(())
            }
            Output::Effect(effect) => {
                self.effect(id, effect);
                Ok(())
            }
            #[cfg(feature = "testing")]
            Output::Deliver { to, .. } if self.is_lost(id, to) => Ok(()),
            Output::Deliver { to, delivery } => self.propose_anywhere(to, Body::Deliver(delivery)),
            Output::Acknowledge { to, ack } => {
                self.deferred.push_back(DeferredAck { to, ack, due: Instant::now() + ACK_DELAY });
                Ok(())
            }
            Output::Applied { index, commands } => {
                self.applied(id, index, commands);
                Ok(())
            }
            Output::Leading { term } => {
                self.leading(id, term);
                Ok(())
            }
            Output::Following { term, leader } => self.following(id, term, leader),
            Output::ReadReady { context } => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.rounds.confirmed(context);
                }
                Ok(())
            }
            Output::MembersChanged(members) => {
                tracing::info!(partition = %id, %members, "members changed");
                Ok(())
            }
            Output::Removed => self.remove_replica(id),
            Output::Fetch { low, high, max_bytes } => {
                let fetch = Fetch { partition: id, low, high, max_bytes };
                if self.log.is_writing() {
                    self.fetches.push(fetch);
                    return Ok(());
                }
                self.fetch(fetch)
            }
            Output::SnapshotWanted => {
                self.want_export(id);
                Ok(())
            }
            Output::SendSnapshot(message) => self.send_snapshot(id, *message),
            Output::Restored { index, discard } => {
                tracing::info!(partition = %id, index, "a snapshot was installed");
                self.restored(id, discard)
            }
            Output::Discard { generation } => {
                self.discard(id, generation);
                Ok(())
            }
            Output::Dropped(dropped) => {
                self.metrics.message_dropped(dropped);
                Ok(())
            }
        }
    }

    fn applied(&mut self, id: PartitionId, index: u64, commands: usize) {
        self.metrics.applied(commands);
        self.meta_changed |= id == PartitionId::META;
        self.cluster.note_applied(id, index);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.partition.leading().is_some() {
            self.metrics.entry_proposed(commands);
            if let Some(at) = slot.proposed_at.take() {
                self.metrics.committed(at.elapsed());
            }
        }
    }

    /// Acknowledgements go with the next entry of their partition, or alone when they have waited long enough.
    fn propose_due_acks(&mut self) -> Result<(), Fatal> {
        let now = Instant::now();
        let mut waiting = VecDeque::new();
        let mut due: BTreeMap<(PartitionId, u32), OutboxAck> = BTreeMap::new();
        for deferred in std::mem::take(&mut self.deferred) {
            let busy = self.slots.get(&deferred.to).is_some_and(|slot| slot.dirty);
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
            self.propose_anywhere(to, Body::OutboxAck(ack))?;
        }
        Ok(())
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
        self.metrics.set_attempts_borrowed(self.loans.borrowed());
        for (id, slot) in &self.slots {
            let partition = &slot.partition;
            let stats = partition.stats();
            self.metrics.set_replica(*id, &stats);
            self.metrics.set_timers_due(*id, load::timers_due(partition.view(), stats.timers_from, clock::now()));
            self.metrics.set_letters(*id, load::letters(partition.view()));
        }
    }

    /// Writes the tables out, so that the next start has nothing to replay.
    fn close(&mut self) -> Result<(), Fatal> {
        // What is not under way was not promised to anyone.
        self.log.store()?;
        self.finish_write(Duration::ZERO)?;
        self.flush_host();
        self.checkpoints.finish(&mut self.slots)?;
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
