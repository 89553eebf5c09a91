//! What an activated object does next.
//!
//! An activation is the object's state in memory, with the turns in it that are proposed but not committed yet: the log
//! is a prefix, so if one of them does not commit, neither does what ran after it. Everything it believes can be wrong;
//! the machine decides, and a rejection makes the activation load the applied state again.
//!
//! | phase | direct call | what is in the mailbox |
//! |---|---|---|
//! | away | waits, the state is loaded | the state is loaded, and the mailbox with it |
//! | loading | waits | ignored: what is loaded includes it |
//! | ready, nothing ahead | runs at once | turns run in order, until something holds the place |
//! | ready, something ahead | takes its place in the mailbox | waits |
//!
//! Reads run at any time on what is in memory.
//!
//! There are no actors here, no threads and no timers: the shell hands inputs to [`Activation::handle`], and asks
//! [`Activation::retry_after`] when it wants to be called again. Orders leave through the port at once, because what
//! follows depends on whether they were taken.

mod queue;
mod ready;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use abide_model::command::StateVersion;
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId, ObjectId, PartitionId};
use tokio::time::Instant;

use crate::env::{Env, Service};
use crate::event::{Fields, Queued, StartAttempt};
use crate::port::{DirectCall, Order, Port, Refusal};
use ready::Ready;

/// First delay after a full queue of the partition; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(5);
/// Longest delay after a full queue of the partition.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What an activation is told.
pub(crate) enum Input {
    /// Someone waits for a turn or a read.
    Call(Box<DirectCall>),
    /// Something took its place in the mailbox.
    Enqueued(Work),
    /// The state was loaded.
    Activated(Box<Snapshot>),
    /// A turn that failed before is due again.
    Start(Box<StartAttempt>),
    /// Something in the mailbox ended, otherwise than by a turn of this activation.
    Ended(InvocationId),
    /// A turn of this activation was rejected.
    Rejected(ActivationId),
    /// The state was changed by someone else.
    StateChanged,
    /// The node does not lead the object's partition: nothing in memory counts.
    Lost,
    /// Time has passed, or the node began to shut down.
    Tick,
}

/// What was loaded.
pub(crate) struct Snapshot {
    pub(crate) activation: ActivationId,
    pub(crate) version: StateVersion,
    pub(crate) fields: Fields,
    pub(crate) queue: Vec<Queued>,
    pub(crate) more: bool,
}

/// An object of this shard.
pub(crate) struct Activation<P> {
    env: Rc<Env<P>>,
    object: ObjectId,
    partition: PartitionId,
    service: Rc<Service>,
    phase: Phase,
    /// Direct calls that wait for the state, in order.
    waiting: VecDeque<Box<DirectCall>>,
    /// The turn in the mailbox whose next attempt is due.
    due: Option<Due>,
    /// The delay before refused durable work is tried again; `None` when nothing was refused.
    retry: Option<Duration>,
}

enum Phase {
    /// Nothing is loaded or asked for.
    Away,
    /// The state is asked for.
    Loading { since: Instant },
    /// The state is here.
    Ready(Ready),
}

/// An attempt of a turn, as the machine numbers it.
#[derive(Clone, Copy, Debug)]
struct Due {
    id: InvocationId,
    term: u64,
    attempt: u32,
    failures: u32,
    life: u64,
}

impl<P: Port> Activation<P> {
    pub(crate) fn new(env: Rc<Env<P>>, object: ObjectId, service: Rc<Service>) -> Self {
        let partition = env.partition_of(&object.key);
        let (waiting, due, retry) = (VecDeque::new(), None, None);
        Self { env, object, partition, service, phase: Phase::Away, waiting, due, retry }
    }

    /// Takes an input and does all that follows from it.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Call(call) => self.call(call, now),
            Input::Enqueued(work) => self.enqueued(work, now),
            Input::Activated(snapshot) => self.activated(*snapshot, now),
            Input::Start(start) => self.start(&start, now),
            Input::Ended(id) => self.ended(id, now),
            Input::Rejected(activation) => self.rejected(activation, now),
            Input::StateChanged => {
                if let Phase::Ready(ready) = &mut self.phase {
                    ready.stale = true;
                }
            }
            Input::Lost => self.lost(),
            Input::Tick => self.tick(now),
        }
    }

    /// Another node leads, or will: it finds in the log what was accepted, and those who wait ask there.
    fn lost(&mut self) {
        self.phase = Phase::Away;
        self.due = None;
        self.retry = None;
        self.refuse_waiting(&Refusal::NotLeader);
    }

    /// Bytes of state in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.phase {
            Phase::Ready(ready) => ready.bytes(),
            Phase::Away | Phase::Loading { .. } => 0,
        }
    }

    /// After what time [`Input::Tick`] is wanted, because the partition's queue was full.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the object may leave memory: nothing is to be done, or everything that is to be done would bring it back.
    pub(crate) fn is_idle(&self) -> bool {
        let quiet = match &self.phase {
            Phase::Away => true,
            Phase::Loading { .. } => false,
            Phase::Ready(ready) => ready.queue.is_waiting(),
        };
        quiet && self.waiting.is_empty() && self.due.is_none() && self.retry.is_none()
    }

    /// Whether the state is asked for.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Loading { .. })
    }

    /// How many direct calls wait for the state.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn call(&mut self, call: Box<DirectCall>, now: Instant) {
        if self.env.draining.get() {
            return self.refuse(*call, Refusal::ShuttingDown);
        }
        match &self.phase {
            Phase::Ready(ready) if !ready.stale => self.call_ready(*call, now),
            Phase::Loading { .. } if self.waiting.len() >= self.env.settings.local_queue => {
                self.env.metrics.overloaded_object.increment(1);
                self.refuse(*call, Refusal::Overloaded);
            }
            Phase::Loading { .. } => self.waiting.push_back(call),
            Phase::Ready(_) | Phase::Away => {
                self.waiting.push_back(call);
                self.load(now);
            }
        }
    }

    fn enqueued(&mut self, work: Work, now: Instant) {
        match &mut self.phase {
            Phase::Away => self.load(now),
            Phase::Loading { .. } => {}
            Phase::Ready(ready) => {
                if !ready.queue.enqueued(work, now, self.env.settings.mirror) {
                    self.load(now);
                } else if self.retry.is_none() {
                    self.run_queue(now);
                }
            }
        }
    }

    fn activated(&mut self, snapshot: Snapshot, now: Instant) {
        if let Phase::Ready(ready) = &self.phase
            && ready.activation >= snapshot.activation
        {
            return;
        }
        if self.due.is_some_and(|due| !snapshot.queue.iter().any(|queued| queued.work.id == due.id)) {
            self.due = None;
        }
        self.retry = None;
        self.env.metrics.activated.increment(1);
        self.phase = Phase::Ready(Ready::new(snapshot, self.env.settings.mirror));
        self.run_queue(now);
        for call in std::mem::take(&mut self.waiting) {
            self.call(call, now);
        }
    }

    fn start(&mut self, start: &StartAttempt, now: Instant) {
        let StartAttempt { term, attempt, failures, .. } = *start;
        self.due = Some(Due { id: start.work.id, term, attempt, failures, life: start.work.life });
        // What is asked for already will be newer than this event.
        if !self.is_loading() {
            self.load(now);
        }
    }

    /// Whatever ended without a turn of this activation may have left another state behind, or the activation may have
    /// run it and gone on from a result that does not count. The driver voids its results, so it is always loaded anew.
    fn ended(&mut self, id: InvocationId, now: Instant) {
        self.due.take_if(|due| due.id == id);
        if matches!(self.phase, Phase::Ready(_)) {
            self.load(now);
        }
    }

    fn rejected(&mut self, activation: ActivationId, now: Instant) {
        match &self.phase {
            Phase::Ready(ready) if ready.activation == activation => {
                self.env.metrics.speculation_rejected.increment(1);
                self.load(now);
            }
            // The requests of an activation that is gone are in the mailbox.
            Phase::Away => self.load(now),
            Phase::Ready(_) | Phase::Loading { .. } => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.env.draining.get() {
            self.retry = None;
            return self.refuse_waiting(&Refusal::ShuttingDown);
        }
        match &self.phase {
            Phase::Away if self.retry.is_some() => self.load(now),
            Phase::Loading { since } if now.duration_since(*since) >= self.env.settings.load_timeout => {
                // Those who wait for an answer are not kept waiting longer. What is due or queued stays: the state comes
                // when the driver, which may be waiting for the disk, goes on.
                self.phase = Phase::Loading { since: now };
                self.refuse_waiting(&Refusal::Overloaded);
            }
            Phase::Ready(_) => self.run_queue(now),
            Phase::Away | Phase::Loading { .. } => {}
        }
    }

    /// Drops what is in memory and asks for the applied state.
    fn load(&mut self, now: Instant) {
        self.phase = Phase::Away;
        let order = Order::Activate { partition: self.partition, object: self.object.clone() };
        match self.env.submit(order) {
            Ok(()) => {
                self.phase = Phase::Loading { since: now };
                self.retry = None;
            }
            Err(refused) => {
                self.refuse_waiting(&refused.refusal);
                self.back_off(&refused.refusal);
            }
        }
    }

    /// Plans to try refused durable work again.
    fn back_off(&mut self, refusal: &Refusal) {
        self.retry = match refusal {
            // Whoever takes over finds the work in the log.
            Refusal::ShuttingDown => None,
            _ => Some(self.retry.map_or(RETRY_MIN, |last| (last * 2).min(RETRY_MAX))),
        };
    }

    fn refuse_waiting(&mut self, refusal: &Refusal) {
        for call in std::mem::take(&mut self.waiting) {
            self.refuse(*call, refusal.clone());
        }
    }

    fn refuse(&self, call: DirectCall, refusal: Refusal) {
        self.env.metrics.calls_refused.increment(1);
        call.refuse(refusal);
    }
}

#[cfg(test)]
mod tests;
