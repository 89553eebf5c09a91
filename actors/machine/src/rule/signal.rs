//! Signals.
//!
//! | target | a signal | cancel (signal 1) |
//! |---|---|---|
//! | running, backing off | appended | appended; a turn, which cannot listen, ends |
//! | suspended | appended; started when it waits for it | as left |
//! | paused | appended | appended and resumed; a turn ends |
//! | queued, scheduled | dropped | ends with 409, nothing is kept |
//! | completed, unknown | dropped | dropped |
//! | with a journal that is nearly full | refused | refused when it is full; kill ends it |

use abide_model::command::Signal;
use abide_model::effect::Answer;
use abide_model::error::{CANCELLED, OVERLOADED};
use abide_model::id::InvocationId;
use abide_model::limits;
use abide_model::protocol::{
    Code, Failure, Notification, NotificationId, NotificationResult, SIGNAL_CANCEL, SignalId, SignalResult, Void,
};
use abide_model::table::{Completions, InvocationRow, Invocations, Status};
use abide_model::view::{ReadError, View};

use super::complete::{self, By};
use super::{accept, notify, start};
use crate::txn::Txn;

/// Length of a journal from which on signals of others are refused, so that they cannot keep its flow from going on.
const SIGNALLED_ENTRIES_MAX: u32 = limits::JOURNAL_ENTRIES_MAX - limits::JOURNAL_ENTRIES_FOR_FLOW;

/// Gives the signal to its target.
pub(crate) fn deliver<V: View>(txn: &mut Txn<'_, V>, signal: &Signal) -> Result<Answer, ReadError> {
    let Some(id) = InvocationId::from_bytes(&signal.target) else { return Ok(Answer::NotFound) };
    let Some(mut row) = txn.get::<Invocations>(&id)? else {
        return Ok(if txn.get::<Completions>(&id)?.is_some() { Answer::AlreadyCompleted } else { Answer::NotFound });
    };
    let notification = Notification {
        id: Some(match &signal.signal {
            Some(SignalId::Index(index)) => NotificationId::SignalIndex(*index),
            Some(SignalId::Name(name)) => NotificationId::SignalName(name.clone()),
            None => return Ok(Answer::NotFound),
        }),
        result: Some(match signal.result.clone() {
            Some(SignalResult::Value(value)) => NotificationResult::Value(value),
            Some(SignalResult::Failure(failure)) => NotificationResult::Failure(failure),
            Some(SignalResult::Void(_)) | None => NotificationResult::Void(Void {}),
        }),
    };
    let is_cancel = signal.signal == Some(SignalId::Index(SIGNAL_CANCEL));
    let room = if is_cancel { limits::JOURNAL_ENTRIES_MAX } else { SIGNALLED_ENTRIES_MAX };
    if row.journal_len >= room && accept::can_listen(&row) {
        let text = format!("the journal of {id} has {} entries; it takes no further signals", row.journal_len);
        return Ok(Answer::Refused(Failure::new(u32::from(OVERLOADED.0), text)));
    }
    if is_cancel {
        return cancel(txn, id, row, &notification);
    }
    notify::notify(txn, id, &mut row, Code::SIGNAL, &notification);
    Ok(Answer::Appended)
}

fn cancel<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    mut row: InvocationRow,
    notification: &Notification,
) -> Result<Answer, ReadError> {
    let not_started = matches!(row.status, Some(Status::Scheduled(_) | Status::Queued(_)));
    if not_started || !accept::can_listen(&row) {
        let failure = complete::failed(Failure::new(u32::from(CANCELLED.0), "canceled"));
        complete::complete(txn, id, &row, failure, By::Order, !not_started)?;
        return Ok(Answer::Done);
    }
    let paused = matches!(row.status, Some(Status::Paused(_)));
    notify::notify(txn, id, &mut row, Code::SIGNAL, notification);
    if paused {
        start::start(txn, id, &mut row);
    }
    Ok(Answer::Appended)
}
