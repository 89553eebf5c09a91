//! Everything that can wake the driver.

use std::sync::Arc;

use abide_host::{Completion, Order, Port, Refusal, Refused, Responder};
use abide_model::command::{Body, Command, Invoke};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, NodeId, PartitionId, ReplicaId};
use abide_model::view::{RawView, ReadError};
use abide_partition::Message;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use super::loans::LoanEvent;
use super::snapshots::{Exported, Load};
use crate::cluster::wire::{NodeStatus, Wish};
use crate::engine::{Accepted, Freshness};

/// Reads the tables of a partition and tells who asked; without tables it tells that there are none here. Runs on the
/// driver's thread: it reads a bounded number of rows.
pub(crate) type Look = Box<dyn FnOnce(Result<&dyn RawView, Refusal>) -> Result<(), ReadError> + Send>;

/// One thing for the driver. Boxed where large, so that the queue stays small.
pub(crate) enum Event {
    /// From a handler thread.
    Order(Box<Order>),
    /// From the ingress, the admin API, or a client in the process.
    Query(Box<Query>),
    /// From another node, about an attempt that runs elsewhere than where its partition is led.
    Loan(Box<LoanEvent>),
    /// Give all leaderships away that another node can take, and tell when it is done.
    Retire(oneshot::Sender<()>),
    /// Write everything out and end.
    Stop,
}

/// What became of an invocation, as far as its leader knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Overtaken {
    /// It was never taken.
    No,
    /// It is under way, or its result is in the tables.
    Known,
    /// It was executed.
    Done(Box<Completion>),
    /// What happened since then is forgotten. Now it is this index.
    Forgotten(u64),
}

/// A request to the tables of a partition.
pub(crate) enum Query {
    /// Accept an invocation and answer when it is complete.
    Call { partition: PartitionId, invoke: Invoke, responder: Responder },
    /// Accept an invocation and answer when it is accepted.
    Send { partition: PartitionId, invoke: Invoke, responder: oneshot::Sender<Result<Accepted, Refusal>> },
    /// Answer when an invocation is complete.
    Attach { partition: PartitionId, id: InvocationId, responder: Responder },
    /// What an invocation's result is, if it has one.
    Output { partition: PartitionId, id: InvocationId, responder: oneshot::Sender<Result<Option<Completion>, Refusal>> },
    /// As [`Query::Call`], of a request that was made before and may have been executed: `since` is an index that was
    /// applied before that.
    Again { partition: PartitionId, invoke: Invoke, since: u64, responder: Responder },
    /// What became of an invocation whose first copy arrives only now: a later copy may have overtaken it. `since` is as in
    /// [`Query::Again`].
    Overtaken {
        partition: PartitionId,
        id: InvocationId,
        since: u64,
        responder: oneshot::Sender<Result<Overtaken, Refusal>>,
    },
    /// Run a shared turn on the state of this node's replica, if that is new enough.
    Read { partition: PartitionId, invoke: Invoke, freshness: Freshness, responder: Responder },
    /// A look into the tables.
    Look { partition: PartitionId, look: Look },
    /// A signal or an operator's order.
    Control { partition: PartitionId, body: Body, responder: oneshot::Sender<Result<Answer, Refusal>> },
}

impl Query {
    /// Tells who asked that there is no answer.
    pub(crate) fn refuse(self, refusal: Refusal) {
        // Whoever asked may have gone away; then nobody has to be told.
        match self {
            Self::Call { responder, .. }
            | Self::Attach { responder, .. }
            | Self::Read { responder, .. }
            | Self::Again { responder, .. } => {
                let _ = responder.send(Err(refusal));
            }
            Self::Send { responder, .. } => drop(responder.send(Err(refusal))),
            Self::Overtaken { responder, .. } => drop(responder.send(Err(refusal))),
            Self::Output { responder, .. } => drop(responder.send(Err(refusal))),
            Self::Control { responder, .. } => drop(responder.send(Err(refusal))),
            // It does not read what is not there, so it cannot fail.
            Self::Look { look, .. } => drop(look(Err(refusal))),
        }
    }

    /// The partition that it is about.
    pub(crate) fn partition(&self) -> PartitionId {
        match self {
            Self::Call { partition, .. }
            | Self::Send { partition, .. }
            | Self::Attach { partition, .. }
            | Self::Output { partition, .. }
            | Self::Again { partition, .. }
            | Self::Overtaken { partition, .. }
            | Self::Read { partition, .. }
            | Self::Look { partition, .. }
            | Self::Control { partition, .. } => *partition,
        }
    }
}

/// Something of other nodes, or about them.
pub(crate) enum PeerInput {
    /// A message for a replica of this node.
    Letter { partition: PartitionId, message: Box<Message> },
    /// A command that another partition's leader makes.
    Propose { partition: PartitionId, command: Box<Command> },
    /// What the leader of a group should do to it.
    Wish(Wish),
    /// What a node says of itself.
    Status { from: NodeId, status: Box<NodeStatus> },
    /// Messages to a node are lost.
    Disconnected(NodeId),
    /// What became of a snapshot for another node.
    SnapshotSent { partition: PartitionId, replica: u64, arrived: bool },
    /// Another node wants to send a snapshot: where to load its rows, if it is of use.
    BeginRestore { partition: PartitionId, replica: ReplicaId, ready: oneshot::Sender<Option<Load>> },
    /// The rows of a snapshot are loaded and synced.
    Restore { partition: PartitionId, message: Box<Message>, generation: u8 },
    /// They will never be.
    AbortRestore { partition: PartitionId, generation: u8 },
    /// Somebody needs the state of some partitions, all as of one moment.
    Snapshots(Vec<(PartitionId, oneshot::Sender<Arc<Exported>>)>),
}

/// Most inputs of other nodes that wait; more are dropped, which raft repairs.
const MAIL_MAX: usize = 16_384;

/// What the driver listens to.
pub(crate) struct Events {
    pub(crate) events: Receiver<Event>,
    pub(super) mail: Receiver<PeerInput>,
}

/// The way to the driver: bounded queues. Clones share them.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    events: Sender<Event>,
    mail: Sender<PeerInput>,
}

impl DriverHandle {
    /// A queue of at most `capacity` events.
    pub(crate) fn new(capacity: usize) -> (Self, Events) {
        let (events, receiver) = crossbeam_channel::bounded(capacity);
        let (mail, letters) = crossbeam_channel::bounded(MAIL_MAX);
        (Self { events, mail }, Events { events: receiver, mail: letters })
    }

    /// Hands in something of another node. Whether it was taken.
    pub(crate) fn mail(&self, input: PeerInput) -> bool {
        self.mail.try_send(input).is_ok()
    }

    /// Hands in a query, unless the queue is full or the driver has ended.
    pub(crate) fn query(&self, query: Query) -> Result<(), Refusal> {
        self.hand_in(Event::Query(Box::new(query)))
    }

    /// As [`DriverHandle::query`], of a loan.
    pub(crate) fn loan(&self, event: LoanEvent) -> Result<(), Refusal> {
        self.hand_in(Event::Loan(Box::new(event)))
    }

    fn hand_in(&self, event: Event) -> Result<(), Refusal> {
        self.events.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Overloaded,
            TrySendError::Disconnected(_) => Refusal::ShuttingDown,
        })
    }

    /// Asks the driver to give its leaderships away; the receiver hears of it.
    pub(crate) fn retire(&self) -> oneshot::Receiver<()> {
        let (done, retired) = oneshot::channel();
        // A driver that has ended leads nothing.
        let _ = self.events.send(Event::Retire(done));
        retired
    }

    /// Asks the driver to write everything out and end; waits for a place in the queue.
    pub(crate) fn stop(&self) {
        // A driver that has ended needs no telling.
        let _ = self.events.send(Event::Stop);
    }
}

impl Port for DriverHandle {
    fn submit(&self, order: Order) -> Result<(), Box<Refused>> {
        self.events.try_send(Event::Order(Box::new(order))).map_err(|error| {
            let (event, refusal) = match error {
                TrySendError::Full(event) => (event, Refusal::Overloaded),
                TrySendError::Disconnected(event) => (event, Refusal::ShuttingDown),
            };
            match event {
                Event::Order(order) => Box::new(Refused { order: *order, refusal }),
                Event::Query(_) | Event::Loan(_) | Event::Retire(_) | Event::Stop => {
                    unreachable!("the queue gives back what was handed in")
                }
            }
        })
    }
}
