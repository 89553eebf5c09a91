//! Pause: no further attempt until an operator resumes it.
//!
//! An attempt under way is stopped. What it still says is dropped: nothing is taken of a paused invocation, and resuming
//! it gives the next attempt another number.

use abide_model::effect::{Answer, Effect};
use abide_model::id::{InvocationId, Millis};
use abide_model::table::{Empty, InvocationRow, Invocations, Status, TimerKey, TimerKind, Timers};
use abide_model::view::View;

use super::word;
use crate::rule::{refusal, start};
use crate::txn::Txn;

pub(super) fn pause<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, mut row: InvocationRow) -> Answer {
    match row.status {
        Some(Status::Running(_)) => {
            start::rest(txn, id, &mut row, Status::Paused(Empty {}));
            txn.emit(Effect::Abort { invocation: id, object: None });
            return Answer::Done;
        }
        Some(Status::BackingOff(due)) => {
            txn.delete::<Timers>(&TimerKey { due: Millis(due), kind: TimerKind::Retry, invocation: id, completion: 0 });
        }
        Some(Status::Suspended(_)) => {}
        Some(Status::Paused(_)) => return Answer::Done,
        Some(Status::Scheduled(_) | Status::Queued(_)) | None => {
            return refusal::conflict(format!(
                "invocation {id} is {} and has no attempt that could be paused: cancel or kill it, or pause it when it runs",
                word(&row)
            ));
        }
    }
    row.status = Some(Status::Paused(Empty {}));
    row.modified_at = txn.now().0;
    txn.put::<Invocations>(&id, &row);
    Answer::Done
}
