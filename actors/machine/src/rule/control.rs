//! Orders of an operator, or of a parent that is killed.
//!
//! | state | cancel | kill | resume |
//! |---|---|---|---|
//! | scheduled, queued | ends, nothing is kept | ends, nothing is kept | refused |
//! | running, suspended | signal appended | ends with 409, children too | refused |
//! | backing off | signal appended | ends | tried at once |
//! | paused | signal appended, resumed | ends | tried at once |
//! | completed | already completed | already completed | already completed |

use abide_model::command::{Control, ParcelBody, Signal, Verb};
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{
    Code, Failure, Notification, NotificationResult, SIGNAL_CANCEL, SignalId, SignalResult, Void,
};
use abide_model::table::{Completions, InvocationRow, Invocations, Journals, Status, TimerKey, TimerKind, Timers};
use abide_model::view::{ReadError, View};

use super::complete::{self, By};
use super::{route, signal, start};
use crate::txn::Txn;

/// What killed and cancelled invocations answer with.
const CONFLICT: u32 = 409;

/// Carries out the order.
pub(crate) fn carry_out<V: View>(txn: &mut Txn<'_, V>, control: &Control) -> Result<Answer, ReadError> {
    let verb = Verb::try_from(control.verb).map_err(|_| {
        ReadError("an order in the log is of a kind this build does not know: start the newer build".into())
    })?;
    let Some(id) = InvocationId::from_bytes(&control.target) else { return Ok(Answer::NotFound) };
    match verb {
        Verb::Cancel => signal::deliver(
            txn,
            &Signal {
                target: control.target.clone(),
                signal: Some(SignalId::Index(SIGNAL_CANCEL)),
                result: Some(SignalResult::Void(Void {})),
            },
        ),
        Verb::Kill => with_row(txn, id, kill),
        Verb::Resume => with_row(txn, id, resume),
        Verb::Pause | Verb::Purge | Verb::PurgeJournal | Verb::Restart | Verb::Reschedule => {
            Ok(Answer::Refused(Failure::new(CONFLICT, "this order is not carried out yet")))
        }
    }
}

fn with_row<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    rule: impl FnOnce(&mut Txn<'_, V>, InvocationId, InvocationRow) -> Result<Answer, ReadError>,
) -> Result<Answer, ReadError> {
    match txn.get::<Invocations>(&id)? {
        Some(row) => rule(txn, id, row),
        None if txn.get::<Completions>(&id)?.is_some() => Ok(Answer::AlreadyCompleted),
        None => Ok(Answer::NotFound),
    }
}

fn kill<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: InvocationRow) -> Result<Answer, ReadError> {
    for child in children(txn, id, &row)? {
        route::send(txn, ParcelBody::Control(Control::new(child, Verb::Kill)))?;
    }
    let started = !matches!(row.status, Some(Status::Scheduled(_) | Status::Queued(_)));
    complete::complete(txn, id, &row, complete::failed(Failure::new(CONFLICT, "killed")), By::Order, started)?;
    Ok(Answer::Done)
}

/// The invocations that this one created, as its journal names them.
fn children<V: View>(txn: &Txn<'_, V>, id: InvocationId, row: &InvocationRow) -> Result<Vec<InvocationId>, ReadError> {
    let mut children = Vec::new();
    for index in 1..row.journal_len {
        let Some(entry) = txn.get::<Journals>(&(id, index))? else { continue };
        let message = entry.message();
        if message.code == Code::CALL_INVOCATION_ID {
            let notification: Notification = message.decode()?;
            if let Some(NotificationResult::InvocationId(text)) = notification.result {
                children.extend(text.parse::<InvocationId>().ok());
            }
        }
    }
    Ok(children)
}

fn resume<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, mut row: InvocationRow) -> Result<Answer, ReadError> {
    match row.status {
        Some(Status::Paused(_)) => {}
        Some(Status::BackingOff(due)) => {
            txn.delete::<Timers>(&TimerKey { due: Millis(due), kind: TimerKind::Retry, invocation: id, completion: 0 });
        }
        Some(Status::Scheduled(_) | Status::Queued(_) | Status::Running(_) | Status::Suspended(_)) | None => {
            let word = row.status.as_ref().map_or("unknown", Status::word);
            let text = format!("invocation {id} is {word}; only paused and backing-off invocations can be resumed");
            return Ok(Answer::Refused(Failure::new(CONFLICT, text)));
        }
    }
    row.failures = 0;
    start::start(txn, id, &mut row);
    Ok(Answer::Done)
}
