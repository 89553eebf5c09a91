//! One attempt of a flow: user code that is fed its journal first and then lives on, as a value without I/O.
//!
//! *Problem.* After a crash the same code runs again, and must come to the same point by the same path: also when it
//! awaits several things at once, and although a notification may enter the journal a moment before or after a command
//! that this process had already decided on.
//!
//! *Idea.* What user code does is a function of the order in which it learns results. So results are revealed to it one
//! at a time, in journal order, and only when its future can go no further. The position of a step's result that
//! this process produced itself is not known before it is committed; it is revealed early only when nothing else
//! is outstanding that could come before it.
//!
//! *Steps.* [`Attempt::poll`] polls the user's future; compares (replay) or emits (live) the commands it issued; reveals
//! the next result; and so on until nothing is left to reveal.

mod compare;
pub(crate) mod engine;
pub(crate) mod scope;

pub(crate) use compare::other_type;
pub use scope::at_await;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use abide_model::command::Next;
use abide_model::error::{JOURNAL_MISMATCH, STATE_MISMATCH};
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{Failure, RawMessage};
use abide_model::table::{Awaiting, JournalRow};

use crate::Flow;
use crate::service::{Executable, Fields, FlowFuture, HandlerResult, Instance};
use crate::state::StateError;
use engine::Engine;

/// Where a flow's time comes from; what the flow reads is journaled.
pub trait Clock {
    /// The current time.
    fn now(&self) -> Millis;
}

/// What an attempt is started with.
pub struct AttemptStart {
    /// The invocation.
    pub id: InvocationId,
    /// Key of the object; `None` for services.
    pub key: Option<String>,
    /// Whether the handler is shared: it reads state and does not change it.
    pub shared: bool,
    /// State as applied now.
    pub fields: Fields,
    /// The journal from index 0, without gaps.
    pub journal: Vec<JournalRow>,
    /// Failed attempts since the last stored entry.
    pub failures: u32,
    /// Time.
    pub clock: Rc<dyn Clock>,
}

/// What an attempt came to.
pub enum Progress {
    /// Not finished.
    Pending {
        /// To be proposed now, in order; may be empty.
        messages: Vec<RawMessage>,
        /// Present when nothing but these notifications can wake it: it may be suspended.
        waiting: Option<Awaiting>,
    },
    /// Finished.
    Done {
        /// To be proposed now; they end with Output and End.
        messages: Vec<RawMessage>,
    },
    /// The attempt failed.
    Failed {
        /// Durable progress made before it failed, to be proposed now.
        messages: Vec<RawMessage>,
        /// What went wrong. Code 570 is a journal mismatch.
        failure: Failure,
        /// What the retry policy of a step decided; `None` leaves it to the handler's.
        next: Option<Next>,
    },
}

/// An attempt that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The stored state does not fit the struct.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal is not one of a flow.
    #[error("journal of {id}: {reason}")]
    Journal {
        /// The invocation.
        id: InvocationId,
        /// What is wrong.
        reason: String,
    },
}

impl AttemptError {
    /// The failure of the attempt.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let code = match self {
            Self::State(_) => STATE_MISMATCH,
            Self::Journal { .. } => JOURNAL_MISMATCH,
        };
        Failure::new(u32::from(code.0), self.to_string())
    }
}

/// One attempt of a flow. Not `Send`: it lives on the thread that polls it, and may be dropped at any time.
pub struct Attempt {
    engine: Rc<RefCell<Engine>>,
    /// `None` once finished or failed.
    future: Option<FlowFuture>,
}

impl Attempt {
    /// Prepares handler number `handler` of `service` to be polled. Runs no user code but the struct's `Deserialize`.
    ///
    /// # Errors
    /// [`AttemptError`] when state or journal cannot be read.
    pub fn start(start: AttemptStart, service: &Arc<dyn Executable>, handler: usize) -> Result<Self, AttemptError> {
        let (mut engine, input) = Engine::new(start, service.descriptor().kind)?;
        let instance = service.instantiate(engine.initial_state())?;
        if engine.is_exclusive() {
            engine.saw_state(instance.fields()?);
        }
        let engine = Rc::new(RefCell::new(engine));
        let future = instance.flow(handler, Flow::new(Rc::clone(&engine)), input);
        Ok(Self { engine, future: Some(future) })
    }

    /// Polls user code. To be called after start, after [`Attempt::notify`] and [`Attempt::committed`], and when the
    /// waker fires. A panic of user code passes through; then only [`Attempt::salvage`] is left to be called.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Progress {
        let Some(mut future) = self.future.take() else {
            return Progress::Pending { messages: Vec::new(), waiting: None };
        };
        self.engine.borrow_mut().polled_by(cx.waker());
        loop {
            let polled = {
                let _scope = scope::enter(&self.engine);
                future.as_mut().poll(cx)
            };
            let mut engine = self.engine.borrow_mut();
            if polled.is_pending() {
                engine.settle();
            }
            if let Some((failure, next)) = engine.take_failure() {
                let messages = engine.flush();
                drop(engine);
                drop(future);
                return Progress::Failed { messages, failure, next };
            }
            match polled {
                Poll::Ready((instance, result)) => return finish(&mut engine, instance.as_ref(), result),
                Poll::Pending if engine.reveal_next() || engine.start_steps() => {}
                Poll::Pending => {
                    if let Some(failure) = engine.stuck_in_replay() {
                        let messages = engine.flush();
                        drop(engine);
                        drop(future);
                        return Progress::Failed { messages, failure, next: None };
                    }
                    let messages = engine.flush();
                    let waiting = engine.waiting();
                    drop(engine);
                    self.future = Some(future);
                    return Progress::Pending { messages, waiting };
                }
            }
        }
    }

    /// What user code had done before it panicked in [`Attempt::poll`], to be proposed before the failure: without it, a
    /// step that has ended would run again.
    pub fn salvage(&mut self) -> Vec<RawMessage> {
        self.engine.borrow_mut().flush()
    }

    /// A notification was appended to the journal at `index`. Results of this attempt's own steps are not told.
    pub fn notify(&mut self, index: u32, entry: JournalRow) {
        self.engine.borrow_mut().notify(index, &entry);
    }

    /// The oldest uncommitted flush is durable; to be called once per non-empty `messages` returned.
    pub fn committed(&mut self) {
        self.engine.borrow_mut().committed();
    }
}

/// Ends the journal: state as the handler left it (unless it failed), Output, End.
fn finish(engine: &mut Engine, instance: &dyn Instance, result: HandlerResult) -> Progress {
    if result.is_ok() && engine.is_exclusive() {
        match instance.fields() {
            Ok(fields) => engine.stage_state(fields),
            Err(error) => engine.fail(Failure::new(u32::from(STATE_MISMATCH.0), error.to_string()), None),
        }
    }
    if !engine.has_failed() {
        engine.end(result);
    }
    let failed = engine.take_failure();
    let messages = engine.flush();
    match failed {
        Some((failure, next)) => Progress::Failed { messages, failure, next },
        None => Progress::Done { messages },
    }
}
