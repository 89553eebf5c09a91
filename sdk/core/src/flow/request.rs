//! Calls and sends from a flow.

use std::cell::RefCell;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{Call, Code, Failure, NotificationResult, OneWayCall, RawMessage};
use serde::de::DeserializeOwned;

use super::operation::{Watch, content};
use crate::attempt::engine::{self, Engine, OpId, OpResult};
use crate::client::{Caller, InsideCaller, Request};
use crate::error::{CallError, HandlerError, Terminal};
use crate::wire;

/// Calls from a flow.
#[derive(Clone)]
pub struct FlowCaller {
    pub(super) engine: Rc<RefCell<Engine>>,
}

impl Caller for FlowCaller {}

impl InsideCaller for FlowCaller {}

impl<T, E> Request<FlowCaller, T, E>
where
    T: DeserializeOwned + 'static,
    E: HandlerError,
{
    /// Begins the call now; awaiting the request begins it, too.
    pub fn call(self) -> CallFuture<T, E> {
        self.into_future()
    }

    /// Sends the request, exactly once, without waiting for its result.
    pub fn send(self) -> Sent {
        self.begin_send(None)
    }

    /// As [`Request::send`], to start after `delay`.
    pub fn send_after(self, delay: Duration) -> Sent {
        let at = self.caller.engine.borrow().now().plus(wire::millis(delay));
        self.begin_send(Some(at))
    }

    /// As [`Request::send`], to start at `time`, or at once if that is past.
    pub fn send_at(self, time: Millis) -> Sent {
        self.begin_send(Some(time))
    }

    fn begin_send(self, at: Option<Millis>) -> Sent {
        let shared = self.caller.engine;
        let mut engine = shared.borrow_mut();
        let completion = engine.allocate_completion();
        let command = OneWayCall {
            service_name: self.target.service,
            handler_name: self.target.handler,
            parameter: self.input.unwrap_or_else(|reason| {
                engine.fail(Failure::new(500, format!("the argument of a send does not encode: {reason}")), None);
                bytes::Bytes::new()
            }),
            invoke_time: at.map(|at| at.0).unwrap_or_default(),
            headers: self.headers,
            key: self.target.key.unwrap_or_default(),
            idempotency_key: self.idempotency_key,
            invocation_id_notification_idx: completion,
            name: String::new(),
        };
        engine.stage(RawMessage::new(Code::ONE_WAY_CALL, &command));
        let op = engine.begin_invocation_id(completion);
        drop(engine);
        Sent { engine: shared, op }
    }
}

impl<T, E> IntoFuture for Request<FlowCaller, T, E>
where
    T: DeserializeOwned + 'static,
    E: HandlerError,
{
    type Output = Result<T, CallError<E>>;
    type IntoFuture = CallFuture<T, E>;

    fn into_future(self) -> CallFuture<T, E> {
        let shared = self.caller.engine;
        let mut engine = shared.borrow_mut();
        let parameter = match self.input {
            Ok(parameter) => parameter,
            Err(reason) => {
                let message = format!("the argument does not encode: {reason}");
                return CallFuture { state: CallState::Rejected(Some(message)), result: PhantomData };
            }
        };
        let (id_completion, completion) = (engine.allocate_completion(), engine.allocate_completion());
        let command = Call {
            service_name: self.target.service,
            handler_name: self.target.handler,
            parameter,
            headers: self.headers,
            key: self.target.key.unwrap_or_default(),
            idempotency_key: self.idempotency_key,
            invocation_id_notification_idx: id_completion,
            result_completion_id: completion,
            name: String::new(),
        };
        engine.stage(RawMessage::new(Code::CALL, &command));
        let id_op = engine.begin_invocation_id(id_completion);
        let op = engine.begin_completion(completion);
        engine.add_child(id_op, completion);
        drop(engine);
        let id = Sent { engine: Rc::clone(&shared), op: id_op };
        CallFuture { state: CallState::Begun { watch: Watch::new(&shared, op), id }, result: PhantomData }
    }
}

/// A call under way. Dropping it stops waiting for the result, not the callee.
#[must_use = "a call's result has to be awaited"]
pub struct CallFuture<T, E> {
    state: CallState,
    result: PhantomData<fn() -> (T, E)>,
}

enum CallState {
    Begun {
        watch: Watch,
        id: Sent,
    },
    /// The argument does not encode; nothing was begun.
    Rejected(Option<String>),
}

impl<T, E> CallFuture<T, E> {
    /// The callee's invocation; `None` when the call was not begun because its argument does not encode.
    #[must_use]
    pub fn invocation(&self) -> Option<&Sent> {
        match &self.state {
            CallState::Begun { id, .. } => Some(id),
            CallState::Rejected(_) => None,
        }
    }
}

impl<T, E> Future for CallFuture<T, E>
where
    T: DeserializeOwned + 'static,
    E: HandlerError,
{
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            CallState::Begun { watch, .. } => watch.poll(cx).map(decoded),
            CallState::Rejected(message) => match message.take() {
                Some(message) => Poll::Ready(Err(CallError::Rejected { code: 400, message })),
                None => Poll::Pending,
            },
        }
    }
}

fn decoded<T: DeserializeOwned + 'static, E: HandlerError>(result: OpResult) -> Result<T, CallError<E>> {
    let result = result.map_err(|failure| CallError::from_failure(&failure))?;
    wire::decode(&content(result)).map_err(|reason| CallError::Terminal {
        code: 500,
        message: format!("the result is not a `{}`: {reason}", std::any::type_name::<T>()),
    })
}

/// An invocation that this flow created.
#[derive(Clone)]
pub struct Sent {
    engine: Rc<RefCell<Engine>>,
    op: OpId,
}

impl Sent {
    /// Its id, once it is accepted.
    ///
    /// # Errors
    /// [`Terminal`] when this invocation is cancelled meanwhile.
    pub async fn invocation_id(&self) -> Result<InvocationId, Terminal> {
        let mut watch = Watch::new(&self.engine, self.op);
        match std::future::poll_fn(|cx| watch.poll(cx)).await {
            Ok(NotificationResult::InvocationId(id)) => {
                id.parse().map_err(|error| Terminal::new(500, format!("invocation id: {error}")))
            }
            Ok(_) => Err(Terminal::new(500, "the answer to a call has no invocation id")),
            Err(failure) => Err(Terminal::of(&failure)),
        }
    }

    /// Asks it to stop, once it is accepted. Dropping it does not.
    ///
    /// # Errors
    /// [`Terminal`] when this invocation is cancelled meanwhile.
    pub async fn cancel(&self) -> Result<(), Terminal> {
        let id = self.invocation_id().await?;
        self.engine.borrow_mut().stage(engine::cancel_message(id.to_string()));
        Ok(())
    }
}
