//! How requests from outside reach the platform.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{Failure, Header, SignalId, SignalResult};
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
    /// For sends: when it starts.
    pub start: Start,
}

/// When a sent invocation starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// As soon as it can.
    #[default]
    Now,
    /// So long after it is accepted.
    After(Duration),
    /// At this time, or at once if that is past.
    At(Millis),
}

/// How an invocation is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is asked to stop; its compensation runs.
    Cancel,
    /// It ends now, with all that it called; its compensation does not run.
    Kill,
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
    /// This transport cannot do it.
    #[error("not supported by this transport: {what}; {instead}")]
    Unsupported {
        /// What was wanted.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
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
    /// HTTP-like code of what no transport method does.
    const UNSUPPORTED: u16 = 501;

    pub(crate) fn into_call_error<E: HandlerError>(self) -> CallError<E> {
        let message = self.to_string();
        match self {
            Self::Unsupported { .. } => CallError::Rejected { code: Self::UNSUPPORTED, message },
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

    /// Signals an invocation, by number or by name. An awakeable is completed by its number.
    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> BoxFuture<'_, Result<(), TransportError>>;

    /// Ends an invocation. One that has ended already is left as it is.
    fn stop(&self, target: InvocationId, how: Stop) -> BoxFuture<'_, Result<(), TransportError>>;
}
