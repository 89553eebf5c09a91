//! Futures of operations that a notification completes.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
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
    watch: Watch,
    value: PhantomData<fn() -> T>,
}

impl<T> Operation<T> {
    pub(super) fn new(engine: &Rc<RefCell<Engine>>, op: OpId) -> Self {
        Self { watch: Watch::new(engine, op), value: PhantomData }
    }
}

impl<T: DeserializeOwned + 'static> Future for Operation<T> {
    type Output = Result<T, Terminal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.watch.poll(cx).map(|result| match result {
            Err(failure) => Err(Terminal::of(&failure)),
            Ok(result) => wire::decode(&content(result))
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
