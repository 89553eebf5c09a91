//! Orders of an operator, or of a parent that is killed.
//!
//! *pending* is behind others in its mailbox, *first* a turn at the front of it that was not started by the log; a flow
//! at the front is running.
//!
//! | state | cancel | kill | pause | resume | restart | reschedule | purge, purge-journal |
//! |---|---|---|---|---|---|---|---|
//! | scheduled | ends, nothing is kept | ends, nothing is kept | 409 | 425 | 425 | another time, or starts | 409 |
//! | pending, first | ends, nothing is kept | ends, nothing is kept | 409 | 425 | 425 | 409 | 409 |
//! | running | signal appended; a turn ends | ends | paused, the attempt is stopped | nothing to do | 409 | 409 | 409 |
//! | backing off | signal appended; a turn ends | ends | paused | started | 409 | 409 | 409 |
//! | suspended | signal appended; started when it listens | ends | paused | started | 409 | 409 | 409 |
//! | paused | signal appended, started; a turn ends | ends | nothing to do | started | 409 | 409 | 409 |
//! | completed | already completed | already completed | already completed | already completed | a new invocation | already completed | forgotten |
//! | unknown | not found | not found | not found | not found | not found | not found | not found |
//!
//! *ends*: with 409, and with it all that it called. Whatever ends frees its key: cancel or kill does so in every state
//! for a turn, kill for a flow.

mod kill;
mod pause;
mod purge;
mod reschedule;
mod restart;
mod resume;

use abide_model::command::{Control, Signal, Verb};
use abide_model::effect::Answer;
use abide_model::id::InvocationId;
use abide_model::protocol::{SIGNAL_CANCEL, SignalId, SignalResult, Void};
use abide_model::table::{CompletionRow, Completions, InvocationRow, Invocations, Status};
use abide_model::view::{ReadError, View};

use super::{refusal, signal};
use crate::txn::Txn;

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
        Verb::Kill => under_way(txn, id, kill::kill),
        Verb::Pause => under_way(txn, id, |txn, id, row| Ok(pause::pause(txn, id, row))),
        Verb::Resume => under_way(txn, id, |txn, id, row| Ok(resume::resume(txn, id, row, control.version.as_deref()))),
        Verb::Reschedule => under_way(txn, id, |txn, id, row| reschedule::reschedule(txn, id, row, control.execute_at)),
        Verb::Purge => completed(txn, id, "purged", purge::purge),
        Verb::PurgeJournal => completed(txn, id, "purged", |txn, id, row| Ok(purge::purge_journal(txn, id, row))),
        Verb::Restart => match txn.get::<Invocations>(&id)? {
            Some(row) if !has_started(&row) => Ok(refusal::not_started(format!(
                "invocation {id} is {} and has not started: there is nothing to restart yet",
                word(&row)
            ))),
            _ => completed(txn, id, "restarted", |txn, id, row| restart::restart(txn, id, &row, control)),
        },
    }
}

/// An order for what is not completed.
fn under_way<V: View>(
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

/// An order for what is completed, which is then `done`.
fn completed<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    done: &str,
    rule: impl FnOnce(&mut Txn<'_, V>, InvocationId, CompletionRow) -> Result<Answer, ReadError>,
) -> Result<Answer, ReadError> {
    if let Some(row) = txn.get::<Completions>(&id)? {
        return rule(txn, id, row);
    }
    Ok(match txn.get::<Invocations>(&id)? {
        Some(row) => refusal::conflict(format!(
            "invocation {id} is {}, and only completed ones can be {done}: wait for its end, or cancel or kill it first",
            word(&row)
        )),
        None => Answer::NotFound,
    })
}

fn has_started(row: &InvocationRow) -> bool {
    !matches!(row.status, Some(Status::Scheduled(_) | Status::Queued(_)) | None)
}

/// The word for the state of an invocation that is not completed.
fn word(row: &InvocationRow) -> &'static str {
    row.status.as_ref().map_or("unknown", Status::word)
}

#[cfg(test)]
mod tests;
