//! Notifications: answers and signals that become journal entries of the invocation that waits for them.

use abide_model::command::{Attach, Outcome, OutcomeKind, ParcelBody, Response, Sink};
use abide_model::effect::Effect;
use abide_model::error::{NOT_FOUND, OVERLOADED};
use abide_model::id::{InvocationId, ScheduleId};
use abide_model::limits;
use abide_model::protocol::{Code, Failure, Notification, NotificationId, NotificationResult, RawMessage, Value, Void};
use abide_model::table::{Completions, InvocationRow, Invocations, JournalRow, Journals, Status};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::{complete, route, schedule, start};
use crate::txn::Txn;

/// Appends `message` to the journal; the caller writes the row.
pub(crate) fn append<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    message: RawMessage,
) -> u32 {
    let index = row.journal_len;
    row.journal_len += 1;
    row.modified_at = txn.now().0;
    let entry = JournalRow::new(message, txn.now());
    txn.insert::<Journals>(&(id, index), &entry);
    index
}

/// Appends a notification and tells a running attempt; the caller writes the row.
pub(crate) fn append_and_tell<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    code: Code,
    notification: &Notification,
) {
    let message = RawMessage::new(code, notification);
    let entry = JournalRow::new(message.clone(), txn.now());
    let index = append(txn, id, row, message);
    txn.emit(Effect::Notify { invocation: id, attempt: row.attempt, index, entry });
}

/// Gives `notification` to an invocation: a running attempt is told, a suspended one that waits for it is started.
pub(crate) fn notify<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    code: Code,
    notification: &Notification,
) {
    match &row.status {
        Some(Status::Running(_)) => append_and_tell(txn, id, row, code, notification),
        Some(Status::Suspended(awaiting)) => {
            let awaited = notification.id.as_ref().is_some_and(|id| awaiting.includes(id));
            append(txn, id, row, RawMessage::new(code, notification));
            if awaited {
                start::start(txn, id, row);
                return;
            }
        }
        // Paused and backing-off invocations find it in their journal when they are tried again.
        Some(Status::Paused(_) | Status::BackingOff(_)) => {
            append(txn, id, row, RawMessage::new(code, notification));
        }
        // A restarted invocation may wait for its key and have a sleep of its first life in its journal.
        Some(Status::Queued(_)) if code == Code::SLEEP_DONE => {
            append(txn, id, row, RawMessage::new(code, notification));
        }
        Some(Status::Scheduled(_) | Status::Queued(_)) | None => return,
    }
    txn.put::<Invocations>(&id, row);
}

/// Sends `outcome` to the journal that waits for it.
pub(crate) fn respond<V: View>(
    txn: &mut Txn<'_, V>,
    callee: InvocationId,
    sink: &Sink,
    outcome: Option<Outcome>,
) -> Result<(), ReadError> {
    let callee = Bytes::copy_from_slice(&callee.to_bytes());
    route::send(txn, ParcelBody::Response(Response { sink: Some(sink.clone()), outcome, callee }))
}

/// A response arrives at the partition of the caller.
pub(crate) fn respond_here<V: View>(txn: &mut Txn<'_, V>, response: Response) -> Result<(), ReadError> {
    let Some(sink) = response.sink else { return Ok(()) };
    let Some(id) = InvocationId::from_bytes(&sink.caller) else { return Ok(()) };
    if sink.code == u32::from(Code::SCHEDULED_RUN_DONE.0) {
        let outcome = response.outcome.unwrap_or_default();
        return schedule::run_ended(txn, ScheduleId::from_invocation(id), sink.life, &response.callee, &outcome);
    }
    let Some(mut row) = txn.get::<Invocations>(&id)? else { return Ok(()) };
    // An earlier invocation with this id asked; this one did not.
    if !row.is_life(sink.life) {
        return Ok(());
    }
    let code = u16::try_from(sink.code).map(Code).ok().filter(|code| code.is_notification()).unwrap_or(Code::CALL_DONE);
    let result = match response.outcome.and_then(|outcome| outcome.kind) {
        Some(OutcomeKind::Success(content)) => NotificationResult::Value(Value { content }),
        Some(OutcomeKind::Failure(failure)) => NotificationResult::Failure(failure),
        None => NotificationResult::Void(Void {}),
    };
    let notification = Notification { id: Some(NotificationId::Completion(sink.completion)), result: Some(result) };
    notify(txn, id, &mut row, code, &notification);
    Ok(())
}

/// An invocation wants the result of another one of this partition, now or later.
pub(crate) fn attach<V: View>(txn: &mut Txn<'_, V>, attach: Attach) -> Result<(), ReadError> {
    let (Some(target), Some(sink)) = (InvocationId::from_bytes(&attach.target), attach.sink) else { return Ok(()) };
    if let Some(mut row) = txn.get::<Invocations>(&target)? {
        return wait(txn, target, &mut row, sink);
    }
    let outcome = stored(txn, target)?;
    respond(txn, target, &sink, Some(outcome))
}

/// Lets `sink` wait for the result of `id`, or tells it at once that too many do.
pub(crate) fn wait<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    sink: Sink,
) -> Result<(), ReadError> {
    if row.sinks.len() >= limits::SINKS_MAX {
        let text = format!("{} invocations wait for the result of {id}, no more can; retry later", row.sinks.len());
        let failure = Failure::new(u32::from(OVERLOADED.0), text);
        return respond(txn, id, &sink, Some(complete::failed(failure)));
    }
    row.sinks.push(sink);
    txn.put::<Invocations>(&id, row);
    Ok(())
}

/// An invocation wants to know whether another one of this partition has a result.
pub(crate) fn peek<V: View>(txn: &mut Txn<'_, V>, attach: Attach) -> Result<(), ReadError> {
    let (Some(target), Some(sink)) = (InvocationId::from_bytes(&attach.target), attach.sink) else { return Ok(()) };
    let outcome = match txn.get::<Invocations>(&target)? {
        Some(_) => None,
        None => Some(stored(txn, target)?),
    };
    respond(txn, target, &sink, outcome)
}

fn stored<V: View>(txn: &Txn<'_, V>, target: InvocationId) -> Result<Outcome, ReadError> {
    Ok(match txn.get::<Completions>(&target)? {
        Some(row) => row.outcome.unwrap_or_default(),
        None => complete::failed(Failure::new(u32::from(NOT_FOUND.0), "not found")),
    })
}
