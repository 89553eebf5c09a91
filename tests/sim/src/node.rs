//! The simulated shell: drives the partitions as the real driver does, with an fsync that takes time.

pub(crate) mod disk;
mod output;
mod schedules;

use std::collections::VecDeque;
use std::sync::Arc;

use abide_model::command::Command;
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId};
use abide_model::table::{Invocations, Status};
use abide_model::view::View as _;
use abide_partition::{Input, Partition, PartitionError, PartitionSettings};
use abide_storage::{Checkpoint, LogBatch, LogStore, LogWrite, Overlay, StorageError};
pub(crate) use disk::Crash;

use crate::config::Canary;
use crate::host::{Ask, Cx, Host, HostMsg, Timer};
use crate::ledger::Life;
use crate::model;
use crate::store::SimState;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::{Event, World};

/// Length of a raft tick in ms.
pub(crate) const TICK: u64 = 100;

/// One process.
pub(crate) struct Node {
    pub(crate) slots: Vec<Slot>,
    host: Host,
    /// What the host is told, for each partition in the order of its log.
    host_inbox: Vec<VecDeque<HostMsg>>,
    /// Objects to load, and what has to be applied before.
    loads: Vec<(ObjectId, Option<u64>)>,
    activations: u64,
    /// Writes that wait for the log.
    queue: Vec<(LogWrite, bool)>,
    /// The write under way.
    flight: Option<LogBatch>,
    turn_scheduled: bool,
}

/// A partition and what the shell knows of it.
pub(crate) struct Slot {
    pub(crate) partition: Partition<SimState>,
    inbox: VecDeque<Command>,
    checkpoint: Option<(Checkpoint, u64)>,
    entries_since_checkpoint: u64,
    /// Index that the state store has, not necessarily synced.
    written: u64,
    wake_at: Option<u64>,
}

/// What becomes of the process after a step.
#[derive(PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    /// It ended itself: the outcome of what is under way is unknown.
    Exits,
}

impl World {
    /// Opens the node from its disks.
    pub(crate) fn boot(&mut self) -> Check {
        self.epoch += 1;
        let state = Arc::new(SimState { disk: self.state_disk.clone(), canary: self.config.canary });
        let mut slots = Vec::new();
        for p in 0..self.config.partitions {
            let recovered = self.log_disk.recover(p).map_err(|error| stopped(&error))?;
            let committed = self.tap[p as usize].len() as u64;
            check(recovered.last().index >= committed, Invariant::I1NoLostWork, || {
                format!("p{p}: {committed} entries were committed, the log ends at {}", recovered.last().index)
            })?;
            for entry in &recovered.entries {
                self.committed(p, entry)?;
            }
            let settings = PartitionSettings {
                entry_cache_bytes: self.config.entry_cache_bytes,
                ..PartitionSettings::single(PartitionId(p), self.config.partitions)
            };
            let overlay = Overlay::new(p, Arc::clone(&state));
            let mut partition = Partition::open(settings, recovered, overlay).map_err(|error| failed(&error))?;
            let written = partition.stats().applied;
            self.check_hash(p, &partition)?;
            partition.handle(Input::Campaign, Millis(self.wall())).map_err(|error| failed(&error))?;
            slots.push(Slot {
                partition,
                inbox: VecDeque::new(),
                checkpoint: None,
                entries_since_checkpoint: 0,
                written,
                wake_at: None,
            });
        }
        self.node = Some(Node {
            host_inbox: slots.iter().map(|_| VecDeque::new()).collect(),
            slots,
            host: Host::default(),
            loads: Vec::new(),
            activations: 0,
            queue: Vec::new(),
            flight: None,
            turn_scheduled: false,
        });
        self.after(TICK, Event::Tick(self.epoch));
        self.turn_soon();
        Ok(())
    }

    /// Makes sure that a turn of the loop follows.
    pub(crate) fn turn_soon(&mut self) {
        let delay = self.rng.net.range(0, self.config.delay_ms / 2);
        let epoch = self.epoch;
        if let Some(node) = &mut self.node
            && !std::mem::replace(&mut node.turn_scheduled, true)
        {
            self.after(delay, Event::Turn(epoch));
        }
    }

    /// A step of the node; it may end the process.
    pub(crate) fn with_node(&mut self, step: impl FnOnce(&mut Self, &mut Node) -> Check<Fate>) -> Check {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        if step(self, &mut node)? == Fate::Lives {
            self.node = Some(node);
            return Ok(());
        }
        drop(node);
        self.exited()
    }

    /// One turn of the loop: proposals in, outputs out, a write begins.
    pub(crate) fn turn(&mut self, node: &mut Node) -> Check<Fate> {
        node.turn_scheduled = false;
        for p in 0..node.slots.len() {
            let slot = &mut node.slots[p];
            let now = Millis(self.wall());
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
            while let Some(output) = node.slots[p].partition.poll_output().map_err(|error| failed(&error))? {
                self.output(node, p, output)?;
            }
            self.schedule_wake(node, p);
            let log_time = node.slots[p].partition.stats().log_time;
            check(log_time.0 <= self.latest_wall, Invariant::I13Timers, || {
                format!("p{p}: log time is {log_time}, the clock never was later than {}", self.latest_wall)
            })?;
        }
        self.answer_loads(node)?;
        if node.flight.is_none() && !node.queue.is_empty() {
            let queue = std::mem::take(&mut node.queue);
            let sync = queue.iter().any(|(_, sync)| *sync);
            let writes: Vec<_> = queue.into_iter().map(|(write, _)| write).collect();
            let delay = if sync { self.rng.disk.range(0, self.config.fsync_ms) } else { 0 };
            if self.config.canary == Some(Canary::AckBeforeCommit) {
                for p in writes.iter().map(|write| write.partition as usize) {
                    let now = Millis(self.wall());
                    node.slots[p].partition.handle(Input::Persisted, now).map_err(|error| failed(&error))?;
                    while let Some(output) = node.slots[p].partition.take_output() {
                        self.output(node, p, output)?;
                    }
                }
            }
            node.flight = Some(LogBatch { writes, sync });
            self.after(delay, Event::Flush(self.epoch));
        }
        if node.slots.iter().any(|slot| !slot.inbox.is_empty()) {
            self.after(0, Event::Turn(self.epoch));
            node.turn_scheduled = true;
        }
        Ok(Fate::Lives)
    }

    fn schedule_wake(&mut self, node: &mut Node, p: usize) {
        let slot = &mut node.slots[p];
        let Some(due) = slot.partition.poll_timeout().map(|due| due.0) else { return };
        let now = self.wall();
        if due > now && slot.wake_at.is_none_or(|at| due < at || at <= now) {
            slot.wake_at = Some(due);
            self.after(due - now, Event::Turn(self.epoch));
        }
    }

    /// The write under way reaches the disk.
    pub(crate) fn flush(&mut self, node: &mut Node) -> Check<Fate> {
        let Some(batch) = node.flight.take() else { return Ok(Fate::Lives) };
        if self.rng.fault.chance(self.faults.log_error) {
            let outcome = if self.rng.fault.chance(5_000) {
                abide_storage::CommitOutcome::Present
            } else {
                abide_storage::CommitOutcome::Absent
            };
            self.trace.line(format_args!("log: a write fails, {outcome:?}"));
            self.log_disk.fail_next_commit(outcome);
        }
        match self.log_disk.commit(&batch) {
            Ok(()) => {}
            Err(StorageError::Indeterminate { .. }) => return Ok(Fate::Exits),
            Err(error) => return Err(stopped(&error)),
        }
        for write in &batch.writes {
            for entry in &write.entries {
                self.committed(write.partition, entry)?;
            }
        }
        if self.config.canary != Some(Canary::AckBeforeCommit) {
            let now = Millis(self.wall());
            for write in &batch.writes {
                let slot = &mut node.slots[write.partition as usize];
                slot.partition.handle(Input::Persisted, now).map_err(|error| failed(&error))?;
            }
        }
        self.turn(node)
    }

    /// A tick of all partitions. Clocks jump here, and the tables are compared now and then.
    pub(crate) fn tick(&mut self, node: &mut Node) -> Check<Fate> {
        let now = Millis(self.wall());
        for slot in &mut node.slots {
            slot.partition.handle(Input::Tick, now).map_err(|error| failed(&error))?;
        }
        self.after(TICK, Event::Tick(self.epoch));
        self.turn(node)
    }

    /// Compares the tables with the model wherever all that is committed is applied.
    pub(crate) fn compare(&mut self, node: &Node) -> Check {
        for (p, slot) in node.slots.iter().enumerate() {
            if slot.partition.stats().applied == self.tap[p].len() as u64 {
                let (log_time, expected) = (slot.partition.stats().log_time.0, self.model.parts[p].log_time);
                check(log_time == expected, Invariant::I13Timers, || {
                    format!("p{p}: log time is {log_time}, expected {expected}")
                })?;
                model::compare(slot.partition.view(), &self.model.parts[p])?;
                self.counts.compared += 1;
            }
        }
        Ok(())
    }

    /// The host takes what it was told about a partition.
    pub(crate) fn host_step(&mut self, node: &mut Node, p: u32) -> Check<Fate> {
        let Some(message) = node.host_inbox[p as usize].pop_front() else { return Ok(Fate::Lives) };
        self.trace.line(format_args!("host p{p} {}", label(&message)));
        self.with_host(node, |host, cx| host.handle(message, cx))
    }

    /// A reminder of the host.
    pub(crate) fn host_timer(&mut self, node: &mut Node, timer: Timer) -> Check<Fate> {
        if let Timer::Run(life, attempt) = timer {
            runs_rightly(node, self.config.partitions, life, attempt)?;
        }
        self.with_host(node, |host, cx| host.timer(timer, cx))
    }

    fn with_host(&mut self, node: &mut Node, step: impl FnOnce(&mut Host, &mut Cx<'_>) -> Check) -> Check<Fate> {
        let mut cx = Cx {
            now: self.wall(),
            partitions: self.config.partitions,
            speculation: self.config.speculation,
            faults: &self.faults,
            canary: self.config.canary,
            rng: &mut self.rng.host,
            ledger: &mut self.ledger,
            asks: Vec::new(),
        };
        step(&mut node.host, &mut cx)?;
        let asks = cx.asks;
        for ask in asks {
            match ask {
                Ask::Propose(partition, command) => node.slots[partition.0 as usize].inbox.push_back(*command),
                Ask::Load(object) => node.loads.push((object, None)),
                Ask::After(delay, timer) => self.after(delay, Event::HostTimer(self.epoch, timer)),
                Ask::Awaits(id, life, signal) => self.awaits((id, life, signal)),
            }
        }
        let idle = node.loads.is_empty() && node.slots.iter().all(|slot| slot.inbox.is_empty());
        if !idle && !std::mem::replace(&mut node.turn_scheduled, true) {
            let delay = self.rng.net.range(0, self.config.delay_ms / 2);
            self.after(delay, Event::Turn(self.epoch));
        }
        Ok(Fate::Lives)
    }

    /// Tells the host something, in order, after a while.
    pub(crate) fn tell(&mut self, node: &mut Node, p: u32, message: HostMsg) {
        node.host_inbox[p as usize].push_back(message);
        let delay = self.rng.net.range(0, self.config.delay_ms);
        self.after(delay, Event::Host(self.epoch, p));
    }

    /// As [`World::tell`], from outside the node.
    pub(crate) fn tell_host(&mut self, p: u32, message: HostMsg) {
        if let Some(mut node) = self.node.take() {
            self.tell(&mut node, p, message);
            self.node = Some(node);
        }
    }

    /// Proposes a command of a client.
    pub(crate) fn propose_from_outside(&mut self, id: InvocationId, command: Command) {
        let p = PartitionId::of(id.partition_key, self.config.partitions).0;
        let delay = self.rng.net.range(0, self.config.delay_ms);
        self.after(delay, Event::Propose(self.epoch, p, Box::new(command)));
    }

    /// A command arrives at a partition.
    pub(crate) fn proposed(&mut self, p: u32, command: Command) {
        if let Some(node) = &mut self.node {
            node.slots[p as usize].inbox.push_back(command);
            self.turn_soon();
        }
    }

    /// Whether a partition has as much waiting as it may.
    pub(crate) fn is_overloaded(&self, partition: PartitionId) -> bool {
        self.node.as_ref().is_some_and(|node| {
            let slot = &node.slots[partition.0 as usize];
            slot.partition.stats().pending + slot.inbox.len() >= self.config.inbox_max
        })
    }

    pub(crate) fn check_hash(&mut self, p: u32, partition: &Partition<SimState>) -> Check {
        let stats = partition.stats();
        let known = *self.hashes.entry((p, stats.applied)).or_insert(stats.state_hash);
        check(known == stats.state_hash, Invariant::I9Determinism, || {
            format!("p{p}: at index {} the hash was {known:016x} and is {:016x}", stats.applied, stats.state_hash)
        })
    }
}

impl Node {
    /// Whether nothing is on its way inside the process.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flight.is_none()
            && self.queue.is_empty()
            && self.loads.is_empty()
            && self.host_inbox.iter().all(VecDeque::is_empty)
            && self.slots.iter().all(|slot| slot.inbox.is_empty() && slot.partition.stats().pending == 0)
    }

    /// Running flows and objects in memory.
    pub(crate) fn host_sizes(&self) -> (usize, usize) {
        self.host.sizes()
    }
}

/// Code is about to run of an attempt: when the host knows all that is applied, the tables say that it is under way.
fn runs_rightly(node: &Node, partitions: u32, life: Life, attempt: u32) -> Check {
    let p = PartitionId::of(life.0.partition_key, partitions).0 as usize;
    if !node.host_inbox[p].is_empty() || !node.host.is_about_to_run(life, attempt) {
        return Ok(());
    }
    let row = node.slots[p].partition.view().get::<Invocations>(&life.0).ok().flatten();
    let rightly = row.as_ref().is_some_and(|row| {
        matches!(row.status, Some(Status::Running(_))) && (row.life, row.attempt) == (life.1, attempt)
    });
    check(rightly, Invariant::I22Stopped, || format!("attempt {attempt} of {life:?} runs, the tables say {row:?}"))
}

/// The process stopped although its disks did what they promise.
pub(crate) fn failed(error: &PartitionError) -> Violation {
    let invariant = match error {
        PartitionError::LogBehindState { .. } | PartitionError::StateBehindLog { .. } => Invariant::I1NoLostWork,
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
