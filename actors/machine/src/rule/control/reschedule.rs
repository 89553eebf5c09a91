//! Reschedule: a delayed invocation gets another time; one that is in the past starts it now.

use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::table::{InvocationRow, Invocations, Status, TimerKey, TimerKind, Timers};
use abide_model::view::{ReadError, View};

use super::word;
use crate::rule::{accept, refusal, start};
use crate::txn::Txn;

pub(super) fn reschedule<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    mut row: InvocationRow,
    execute_at: u64,
) -> Result<Answer, ReadError> {
    let Some(Status::Scheduled(before)) = row.status else {
        let text = format!("invocation {id} is {}, and only scheduled ones can be rescheduled", word(&row));
        return Ok(refusal::conflict(text));
    };
    let timer = |due| TimerKey { due, kind: TimerKind::Start, invocation: id, completion: 0 };
    let due = Millis(execute_at);
    if due == Millis(before) {
        return Ok(Answer::Done);
    }
    txn.delete::<Timers>(&timer(Millis(before)));
    row.modified_at = txn.now().0;
    if due > txn.now() {
        row.status = Some(Status::Scheduled(execute_at));
        txn.put::<Invocations>(&id, &row);
        start::set_timer(txn, timer(due));
    } else {
        let work = start::work(txn, id, &row)?;
        accept::admit(txn, id, &mut row, work)?;
    }
    Ok(Answer::Done)
}
