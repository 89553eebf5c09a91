//! The world: virtual time, one heap of events, the machines and everything around them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use abide_model::command::Command;
use abide_model::id::{InvocationId, ObjectId, ScheduleId};
use abide_storage::LogEntry;

use crate::archive::{Answered, Archive};
use crate::audit;
use crate::client::{Awakeable, Request};
use crate::cluster::Cluster;
use crate::config::{Config, Faults};
use crate::counts::Counts;
use crate::host::Timer;
use crate::ingress::Pending;
use crate::ledger::Ledger;
use crate::machine::{FOUNDER, Machine};
use crate::model::Model;
use crate::net::{Net, Packet};
use crate::node::{Crash, Node};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::violation::{Check, Invariant, check};

/// First reading of the nodes' clocks, in ms.
pub(crate) const EPOCH_MS: i64 = 1_000_000;
/// Longest time that everything may take to end after the faults have stopped, in ms.
const CALM_MAX: u64 = 300_000;
/// How long after its time something may be forgotten, or a timer fire, in ms.
const LATE_MAX: u64 = 1_000;
/// Latest time at which the faults stop, in ms.
const STORM_MAX: u64 = 60_000;

/// How often it is looked whether a stopped process goes on, in ms.
pub(crate) const HELD_MS: u64 = 250;

/// Something that happens at a point in time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A machine starts a process.
    Boot(usize),
    /// A step of a machine's process with this boot id, if it still runs.
    Process(usize, u64, Step),
    Arrives(Box<Packet>),
    /// Links are cut.
    Weather,
    /// The controller looks after the members of all groups.
    Control,
    /// Operators look after what waits for them, when the faults have stopped.
    Operators,
    Client(u64),
    Timeout(u64),
    Complete(Awakeable),
    /// A request reaches the object store.
    Store(u64),
}

/// Something that a process does.
#[derive(Debug)]
pub(crate) enum Step {
    Turn,
    Flush,
    Tick,
    Checkpoint(u32),
    StateSync,
    Host(u32),
    HostTimer(Timer),
    Propose(u32, Box<Command>),
    Fetch(u32, u64, u64, u64),
    Withdraw(u32, u64),
    SnapshotLate(u32, u64, u64),
    Load(u32, u64),
    LoadFails(u32, u64),
    Come(u64, Box<Pending>),
    Retry(u64, u32),
    /// It looks whether something is to be saved.
    Save,
    /// The object store answers.
    Answer(u64, Box<Answered>),
}

impl Event {
    /// Whether it is of the archive, which has crashes of its own.
    fn is_aside(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Process(_, _, Step::Save | Step::Answer(..)))
    }
}

/// An event in the heap: time, tie-break, arrival.
struct Scheduled(Reverse<(u64, u64, u64)>, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// A stream for each concern.
pub(crate) struct Streams {
    pub(crate) schedule: Rng,
    pub(crate) fault: Rng,
    pub(crate) net: Rng,
    pub(crate) disk: Rng,
    pub(crate) host: Rng,
    pub(crate) client: Rng,
    pub(crate) control: Rng,
    pub(crate) archive: Rng,
}

/// A run.
pub(crate) struct World {
    pub(crate) config: Config,
    /// As configured, until the faults stop.
    pub(crate) faults: Faults,
    pub(crate) rng: Streams,
    time: u64,
    /// The latest that any clock ever was.
    pub(crate) latest_wall: u64,
    heap: BinaryHeap<Scheduled>,
    scheduled: u64,
    pub(crate) machines: Vec<Machine>,
    /// The last boot id.
    pub(crate) boots: u64,
    /// The process whose step is being done ends itself.
    pub(crate) exits: bool,
    pub(crate) net: Net,
    pub(crate) cluster: Cluster,
    pub(crate) archive: Archive,
    /// Committed entries of each partition, from index 1.
    pub(crate) tap: Vec<Vec<LogEntry>>,
    pub(crate) hashes: BTreeMap<(u32, u64), u64>,
    /// Who leads a partition in a term.
    pub(crate) leaders: BTreeMap<(u32, u64), u64>,
    /// For whom a replica voted in a term.
    pub(crate) votes: BTreeMap<(u32, u64, u64), u64>,
    /// The last boot id of a node that a process heard of.
    pub(crate) heard: BTreeMap<(u64, usize), u64>,
    /// Replicas whose disk was lost, and the last boot id before that.
    pub(crate) lost: BTreeMap<(u32, u64), u64>,
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) requests_left: u64,
    pub(crate) last_request: u64,
    pub(crate) last_read: u64,
    /// Snapshots that were ever sent.
    pub(crate) transfers: u64,
    pub(crate) requests: BTreeMap<u64, Request>,
    /// Invocations that are executed once, whatever happens: nobody gives their ids again.
    pub(crate) plain: BTreeSet<InvocationId>,
    /// Invocations that an operator may give orders about.
    pub(crate) targets: Vec<InvocationId>,
    /// Awakeables that flows wait for, and whether their completion is recorded.
    pub(crate) awakeables: BTreeMap<Awakeable, bool>,
    /// Requests that complete an awakeable.
    pub(crate) completions: BTreeMap<u64, Awakeable>,
    pub(crate) calm_since: Option<u64>,
    pub(crate) over: bool,
    /// Rounds of the operators in the calm.
    pub(crate) ticks: u64,
    /// How many times each schedule had accounted for when the calm began.
    pub(crate) fired: BTreeMap<ScheduleId, u64>,
    /// When an operator last had a promise completed.
    pub(crate) resolved: BTreeMap<(ObjectId, String), u64>,
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, verbose: bool) -> Self {
        let stream = |name| Rng::stream(seed, name);
        let mut skew = stream("skew");
        let mut machines: Vec<_> = (0..config.nodes)
            .map(|number| {
                let ahead = if number == 0 { 0 } else { skew.below(config.skew_ms + 1) };
                Machine::new(config.canary, i64::try_from(ahead).unwrap_or(0))
            })
            .collect();
        machines[0].replicas = (0..config.partitions).map(|p| (p, FOUNDER)).collect();
        Self {
            rng: Streams {
                schedule: stream("schedule"),
                fault: stream("fault"),
                net: stream("net"),
                disk: stream("disk"),
                host: stream("host"),
                client: stream("client"),
                control: stream("control"),
                archive: stream("archive"),
            },
            time: 0,
            latest_wall: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            machines,
            boots: 0,
            exits: false,
            net: Net::default(),
            cluster: Cluster::new(config.partitions),
            archive: Archive::new(),
            tap: (0..config.partitions).map(|_| Vec::new()).collect(),
            hashes: BTreeMap::new(),
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            heard: BTreeMap::new(),
            lost: BTreeMap::new(),
            model: Model::new(config.partitions),
            ledger: Ledger::default(),
            trace: Trace::new(verbose),
            counts: Counts::default(),
            requests_left: config.requests,
            last_request: 0,
            last_read: 0,
            transfers: 0,
            requests: BTreeMap::new(),
            plain: BTreeSet::new(),
            targets: Vec::new(),
            awakeables: BTreeMap::new(),
            completions: BTreeMap::new(),
            calm_since: None,
            over: false,
            ticks: 0,
            fired: BTreeMap::new(),
            resolved: BTreeMap::new(),
            faults: config.faults.clone(),
            config,
        }
    }

    /// Storm, calm, audit.
    pub(crate) fn run(&mut self) -> Check {
        self.note_clocks();
        for number in 0..self.machines.len() {
            self.after(0, Event::Boot(number));
        }
        for client in 0..self.config.clients {
            let delay = self.rng.client.range(0, 20);
            self.after(delay, Event::Client(client));
        }
        if self.config.nodes > 1 {
            self.after(0, Event::Weather);
            self.after(0, Event::Control);
        }
        while let Some(Scheduled(Reverse((time, _, _)), event)) = self.heap.pop() {
            if time > self.time {
                self.time = time;
                self.trace.set_time(time);
                self.note_clocks();
            }
            self.counts.events += 1;
            self.step(event)?;
            self.end_storm()?;
            if self.over {
                break;
            }
        }
        self.counts.simulated_ms = self.time;
        self.counts.executions = self.ledger.executions;
        for part in &self.model.parts {
            self.counts.fenced += part.fenced;
            self.counts.forgotten += part.forgotten;
            self.counts.letters += part.lettered;
            self.counts.dropped += part.dropped();
            self.counts.promises += part.promised;
            self.counts.deadlocks += part.deadlocks;
            self.counts.edits += part.edits;
            self.counts.repeated += part.repeated;
        }
        audit::audit(self)
    }

    fn note_clocks(&mut self) {
        let latest = self.machines.iter().map(|machine| machine.wall(self.time)).max();
        self.latest_wall = self.latest_wall.max(latest.unwrap_or(0));
    }

    /// Now and then a process dies or stops just before an event, which happens to whoever is left.
    fn step(&mut self, event: Event) -> Check {
        if event.is_aside() {
            return self.dispatch(event);
        }
        // More nodes have more events in the same time.
        let scale = if self.config.nodes == 1 { 10_000 } else { 100_000 };
        for (rate, how) in [(self.faults.power, Crash::Power), (self.faults.kill, Crash::Kill)] {
            if rate > 0 && self.rng.fault.below(scale) < rate {
                // Now and then the power of the whole place.
                let everywhere = how == Crash::Power && self.rng.fault.chance(1_500);
                let number = self.any_machine();
                for other in 0..self.machines.len() {
                    if everywhere || other == number {
                        self.crash(other, how)?;
                    }
                }
            }
        }
        if self.faults.pause > 0 && self.rng.fault.below(scale) < self.faults.pause {
            let number = self.any_machine();
            self.pause(number);
        }
        self.dispatch(event)
    }

    fn any_machine(&mut self) -> usize {
        usize::try_from(self.rng.fault.below(self.machines.len() as u64)).unwrap_or(0)
    }

    /// A process is stopped without being told.
    fn pause(&mut self, number: usize) {
        let length = if self.rng.fault.chance(7_000) { self.rng.fault.range(1_000, 5_000) } else { 20_000 };
        let machine = &mut self.machines[number];
        if machine.process.is_some() && machine.paused.is_none() {
            machine.paused = Some(self.time + length);
            self.counts.pauses += 1;
            self.trace.line(format_args!("n{} is stopped for {length} ms", number + 1));
        }
    }

    fn dispatch(&mut self, event: Event) -> Check {
        match event {
            Event::Boot(number) if self.machines[number].process.is_none() => self.boot(number),
            Event::Boot(_) => Ok(()),
            Event::Process(number, epoch, step) => self.process(number, epoch, step),
            Event::Arrives(packet) => self.arrives(*packet),
            Event::Weather => {
                self.weather();
                Ok(())
            }
            Event::Control => self.control(),
            Event::Operators => self.operators(),
            Event::Client(client) => self.client(client),
            Event::Timeout(request) => self.timeout(request),
            Event::Complete(awakeable) => {
                self.complete_awakeable(awakeable);
                Ok(())
            }
            Event::Store(number) => self.reaches_store(number),
        }
    }

    fn process(&mut self, number: usize, epoch: u64, step: Step) -> Check {
        let machine = &mut self.machines[number];
        if machine.epoch != epoch {
            // Of a process that is gone.
            return Ok(());
        }
        if let Some(until) = machine.paused {
            if self.time < until {
                // It may be let go on earlier.
                self.after((until - self.time).min(HELD_MS), Event::Process(number, epoch, step));
                return Ok(());
            }
            machine.paused = None;
        }
        self.with_node(number, |world, node| world.do_step(node, step))
    }

    fn do_step(&mut self, node: &mut Node, step: Step) -> Check {
        match step {
            Step::Turn => self.turn(node),
            Step::Flush => self.flush(node),
            Step::Tick => self.ticked(node),
            Step::Checkpoint(p) => self.checkpoint(node, p),
            Step::StateSync => self.state_sync(node),
            Step::Host(p) => self.host_step(node, p),
            Step::HostTimer(timer) => self.host_timer(node, timer),
            Step::Propose(p, command) => {
                self.proposed(node, p, *command);
                Ok(())
            }
            Step::Fetch(p, low, high, max_bytes) => self.fetch(node, p, low, high, max_bytes),
            Step::Withdraw(p, index) => self.withdraw(node, p, index),
            Step::SnapshotLate(p, replica, number) => self.snapshot_sent(node, p, replica, number, false),
            Step::Load(p, number) => self.load(node, p, number),
            Step::LoadFails(p, number) => {
                self.load_fails(node, p, number);
                Ok(())
            }
            Step::Come(number, pending) => self.comes(node, number, *pending),
            Step::Retry(number, copy) => self.retry(node, number, copy),
            Step::Save => self.save(node),
            Step::Answer(number, answered) => self.store_answers(node, number, *answered),
        }
    }

    fn ticked(&mut self, node: &mut Node) -> Check {
        if self.rng.fault.chance(self.faults.clock) {
            // Now and then so far that schedules miss times.
            let most = if self.rng.fault.chance(1_000) { 30_000 } else { 3_000 };
            let jump = i64::try_from(self.rng.fault.range(1, most)).unwrap_or(1);
            let machine = &mut self.machines[node.number];
            // Back as far as forward, but never before the first reading.
            machine.skew = (machine.skew + if self.rng.fault.chance(5_000) { jump } else { -jump }).max(EPOCH_MS);
            let wall = machine.wall(self.time);
            self.latest_wall = self.latest_wall.max(wall);
            self.trace.line(format_args!("n{} clock jumps to {wall}", node.number + 1));
        }
        self.tick(node)?;
        if self.rng.schedule.chance(self.config.compare) {
            self.compare(node)?;
        }
        Ok(())
    }

    /// Ends the storm when the clients have asked everything.
    fn end_storm(&mut self) -> Check {
        if self.calm_since.is_some() {
            return Ok(());
        }
        let asked = self.requests_left == 0 && self.requests.is_empty() && self.time >= self.config.storm_ms;
        if !asked && self.time <= STORM_MAX {
            return Ok(());
        }
        self.trace.line(format_args!("the faults stop"));
        self.calm_since = Some(self.time);
        self.requests_left = 0;
        self.faults = Faults::default();
        self.net.heal();
        for machine in &mut self.machines {
            machine.paused = machine.paused.map(|_| self.time);
        }
        let down = (0..self.machines.len()).filter(|number| self.machines[*number].process.is_none());
        for number in down.collect::<Vec<_>>() {
            self.after(500, Event::Boot(number));
        }
        self.after(100, Event::Operators);
        if self.config.archive.rehearsed { self.rehearse() } else { Ok(()) }
    }

    /// A round of the operators in the calm: they help, and look whether everything has ended.
    fn operators(&mut self) -> Check {
        self.ticks += 1;
        self.calm_down();
        let since = self.calm_since.unwrap_or(self.time);
        self.groups_heal(self.time - since)?;
        self.archive_heals(self.time - since)?;
        let slowest = self.machines.iter().map(|machine| machine.wall(self.time)).min().unwrap_or(0);
        let late = slowest.saturating_sub(LATE_MAX);
        let ended = self.requests.is_empty()
            && self.model.parts.iter().all(|part| part.is_empty() && part.is_drained() && !part.is_late(late))
            && self.machines.iter().all(|machine| machine.process.as_ref().is_some_and(Node::is_quiet));
        let drained = ended && self.is_settled() && self.is_archived();
        let what = if ended && !self.is_settled() { Invariant::L4Converges } else { Invariant::L6Progress };
        check(drained || self.time < since + CALM_MAX, what, || audit::stuck(self))?;
        self.over = drained;
        self.after(100, Event::Operators);
        Ok(())
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm_since.is_some()
    }

    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// The clock of a machine.
    pub(crate) fn wall(&self, number: usize) -> u64 {
        self.machines[number].wall(self.time)
    }

    /// Something happens `delay` ms from now.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        let tie = self.rng.schedule.next();
        self.at(delay, tie, event);
    }

    /// The same with a tie-break that was drawn.
    pub(crate) fn at(&mut self, delay: u64, tie: u64, event: Event) {
        self.scheduled += 1;
        self.heap.push(Scheduled(Reverse((self.time + delay, tie, self.scheduled)), event));
    }
}
