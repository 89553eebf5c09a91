//! The world: virtual time, one heap of events, the node and everything around it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use abide_model::command::Command;
use abide_model::id::{InvocationId, ObjectId, ScheduleId};
use abide_storage::{LogEntry, MemLog, MemState};

use crate::audit;
use crate::client::{Awakeable, Request};
use crate::config::{Canary, Config, Faults};
use crate::host::Timer;
use crate::ledger::Ledger;
use crate::model::Model;
use crate::node::{Crash, Fate, Node};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::violation::{Check, Invariant, check};

/// First reading of the node's clock, in ms.
const EPOCH_MS: i64 = 1_000_000;
/// Longest time that everything may take to end after the faults have stopped, in ms.
const CALM_MAX: u64 = 300_000;
/// How long after its time something may be forgotten, or a timer fire, in ms.
const LATE_MAX: u64 = 1_000;
/// Latest time at which the faults stop, in ms.
const STORM_MAX: u64 = 60_000;

/// Something that happens at a point in time. Those of the node carry the epoch of their process.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Boot,
    Turn(u64),
    Flush(u64),
    Tick(u64),
    Checkpoint(u64, u32),
    StateSync(u64),
    Host(u64, u32),
    HostTimer(u64, Timer),
    Propose(u64, u32, Box<Command>),
    Client(u64),
    Timeout(u64),
    Complete(Awakeable),
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
}

/// What happened how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Requests of clients.
    pub requests: u64,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Requests whose outcome their client does not know.
    pub unknown: u64,
    /// Requests that were refused at the door.
    pub refused: u64,
    /// Committed entries.
    pub entries: u64,
    /// Applied commands, replays included.
    pub commands: u64,
    /// Turns that ran on a void state.
    pub rejected: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Crashes of machine or process.
    pub crashes: u64,
    /// Exits after an error of a disk.
    pub exits: u64,
    /// Comparisons of a partition's tables with the model.
    pub compared: u64,
    /// Executions of user code.
    pub executions: u64,
    /// Records of attempts that were over.
    pub fenced: u64,
    /// Runs that schedules asked for.
    pub scheduled: u64,
    /// Results, journals and states that were forgotten.
    pub forgotten: u64,
    /// Dead letters.
    pub letters: u64,
    /// Dead letters that were dropped because there were too many.
    pub dropped: u64,
    /// Promises that were completed.
    pub promises: u64,
    /// Calls that would have waited for themselves.
    pub deadlocks: u64,
    /// Edits of states that were carried out.
    pub edits: u64,
    /// Invocations that were restarted or redriven.
    pub repeated: u64,
    /// Events.
    pub events: u64,
    /// Simulated ms.
    pub simulated_ms: u64,
}

/// A run.
pub(crate) struct World {
    pub(crate) config: Config,
    /// As configured, until the faults stop.
    pub(crate) faults: Faults,
    pub(crate) rng: Streams,
    time: u64,
    /// What the node's clock is ahead of time.
    skew: i64,
    /// The latest the node's clock ever was.
    pub(crate) latest_wall: u64,
    heap: BinaryHeap<Scheduled>,
    scheduled: u64,
    pub(crate) epoch: u64,
    pub(crate) node: Option<Node>,
    pub(crate) log_disk: MemLog,
    pub(crate) state_disk: MemState,
    /// Committed entries of each partition, from index 1.
    pub(crate) tap: Vec<Vec<LogEntry>>,
    pub(crate) hashes: BTreeMap<(u32, u64), u64>,
    pub(crate) model: Model,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    pub(crate) requests_left: u64,
    pub(crate) last_request: u64,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) waiters: BTreeMap<InvocationId, Vec<u64>>,
    /// Invocations that an operator may give orders about.
    pub(crate) targets: Vec<InvocationId>,
    /// Awakeables that flows wait for, and whether their completion is recorded.
    pub(crate) awakeables: BTreeMap<Awakeable, bool>,
    /// Requests that complete an awakeable.
    pub(crate) completions: BTreeMap<u64, Awakeable>,
    calm_since: Option<u64>,
    /// Ticks of the calm.
    pub(crate) ticks: u64,
    /// How many times each schedule had accounted for when the calm began.
    pub(crate) fired: BTreeMap<ScheduleId, u64>,
    /// When an operator last had a promise completed.
    pub(crate) resolved: BTreeMap<(ObjectId, String), u64>,
}

impl World {
    pub(crate) fn new(seed: u64, config: Config, verbose: bool) -> Self {
        let mut log_disk = MemLog::new();
        log_disk.lie_about_sync(config.canary == Some(Canary::SkipFsync));
        let stream = |name| Rng::stream(seed, name);
        Self {
            rng: Streams {
                schedule: stream("schedule"),
                fault: stream("fault"),
                net: stream("net"),
                disk: stream("disk"),
                host: stream("host"),
                client: stream("client"),
            },
            time: 0,
            skew: EPOCH_MS,
            latest_wall: 0,
            heap: BinaryHeap::new(),
            scheduled: 0,
            epoch: 0,
            node: None,
            log_disk,
            state_disk: MemState::new(),
            tap: (0..config.partitions).map(|_| Vec::new()).collect(),
            hashes: BTreeMap::new(),
            model: Model::new(config.partitions),
            ledger: Ledger::default(),
            trace: Trace::new(verbose),
            counts: Counts::default(),
            requests_left: config.requests,
            last_request: 0,
            requests: BTreeMap::new(),
            waiters: BTreeMap::new(),
            targets: Vec::new(),
            awakeables: BTreeMap::new(),
            completions: BTreeMap::new(),
            calm_since: None,
            ticks: 0,
            fired: BTreeMap::new(),
            resolved: BTreeMap::new(),
            faults: config.faults.clone(),
            config,
        }
    }

    /// Storm, calm, audit.
    pub(crate) fn run(&mut self) -> Check {
        self.after(0, Event::Boot);
        for client in 0..self.config.clients {
            let delay = self.rng.client.range(0, 20);
            self.after(delay, Event::Client(client));
        }
        while let Some(Scheduled(Reverse((time, _, _)), event)) = self.heap.pop() {
            self.time = time;
            self.trace.set_time(time);
            self.counts.events += 1;
            self.latest_wall = self.latest_wall.max(self.wall());
            self.step(event)?;
            if self.is_over()? {
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

    fn step(&mut self, event: Event) -> Check {
        if self.rng.fault.chance(self.faults.power) {
            return self.crash_before(Crash::Power, event);
        }
        if self.rng.fault.chance(self.faults.kill) {
            return self.crash_before(Crash::Kill, event);
        }
        self.dispatch(event)
    }

    /// The node dies just before an event, which happens to whoever is left.
    fn crash_before(&mut self, how: Crash, event: Event) -> Check {
        self.crash(how)?;
        self.dispatch(event)
    }

    fn dispatch(&mut self, event: Event) -> Check {
        let epoch = self.epoch;
        match event {
            Event::Boot => self.boot(),
            Event::Turn(of) if of == epoch => self.with_node(|world, node| world.turn(node)),
            Event::Flush(of) if of == epoch => self.with_node(|world, node| world.flush(node)),
            Event::Tick(of) if of == epoch => self.with_node(|world, node| world.ticked(node)),
            Event::Checkpoint(of, p) if of == epoch => self.with_node(|world, node| world.checkpoint(node, p)),
            Event::StateSync(of) if of == epoch => self.with_node(|world, node| world.state_sync(node)),
            Event::Host(of, p) if of == epoch => self.with_node(|world, node| world.host_step(node, p)),
            Event::HostTimer(of, timer) if of == epoch => self.with_node(|world, node| world.host_timer(node, timer)),
            Event::Propose(of, p, command) if of == epoch => {
                self.proposed(p, *command);
                Ok(())
            }
            Event::Client(client) => self.client(client),
            Event::Timeout(request) => self.timeout(request),
            Event::Complete(awakeable) => {
                self.complete_awakeable(awakeable);
                Ok(())
            }
            // Of a process that is gone.
            _ => Ok(()),
        }
    }

    fn ticked(&mut self, node: &mut Node) -> Check<Fate> {
        if self.rng.fault.chance(self.faults.clock) {
            // Now and then so far that schedules miss times.
            let most = if self.rng.fault.chance(1_000) { 30_000 } else { 3_000 };
            let jump = i64::try_from(self.rng.fault.range(1, most)).unwrap_or(1);
            // Back as far as forward, but never before the first reading.
            self.skew = (self.skew + if self.rng.fault.chance(5_000) { jump } else { -jump }).max(EPOCH_MS);
            self.latest_wall = self.latest_wall.max(self.wall());
            self.trace.line(format_args!("clock jumps to {}", self.wall()));
        }
        let fate = self.tick(node)?;
        if self.rng.schedule.chance(1_500) {
            self.compare(node)?;
        }
        if self.calm_since.is_some() {
            self.ticks += 1;
            self.calm_down();
        }
        Ok(fate)
    }

    /// Whether the run is over. Ends the storm when the clients have asked everything.
    fn is_over(&mut self) -> Check<bool> {
        let Some(since) = self.calm_since else {
            if (self.requests_left == 0 && self.requests.is_empty()) || self.time > STORM_MAX {
                self.trace.line(format_args!("the faults stop"));
                self.calm_since = Some(self.time);
                self.requests_left = 0;
                self.faults = Faults::default();
            }
            return Ok(false);
        };
        let late = self.wall().saturating_sub(LATE_MAX);
        let drained = self.requests.is_empty()
            && self.model.parts.iter().all(|part| part.is_empty() && part.is_drained() && !part.is_late(late))
            && self.node.as_ref().is_some_and(Node::is_quiet);
        check(drained || self.time < since + CALM_MAX, Invariant::L6Progress, || audit::stuck(self))?;
        Ok(drained)
    }

    /// The node's clock.
    pub(crate) fn wall(&self) -> u64 {
        u64::try_from(i64::try_from(self.time).unwrap_or(i64::MAX).saturating_add(self.skew)).unwrap_or(0)
    }

    /// Something happens `delay` ms from now.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        let tie = self.rng.schedule.next();
        self.heap.push(Scheduled(Reverse((self.time + delay, tie, self.scheduled)), event));
    }
}
