//! Contexts of turns: handlers that run to their end without waiting.

use std::cell::RefCell;

use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::Header;
use bytes::Bytes;

use crate::client::{Callable, TurnCaller};
use crate::random::Random;
use crate::{Object, Service, Workflow};

/// What a turn is started with.
#[derive(Clone, Debug)]
pub struct TurnStart {
    /// The invocation.
    pub id: InvocationId,
    /// Key of the object; `None` for services.
    pub key: Option<String>,
    /// Request headers.
    pub headers: Vec<Header>,
    /// The time that the handler sees.
    pub now: Millis,
    /// Seed of the handler's random numbers.
    pub seed: u64,
}

/// An invocation that a turn sends; it starts if and when the turn commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingSend {
    /// Callee.
    pub service: String,
    /// Callee.
    pub handler: String,
    /// Key of the callee; `None` for services.
    pub key: Option<String>,
    /// Encoded argument.
    pub input: Bytes,
    /// Earliest start; `None` is at once.
    pub execute_at: Option<Millis>,
    /// Makes repetitions one invocation.
    pub idempotency_key: Option<String>,
    /// Request headers for the callee.
    pub headers: Vec<Header>,
}

/// Context of a handler `fn (&mut self, cx: &mut Turn, …)`, and of a service's `fn (&self, cx: &mut Turn, …)`.
///
/// State, messages and the reply of a turn commit together. When the handler returns an error, its changes and its
/// messages are dropped.
pub struct Turn {
    start: TurnStart,
    random: RefCell<Random>,
    sends: RefCell<Vec<OutgoingSend>>,
    refused: RefCell<Option<String>>,
}

impl Turn {
    /// A context for one execution.
    #[must_use]
    pub fn new(start: TurnStart) -> Self {
        let random = RefCell::new(Random::new(start.seed));
        Self { start, random, sends: RefCell::default(), refused: RefCell::default() }
    }

    /// What the handler sent, in order.
    #[must_use]
    pub fn into_sends(self) -> Vec<OutgoingSend> {
        self.sends.into_inner()
    }

    /// Key of this object; empty for services.
    #[must_use]
    pub fn key(&self) -> &str {
        self.start.key.as_deref().unwrap_or_default()
    }

    /// This invocation.
    #[must_use]
    pub fn id(&self) -> InvocationId {
        self.start.id
    }

    /// Current time, the same throughout the turn.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.start.now
    }

    /// A random number, fixed for this invocation and place. It follows from the invocation's id: it is no secret.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64()
    }

    /// As [`Turn::random`], large enough for a unique id.
    #[must_use]
    pub fn random_u128(&self) -> u128 {
        self.random.borrow_mut().u128()
    }

    /// Request headers.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.start.headers
    }

    /// Client of the object `T` with this key. Turns can send, not wait: use a flow to wait for an answer.
    #[must_use]
    pub fn object<T: Object + Callable>(&self, key: impl Into<String>) -> T::Client<TurnCaller<'_>> {
        T::client(TurnCaller { turn: self }, Some(key.into()))
    }

    /// Client of the service `T`. Turns can send, not wait: use a flow to wait for an answer.
    #[must_use]
    pub fn service<T: Service + Callable>(&self) -> T::Client<TurnCaller<'_>> {
        T::client(TurnCaller { turn: self }, None)
    }

    /// Client of the workflow `T` with this key. Turns can send, not wait: use a flow to wait for an answer.
    #[must_use]
    pub fn workflow<T: Workflow + Callable>(&self, key: impl Into<String>) -> T::Client<TurnCaller<'_>> {
        T::client(TurnCaller { turn: self }, Some(key.into()))
    }

    pub(crate) fn push(&self, send: OutgoingSend) {
        self.sends.borrow_mut().push(send);
    }

    /// Makes the turn fail: an argument could not be encoded.
    pub(crate) fn refuse(&self, callee: String) {
        self.refused.replace(Some(callee));
    }

    /// The callee whose argument could not be encoded.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }
}

/// Context of a handler `fn (&self, cx: &Read, …)`: it sees the object and changes nothing.
pub struct Read {
    start: TurnStart,
}

impl Read {
    /// A context for one execution.
    #[must_use]
    pub fn new(start: TurnStart) -> Self {
        Self { start }
    }

    /// Key of this object.
    #[must_use]
    pub fn key(&self) -> &str {
        self.start.key.as_deref().unwrap_or_default()
    }

    /// This invocation.
    #[must_use]
    pub fn id(&self) -> InvocationId {
        self.start.id
    }

    /// Current time.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.start.now
    }

    /// Request headers.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.start.headers
    }
}
