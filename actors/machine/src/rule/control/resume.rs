//! Resume: another attempt now, with a fresh count of failures, on another version of the code if that is wished.

use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::table::{InvocationRow, Status, TimerKey, TimerKind, Timers};
use abide_model::view::View;

use super::word;
use crate::rule::{refusal, start};
use crate::txn::Txn;

/// The pinned version after an order that wishes for `wish`: nothing keeps it, an empty one unpins.
pub(super) fn version(pinned: Option<String>, wish: Option<&str>) -> Option<String> {
    match wish {
        None => pinned,
        Some(version) => (!version.is_empty()).then(|| version.to_owned()),
    }
}

pub(super) fn resume<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    mut row: InvocationRow,
    wish: Option<&str>,
) -> Answer {
    let wanted = version(row.version.clone(), wish);
    match row.status {
        Some(Status::Paused(_) | Status::Suspended(_)) => {}
        Some(Status::BackingOff(due)) => {
            txn.delete::<Timers>(&TimerKey { due: Millis(due), kind: TimerKind::Retry, invocation: id, completion: 0 });
        }
        Some(Status::Running(_)) if wanted == row.version => return Answer::Done,
        Some(Status::Running(_)) => {
            return refusal::conflict(format!(
                "invocation {id} is running on another version of the code: pause it first"
            ));
        }
        Some(Status::Scheduled(_) | Status::Queued(_)) | None => {
            return refusal::not_started(format!(
                "invocation {id} is {} and has not started: it starts by itself when its time and its turn come",
                word(&row)
            ));
        }
    }
    row.version = wanted;
    row.failures = 0;
    start::start(txn, id, &mut row);
    Answer::Done
}
