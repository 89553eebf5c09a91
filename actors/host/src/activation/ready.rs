//! An activation that has its state.

use abide_model::command::{
    Access, AttemptFailed, Body, FieldChange, Form, Invoke, Next, Outcome, StateVersion, Target, Turn,
};
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId};
use abide_model::protocol::Failure;
use bytes::Bytes;
use tokio::time::Instant;

use super::queue::{Hold, Item, Queue};
use super::{Activation, Due, Phase, Snapshot};
use crate::env::{Env, Service};
use crate::event::Fields;
use crate::metrics::FailureKind;
use crate::port::{DirectCall, Order, Port, Refusal, Refused, Waiter};
use crate::service;
use crate::turn::{self, Done, Fault, Loaded, Request, Stop};

/// The state as this activation believes it to be.
pub(super) struct Ready {
    pub(super) activation: ActivationId,
    /// Which state it is, with all turns that were proposed.
    version: StateVersion,
    /// Which state was loaded.
    loaded: StateVersion,
    fields: Fields,
    /// The same in memory; absent until it is needed, and after a turn that does not count.
    instance: Option<Loaded>,
    pub(super) queue: Queue,
    /// Whether someone else changed the state.
    pub(super) stale: bool,
}

/// How a turn ended, as its record will say.
struct End {
    outcome: Outcome,
    changes: Vec<FieldChange>,
    sends: Vec<Invoke>,
    /// The state after it; looked at only when there are changes.
    fields: Fields,
}

impl End {
    fn done(done: Done) -> Self {
        let Done { value, fields, changes, sends } = done;
        Self { outcome: Outcome::success(value), changes, sends, fields }
    }

    fn failed(failure: Failure) -> Self {
        let (changes, sends, fields) = (Vec::new(), Vec::new(), Fields::new());
        Self { outcome: Outcome::failure(failure), changes, sends, fields }
    }

    fn has_effects(&self) -> bool {
        !self.changes.is_empty() || !self.sends.is_empty()
    }
}

impl Ready {
    /// Bytes of names and values of the state.
    pub(super) fn bytes(&self) -> usize {
        self.fields.iter().map(|(field, value)| field.len() + value.len()).sum()
    }

    pub(super) fn new(snapshot: Snapshot, mirror: usize) -> Self {
        Self {
            activation: snapshot.activation,
            version: snapshot.version,
            loaded: snapshot.version,
            fields: snapshot.fields,
            instance: None,
            queue: Queue::new(snapshot.queue, snapshot.more, mirror),
            stale: false,
        }
    }

    /// Runs an exclusive turn. The instance stays only when the turn is done.
    fn run<P: Port>(
        &mut self,
        env: &Env<P>,
        service: &Service,
        handler: usize,
        request: &Request<'_>,
    ) -> Result<End, Fault> {
        let mut instance = self.take_instance(service)?;
        match turn::run(env, service, &mut instance, &self.fields, handler, request) {
            Ok(done) => {
                self.instance = Some(instance);
                Ok(End::done(done))
            }
            Err(Stop::Failed(failure)) => Ok(End::failed(failure)),
            Err(Stop::Broken(fault)) => Err(fault),
        }
    }

    fn read<P: Port>(
        &mut self,
        env: &Env<P>,
        service: &Service,
        handler: usize,
        request: &Request<'_>,
    ) -> Result<Outcome, Fault> {
        let instance = self.take_instance(service)?;
        let outcome = match turn::read(env, service, &instance, handler, request) {
            Ok(value) => Outcome::success(value),
            Err(Stop::Failed(failure)) => Outcome::failure(failure),
            Err(Stop::Broken(fault)) => return Err(fault),
        };
        self.instance = Some(instance);
        Ok(outcome)
    }

    fn take_instance(&mut self, service: &Service) -> Result<Loaded, Fault> {
        match self.instance.take() {
            Some(instance) => Ok(instance),
            None => turn::instantiate(service, &self.fields),
        }
    }
}

impl<P: Port> Activation<P> {
    /// Carries out a direct call on the state in memory, which is not stale.
    pub(super) fn call_ready(&mut self, call: DirectCall, now: Instant) {
        let handler = match service::resolve(&self.service, &call.invoke) {
            Ok(handler) => handler,
            Err(refusal) => return self.refuse(call, refusal),
        };
        let Some(id) = call.invoke.id() else {
            return self.refuse(call, Refusal::Invalid(Failure::new(400, "the invocation id is malformed")));
        };
        let Phase::Ready(ready) = &mut self.phase else { return };
        let target = call.invoke.target.as_ref();
        let (access, form) = target.map_or((Access::Exclusive, Form::Flow), |target| (target.access(), target.form()));
        let keyed = call.invoke.idempotency_key.is_some();
        if form == Form::Flow || call.invoke.execute_at > 0 {
            self.place(id, call);
        } else if access == Access::Shared {
            // Its record would outlive turns that are not committed yet, so it has to see committed ones only.
            if keyed && ready.version != ready.loaded {
                self.place(id, call);
            } else {
                self.read(handler, id, call);
            }
        } else if ready.queue.is_clear(now) {
            self.turn(handler, id, call);
        } else if self.place(id, call) && !keyed {
            // A repeated request would not appear in the mailbox, so only unique ones are waited for.
            if let Phase::Ready(ready) = &mut self.phase {
                ready.queue.placing(id, now);
            }
        }
    }

    /// Proposes the request itself: it takes its place in the mailbox, or its attempt is started from the log.
    fn place(&mut self, id: InvocationId, call: DirectCall) -> bool {
        self.env.metrics.calls_queued.increment(1);
        let DirectCall { partition, invoke, responder } = call;
        let waiter = Some(Waiter { id, responder });
        self.env.submit_or_tell(Order::Propose { partition, body: Body::Invoke(invoke), waiter })
    }

    fn turn(&mut self, handler: usize, id: InvocationId, call: DirectCall) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let keyed = call.invoke.idempotency_key.is_some();
        let ended = ready.run(&self.env, &self.service, handler, &Request::of_invoke(id, &call.invoke));
        match ended {
            Ok(end) if keyed || end.has_effects() => {
                self.env.metrics.calls_turn.increment(1);
                let DirectCall { invoke, responder, .. } = call;
                let waiter = Some(Waiter { id, responder });
                if let Err(refused) = self.propose(invoke.id.clone(), 0, Some(invoke), end, waiter) {
                    self.env.metrics.calls_refused.increment(1);
                    refused.tell();
                }
            }
            Ok(end) => {
                self.env.metrics.calls_turn.increment(1);
                self.answer(end.outcome, call);
            }
            Err(fault) if fault.kind == FailureKind::Panic => {
                let work = work_of(id, &call.invoke);
                let next = service::fail_call(&self.env, &self.service, handler, id, call, fault);
                if let (Some(Next::RetryAfter(_) | Next::Pause(_)), Some(work), Phase::Ready(ready)) =
                    (next, work, &mut self.phase)
                {
                    ready.queue.push_unconfirmed(work);
                }
            }
            Err(fault) => self.answer_fault(fault, call),
        }
    }

    fn read(&mut self, handler: usize, id: InvocationId, call: DirectCall) {
        let Phase::Ready(ready) = &mut self.phase else { return };
        let keyed = call.invoke.idempotency_key.is_some();
        match ready.read(&self.env, &self.service, handler, &Request::of_invoke(id, &call.invoke)) {
            Ok(outcome) if keyed => {
                self.env.metrics.calls_read.increment(1);
                let DirectCall { partition, invoke, responder } = call;
                let body = Body::Turn(Turn {
                    id: invoke.id.clone(),
                    accept: Some(invoke),
                    activation: ready.activation.0,
                    base: None,
                    changes: Vec::new(),
                    sends: Vec::new(),
                    outcome: Some(outcome),
                    life: 0,
                });
                self.env.submit_or_tell(Order::Propose { partition, body, waiter: Some(Waiter { id, responder }) });
            }
            Ok(outcome) => {
                self.env.metrics.calls_read.increment(1);
                self.answer(outcome, call);
            }
            Err(fault) if keyed && fault.kind == FailureKind::Panic => {
                service::fail_call(&self.env, &self.service, handler, id, call, fault);
            }
            Err(fault) => self.answer_fault(fault, call),
        }
    }

    fn answer_fault(&mut self, fault: Fault, call: DirectCall) {
        self.env.metrics.calls_failed.increment(1);
        self.env.metrics.attempt_failed(fault.kind);
        self.answer(Outcome::failure(fault.failure), call);
    }

    fn answer(&mut self, outcome: Outcome, call: DirectCall) {
        let Phase::Ready(ready) = &self.phase else { return };
        let (partition, activation) = (call.partition, ready.activation);
        self.env.submit_or_tell(Order::Answer { partition, activation, outcome, call });
    }

    /// Proposes the record of a turn that ran on the state in memory, and goes on from it. When it is refused, the
    /// state is as it was before the turn.
    fn propose(
        &mut self,
        id: Bytes,
        life: u64,
        accept: Option<Invoke>,
        end: End,
        waiter: Option<Waiter>,
    ) -> Result<(), Box<Refused>> {
        let Phase::Ready(ready) = &mut self.phase else { return Ok(()) };
        let changed = !end.changes.is_empty();
        let body = Body::Turn(Turn {
            id,
            accept,
            activation: ready.activation.0,
            base: Some(ready.version),
            changes: end.changes,
            sends: end.sends,
            outcome: Some(end.outcome),
            life,
        });
        let submitted = self.env.submit(Order::Propose { partition: self.partition, body, waiter });
        match &submitted {
            Ok(()) if changed => {
                ready.version = ready.version.next(ready.activation);
                ready.fields = end.fields;
            }
            Ok(()) => {}
            Err(_) => ready.instance = None,
        }
        submitted
    }

    /// Runs what is in the mailbox, as far as nothing holds the place.
    pub(super) fn run_queue(&mut self, now: Instant) {
        while !self.env.draining.get() {
            let Phase::Ready(ready) = &mut self.phase else { return };
            let Some(head) = ready.queue.head() else {
                if ready.queue.is_spent() {
                    self.load(now);
                }
                return;
            };
            let is_due = self.due.is_some_and(|due| due.id == head.work.id);
            match head.hold {
                Hold::Free => {}
                Hold::Held | Hold::Unconfirmed if is_due => {}
                Hold::Held | Hold::Unconfirmed | Hold::Flow => return,
            }
            if ready.stale {
                return self.load(now);
            }
            let Some(item) = ready.queue.pop() else { return };
            let due = self.due.take_if(|due| due.id == item.work.id);
            if !self.run_item(item, due) {
                return;
            }
        }
    }

    /// Runs the head of the mailbox. `false` when the partition's queue is full: it is still the head.
    fn run_item(&mut self, mut item: Item, due: Option<Due>) -> bool {
        let Phase::Ready(ready) = &mut self.phase else { return false };
        let resolved = self.service.resolve(&item.work.target);
        let ended = match &resolved {
            Ok(handler) => ready.run(&self.env, &self.service, *handler, &Request::of_work(&item.work)),
            Err(failure) => Err(Fault::missing(failure.clone())),
        };
        let id = Bytes::copy_from_slice(&item.work.id.to_bytes());
        let life = due.map_or(item.work.life, |due| due.life);
        let submitted = match ended {
            Ok(end) => self.propose(id, life, None, end, None).map(|()| None),
            Err(fault) => {
                let failures = due.map_or(item.work.failures, |due| due.failures) + 1;
                let handler = resolved.ok().map(|handler| (&*self.service, handler));
                let next = self.env.next_after(&fault, handler, failures);
                self.env.metrics.attempt_failed(fault.kind);
                let body = Body::AttemptFailed(AttemptFailed {
                    id,
                    accept: None,
                    term: due.map_or(0, |due| due.term),
                    attempt: due.map_or(0, |due| due.attempt),
                    uncounted: fault.is_uncounted(),
                    failure: Some(fault.failure),
                    next: Some(next),
                    life,
                });
                let order = Order::Propose { partition: self.partition, body, waiter: None };
                item.work.failures = failures;
                self.env.submit(order).map(|()| Some(next))
            }
        };
        let Phase::Ready(ready) = &mut self.phase else { return false };
        match submitted {
            Ok(None | Some(Next::Fail(_))) => {}
            Ok(Some(Next::RetryAfter(_) | Next::Pause(_))) => {
                item.hold = Hold::Held;
                ready.queue.restore(item);
            }
            Err(refused) => {
                ready.queue.restore(item);
                self.due = due;
                self.back_off(&refused.refusal);
                return false;
            }
        }
        self.retry = None;
        true
    }
}

/// The request as it will stand in the mailbox after its first attempt.
fn work_of(id: InvocationId, invoke: &Invoke) -> Option<Work> {
    let target: Target = invoke.target.clone()?;
    Some(Work { id, target, input: invoke.input.clone(), headers: invoke.headers.clone(), failures: 1, life: 0 })
}
