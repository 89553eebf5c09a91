//! A request being built.

use std::marker::PhantomData;
use std::time::Duration;

use abide_model::command::Priority;
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::Header;
use bytes::Bytes;
use serde::Serialize;

use super::TurnCaller;
use crate::turn::OutgoingSend;
use crate::wire;

/// Who calls: decides what can be done with a [`Request`].
pub trait Caller: Clone {}

/// Calls from handlers: they reach private handlers, too.
#[diagnostic::on_unimplemented(
    message = "this handler is private",
    label = "only other handlers can call it",
    note = "remove `private` from its `#[handler(…)]` to open it to clients"
)]
pub trait InsideCaller: Caller {}

impl Caller for TurnCaller<'_> {}

impl InsideCaller for TurnCaller<'_> {}

/// A request to a handler that returns `T` or fails with `E`. Nothing happens before it is sent or awaited.
#[must_use = "a request does nothing until it is sent or awaited"]
pub struct Request<C, T, E> {
    pub(crate) caller: C,
    pub(crate) target: RequestTarget,
    /// The encoded argument, or why it does not encode.
    pub(crate) input: Result<Bytes, String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) headers: Vec<Header>,
    result: PhantomData<fn() -> (T, E)>,
}

/// Whom a request is for.
#[derive(Clone, Debug)]
pub(crate) struct RequestTarget {
    pub(crate) service: String,
    pub(crate) key: Option<String>,
    pub(crate) handler: String,
}

impl<C: Caller, T, E> Request<C, T, E> {
    /// A request to `service` with this argument; `None` is an empty body.
    pub fn new<A: Serialize>(
        caller: C,
        service: impl Into<String>,
        key: Option<String>,
        handler: impl Into<String>,
        argument: Option<&A>,
    ) -> Self {
        let input = argument.map_or(Ok(Bytes::new()), |argument| wire::encode(argument));
        let target = RequestTarget { service: service.into(), key, handler: handler.into() };
        Self { caller, target, input, idempotency_key: None, headers: Vec::new(), result: PhantomData }
    }

    /// Makes repetitions of this request one invocation, as long as its result is kept.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The invocation that this request is, known beforehand when it has an idempotency key: the way to attach to it later.
    #[must_use]
    pub fn invocation_id(&self) -> Option<InvocationId> {
        let RequestTarget { service, key, handler } = &self.target;
        let idempotency_key = self.idempotency_key.as_ref()?;
        Some(InvocationId::idempotent(service, key.as_deref(), handler, idempotency_key))
    }

    /// Adds a request header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header { key: name.into().to_ascii_lowercase(), value: value.into() });
        self
    }

    /// The class in which an exclusive invocation queues when its object is busy; otherwise that of the handler. High
    /// ones come before normal ones, and these before low ones; within a class the order of acceptance holds. What runs
    /// is not interrupted, and a stream of high ones keeps low ones waiting without end.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.headers.retain(|header| header.key != Priority::HEADER);
        self.header(Priority::HEADER, priority.word())
    }
}

impl<T, E> Request<TurnCaller<'_>, T, E> {
    /// Sends the request when the turn commits, exactly once.
    pub fn send(self) {
        self.push(None);
    }

    /// Sends the request when the turn commits; it starts after `delay`, counted from now.
    pub fn send_after(self, delay: Duration) {
        let at = self.caller.turn.now().plus(wire::millis(delay));
        self.push(Some(at));
    }

    /// Sends the request when the turn commits; it starts at `time`, or at once if that is past.
    pub fn send_at(self, time: Millis) {
        self.push(Some(time));
    }

    fn push(self, execute_at: Option<Millis>) {
        let turn = self.caller.turn;
        let RequestTarget { service, key, handler } = self.target;
        let Ok(input) = self.input else { return turn.refuse(format!("{service}/{handler}")) };
        let (idempotency_key, headers) = (self.idempotency_key, self.headers);
        turn.push(OutgoingSend { service, handler, key, input, execute_at, idempotency_key, headers });
    }
}
