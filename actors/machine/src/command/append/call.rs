//! Invocations by a flow: the callee's id is told at once, the result of a call when there is one.

use abide_model::command::{Holder, Invoke, ParcelBody, Sink, Target};
use abide_model::error::DEADLOCK;
use abide_model::limits;
use abide_model::protocol::{
    Call, Code, Failure, Notification, NotificationId, NotificationResult, OneWayCall, RawMessage,
};
use abide_model::view::View;
use bytes::Bytes;

use super::{Attempt, Step, StepResult, Violation};
use crate::rule::{notify, route};
use crate::txn::Txn;

pub(super) fn call<V: View>(
    txn: &mut Txn<'_, V>,
    attempt: &mut Attempt,
    raw: RawMessage,
    callee: Option<Invoke>,
) -> StepResult {
    let Some((callee, id)) = callee.and_then(|callee| callee.id().map(|id| (callee, id))) else {
        return Ok(Err(Violation::new(format!("{} without a callee that this cluster knows", raw.code))));
    };
    let completions = if raw.code == Code::CALL {
        raw.decode::<Call>().map(|call| (call.invocation_id_notification_idx, Some(call.result_completion_id)))
    } else {
        raw.decode::<OneWayCall>().map(|call| (call.invocation_id_notification_idx, None))
    };
    let Ok((id_completion, result_completion)) = completions else {
        return Ok(Err(Violation::new(format!("a {} does not decode", raw.code))));
    };
    let awaited = raw.code == Code::CALL;
    attempt.append(txn, raw);
    let notification = Notification {
        id: Some(NotificationId::Completion(id_completion)),
        result: Some(NotificationResult::InvocationId(id.to_string())),
    };
    notify::append_and_tell(txn, attempt.id, &mut attempt.row, Code::CALL_INVOCATION_ID, &notification);
    let chain = if awaited { chain(attempt) } else { Vec::new() };
    if let (Some(completion), Some(failure)) = (result_completion, deadlock(&chain, &callee)) {
        let id = Some(NotificationId::Completion(completion));
        let notification = Notification { id, result: Some(NotificationResult::Failure(failure)) };
        notify::append_and_tell(txn, attempt.id, &mut attempt.row, Code::CALL_DONE, &notification);
        return Ok(Ok(Step::Continue));
    }
    let invoke = Invoke {
        chain,
        one_way: !awaited,
        sink: result_completion.map(|completion| Sink::new(attempt.id, attempt.row.life, completion, Code::CALL_DONE)),
        invoked_by: Bytes::copy_from_slice(&attempt.id.to_bytes()),
        ..callee
    };
    route::send(txn, ParcelBody::Invoke(invoke))?;
    Ok(Ok(Step::Continue))
}

/// Who waits for an invocation that this one calls.
fn chain(attempt: &Attempt) -> Vec<Holder> {
    let own = attempt.row.target.as_ref().and_then(Target::exclusive_object).map(|object| Holder {
        service: object.service,
        key: object.key,
        invocation: Bytes::copy_from_slice(&attempt.id.to_bytes()),
    });
    attempt.row.chain.iter().cloned().chain(own).collect()
}

/// The failure of a call that could never end: its callee needs a key that somebody holds who waits for it.
fn deadlock(chain: &[Holder], callee: &Invoke) -> Option<Failure> {
    if chain.len() > limits::CALL_CHAIN_MAX {
        let text = format!("{} calls wait for one another, more than {}", chain.len(), limits::CALL_CHAIN_MAX);
        return Some(Failure::coded(508, DEADLOCK, text));
    }
    let wanted = callee.target.as_ref()?.exclusive_object()?;
    let first = chain.iter().position(|holder| holder.service == wanted.service && holder.key == wanted.key)?;
    let mut cycle: Vec<_> = chain[first..].iter().map(|holder| format!("{}/{}", holder.service, holder.key)).collect();
    cycle.push(wanted.to_string());
    Some(Failure::coded(508, DEADLOCK, format!("the call would wait for itself: {}", cycle.join(" → "))))
}

#[cfg(test)]
mod tests;
