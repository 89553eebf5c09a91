//! Everything that can wake the driver.

use abide_host::{Completion, Order, Port, Refusal, Refused, Responder};
use abide_model::command::{Body, Invoke};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, PartitionId, ScheduleId};
use abide_model::view::{RawView, ReadError};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::oneshot;

use crate::engine::Accepted;
use crate::schedule::ScheduleDetails;

/// Reads the tables of a partition and tells who asked. Runs on the driver's thread: it reads a bounded number of rows.
pub(crate) type Look = Box<dyn FnOnce(&dyn RawView) -> Result<(), ReadError> + Send>;

/// One thing for the driver. Boxed where large, so that the queue stays small.
pub(crate) enum Event {
    /// From a handler thread.
    Order(Box<Order>),
    /// From the ingress, the admin API, or a client in the process.
    Query(Box<Query>),
    /// Write everything out and end.
    Stop,
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
    /// A page of schedules of all partitions.
    Schedules { after: Option<ScheduleId>, limit: usize, responder: oneshot::Sender<Vec<ScheduleDetails>> },
    /// Everything known about a schedule.
    Schedule { id: ScheduleId, responder: oneshot::Sender<Option<ScheduleDetails>> },
    /// A look into the tables.
    Look { partition: PartitionId, look: Look },
    /// A signal or an operator's order.
    Control { partition: PartitionId, body: Body, responder: oneshot::Sender<Result<Answer, Refusal>> },
}

/// The way to the driver: a bounded queue. Clones share it.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    events: Sender<Event>,
}

impl DriverHandle {
    /// A queue of at most `capacity` events.
    pub(crate) fn new(capacity: usize) -> (Self, Receiver<Event>) {
        let (events, receiver) = crossbeam_channel::bounded(capacity);
        (Self { events }, receiver)
    }

    /// Hands in a query, unless the queue is full or the driver has ended.
    pub(crate) fn query(&self, query: Query) -> Result<(), Refusal> {
        self.events.try_send(Event::Query(Box::new(query))).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Overloaded,
            TrySendError::Disconnected(_) => Refusal::ShuttingDown,
        })
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
                Event::Query(_) | Event::Stop => {
                    unreachable!("the queue gives back what was handed in")
                }
            }
        })
    }
}
