//! Turns that need no activation: of un-keyed services, and durable shared ones, which read the applied state.

use std::rc::Rc;

use abide_model::command::{AttemptFailed, Body, Invoke, Next, Outcome, Turn};
use abide_model::id::{ActivationId, InvocationId};
use abide_model::protocol::Failure;
use bytes::Bytes;

use crate::env::{Env, Service, not_registered};
use crate::event::{Fields, StartAttempt};
use crate::flow;
use crate::port::{Completion, DirectCall, Order, Port, Refusal, Waiter};
use crate::turn::{self, Fault, Request, Stop};

/// Runs a direct call of an un-keyed service.
pub(crate) fn call<P: Port>(env: &Env<P>, service: &Service, id: InvocationId, call: DirectCall) {
    let handler = match resolve(service, &call.invoke) {
        Ok(handler) => handler,
        Err(refusal) => return call.refuse(refusal),
    };
    let ended = run(env, service, handler, &Fields::new(), &Request::of_invoke(id, &call.invoke));
    let keyed = call.invoke.idempotency_key.is_some();
    match ended {
        Ok(end) if keyed || !end.sends.is_empty() => {
            env.metrics.calls_turn.increment(1);
            let DirectCall { partition, invoke, responder } = call;
            let body = Body::Turn(end.record(id, 0, Some(invoke)));
            env.submit_or_tell(Order::Propose { partition, body, waiter: Some(Waiter { id, responder }) });
        }
        Ok(End { outcome, .. }) => {
            env.metrics.calls_turn.increment(1);
            let order = Order::Answer { partition: call.partition, activation: ActivationId(0), outcome, call };
            env.submit_or_tell(order);
        }
        Err(fault) => {
            fail_call(env, service, handler, id, call, fault);
        }
    }
}

/// Runs a shared turn on the applied state of a replica. Nothing is recorded; one that fails is for the leader, whose
/// retries are.
pub(crate) fn read<P: Port>(env: &Env<P>, service: &Service, id: InvocationId, call: DirectCall, fields: &Fields) {
    let handler = match resolve(service, &call.invoke) {
        Ok(handler) => handler,
        Err(refusal) => return call.refuse(refusal),
    };
    match run(env, service, handler, fields, &Request::of_invoke(id, &call.invoke)) {
        Ok(End { outcome, sends }) if sends.is_empty() => {
            env.metrics.calls_turn.increment(1);
            // Whoever asked may have gone away.
            let _ = call.responder.send(Ok(Completion { invocation: id, outcome, expires_at: None }));
        }
        Ok(_) | Err(_) => call.refuse(Refusal::NotLeader),
    }
}

/// The handler that a direct call names.
pub(crate) fn resolve(service: &Service, invoke: &Invoke) -> Result<usize, Refusal> {
    let target = invoke.target.as_ref().ok_or(Refusal::NotFound)?;
    service.resolve(target).map_err(|failure| match failure.code {
        404 => Refusal::NotFound,
        _ => Refusal::Invalid(failure),
    })
}

/// Puts a direct call whose attempt failed into the log, and says what follows there; `None` when that was refused.
pub(crate) fn fail_call<P: Port>(
    env: &Env<P>,
    service: &Service,
    handler: usize,
    id: InvocationId,
    call: DirectCall,
    fault: Fault,
) -> Option<Next> {
    env.metrics.calls_failed.increment(1);
    env.metrics.attempt_failed(fault.kind);
    let DirectCall { partition, invoke, responder } = call;
    let next = env.next(Some((service, handler)), 1);
    let body = Body::AttemptFailed(AttemptFailed {
        id: invoke.id.clone(),
        accept: Some(invoke),
        term: 0,
        attempt: 0,
        failure: Some(fault.failure),
        next: Some(next),
        life: 0,
        uncounted: false,
    });
    let order = Order::Propose { partition, body, waiter: Some(Waiter { id, responder }) };
    env.submit_or_tell(order).then_some(next)
}

/// Runs an attempt of a durable turn that is not exclusive.
pub(crate) fn start<P: Port>(env: &Rc<Env<P>>, start: StartAttempt) {
    let StartAttempt { partition, work, term, attempt, failures, fields, .. } = start;
    let service = env.service(&work.target.service).cloned();
    let resolved = match &service {
        Some(service) => service.resolve(&work.target).map(|handler| (service, handler)),
        None => Err(not_registered(&work.target.service, &work.target.handler)),
    };
    let ended = match &resolved {
        Ok((service, handler)) => run(env, service, *handler, &fields, &Request::of_work(&work)),
        Err(failure) => Err(Fault::missing(failure.clone())),
    };
    let body = match ended {
        Ok(end) => Body::Turn(end.record(work.id, work.life, None)),
        Err(fault) => {
            env.metrics.attempt_failed(fault.kind);
            let handler = resolved.ok().map(|(service, handler)| (&**service, handler));
            Body::AttemptFailed(AttemptFailed {
                id: Bytes::copy_from_slice(&work.id.to_bytes()),
                accept: None,
                term,
                attempt,
                next: Some(env.next_after(&fault, handler, failures + 1)),
                uncounted: fault.is_uncounted(),
                failure: Some(fault.failure),
                life: work.life,
            })
        }
    };
    flow::submit_in_background(env, Order::Propose { partition, body, waiter: None });
}

struct End {
    outcome: Outcome,
    sends: Vec<Invoke>,
}

impl End {
    fn record(self, id: InvocationId, life: u64, accept: Option<Invoke>) -> Turn {
        Turn {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            accept,
            activation: 0,
            base: None,
            changes: Vec::new(),
            sends: self.sends,
            outcome: Some(self.outcome),
            life,
        }
    }
}

fn run<P: Port>(
    env: &Env<P>,
    service: &Service,
    handler: usize,
    fields: &Fields,
    request: &Request<'_>,
) -> Result<End, Fault> {
    let mut instance = turn::instantiate(service, fields)?;
    let ended = if service.is_keyed() {
        turn::read(env, service, &instance, handler, request).map(|value| (value, Vec::new()))
    } else {
        turn::run(env, service, &mut instance, fields, handler, request).map(|done| (done.value, done.sends))
    };
    let failed = |failure: Failure| End { outcome: Outcome::failure(failure), sends: Vec::new() };
    match ended {
        Ok((value, sends)) => Ok(End { outcome: Outcome::success(value), sends }),
        Err(Stop::Failed(failure)) => Ok(failed(failure)),
        Err(Stop::Broken(fault)) => Err(fault),
    }
}
