//! Futures of operations that a notification completes.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use abide_model::protocol::NotificationResult;
use serde::de::DeserializeOwned;

use crate::attempt::engine::{Engine, OpId, OpResult};
use crate::attempt::scope;
use crate::error::Terminal;
use crate::wire;

/// A sleep under way.
pub type Slept = Operation<()>;

/// A value on its way from elsewhere.
pub type Awaited<T> = Operation<T>;

/// An operation under way. Dropping it stops waiting; what the operation did stays done.
#[must_use = "an operation's result has to be awaited"]
pub struct Operation<T> {
    state: State,
    decode: fn(NotificationResult) -> Result<T, String>,
}

enum State {
    Begun(Watch),
    /// Nothing was begun; `None` once that was told.
    Refused(Option<Terminal>),
}

impl<T: DeserializeOwned + 'static> Operation<T> {
    pub(super) fn new(engine: &Rc<RefCell<Engine>>, op: OpId) -> Self {
        Self { state: State::Begun(Watch::new(engine, op)), decode: |result| wire::decode(&content(result)) }
    }
}

impl<T> Operation<T> {
    /// An operation that cannot be begun.
    pub(super) fn refused(failure: Terminal) -> Self {
        Self { state: State::Refused(Some(failure)), decode: |_| Err("nothing was begun".to_owned()) }
    }

    /// The same operation, whose result may be void: there is no value yet. A value may well be `null`.
    pub(super) fn optional<V: DeserializeOwned + 'static>(self) -> Operation<Option<V>> {
        let decode = |result| match result {
            NotificationResult::Void(_) => Ok(None),
            result => wire::decode(&content(result)).map(Some),
        };
        Operation { state: self.state, decode }
    }
}

impl<T> Future for Operation<T> {
    type Output = Result<T, Terminal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let decode = self.decode;
        let watch = match &mut self.state {
            State::Begun(watch) => watch,
            State::Refused(failure) => {
                return failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
            }
        };
        watch.poll(cx).map(|result| match result {
            Err(failure) => Err(Terminal::of(&failure)),
            Ok(result) => decode(result)
                .map_err(|reason| Terminal::new(500, format!("the value does not fit its type: {reason}"))),
        })
    }
}

/// The bytes of a result; nothing for void.
pub(super) fn content(result: NotificationResult) -> bytes::Bytes {
    match result {
        NotificationResult::Value(value) => value.content,
        NotificationResult::InvocationId(id) => serde_json::Value::String(id).to_string().into(),
        NotificationResult::Void(_) | NotificationResult::Failure(_) | NotificationResult::StateKeys(_) => {
            bytes::Bytes::new()
        }
    }
}

/// Interest in the result of an operation; given up when dropped.
pub(super) struct Watch {
    engine: Rc<RefCell<Engine>>,
    /// `None` once the result was taken.
    op: Option<OpId>,
}

impl Watch {
    pub(super) fn new(engine: &Rc<RefCell<Engine>>, op: OpId) -> Self {
        Self { engine: Rc::clone(engine), op: Some(op) }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<OpResult> {
        let Some(op) = self.op else { return Poll::Pending };
        match self.engine.borrow_mut().poll_op(op, cx.waker()) {
            Some((order, result)) => {
                self.op = None;
                scope::took(order);
                Poll::Ready(result)
            }
            None => Poll::Pending,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(op) = self.op.take() {
            self.engine.borrow_mut().abandon(op);
        }
    }
}
