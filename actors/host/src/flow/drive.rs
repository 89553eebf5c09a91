//! The task of one attempt.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use abide_model::command::{Append, AttemptFailed, Body, FlowMessage, Next};
use abide_model::error::JOURNAL_MISMATCH;
use abide_model::id::{InvocationId, PartitionId};
use abide_model::protocol::{Code, Failure, RawMessage, Suspension};
use abide_model::table::Awaiting;
use abide_sdk::attempt::Progress;
use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::{Slot, Told, submit_patiently};
use crate::env::Env;
use crate::event::StartAttempt;
use crate::guard::catch;
use crate::outgoing;
use crate::port::{Order, Port};
use crate::turn::Fault;

/// Who the attempt is, for everything it proposes.
pub(super) struct Driver<P> {
    env: Rc<Env<P>>,
    id: InvocationId,
    partition: PartitionId,
    term: u64,
    life: u64,
    attempt: u32,
    /// Failed attempts since the last stored entry.
    failures: u32,
    service: String,
    handler: String,
    /// The version of the code that runs.
    version: String,
}

/// What the attempt came to.
enum Step {
    /// It was aborted.
    Gone,
    Pending(Vec<RawMessage>),
    /// It has only waited for some time.
    Idle(Awaiting),
    Done(Vec<RawMessage>),
    Failed {
        messages: Vec<RawMessage>,
        failure: Failure,
        next: Option<Next>,
    },
    Panicked {
        /// What was done before.
        messages: Vec<RawMessage>,
        panic: String,
    },
}

impl<P: Port> Driver<P> {
    pub(super) fn new(env: Rc<Env<P>>, start: &StartAttempt) -> Self {
        let version = match &start.version {
            Some(pinned) => pinned.clone(),
            None => {
                env.service(&start.work.target.service).map(|current| current.version().to_owned()).unwrap_or_default()
            }
        };
        Self {
            env,
            id: start.work.id,
            partition: start.partition,
            term: start.term,
            life: start.work.life,
            attempt: start.attempt,
            failures: start.failures,
            service: start.work.target.service.clone(),
            handler: start.work.target.handler.clone(),
            version,
        }
    }

    /// Reports an attempt that could not begin.
    pub(super) async fn fail_at_start(self, fault: Fault) {
        self.fail(fault, None, || true).await;
    }

    /// Polls the attempt to its end.
    pub(super) async fn run(mut self, slot: &Slot) {
        let mut patience = Patience::new(self.env.settings.suspend_after);
        loop {
            let alive = || slot.is_alive();
            match poll_fn(|cx| poll(slot, &mut patience, cx)).await {
                Step::Gone => return,
                Step::Pending(messages) => match self.append(slot, messages).await {
                    Appended::Yes => {}
                    Appended::GivenUp => return,
                    Appended::Unresolved(failure) => return self.fail(Fault::error(failure), None, alive).await,
                },
                Step::Done(messages) => {
                    if let Appended::Unresolved(failure) = self.append(slot, messages).await {
                        self.fail(Fault::error(failure), None, alive).await;
                    }
                    return;
                }
                Step::Idle(awaiting) => {
                    if self.suspend(slot, awaiting) {
                        return;
                    }
                    patience.restart();
                }
                Step::Failed { messages, failure, next } => {
                    let next = match self.append(slot, messages).await {
                        Appended::Yes => next,
                        Appended::GivenUp => return,
                        Appended::Unresolved(failure) => {
                            return self.fail(Fault::error(failure), None, alive).await;
                        }
                    };
                    let fault = match failure.code == u32::from(JOURNAL_MISMATCH.0) {
                        true => Fault::mismatch(failure),
                        false => Fault::error(failure),
                    };
                    return self.fail(fault, next, alive).await;
                }
                Step::Panicked { messages, panic } => {
                    let fault = match self.append(slot, messages).await {
                        Appended::Yes => Fault::panic(&panic),
                        Appended::GivenUp => return,
                        Appended::Unresolved(failure) => Fault::error(failure),
                    };
                    return self.fail(fault, None, alive).await;
                }
            }
        }
    }

    /// Proposes messages, up to the first call of something that is not registered.
    async fn append(&mut self, slot: &Slot, messages: Vec<RawMessage>) -> Appended {
        let mut resolved = Vec::with_capacity(messages.len());
        let mut unresolved = None;
        for message in messages {
            match outgoing::message(&self.env, self.id, message) {
                Ok(message) => resolved.push(message),
                Err(failure) => {
                    unresolved = Some(failure);
                    break;
                }
            }
        }
        if !resolved.is_empty() {
            if resolved.iter().any(|message| message.raw().code.is_command()) {
                // A stored command is progress: the machine counts failures from there.
                self.failures = 0;
            }
            let order = self.order(slot, resolved);
            if !submit_patiently(&self.env, order, || slot.is_alive()).await {
                return Appended::GivenUp;
            }
        }
        unresolved.map_or(Appended::Yes, Appended::Unresolved)
    }

    /// Proposes that the attempt be put away. Not tried again when refused: meanwhile something may happen.
    fn suspend(&self, slot: &Slot, awaiting: Awaiting) -> bool {
        let suspension = Suspension {
            waiting_completions: awaiting.completions,
            waiting_signals: awaiting.signals,
            waiting_named_signals: awaiting.names,
        };
        let message = FlowMessage::from(RawMessage::new(Code::SUSPENSION, &suspension));
        let taken = self.env.submit(self.order(slot, vec![message])).is_ok();
        if taken {
            self.env.metrics.flow_suspensions.increment(1);
        }
        taken
    }

    fn order(&self, slot: &Slot, messages: Vec<FlowMessage>) -> Order {
        let body = Body::Append(Append {
            id: Bytes::copy_from_slice(&self.id.to_bytes()),
            term: self.term,
            attempt: self.attempt,
            messages,
            seen: slot.seen.get(),
            life: self.life,
            version: self.version.clone(),
        });
        Order::Propose { partition: self.partition, body, waiter: None }
    }

    /// Proposes that the attempt failed. `next` is the decision of a step's own policy.
    async fn fail(&self, fault: Fault, next: Option<Next>, wanted: impl Fn() -> bool) {
        let target = format_args!("{}/{}", self.service, self.handler);
        tracing::debug!(invocation = %self.id, %target, failure = %fault.failure.message, "a flow's attempt failed");
        self.env.metrics.attempt_failed(fault.kind);
        let uncounted = fault.is_uncounted();
        let next = match next {
            None if uncounted => self.env.next_after(&fault, None, 0),
            None => self.policy(),
            Some(next) => next,
        };
        let body = Body::AttemptFailed(AttemptFailed {
            id: Bytes::copy_from_slice(&self.id.to_bytes()),
            accept: None,
            term: self.term,
            attempt: self.attempt,
            failure: Some(fault.failure),
            next: Some(next),
            life: self.life,
            uncounted,
        });
        let order = Order::Propose { partition: self.partition, body, waiter: None };
        submit_patiently(&self.env, order, wanted).await;
    }

    /// What the retry policy of the handler says about one more failure.
    fn policy(&self) -> Next {
        let service = self.env.code(&self.service, &self.handler, Some(&self.version)).ok();
        let handler = service.and_then(|service| {
            let handlers = &service.executable.descriptor().handlers;
            let number = handlers.iter().position(|handler| handler.name == self.handler)?;
            Some((&**service, number))
        });
        self.env.next(handler, self.failures + 1)
    }
}

enum Appended {
    Yes,
    /// The attempt was aborted, or the node is shutting down.
    GivenUp,
    /// What came before is proposed, the rest cannot be.
    Unresolved(Failure),
}

/// Passes on what the attempt was told, and polls user code.
fn poll(slot: &Slot, patience: &mut Patience, cx: &mut Context<'_>) -> Poll<Step> {
    if !slot.waker.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        *slot.waker.borrow_mut() = Some(cx.waker().clone());
    }
    let mut attempt = slot.attempt.borrow_mut();
    let Some(attempt) = attempt.as_mut() else { return Poll::Ready(Step::Gone) };
    let told = std::mem::take(&mut *slot.told.borrow_mut());
    if !told.is_empty() {
        patience.restart();
    }
    let progress = catch(|| {
        for told in told {
            match told {
                Told::Notified { index, entry } => attempt.notify(index, entry),
                Told::Appended => attempt.committed(),
            }
        }
        attempt.poll(cx)
    });
    match progress {
        Err(panic) => Poll::Ready(Step::Panicked { messages: attempt.salvage(), panic }),
        Ok(Progress::Pending { messages, waiting: Some(awaiting) }) if messages.is_empty() => {
            patience.poll(cx).map(|()| Step::Idle(awaiting))
        }
        Ok(Progress::Pending { messages, .. }) => {
            patience.restart();
            if messages.is_empty() { Poll::Pending } else { Poll::Ready(Step::Pending(messages)) }
        }
        Ok(Progress::Done { messages }) => Poll::Ready(Step::Done(messages)),
        Ok(Progress::Failed { messages, failure, next }) => Poll::Ready(Step::Failed { messages, failure, next }),
    }
}

/// How long an attempt may only wait.
struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, timer: None, running: false }
    }

    /// The wait begins anew with the next poll.
    fn restart(&mut self) {
        self.running = false;
    }

    /// Ready when the attempt has waited long enough without a restart.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.running {
            timer.as_mut().reset(Instant::now() + limit);
            self.running = true;
        }
        timer.as_mut().poll(cx)
    }
}
