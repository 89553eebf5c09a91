//! A durable step.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use abide_model::command::Next;
use abide_model::protocol::Failure;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::operation::{Watch, content};
use crate::attempt::engine::{Engine, OpId, OpResult};
use crate::attempt::other_type;
use crate::error::{StepError, Terminal};
use crate::retry::RetryPolicy;
use crate::wire;

/// A step, see [`crate::Flow::run`]. It begins when it is first polled.
#[must_use = "a step does nothing until it is awaited"]
pub struct Step<F, Fut, T> {
    engine: Rc<RefCell<Engine>>,
    name: String,
    retry: Option<RetryPolicy>,
    state: State<F, Fut>,
    value: PhantomData<fn() -> T>,
}

enum State<F, Fut> {
    /// Not polled yet.
    New(F),
    /// Begun; its action has not started, or will not because its result is in the journal.
    Waiting { begun: Begun, action: F },
    /// Its action is under way.
    Running { begun: Begun, action: Pin<Box<Fut>>, _running: Running },
    /// Its action has ended; its result is not revealed yet.
    Ended { begun: Begun },
    /// Its result was taken, or the attempt has failed.
    Done,
}

/// What the engine knows the step by.
struct Begun {
    completion: u32,
    op: OpId,
    watch: Watch,
}

/// Counts as a running step until dropped.
struct Running {
    engine: Rc<RefCell<Engine>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.borrow_mut().step_stopped();
    }
}

/// The action's future is boxed, so nothing in a step depends on its address.
impl<F, Fut, T> Unpin for Step<F, Fut, T> {}

impl<F, Fut, T> Step<F, Fut, T>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, StepError>>,
    T: Serialize + DeserializeOwned + 'static,
{
    pub(super) fn new(engine: Rc<RefCell<Engine>>, name: &str, action: F) -> Self {
        Self { engine, name: name.to_owned(), retry: None, state: State::New(action), value: PhantomData }
    }

    /// The step's own retry policy instead of the handler's. When it is exhausted, the step's result is the last failure
    /// ([`crate::Exhausted::Fail`], as in [`RetryPolicy::attempts`]), or the invocation pauses.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Journals what the action came to; `false` when the attempt has failed by it.
    fn journal(&self, begun: &Begun, result: Result<T, StepError>) -> bool {
        let result = match result {
            Ok(value) => wire::encode(&value)
                .map_err(|reason| Failure::new(500, format!("the result of step `{}`: {reason}", self.name))),
            Err(error) => match error.into_terminal() {
                Ok(terminal) => Err(terminal.failure()),
                Err(error) => match self.retryable(&with_causes(error.as_ref())) {
                    Some(exhausted) => Err(exhausted),
                    None => return false,
                },
            },
        };
        self.engine.borrow_mut().complete_step(begun.op, begun.completion, &self.name, result);
        true
    }

    /// Fails the attempt, or gives the step's failure when its own policy is exhausted.
    fn retryable(&self, error: &str) -> Option<Failure> {
        let mut engine = self.engine.borrow_mut();
        let failures = engine.failures().saturating_add(1);
        let jitter = engine.jitter(failures);
        let next = self.retry.map(|policy| policy.after(failures, jitter));
        let failure = Failure::new(500, format!("step `{}`: {error}", self.name));
        if matches!(next, Some(Next::Fail(_))) {
            return Some(failure);
        }
        engine.fail(failure, next);
        None
    }

    fn finish(&self, result: OpResult) -> Poll<Result<T, Terminal>> {
        match result {
            Ok(result) => self.decode(&content(result)),
            Err(failure) => Poll::Ready(Err(Terminal::of(&failure))),
        }
    }

    fn decode(&self, value: &Bytes) -> Poll<Result<T, Terminal>> {
        match wire::decode(value) {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(reason) => {
                self.engine.borrow_mut().fail(other_type(&format!("step `{}`", self.name), &reason), None);
                Poll::Pending
            }
        }
    }
}

/// The error and what caused it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl<F, Fut, T> Future for Step<F, Fut, T>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, StepError>>,
    T: Serialize + DeserializeOwned + 'static,
{
    type Output = Result<T, Terminal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::New(action) => {
                    let (completion, op) = self.engine.borrow_mut().begin_step(&self.name);
                    let begun = Begun { completion, op, watch: Watch::new(&self.engine, op) };
                    self.state = State::Waiting { begun, action };
                }
                State::Waiting { mut begun, action } => {
                    if let Poll::Ready(result) = begun.watch.poll(cx) {
                        return self.finish(result);
                    }
                    if !self.engine.borrow_mut().may_run(begun.op) {
                        self.state = State::Waiting { begun, action };
                        return Poll::Pending;
                    }
                    let running = Running { engine: Rc::clone(&self.engine) };
                    self.state = State::Running { begun, action: Box::pin(action()), _running: running };
                }
                State::Running { mut begun, mut action, _running } => {
                    // Cancelled: dropping the action stops it.
                    if let Poll::Ready(result) = begun.watch.poll(cx) {
                        return self.finish(result);
                    }
                    let Poll::Ready(result) = action.as_mut().poll(cx) else {
                        self.state = State::Running { begun, action, _running };
                        return Poll::Pending;
                    };
                    if !self.journal(&begun, result) {
                        return Poll::Pending;
                    }
                    self.state = State::Ended { begun };
                    return Poll::Pending;
                }
                State::Ended { mut begun } => {
                    let Poll::Ready(result) = begun.watch.poll(cx) else {
                        self.state = State::Ended { begun };
                        return Poll::Pending;
                    };
                    return self.finish(result);
                }
                State::Done => return Poll::Pending,
            }
        }
    }
}
