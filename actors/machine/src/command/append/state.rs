//! State reads and writes of a flow. Writes are durable with their entry: they survive a later failure of the flow.

use abide_model::limits;
use abide_model::protocol::{
    Code, Notification, NotificationId, NotificationResult, PlainCommand, RawMessage, SetState, StateKeyCommand,
    StateKeys, Value, Void,
};
use abide_model::table::{StateRow, States};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::{Attempt, Step, StepResult, Violation, describe};
use crate::rule::{notify, state};
use crate::txn::Txn;

pub(super) fn write<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let Some(object) = attempt.object.clone().filter(|_| attempt.exclusive) else {
        let target = describe(attempt.row.target.as_ref());
        return Ok(Err(Violation::new(format!("{target} has no state that it may change: {} refused", raw.code))));
    };
    match raw.code {
        Code::SET_STATE => {
            let Ok(set) = raw.decode::<SetState>() else {
                return Ok(Err(Violation::new("a SetState does not decode")));
            };
            let Some(field) = field(&set.key) else { return Ok(Err(bad_field())) };
            let value = set.value.unwrap_or_default().content;
            if state::is_too_wide(&field, Some(&value)) {
                let text = format!("state field `{field}` has {} bytes, more than allowed", value.len());
                return Ok(Err(Violation::new(text)));
            }
            txn.put::<States>(&(object, field), &StateRow { value });
        }
        Code::CLEAR_STATE => {
            let Some(field) = raw.decode::<StateKeyCommand>().ok().and_then(|clear| field(&clear.key)) else {
                return Ok(Err(bad_field()));
            };
            txn.delete::<States>(&(object, field));
        }
        _ => {
            state::clear(txn, &object)?;
        }
    }
    attempt.state_changed = true;
    attempt.append(txn, raw);
    Ok(Ok(Step::Continue))
}

pub(super) fn read<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let Some(object) = attempt.object.clone() else {
        let target = describe(attempt.row.target.as_ref());
        return Ok(Err(Violation::new(format!("{target} has no state: {} refused", raw.code))));
    };
    let (code, completion, result) = if raw.code == Code::GET_LAZY_STATE {
        let Ok(get) = raw.decode::<StateKeyCommand>() else { return Ok(Err(bad_field())) };
        let Some(field) = field(&get.key) else { return Ok(Err(bad_field())) };
        let result = match txn.get::<States>(&(object, field))? {
            Some(row) => NotificationResult::Value(Value { content: row.value }),
            None => NotificationResult::Void(Void {}),
        };
        (Code::GET_LAZY_STATE_DONE, get.result_completion_id, result)
    } else {
        let Ok(get) = raw.decode::<PlainCommand>() else { return Ok(Err(bad_field())) };
        let keys = state::fields(txn, &object)?.into_iter().map(|(_, field)| Bytes::from(field)).collect();
        (Code::GET_LAZY_STATE_KEYS_DONE, get.result_completion_id, NotificationResult::StateKeys(StateKeys { keys }))
    };
    attempt.append(txn, raw);
    let notification = Notification { id: Some(NotificationId::Completion(completion)), result: Some(result) };
    notify::append_and_tell(txn, attempt.id, &mut attempt.row, code, &notification);
    Ok(Ok(Step::Continue))
}

/// Gives the object a new version when the append changed its state.
pub(super) fn publish<V: View>(txn: &mut Txn<'_, V>, attempt: &Attempt) -> Result<(), ReadError> {
    if attempt.state_changed { bump(txn, attempt) } else { Ok(()) }
}

/// Gives the object a new version.
pub(super) fn bump<V: View>(txn: &mut Txn<'_, V>, attempt: &Attempt) -> Result<(), ReadError> {
    let Some(object) = &attempt.object else { return Ok(()) };
    state::publish(txn, object, attempt.row.state_ttl_ms)
}

fn field(key: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(key).ok()?;
    (text.len() <= limits::NAME_BYTES_MAX).then(|| text.to_owned())
}

fn bad_field() -> Violation {
    Violation::new("a state command does not decode, or its field name is not UTF-8 or too long")
}

#[cfg(test)]
mod tests;
