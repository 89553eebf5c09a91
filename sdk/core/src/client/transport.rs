//! How requests from outside reach the platform.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use abide_model::id::InvocationId;
use abide_model::protocol::{Failure, Header};
use bytes::Bytes;

use crate::error::{CallError, HandlerError};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request that leaves the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// Callee.
    pub service: String,
    /// Key of the callee; `None` for services.
    pub key: Option<String>,
    /// Callee.
    pub handler: String,
    /// Encoded argument.
    pub input: Bytes,
    /// Makes repetitions one invocation.
    pub idempotency_key: Option<String>,
    /// Request headers.
    pub headers: Vec<Header>,
    /// For sends: how long to wait before it starts.
    pub delay: Option<Duration>,
}

/// The answer to a send: the invocation is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The invocation.
    pub id: InvocationId,
    /// Whether it is new.
    pub status: AcceptedStatus,
}

/// Whether a sent invocation is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptedStatus {
    /// It is.
    Accepted,
    /// An earlier request with the same idempotency key began it.
    PreviouslyAccepted,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TransportError {
    /// The invocation ended with this failure.
    #[error("{} [{}]", .0.message, .0.code)]
    Failure(Failure),
    /// Not accepted: the request is wrong.
    #[error("rejected: {message} [{code}]")]
    Rejected {
        /// HTTP-like code.
        code: u16,
        /// For people.
        message: String,
    },
    /// Not accepted: a bound is reached, or the node is stopping.
    #[error("overloaded: {message}")]
    Overloaded {
        /// For people.
        message: String,
        /// When to try again, if known.
        retry_after: Option<Duration>,
    },
    /// No such service, handler or invocation.
    #[error("not found: {message}")]
    NotFound {
        /// What is missing.
        message: String,
    },
    /// The answer was lost.
    #[error("outcome unknown: {message}")]
    OutcomeUnknown {
        /// The invocation, if known.
        id: Option<InvocationId>,
        /// What happened.
        message: String,
    },
}

impl TransportError {
    pub(crate) fn into_call_error<E: HandlerError>(self) -> CallError<E> {
        match self {
            Self::Failure(failure) => CallError::from_failure(&failure),
            Self::Rejected { code, message } => CallError::Rejected { code, message },
            Self::Overloaded { message, retry_after } => CallError::Overloaded { message, retry_after },
            Self::NotFound { message } => CallError::NotFound { message },
            Self::OutcomeUnknown { id, .. } => CallError::OutcomeUnknown(id),
        }
    }
}

/// A way to the platform: in process, or over HTTP.
pub trait Transport: Send + Sync + 'static {
    /// Invokes and waits for the result.
    fn call(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Bytes, TransportError>>;

    /// Invokes; returns as soon as the invocation is durable.
    fn send(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Accepted, TransportError>>;

    /// Waits for the result of an invocation.
    fn attach(&self, id: InvocationId) -> BoxFuture<'_, Result<Bytes, TransportError>>;

    /// The result of an invocation; `None` while it is under way.
    fn output(&self, id: InvocationId) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>>;
}
