//! The simulated shell: one process, which drives its replicas as the real driver does, with an fsync that takes time.

pub(crate) mod disk;
pub(crate) mod output;
mod receive;
mod schedules;
mod snapshot;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use abide_model::command::{Body, Command};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId};
use abide_model::table::{Invocations, Status};
use abide_model::view::View as _;
use abide_partition::{Input, Partition, PartitionError, PartitionSettings};
use abide_storage::{Checkpoint, LogBatch, LogStore, LogWrite, Overlay, StorageError};
pub(crate) use disk::Crash;
use snapshot::Loading;
pub(crate) use snapshot::Offer;

use crate::archive::{Round, Way};
use crate::config::Canary;
use crate::host::{Ask, Cx, Host, HostMsg, Timer};
use crate::ingress::{Pending, Reading, Serving};
use crate::ledger::Life;
use crate::machine::FOUNDER;
use crate::model;
use crate::net;
use crate::store::SimState;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::{Event, Step, World};

/// Length of a raft tick in ms.
pub(crate) const TICK: u64 = 100;

/// One process.
pub(crate) struct Node {
    /// Its machine.
    pub(crate) number: usize,
    /// Its boot id.
    pub(crate) epoch: u64,
    /// Length of its ticks in ms: now and then they are far too short or too long, while there are faults.
    tick_ms: u64,
    pub(crate) slots: BTreeMap<u32, Slot>,
    host: Host,
    /// What the host is told, for each partition in the order of its log.
    host_inbox: BTreeMap<u32, VecDeque<HostMsg>>,
    /// Objects to load, and what has to be applied before.
    loads: Vec<(ObjectId, Option<u64>)>,
    activations: u64,
    /// Writes that wait for the log.
    queue: Vec<(LogWrite, bool)>,
    /// The write under way.
    flight: Option<LogBatch>,
    /// Partitions that were told that their write is durable before it is; only of canaries.
    early: Vec<u32>,
    turn_scheduled: bool,
    /// Who leads each partition in which term, as far as was heard.
    pub(crate) views: BTreeMap<u32, (u64, usize)>,
    /// How far each partition is applied somewhere.
    pub(crate) known: BTreeMap<u32, u64>,
    /// The last boot id of each other node.
    pub(crate) boots: BTreeMap<usize, u64>,
    /// Requests that came here and have no answer yet.
    pub(crate) errands: BTreeMap<u64, Pending>,
    /// Its way to the object store, and what it is saving there.
    pub(crate) way: Way,
    pub(crate) round: Option<Round>,
}

/// A replica and what the shell knows of it.
pub(crate) struct Slot {
    pub(crate) partition: Partition<SimState>,
    pub(crate) inbox: VecDeque<Command>,
    checkpoint: Option<(Checkpoint, u64)>,
    entries_since_checkpoint: u64,
    /// Index that the state store has, not necessarily synced.
    written: u64,
    wake_at: Option<u64>,
    /// Up to where the tap has what this replica applied.
    tapped: u64,
    /// Requests that this leader took.
    pub(crate) serving: BTreeMap<u64, Serving>,
    /// Reads that are not confirmed yet.
    pub(crate) reading: BTreeMap<u64, Reading>,
    offer: Option<Offer>,
    snapshot_wanted: bool,
    /// Snapshots under way to others, with the number of the transfer.
    sending: BTreeMap<u64, u64>,
    loading: Option<Loading>,
}

impl World {
    /// Starts a process from the disks of a machine.
    pub(crate) fn boot(&mut self, number: usize) -> Check {
        self.boots += 1;
        let epoch = self.boots;
        self.machines[number].epoch = epoch;
        let tick_ms = match self.rng.schedule.below(20) {
            0 if self.config.nodes > 1 => TICK / 3,
            1 if self.config.nodes > 1 => TICK * 3,
            _ => TICK,
        };
        let mut node = Node {
            number,
            epoch,
            tick_ms,
            slots: BTreeMap::new(),
            host: Host::default(),
            host_inbox: BTreeMap::new(),
            loads: Vec::new(),
            activations: 0,
            queue: Vec::new(),
            flight: None,
            early: Vec::new(),
            turn_scheduled: false,
            views: BTreeMap::new(),
            known: BTreeMap::new(),
            boots: BTreeMap::new(),
            errands: BTreeMap::new(),
            way: Way::default(),
            round: None,
        };
        for p in self.machines[number].dirty.clone() {
            self.forget_replica(number, p)?;
        }
        for (p, replica) in self.machines[number].replicas.clone() {
            self.open_replica(&mut node, p, replica)?;
        }
        self.turn_of(&mut node);
        let delay = self.tick_length(&node);
        self.soon(&node, delay, Step::Tick);
        if self.config.archive.on {
            let delay = self.rng.archive.range(0, self.config.archive.interval_ms);
            self.soon_aside(&node, delay, Step::Save);
        }
        self.machines[number].process = Some(node);
        Ok(())
    }

    /// Opens a replica from the disks of its machine.
    pub(crate) fn open_replica(&mut self, node: &mut Node, p: u32, replica: u64) -> Check {
        let recovered = self.machines[node.number].log.recover(p).map_err(|error| stopped(&error))?;
        if self.config.nodes == 1 {
            let committed = self.tap[p as usize].len() as u64;
            check(recovered.last().index >= committed, Invariant::I1NoLostWork, || {
                format!("p{p}: {committed} entries were committed, the log ends at {}", recovered.last().index)
            })?;
        }
        // The library has no choice then, and the run can be repeated.
        let ticks = usize::try_from(self.rng.schedule.range(8, 14)).unwrap_or(8);
        let settings = PartitionSettings {
            replica,
            bootstrap_voters: vec![FOUNDER],
            election_ticks: (ticks, ticks),
            tail_entries: self.config.tail_entries,
            tail_entries_max: self.config.tail_entries_max,
            entry_cache_bytes: self.config.entry_cache_bytes,
            ..PartitionSettings::single(PartitionId(p), self.config.partitions)
        };
        let store = Arc::new(self.store(node.number));
        let overlay = Overlay::open(p, recovered.generation, store);
        let mut partition = Partition::open(settings, recovered, overlay).map_err(|error| failed(&error))?;
        let applied = partition.applied_index();
        self.check_hash(p, &partition)?;
        if partition.is_alone() {
            let now = Millis(self.wall(node.number));
            partition.handle(Input::Campaign, now).map_err(|error| failed(&error))?;
        }
        let slot = Slot {
            partition,
            inbox: VecDeque::new(),
            checkpoint: None,
            entries_since_checkpoint: 0,
            written: applied,
            wake_at: None,
            tapped: applied,
            serving: BTreeMap::new(),
            reading: BTreeMap::new(),
            offer: None,
            snapshot_wanted: false,
            sending: BTreeMap::new(),
            loading: None,
        };
        node.slots.insert(p, slot);
        node.host_inbox.insert(p, VecDeque::new());
        Ok(())
    }

    /// The state store of a machine.
    pub(super) fn store(&self, number: usize) -> SimState {
        SimState { disk: self.machines[number].state.clone(), canary: self.config.canary }
    }

    /// Ticks of several nodes drift against each other.
    fn tick_length(&mut self, node: &Node) -> u64 {
        let length = if self.is_calm() { TICK } else { node.tick_ms };
        if self.config.nodes == 1 { TICK } else { self.rng.schedule.range(length - 8, length + 8) }
    }

    /// Makes sure that a turn of the loop follows.
    pub(crate) fn turn_of(&mut self, node: &mut Node) {
        if !std::mem::replace(&mut node.turn_scheduled, true) {
            let delay = self.rng.net.range(0, self.config.delay_ms / 2);
            self.soon(node, delay, Step::Turn);
        }
    }

    /// Something is done by the process on a machine, if there is one. It may end itself by that.
    pub(crate) fn with_node(&mut self, number: usize, step: impl FnOnce(&mut Self, &mut Node) -> Check) -> Check {
        let Some(mut node) = self.machines[number].process.take() else { return Ok(()) };
        step(self, &mut node)?;
        if std::mem::take(&mut self.exits) {
            drop(node);
            return self.exited(number);
        }
        self.machines[number].process = Some(node);
        Ok(())
    }

    /// One turn of the loop: proposals in, outputs out, a write begins.
    pub(crate) fn turn(&mut self, node: &mut Node) -> Check {
        node.turn_scheduled = false;
        for p in node.slots.keys().copied().collect::<Vec<_>>() {
            self.turn_partition(node, p)?;
        }
        self.answer_loads(node)?;
        self.remove_replicas(node)?;
        if node.flight.is_none() && !node.queue.is_empty() {
            self.begin_write(node)?;
        }
        if node.slots.values().any(|slot| !slot.inbox.is_empty()) {
            self.soon(node, 0, Step::Turn);
            node.turn_scheduled = true;
        }
        Ok(())
    }

    fn turn_partition(&mut self, node: &mut Node, p: u32) -> Check {
        let now = Millis(self.wall(node.number));
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        for command in std::mem::take(&mut slot.inbox) {
            slot.partition.handle(Input::Propose(command), now).map_err(|error| failed(&error))?;
        }
        if let Some(due) = slot.partition.poll_timeout() {
            let early = self.config.canary == Some(Canary::EarlyTimers) && due.0 < now.0 + 300;
            if due <= now || early {
                let at = if early { due } else { now };
                slot.partition.handle(Input::Wake, at).map_err(|error| failed(&error))?;
            }
        }
        let mut worked = false;
        while let Some(output) = poll(node, p)? {
            worked = true;
            self.output(node, p, output)?;
        }
        self.schedule_wake(node, p);
        if !worked {
            return Ok(());
        }
        let log_time = node.slots.get(&p).map_or(Millis(0), |slot| slot.partition.log_time());
        check(log_time.0 <= self.latest_wall, Invariant::I13Timers, || {
            format!("p{p}: log time is {log_time}, no clock ever was later than {}", self.latest_wall)
        })
    }

    fn begin_write(&mut self, node: &mut Node) -> Check {
        let queue = std::mem::take(&mut node.queue);
        let sync = queue.iter().any(|(_, sync)| *sync);
        let writes: Vec<_> = queue.into_iter().map(|(write, _)| write).collect();
        let delay = if sync { self.rng.disk.range(0, self.config.fsync_ms) } else { 0 };
        for p in writes.iter().map(|write| write.partition) {
            let leads = node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_some());
            let early = match self.config.canary {
                Some(Canary::AckBeforeCommit) => true,
                Some(Canary::SendBeforePersist) => !leads,
                _ => false,
            };
            if early {
                node.early.push(p);
                self.persisted(node, p)?;
                while let Some(output) = node.slots.get_mut(&p).and_then(|slot| slot.partition.take_output()) {
                    self.output(node, p, output)?;
                }
            }
        }
        node.flight = Some(LogBatch { writes, sync });
        self.soon(node, delay, Step::Flush);
        Ok(())
    }

    fn persisted(&mut self, node: &mut Node, p: u32) -> Check {
        let now = Millis(self.wall(node.number));
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.partition.handle(Input::Persisted, now).map_err(|error| failed(&error))
    }

    fn schedule_wake(&mut self, node: &mut Node, p: u32) {
        let now = self.wall(node.number);
        let Some(slot) = node.slots.get_mut(&p) else { return };
        let Some(due) = slot.partition.poll_timeout().map(|due| due.0) else { return };
        if due > now && slot.wake_at.is_none_or(|at| due < at || at <= now) {
            slot.wake_at = Some(due);
            self.soon(node, due - now, Step::Turn);
        }
    }

    /// The write under way reaches the disk.
    pub(crate) fn flush(&mut self, node: &mut Node) -> Check {
        let Some(batch) = node.flight.take() else { return Ok(()) };
        let log = &mut self.machines[node.number].log;
        if self.rng.fault.chance(self.faults.log_error) {
            let outcome = if self.rng.fault.chance(5_000) {
                abide_storage::CommitOutcome::Present
            } else {
                abide_storage::CommitOutcome::Absent
            };
            self.trace.line(format_args!("n{} log: a write fails, {outcome:?}", node.number + 1));
            log.fail_next_commit(outcome);
        }
        match log.commit(&batch) {
            Ok(()) => {}
            Err(StorageError::Indeterminate { .. }) => {
                self.exits = true;
                return Ok(());
            }
            Err(error) => return Err(stopped(&error)),
        }
        let early = std::mem::take(&mut node.early);
        for write in &batch.writes {
            if self.config.canary == Some(Canary::AckBeforeQuorum) {
                self.acknowledge_early(node, write)?;
            }
            if !early.contains(&write.partition) {
                self.persisted(node, write.partition)?;
            }
        }
        self.turn(node)
    }

    /// A tick of all partitions. A node tells another one who leads.
    pub(crate) fn tick(&mut self, node: &mut Node) -> Check {
        let now = Millis(self.wall(node.number));
        for slot in node.slots.values_mut() {
            slot.partition.handle(Input::Tick, now).map_err(|error| failed(&error))?;
        }
        let delay = self.tick_length(node);
        self.soon(node, delay, Step::Tick);
        if self.machines.len() > 1 {
            let others = self.machines.len() as u64 - 1;
            let step = usize::try_from(self.rng.net.range(1, others)).unwrap_or(1);
            let to = (node.number + step) % self.machines.len();
            let views = node.views.iter().map(|(p, (term, leader))| (*p, *term, *leader)).collect();
            self.send(node.number, node.epoch, to, net::Body::Gossip(views));
        }
        self.turn(node)
    }

    /// Compares the tables with the model wherever all that is committed is applied.
    pub(crate) fn compare(&mut self, node: &Node) -> Check {
        for (p, slot) in &node.slots {
            if slot.partition.applied_index() == self.tap[*p as usize].len() as u64 {
                let (log_time, expected) = (slot.partition.log_time().0, self.model.parts[*p as usize].log_time);
                check(log_time == expected, Invariant::I13Timers, || {
                    format!("p{p}: log time is {log_time}, expected {expected}")
                })?;
                model::compare(slot.partition.view(), &self.model.parts[*p as usize])?;
                self.counts.compared += 1;
            }
        }
        Ok(())
    }

    /// The host takes what it was told about a partition.
    pub(crate) fn host_step(&mut self, node: &mut Node, p: u32) -> Check {
        let Some(message) = node.host_inbox.get_mut(&p).and_then(VecDeque::pop_front) else { return Ok(()) };
        self.trace.line(format_args!("n{} host p{p} {}", node.number + 1, label(&message)));
        self.with_host(node, |host, cx| host.handle(message, cx))
    }

    /// A reminder of the host.
    pub(crate) fn host_timer(&mut self, node: &mut Node, timer: Timer) -> Check {
        if let Timer::Run(life, attempt) = timer {
            runs_rightly(node, self.config.partitions, life, attempt)?;
        }
        self.with_host(node, |host, cx| host.timer(timer, cx))
    }

    fn with_host(&mut self, node: &mut Node, step: impl FnOnce(&mut Host, &mut Cx<'_>) -> Check) -> Check {
        let mut cx = Cx {
            node: node.number,
            now: self.wall(node.number),
            partitions: self.config.partitions,
            speculation: self.config.speculation,
            faults: &self.faults,
            canary: self.config.canary,
            rng: &mut self.rng.host,
            ledger: &mut self.ledger,
            asks: Vec::new(),
        };
        step(&mut node.host, &mut cx)?;
        for ask in cx.asks {
            match ask {
                Ask::Propose(partition, command) => {
                    let led = node.slots.get(&partition.0).is_some_and(|slot| slot.partition.leading().is_some());
                    if !led && self.config.canary == Some(Canary::IgnoreTerm) {
                        self.ship(node, partition, *command);
                    } else if let Some(slot) = node.slots.get_mut(&partition.0) {
                        slot.inbox.push_back(*command);
                    }
                }
                Ask::Load(object) => node.loads.push((object, None)),
                Ask::After(delay, timer) => self.soon(node, delay, Step::HostTimer(timer)),
                Ask::Awaits(id, life, signal) => self.awaits((id, life, signal)),
            }
        }
        if !node.loads.is_empty() || node.slots.values().any(|slot| !slot.inbox.is_empty()) {
            self.turn_of(node);
        }
        Ok(())
    }

    /// Tells the host something, in order, after a while.
    pub(crate) fn tell(&mut self, node: &mut Node, p: u32, message: HostMsg) {
        if let Some(inbox) = node.host_inbox.get_mut(&p) {
            inbox.push_back(message);
            let delay = self.rng.net.range(0, self.config.delay_ms);
            self.soon(node, delay, Step::Host(p));
        }
    }

    /// Proposes a command where its partition is led, if it is.
    pub(crate) fn propose_from_outside(&mut self, id: InvocationId, command: Command) {
        let p = PartitionId::of(id.partition_key, self.config.partitions).0;
        let Some(number) = self.leader_of(p) else { return };
        let delay = self.rng.net.range(0, self.config.delay_ms);
        let epoch = self.machines[number].epoch;
        self.after(delay, Event::Process(number, epoch, Step::Propose(p, Box::new(command))));
    }

    /// The machine whose process leads a partition, in the highest term if several think so.
    pub(crate) fn leader_of(&self, p: u32) -> Option<usize> {
        let leads = |node: &Node| node.slots.get(&p).and_then(|slot| slot.partition.leading());
        let all = self.machines.iter().enumerate();
        let leaders = all.filter_map(|(number, it)| Some((it.process.as_ref().and_then(leads)?, number)));
        leaders.max().map(|(_, number)| number)
    }

    /// A command arrives at a partition.
    pub(crate) fn proposed(&mut self, node: &mut Node, p: u32, mut command: Command) {
        if let Some(slot) = node.slots.get_mut(&p) {
            if self.config.canary == Some(Canary::IgnoreTerm) {
                stamp(slot, &mut command);
            }
            slot.inbox.push_back(command);
            self.turn_of(node);
        }
    }

    pub(crate) fn check_hash(&mut self, p: u32, partition: &Partition<SimState>) -> Check {
        let stats = partition.stats();
        let points = partition.hash_points().iter().copied();
        for (index, hash) in points.chain([(stats.applied, stats.state_hash)]) {
            let known = *self.hashes.entry((p, index)).or_insert(hash);
            check(known == hash, Invariant::I9Determinism, || {
                format!("p{p}: at index {index} the hash was {known:016x} and is {hash:016x}")
            })?;
        }
        Ok(())
    }
}

impl Node {
    /// Whether nothing is on its way inside the process.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flight.is_none()
            && self.queue.is_empty()
            && self.loads.is_empty()
            && self.host_inbox.values().all(VecDeque::is_empty)
            && self.slots.values().all(|slot| slot.inbox.is_empty() && slot.partition.stats().pending == 0)
    }

    /// Whether something is on its way to the log.
    pub(crate) fn is_writing(&self) -> bool {
        self.flight.is_some() || !self.queue.is_empty()
    }

    /// Running flows and objects in memory.
    pub(crate) fn host_sizes(&self) -> (usize, usize) {
        self.host.sizes()
    }
}

fn poll(node: &mut Node, p: u32) -> Check<Option<abide_partition::Output>> {
    let Some(slot) = node.slots.get_mut(&p) else { return Ok(None) };
    slot.partition.poll_output().map_err(|error| failed(&error))
}

/// A canary: a record of another leadership gets the present term and attempt.
fn stamp(slot: &Slot, command: &mut Command) {
    let Some(Body::Append(append)) = &mut command.body else { return };
    let row = InvocationId::from_bytes(&append.id).and_then(|id| slot.partition.view().get::<Invocations>(&id).ok());
    if let (Some(Some(row)), Some(term)) = (row, slot.partition.leading()) {
        (append.term, append.attempt) = (term, row.attempt);
    }
}

/// Code is about to run of an attempt: when the host knows all that is applied, the tables say that it is under way.
fn runs_rightly(node: &Node, partitions: u32, life: Life, attempt: u32) -> Check {
    let p = PartitionId::of(life.0.partition_key, partitions).0;
    let told = node.host_inbox.get(&p).is_none_or(VecDeque::is_empty);
    let (true, true, Some(slot)) = (told, node.host.is_about_to_run(life, attempt), node.slots.get(&p)) else {
        return Ok(());
    };
    // Only of a canary: the tables of a follower go on without its host.
    if slot.partition.leading().is_none() {
        return Ok(());
    }
    let row = slot.partition.view().get::<Invocations>(&life.0).ok().flatten();
    let rightly = row.as_ref().is_some_and(|row| {
        matches!(row.status, Some(Status::Running(_))) && (row.life, row.attempt) == (life.1, attempt)
    });
    check(rightly, Invariant::I22Stopped, || format!("attempt {attempt} of {life:?} runs, the tables say {row:?}"))
}

/// The process stopped although its disks did what they promise.
pub(crate) fn failed(error: &PartitionError) -> Violation {
    let invariant = match error {
        PartitionError::LogBehindState { .. } => Invariant::I1NoLostWork,
        PartitionError::StateBehindLog { .. } => Invariant::I14Snapshots,
        _ => Invariant::Stopped,
    };
    Violation { invariant, text: error.to_string() }
}

pub(crate) fn stopped(error: &StorageError) -> Violation {
    Violation { invariant: Invariant::Stopped, text: error.to_string() }
}

fn label(message: &HostMsg) -> String {
    match message {
        HostMsg::Activated(it) => format!("activated {} a{} at {:?}", it.object, it.activation, it.version),
        HostMsg::Enqueued { object, work } => format!("enqueued {object} {}", work.id),
        HostMsg::Start(it) => format!("start {} attempt {}", it.work.id, it.attempt),
        HostMsg::Notify { id, index, entry, .. } => format!("notify {id} {index} {}", entry.message().code),
        HostMsg::Appended { id, .. } => format!("appended {id}"),
        HostMsg::Abort { id, .. } => format!("abort {id}"),
        HostMsg::Rejected { object, activation } => format!("rejected {object} a{activation}"),
        HostMsg::StateChanged { object } => format!("state of {object} changed"),
        HostMsg::Call { invoke, .. } => format!("call {:?}", invoke.id()),
    }
}
