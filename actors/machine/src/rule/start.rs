//! Attempts: an invocation becomes ready, and what a host needs to run it.

use abide_model::effect::{Effect, Work};
use abide_model::id::InvocationId;
use abide_model::protocol::{Code, Input};
use abide_model::table::{Empty, InvocationRow, Invocations, Journals, Ready, Status, TimerKey, Timers};
use abide_model::view::{ReadError, View};

use crate::txn::Txn;

/// Makes the next attempt of `id` due. Attempts are numbered, so that what an older one still says can be told apart.
pub(crate) fn start<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: &mut InvocationRow) {
    // Running invocations have their row already. For the others it is new, and leaves no trace when it dies young.
    if matches!(row.status, Some(Status::Running(_))) {
        txn.put::<Ready>(&id, &Empty {});
    } else {
        txn.insert::<Ready>(&id, &Empty {});
    }
    row.attempt += 1;
    row.status = Some(Status::Running(Empty {}));
    row.modified_at = txn.now().0;
    txn.put::<Invocations>(&id, row);
    txn.emit(Effect::Start { invocation: id });
}

/// Moves `id` to a status in which no attempt is due or under way.
pub(crate) fn rest<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: &mut InvocationRow, status: Status) {
    row.status = Some(status);
    row.modified_at = txn.now().0;
    txn.delete::<Ready>(&id);
    txn.put::<Invocations>(&id, row);
    txn.emit(Effect::Rested { invocation: id });
}

/// Sets a timer that is not set, and tells the leader.
pub(crate) fn set_timer<V: View>(txn: &mut Txn<'_, V>, timer: TimerKey) {
    txn.insert::<Timers>(&timer, &Empty {});
    txn.emit(Effect::TimerSet { due: timer.due });
}

/// The invocation with its input, from the journal's first entry.
pub(crate) fn work<V: View>(txn: &Txn<'_, V>, id: InvocationId, row: &InvocationRow) -> Result<Work, ReadError> {
    let entry = txn
        .get::<Journals>(&(id, 0))?
        .ok_or_else(|| ReadError(format!("invocation {id} has no Input entry in its journal")))?;
    let input: Input = entry.message().decode()?;
    debug_assert_eq!(entry.message().code, Code::INPUT);
    Ok(Work {
        id,
        target: row.target.clone().unwrap_or_default(),
        input: input.value.map(|value| value.content).unwrap_or_default(),
        headers: input.headers,
        failures: row.failures,
        life: row.life,
    })
}
