//! Journal entries for people: what each says, without the bytes of the protocol.

use abide_model::id::Millis;
use abide_model::protocol::{
    AwakeableResult, Call, Code, CompleteAwakeable, CompletePromise, EagerStateResult, Failure, GetEagerState,
    GetEagerStateKeys, Input, InvocationTarget, Notification, NotificationId, NotificationResult, OneWayCall, Output,
    OutputResult, PlainCommand, PromiseCommand, PromiseResult, RawMessage, SendSignal, SetState, SignalId,
    SignalResult, Sleep, StateKeyCommand, StateKeys, Value as Content,
};
use abide_model::table::JournalRow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::details;
use crate::date::rfc3339;

/// Bytes of a value that are shown; `bytes` says how many the entry has.
const SHOWN_BYTES_MAX: usize = 16 << 10;

/// An entry of a journal.
pub(super) fn entry(index: u32, row: &JournalRow) -> Value {
    let message = row.message();
    let code = message.code;
    let mut out = json!({
        "index": index,
        "code": format!("{:04x}", row.code),
        "type": code.name(),
        "appended_at": rfc3339(Millis(row.appended_at)),
        "bytes": row.payload.len(),
    });
    if let Some(fields) = content(&message)
        && let (Value::Object(out), Value::Object(fields)) = (&mut out, fields)
    {
        out.extend(fields.into_iter().filter(|(_, value)| !value.is_null() && value.as_str() != Some("")));
    }
    out
}

/// What an entry says; `None` for one that this build cannot read.
fn content(message: &RawMessage) -> Option<Value> {
    let mut out = json!({});
    match message.code {
        Code::INPUT => {
            let Input { headers, name, value } = message.decode().ok()?;
            out["name"] = name.into();
            out["headers"] = headers.len().into();
            put_content(&mut out, value.as_ref());
        }
        Code::OUTPUT => {
            let Output { name, result } = message.decode().ok()?;
            out["name"] = name.into();
            match &result {
                Some(OutputResult::Value(value)) => put_content(&mut out, Some(value)),
                Some(OutputResult::Failure(failure)) => put_failure(&mut out, failure),
                None => {}
            }
        }
        Code::GET_LAZY_STATE | Code::CLEAR_STATE => {
            let StateKeyCommand { key, result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            put_bytes(&mut out, "key", &key);
            put_completion(&mut out, result_completion_id);
        }
        Code::SET_STATE => {
            let SetState { key, value, name } = message.decode().ok()?;
            out["name"] = name.into();
            put_bytes(&mut out, "key", &key);
            put_content(&mut out, value.as_ref());
        }
        Code::CLEAR_ALL_STATE | Code::GET_LAZY_STATE_KEYS | Code::RUN => {
            let PlainCommand { result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            put_completion(&mut out, result_completion_id);
        }
        Code::GET_EAGER_STATE => {
            let GetEagerState { key, name, result } = message.decode().ok()?;
            out["name"] = name.into();
            put_bytes(&mut out, "key", &key);
            if let Some(EagerStateResult::Value(value)) = &result {
                put_content(&mut out, Some(value));
            }
        }
        Code::GET_EAGER_STATE_KEYS => {
            let GetEagerStateKeys { name, value } = message.decode().ok()?;
            out["name"] = name.into();
            out["keys"] = value.as_ref().map(keys).unwrap_or_default();
        }
        Code::GET_PROMISE | Code::PEEK_PROMISE => {
            let PromiseCommand { key, result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            out["promise"] = key.into();
            put_completion(&mut out, result_completion_id);
        }
        Code::COMPLETE_PROMISE => {
            let CompletePromise { key, result, result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            out["promise"] = key.into();
            match &result {
                Some(PromiseResult::Value(value)) => put_content(&mut out, Some(value)),
                Some(PromiseResult::Failure(failure)) => put_failure(&mut out, failure),
                None => {}
            }
            put_completion(&mut out, result_completion_id);
        }
        Code::SLEEP => {
            let Sleep { wake_up_time, result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            out["wake_up_at"] = rfc3339(Millis(wake_up_time)).into();
            put_completion(&mut out, result_completion_id);
        }
        Code::CALL => {
            let call: Call = message.decode().ok()?;
            out["name"] = call.name.into();
            out["target"] = target(&call.service_name, &call.key, &call.handler_name).into();
            out["idempotency_key"] = call.idempotency_key.into();
            put_bytes(&mut out, "value", &call.parameter);
            out["invocation_id_completion_id"] = call.invocation_id_notification_idx.into();
            put_completion(&mut out, call.result_completion_id);
        }
        Code::ONE_WAY_CALL => {
            let call: OneWayCall = message.decode().ok()?;
            out["name"] = call.name.into();
            out["target"] = target(&call.service_name, &call.key, &call.handler_name).into();
            out["idempotency_key"] = call.idempotency_key.into();
            put_bytes(&mut out, "value", &call.parameter);
            out["invocation_id_completion_id"] = call.invocation_id_notification_idx.into();
            if call.invoke_time > 0 {
                out["invoke_at"] = rfc3339(Millis(call.invoke_time)).into();
            }
        }
        Code::SEND_SIGNAL => {
            let SendSignal { target_invocation_id, signal_id, result, entry_name } = message.decode().ok()?;
            out["name"] = entry_name.into();
            out["invocation_id"] = target_invocation_id.into();
            match signal_id {
                Some(SignalId::Index(index)) => out["signal"] = index.into(),
                Some(SignalId::Name(name)) => out["signal"] = name.into(),
                None => {}
            }
            match &result {
                Some(SignalResult::Value(value)) => put_content(&mut out, Some(value)),
                Some(SignalResult::Failure(failure)) => put_failure(&mut out, failure),
                Some(SignalResult::Void(_)) | None => {}
            }
        }
        Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT => {
            let InvocationTarget { invocation_id, result_completion_id, name } = message.decode().ok()?;
            out["name"] = name.into();
            out["invocation_id"] = invocation_id.into();
            put_completion(&mut out, result_completion_id);
        }
        Code::COMPLETE_AWAKEABLE => {
            let CompleteAwakeable { awakeable_id, result, name } = message.decode().ok()?;
            out["name"] = name.into();
            out["awakeable_id"] = awakeable_id.into();
            match &result {
                Some(AwakeableResult::Value(value)) => put_content(&mut out, Some(value)),
                Some(AwakeableResult::Failure(failure)) => put_failure(&mut out, failure),
                None => {}
            }
        }
        code if code.is_notification() => notification(&message.decode().ok()?, &mut out),
        _ => return None,
    }
    Some(out)
}

fn notification(notification: &Notification, out: &mut Value) {
    match &notification.id {
        Some(NotificationId::Completion(id)) => out["completion_id"] = (*id).into(),
        Some(NotificationId::SignalIndex(index)) => out["signal"] = (*index).into(),
        Some(NotificationId::SignalName(name)) => out["signal"] = name.as_str().into(),
        None => {}
    }
    match &notification.result {
        Some(NotificationResult::Value(value)) => put_content(out, Some(value)),
        Some(NotificationResult::Failure(failure)) => put_failure(out, failure),
        Some(NotificationResult::InvocationId(id)) => out["invocation_id"] = id.as_str().into(),
        Some(NotificationResult::StateKeys(found)) => out["keys"] = keys(found),
        Some(NotificationResult::Void(_)) | None => {}
    }
}

fn target(service: &str, key: &str, handler: &str) -> String {
    if key.is_empty() { format!("{service}/{handler}") } else { format!("{service}/{key}/{handler}") }
}

fn keys(keys: &StateKeys) -> Value {
    keys.keys.iter().map(|key| Value::from(String::from_utf8_lossy(key))).collect()
}

fn put_completion(out: &mut Value, id: u32) {
    if id > 0 {
        out["completion_id"] = id.into();
    }
}

fn put_failure(out: &mut Value, failure: &Failure) {
    out["failure"] = details::failure(failure);
}

fn put_content(out: &mut Value, value: Option<&Content>) {
    if let Some(value) = value {
        put_bytes(out, "value", &value.content);
    }
}

/// Bytes as a text under `name` when they are one, else as base64 under `{name}_base64`. What is longer than
/// [`SHOWN_BYTES_MAX`] is cut, and `{name}_cut` says so.
pub(super) fn put_bytes(out: &mut Value, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
            out[name] = text[..end].into();
        }
        Err(_) => out[format!("{name}_base64")] = STANDARD.encode(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into(),
    }
    if bytes.len() > SHOWN_BYTES_MAX {
        out[format!("{name}_cut")] = true.into();
    }
}
