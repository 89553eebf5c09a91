//! What handler threads ask of the consensus side.

use std::time::Duration;

use abide_model::command::{Body, Invoke, Outcome};
use abide_model::error::{self, ErrorCode};
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId};
use abide_model::protocol::Failure;

/// The way into the partitions' logs. Implemented by the node's driver.
///
/// Orders of one thread to one partition take effect in the order in which they were submitted.
pub trait Port: Clone + Send + 'static {
    /// Hands an order over without waiting.
    ///
    /// # Errors
    /// The order itself, when the bounded queue behind the port is full or the driver is gone. Nothing of it took place.
    fn submit(&self, order: Order) -> Result<(), Box<Refused>>;
}

/// An order that was not taken, and why.
#[derive(Debug, thiserror::Error)]
#[error("the order was refused: {refusal}")]
pub struct Refused {
    /// The order, untouched.
    pub order: Order,
    /// Why.
    pub refusal: Refusal,
}

impl Refused {
    /// Tells who waits for the result that there is none, and why. Nobody waits for most durable work.
    pub(crate) fn tell(self) {
        let responder = match self.order {
            Order::Propose { waiter, .. } => waiter.map(|waiter| waiter.responder),
            Order::Answer { call, .. } => Some(call.responder),
            Order::Activate { .. } => None,
        };
        if let Some(responder) = responder {
            // Whoever asked may have gone away; then nobody has to be told.
            let _ = responder.send(Err(self.refusal));
        }
    }
}

/// What the host asks for.
#[derive(Debug)]
pub enum Order {
    /// Put a command into the partition's log.
    Propose {
        /// Which partition.
        partition: PartitionId,
        /// The command.
        body: Body,
        /// Who is told when the invocation `waiter.id` completes or is refused.
        waiter: Option<Waiter>,
    },
    /// A result that needs no record: a read, or a turn that changed nothing. Held until everything submitted to that
    /// partition before it is applied, so that it speaks of durable state only. Then it is answered; or `call` comes
    /// back as [`crate::event::HostEvent::Again`] when `activation` was voided meanwhile.
    Answer {
        /// Which partition.
        partition: PartitionId,
        /// The activation it ran in; 0 for un-keyed services, whose results cannot be voided.
        activation: ActivationId,
        /// The result.
        outcome: Outcome,
        /// The request, with the way back to its sender.
        call: DirectCall,
    },
    /// Load an object's applied state; answered by [`crate::event::HostEvent::Activated`]. Best held like
    /// [`Order::Answer`] until everything submitted to that partition before it is applied: a state that misses turns
    /// under way costs a rejection and another loading.
    Activate {
        /// Which partition.
        partition: PartitionId,
        /// Which object.
        object: ObjectId,
    },
}

/// Someone who is connected to this node and waits for a result.
#[derive(Debug)]
pub struct Waiter {
    /// For the result of which invocation.
    pub id: InvocationId,
    /// The way back.
    pub responder: Responder,
}

/// The way back to who asked. Dropping it tells them that the outcome is unknown.
pub type Responder = tokio::sync::oneshot::Sender<Result<Completion, Refusal>>;

/// The end of an invocation, as told to who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which invocation.
    pub invocation: InvocationId,
    /// How it ended.
    pub outcome: Outcome,
    /// Until when the result is kept; set only when the request was answered from the record of an earlier one.
    pub expires_at: Option<Millis>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A bound of the node is reached. Nothing was accepted; try again later.
    #[error("the node has as much work as it may take; nothing was accepted, try again later")]
    Overloaded,
    /// The object has as many queued invocations as it may. Nothing was accepted; try again later.
    #[error("the object's mailbox is full; nothing was accepted, try again later")]
    MailboxFull,
    /// A rate limit of the service, handler or key is reached. Nothing was accepted.
    #[error("a rate limit is reached; nothing was accepted, try again in {} ms", .retry_after.as_millis())]
    RateLimited {
        /// When the next request may be accepted.
        retry_after: Duration,
    },
    /// The node is stopping. Nothing was accepted; another node will serve the request.
    #[error("the node is shutting down; nothing was accepted, try another node")]
    ShuttingDown,
    /// The node lost its say while the request was under way. It may or may not have been executed: ask again with the
    /// same idempotency key.
    #[error("the outcome is unknown; repeat the request with the same idempotency key to learn it")]
    OutcomeUnknown,
    /// Leadership of the partition moved while the request was under way. It may or may not have been executed; whoever
    /// passed it on asks the next leader under the same invocation id.
    #[error("the leader of the request's partition changed; repeat the request with the same idempotency key")]
    Interrupted,
    /// This node does not lead the partition. Nothing was accepted; the node that leads will serve the request.
    #[error("no node leads the partition of the request at the moment; nothing was accepted, try again")]
    NotLeader,
    /// There is no such service, handler or invocation.
    #[error("there is no such service, handler or invocation")]
    NotFound,
    /// The request cannot be carried out as it is.
    #[error("{}", .0.message)]
    Invalid(Failure),
}

impl Refusal {
    /// The stable code of the refusal.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Overloaded => error::OVERLOADED,
            Self::MailboxFull => error::MAILBOX_FULL,
            Self::RateLimited { .. } => error::RATE_LIMITED,
            Self::ShuttingDown => error::SHUTTING_DOWN,
            Self::OutcomeUnknown | Self::Interrupted => error::OUTCOME_UNKNOWN,
            Self::NotLeader => error::NO_LEADER,
            Self::NotFound => error::NOT_FOUND,
            Self::Invalid(_) => error::INVALID_REQUEST,
        }
    }
}

/// A request for a turn that may run without being in the log first.
#[derive(Debug)]
pub struct DirectCall {
    /// The partition of the target.
    pub partition: PartitionId,
    /// The request, complete: id, target, input, headers, retention.
    pub invoke: Invoke,
    /// The way back.
    pub responder: Responder,
}

impl DirectCall {
    /// Refuses the request.
    pub(crate) fn refuse(self, refusal: Refusal) {
        // Whoever asked may have gone away; then nobody has to be told.
        let _ = self.responder.send(Err(refusal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_registered_code() {
        for refusal in [
            Refusal::Overloaded,
            Refusal::MailboxFull,
            Refusal::RateLimited { retry_after: Duration::from_millis(5) },
            Refusal::ShuttingDown,
            Refusal::OutcomeUnknown,
            Refusal::NotLeader,
            Refusal::Interrupted,
            Refusal::NotFound,
            Refusal::Invalid(Failure::new(400, "bad")),
        ] {
            assert!(error::CODES.iter().any(|(code, _)| *code == refusal.code()), "{refusal}");
            assert!(!refusal.to_string().is_empty());
        }
    }
}
