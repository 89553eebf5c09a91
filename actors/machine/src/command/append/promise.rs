//! Promises of a workflow; for its own handlers only.
//!
//! | message | open | completed |
//! |---|---|---|
//! | GetPromise | told when it is completed; too many that wait are a violation | told the result at once |
//! | PeekPromise | told that there is nothing | told the result |
//! | CompletePromise | completed, everybody who waits is told | told 409 |

use abide_model::command::{Sink, Target};
use abide_model::id::ObjectId;
use abide_model::limits;
use abide_model::protocol::{
    Code, CompletePromise, Failure, Notification, NotificationId, NotificationResult, PromiseCommand, PromiseResult,
    RawMessage, Void,
};
use abide_model::table::Promises;
use abide_model::view::View;

use super::{Attempt, Step, StepResult, Violation, describe};
use crate::rule::{notify, promise};
use crate::txn::Txn;

/// The failure of a second completion.
const ALREADY_COMPLETED: u32 = 409;

pub(super) fn get<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let (key, completion) = match read(attempt, &raw) {
        Ok(read) => read,
        Err(violation) => return Ok(Err(violation)),
    };
    let mut row = txn.get::<Promises>(&key)?.unwrap_or_default();
    if row.result.is_none() {
        let sink = Sink::new(attempt.id, attempt.row.life, completion, Code::GET_PROMISE_DONE);
        if !promise::wait(txn, &key, &mut row, sink)? {
            let text = format!("{} invocations wait for promise `{}`, no more can", row.listeners.len(), key.1);
            return Ok(Err(Violation::new(text)));
        }
    }
    attempt.append(txn, raw);
    if let Some(result) = row.result {
        tell(txn, attempt, Code::GET_PROMISE_DONE, completion, notification_of(result));
    }
    Ok(Ok(Step::Continue))
}

pub(super) fn peek<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let (key, completion) = match read(attempt, &raw) {
        Ok(read) => read,
        Err(violation) => return Ok(Err(violation)),
    };
    let row = txn.get::<Promises>(&key)?.unwrap_or_default();
    attempt.append(txn, raw);
    let result = row.result.map_or(NotificationResult::Void(Void {}), notification_of);
    tell(txn, attempt, Code::PEEK_PROMISE_DONE, completion, result);
    Ok(Ok(Step::Continue))
}

pub(super) fn complete<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let Ok(command) = raw.decode::<CompletePromise>() else {
        return Ok(Err(Violation::new("a CompletePromise does not decode")));
    };
    let key = match key(attempt, &raw, command.key) {
        Ok(key) => key,
        Err(violation) => return Ok(Err(violation)),
    };
    let Some(result) = command.result else {
        return Ok(Err(Violation::new(format!("promise `{}` is completed with nothing", key.1))));
    };
    if matches!(&result, PromiseResult::Value(value) if value.content.len() > limits::STATE_VALUE_BYTES_MAX) {
        return Ok(Err(Violation::new(format!("the value of promise `{}` is longer than allowed", key.1))));
    }
    attempt.append(txn, raw);
    let result = if promise::complete(txn, &key, attempt.id, result)? {
        NotificationResult::Void(Void {})
    } else {
        NotificationResult::Failure(Failure::new(ALREADY_COMPLETED, "promise was already completed"))
    };
    tell(txn, attempt, Code::COMPLETE_PROMISE_DONE, command.result_completion_id, result);
    Ok(Ok(Step::Continue))
}

/// Which promise a GetPromise or PeekPromise names, and where the answer goes.
fn read(attempt: &Attempt, raw: &RawMessage) -> Result<((ObjectId, String), u32), Violation> {
    let command: PromiseCommand =
        raw.decode().map_err(|_| Violation::new(format!("a {} does not decode", raw.code)))?;
    Ok((key(attempt, raw, command.key)?, command.result_completion_id))
}

fn key(attempt: &Attempt, raw: &RawMessage, name: String) -> Result<(ObjectId, String), Violation> {
    let target = attempt.row.target.as_ref();
    let workflow = target.and_then(Target::workflow_object).ok_or_else(|| {
        Violation::new(format!("{} is no handler of a workflow: {} refused", describe(target), raw.code))
    })?;
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(Violation::new("the name of a promise is longer than allowed"));
    }
    Ok((workflow, name))
}

fn notification_of(result: PromiseResult) -> NotificationResult {
    match result {
        PromiseResult::Value(value) => NotificationResult::Value(value),
        PromiseResult::Failure(failure) => NotificationResult::Failure(failure),
    }
}

fn tell<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, code: Code, completion: u32, result: NotificationResult) {
    let notification = Notification { id: Some(NotificationId::Completion(completion)), result: Some(result) };
    notify::append_and_tell(txn, attempt.id, &mut attempt.row, code, &notification);
}

#[cfg(test)]
mod tests;
