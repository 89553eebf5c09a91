//! What a flow does to invocations that exist already: signals, awakeables, attach, peek.

use abide_model::command::{Attach, ParcelBody, Signal, Sink};
use abide_model::id::{AwakeableId, InvocationId};
use abide_model::protocol::{
    AwakeableResult, Code, CompleteAwakeable, InvocationTarget, RawMessage, SendSignal, SignalId, SignalResult,
};
use abide_model::view::View;
use bytes::Bytes;

use super::{Attempt, Step, StepResult, Violation};
use crate::rule::route;
use crate::txn::Txn;

pub(super) fn send_signal<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let target = raw
        .decode::<SendSignal>()
        .ok()
        .and_then(|signal| signal.target_invocation_id.parse::<InvocationId>().ok().map(|target| (signal, target)));
    let Some((signal, target)) = target else {
        return Ok(Err(Violation::new("a SendSignal names no invocation")));
    };
    attempt.append(txn, raw);
    let target = Bytes::copy_from_slice(&target.to_bytes());
    route::send(txn, ParcelBody::Signal(Signal { target, signal: signal.signal_id, result: signal.result }))?;
    Ok(Ok(Step::Continue))
}

pub(super) fn complete_awakeable<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let target = raw
        .decode::<CompleteAwakeable>()
        .ok()
        .and_then(|completion| completion.awakeable_id.parse::<AwakeableId>().ok().map(|id| (completion, id)));
    let Some((completion, id)) = target else {
        return Ok(Err(Violation::new("a CompleteAwakeable names no awakeable")));
    };
    attempt.append(txn, raw);
    let result = completion.result.map(|result| match result {
        AwakeableResult::Value(value) => SignalResult::Value(value),
        AwakeableResult::Failure(failure) => SignalResult::Failure(failure),
    });
    let target = Bytes::copy_from_slice(&id.invocation.to_bytes());
    route::send(txn, ParcelBody::Signal(Signal { target, signal: Some(SignalId::Index(id.signal)), result }))?;
    Ok(Ok(Step::Continue))
}

pub(super) fn attach<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let target = raw
        .decode::<InvocationTarget>()
        .ok()
        .and_then(|command| command.invocation_id.parse::<InvocationId>().ok().map(|target| (command, target)));
    let Some((command, target)) = target else {
        return Ok(Err(Violation::new(format!("{} names no invocation", raw.code))));
    };
    let waits = raw.code == Code::ATTACH_INVOCATION;
    attempt.append(txn, raw);
    let code = if waits { Code::ATTACH_DONE } else { Code::OUTPUT_DONE };
    let sink = Some(Sink::new(attempt.id, attempt.row.life, command.result_completion_id, code));
    let attach = Attach { target: Bytes::copy_from_slice(&target.to_bytes()), sink };
    route::send(txn, if waits { ParcelBody::Attach(attach) } else { ParcelBody::Peek(attach) })?;
    Ok(Ok(Step::Continue))
}

#[cfg(test)]
mod tests;
