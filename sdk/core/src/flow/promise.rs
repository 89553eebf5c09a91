//! Durable promises of workflows.

use std::cell::RefCell;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::rc::Rc;

use abide_model::error::UNSUPPORTED;
use abide_model::protocol::{Code, CompletePromise, Failure, PromiseCommand, PromiseResult, RawMessage, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::does_not_encode;
use super::operation::{Awaited, Operation};
use crate::attempt::engine::Engine;
use crate::error::Terminal;
use crate::wire;

/// A promise of this workflow, see [`crate::Flow::promise`]. Awaiting it waits until it is completed.
#[must_use = "a promise does nothing until it is awaited, looked at or completed"]
pub struct Promise<T> {
    engine: Rc<RefCell<Engine>>,
    name: String,
    value: PhantomData<fn() -> T>,
}

impl<T> Promise<T> {
    pub(super) fn new(engine: Rc<RefCell<Engine>>, name: String) -> Self {
        Self { engine, name, value: PhantomData }
    }

    /// Issues a command about the promise; its answer is the operation's result.
    fn begin<R>(&self, command: impl FnOnce(u32) -> RawMessage) -> Result<Operation<R>, Terminal>
    where
        R: DeserializeOwned + 'static,
    {
        let mut engine = self.engine.borrow_mut();
        if !engine.workflow {
            let text = format!("promise `{}`: only workflows have promises; objects have awakeables", self.name);
            return Err(Terminal::new(UNSUPPORTED.0, text));
        }
        let completion = engine.allocate_completion();
        engine.stage(command(completion));
        let op = engine.begin_completion(completion);
        drop(engine);
        Ok(Operation::new(&self.engine, op))
    }
}

impl<T: DeserializeOwned + 'static> Promise<T> {
    /// The value, if the promise is completed.
    pub fn peek(&self) -> Awaited<Option<T>> {
        let begun = self.begin::<()>(|completion| self.command(Code::PEEK_PROMISE, completion));
        begun.map_or_else(Operation::refused, Operation::optional)
    }

    fn command(&self, code: Code, result_completion_id: u32) -> RawMessage {
        RawMessage::new(code, &PromiseCommand { key: self.name.clone(), result_completion_id, name: String::new() })
    }
}

impl<T: Serialize> Promise<T> {
    /// Completes the promise with a value. Await the answer to know whether this was the first completion: later ones
    /// change nothing and fail with code 409.
    pub fn resolve(&self, value: &T) -> Awaited<()> {
        match wire::encode(value) {
            Ok(content) => self.complete(PromiseResult::Value(Value { content })),
            Err(reason) => Operation::refused(does_not_encode(reason)),
        }
    }
}

impl<T> Promise<T> {
    /// Completes the promise with a failure, which is what everybody who waits for it gets. `code` is HTTP-like. As to
    /// the answer, see [`Promise::resolve`].
    pub fn reject(&self, code: u16, message: impl Into<String>) -> Awaited<()> {
        self.complete(PromiseResult::Failure(Failure::new(u32::from(code), message)))
    }

    fn complete(&self, result: PromiseResult) -> Awaited<()> {
        let key = self.name.clone();
        let command = |result_completion_id| {
            let command = CompletePromise { key, result: Some(result), result_completion_id, name: String::new() };
            RawMessage::new(Code::COMPLETE_PROMISE, &command)
        };
        self.begin(command).unwrap_or_else(Operation::refused)
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Promise<T> {
    type Output = Result<T, Terminal>;
    type IntoFuture = Awaited<T>;

    fn into_future(self) -> Awaited<T> {
        self.begin(|completion| self.command(Code::GET_PROMISE, completion)).unwrap_or_else(Operation::refused)
    }
}
