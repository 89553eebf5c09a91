//! The simulated host: runs turns ahead of their commit, and flows from their journals, as the real one does.

mod flow;
mod object;

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{AttemptFailed, Body, Command, Form, Invoke, Next, StateVersion, Turn};
use abide_model::effect::Work;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::{Failure, SignalId};
use abide_model::table::JournalRow;
use bytes::Bytes;

use crate::app::{self, Fields};
use crate::config::{Canary, Faults};
use crate::ledger::{Ledger, Life};
use crate::names;
use crate::rng::Rng;
use crate::violation::Check;
use flow::Flow;
use object::Activation;

/// What the host is told, in the order of each partition's log.
#[derive(Clone, Debug)]
pub(crate) enum HostMsg {
    /// An object's applied state and mailbox.
    Activated(Box<Snapshot>),
    /// Something took its place in a mailbox.
    Enqueued { object: ObjectId, work: Box<Work> },
    /// An attempt is due.
    Start(Box<Start>),
    /// A running attempt is told something.
    Notify { id: InvocationId, attempt: u32, index: u32, entry: JournalRow },
    /// What an attempt proposed is durable.
    Appended { id: InvocationId, attempt: u32 },
    /// A running attempt must stop.
    Abort { id: InvocationId, object: Option<ObjectId> },
    /// An activation is void.
    Rejected { object: ObjectId, activation: u64 },
    /// An object's state was changed by someone else.
    StateChanged { object: ObjectId },
    /// A client wants a turn at once.
    Call { request: u64, invoke: Box<Invoke> },
}

/// An object as loaded.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) object: ObjectId,
    pub(crate) activation: u64,
    pub(crate) version: StateVersion,
    pub(crate) fields: Fields,
    /// The mailbox in order, and whether each is held.
    pub(crate) queue: Vec<(Work, bool)>,
}

/// An attempt as loaded.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) work: Work,
    pub(crate) term: u64,
    pub(crate) attempt: u32,
    pub(crate) journal: Vec<JournalRow>,
    pub(crate) fields: Fields,
}

/// What the host asks of the shell.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Propose this.
    Propose(PartitionId, Box<Command>),
    /// Load this object.
    Load(ObjectId),
    /// Call [`Host::timer`] after so many ms.
    After(u64, Timer),
    /// A flow waits for this signal from outside.
    Awaits(InvocationId, u64, SignalId),
}

/// What the host wants to be reminded of.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    /// Go on with the mailbox of an object.
    Pump(ObjectId),
    /// Put a waiting flow away.
    Suspend(InvocationId, u32),
    /// Run the user code that an attempt has come to.
    Run(Life, u32),
}

/// What a call of the host may use.
pub(crate) struct Cx<'a> {
    /// Whose host it is.
    pub(crate) node: usize,
    /// The node's clock.
    pub(crate) now: u64,
    pub(crate) partitions: u32,
    pub(crate) speculation: usize,
    pub(crate) faults: &'a Faults,
    pub(crate) canary: Option<Canary>,
    pub(crate) rng: &'a mut Rng,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) asks: Vec<Ask>,
}

impl Cx<'_> {
    fn propose(&mut self, id: InvocationId, request: u64, body: Body) {
        let partition = PartitionId::of(id.partition_key, self.partitions);
        self.asks.push(Ask::Propose(partition, Box::new(Command { request, body: Some(body) })));
    }

    fn panics(&mut self) -> bool {
        self.rng.chance(self.faults.panic)
    }

    /// What the retry policy says about the failure with this number. Money is never given up.
    fn next(&mut self, service: &str, failures: u32) -> Next {
        if failures <= 3 || service == names::ACCOUNT {
            return Next::RetryAfter(self.rng.range(1, 300));
        }
        if self.rng.chance(5_000) { Next::Pause(true) } else { Next::Fail(true) }
    }
}

/// The host of one process.
#[derive(Default)]
pub(crate) struct Host {
    objects: BTreeMap<ObjectId, Activation>,
    flows: BTreeMap<InvocationId, Flow>,
    /// Direct turns that failed and are on their way into the mailbox.
    unconfirmed: BTreeSet<InvocationId>,
    /// The last records of each flow, to be sent again late, also when its id has another life by then.
    records: BTreeMap<InvocationId, Vec<Body>>,
}

impl Host {
    /// Something happened.
    pub(crate) fn handle(&mut self, message: HostMsg, cx: &mut Cx<'_>) -> Check {
        match message {
            HostMsg::Activated(snapshot) => self.activated(*snapshot, cx),
            HostMsg::Enqueued { object, work } => self.enqueued(object, *work, cx),
            HostMsg::Start(start) => return self.start(*start, cx),
            HostMsg::Notify { id, attempt, index, entry } => return self.notify(id, attempt, index, &entry, cx),
            HostMsg::Appended { id, attempt } => return self.appended(id, attempt, cx),
            HostMsg::Abort { id, object } => {
                cx.ledger.stops(cx.node, id);
                if cx.canary != Some(Canary::IgnoreAbort) {
                    self.flows.remove(&id);
                }
                match object {
                    Some(object) => self.ended(&object, id, cx),
                    None => self.held(id),
                }
            }
            HostMsg::Rejected { object, activation } => self.rejected(object, activation, cx),
            HostMsg::StateChanged { object } => self.reload(&object, cx),
            HostMsg::Call { request, invoke } => self.call(request, *invoke, cx),
        }
        Ok(())
    }

    /// A reminder came.
    pub(crate) fn timer(&mut self, timer: Timer, cx: &mut Cx<'_>) -> Check {
        match timer {
            Timer::Pump(object) => {
                self.pump(&object, cx);
                Ok(())
            }
            Timer::Suspend(id, attempt) => self.suspend(id, attempt, cx),
            Timer::Run(life, attempt) => self.run(life, attempt, cx),
        }
    }

    /// Number of running attempts of flows and of objects in memory.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.flows.len(), self.objects.len())
    }

    /// Forgets everything of a partition: it is led elsewhere, or anew.
    pub(crate) fn forget(&mut self, partition: u32, partitions: u32) {
        let other = |key: PartitionKey| PartitionId::of(key, partitions).0 != partition;
        self.objects.retain(|object, _| other(PartitionKey::of(&object.key)));
        self.flows.retain(|id, _| other(id.partition_key));
        self.unconfirmed.retain(|id| other(id.partition_key));
    }

    fn start(&mut self, start: Start, cx: &mut Cx<'_>) -> Check {
        self.send_again(&start, cx);
        if start.work.target.form() == Form::Flow {
            return self.start_flow(start, cx);
        }
        match start.work.target.exclusive_object() {
            Some(object) => self.due(object, &start, cx),
            None => service_turn(&start, cx),
        }
        Ok(())
    }

    /// Late records of attempts that are over, and of earlier lives (invariant I8).
    fn send_again(&mut self, start: &Start, cx: &mut Cx<'_>) {
        let Some(records) = self.records.remove(&start.work.id) else { return };
        for mut record in records {
            if !cx.rng.chance(cx.faults.stale) {
                continue;
            }
            if let Body::Append(append) = &mut record {
                match cx.canary {
                    Some(Canary::IgnoreFence) => (append.term, append.attempt) = (start.term, start.attempt),
                    Some(Canary::ReuseIds) => append.life = start.work.life,
                    _ => {}
                }
            }
            cx.propose(start.work.id, 0, record);
        }
    }
}

fn service_turn(start: &Start, cx: &mut Cx<'_>) {
    let work = &start.work;
    let id = Bytes::copy_from_slice(&work.id.to_bytes());
    if cx.panics() {
        let next = cx.next(&work.target.service, work.failures + 1);
        let failed = AttemptFailed {
            id,
            accept: None,
            term: start.term,
            attempt: start.attempt,
            failure: Some(Failure::new(501, "panicked")),
            next: Some(next),
            life: work.life,
            uncounted: false,
        };
        return cx.propose(work.id, 0, Body::AttemptFailed(failed));
    }
    let end = app::turn(&work.target, &work.input, &Fields::new(), cx.rng, cx.now);
    let turn = Turn {
        id,
        accept: None,
        activation: 0,
        base: None,
        changes: end.changes,
        sends: end.sends,
        outcome: Some(end.outcome),
        life: work.life,
    };
    cx.propose(work.id, 0, Body::Turn(turn));
}
