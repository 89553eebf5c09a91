//! Invocations by a flow: the callee's id is told at once, the result of a call when there is one.

use abide_model::command::{Invoke, ParcelBody, Sink};
use abide_model::protocol::{Call, Code, Notification, NotificationId, NotificationResult, OneWayCall, RawMessage};
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
    attempt.append(txn, raw);
    let notification = Notification {
        id: Some(NotificationId::Completion(id_completion)),
        result: Some(NotificationResult::InvocationId(id.to_string())),
    };
    notify::append_and_tell(txn, attempt.id, &mut attempt.row, Code::CALL_INVOCATION_ID, &notification);
    let invoke = Invoke {
        sink: result_completion.map(|completion| Sink::new(attempt.id, completion, Code::CALL_DONE)),
        invoked_by: Bytes::copy_from_slice(&attempt.id.to_bytes()),
        ..callee
    };
    route::send(txn, ParcelBody::Invoke(invoke))?;
    Ok(Ok(Step::Continue))
}

#[cfg(test)]
mod tests;
