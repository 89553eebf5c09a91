//! An attempt ended without a result.
//!
//! | case | what happens |
//! |---|---|
//! | brings its request (a turn that was not in the log) | accepted first, but not started |
//! | brings its request, the id is known | answered from the earlier one; the failure does not count |
//! | not the current attempt, or a turn that does not hold its key | nothing |
//! | a turn that the host ran ahead and that another class has overtaken | what the host made of it is void; it is offered again |
//! | the policy says retry | backing off, a timer tries it again |
//! | the policy says pause | paused, for an operator |
//! | the policy says fail | the failure is the outcome |

use abide_model::command::{AttemptFailed, Form, Next};
use abide_model::effect::{Answer, Effect};
use abide_model::error::INVALID_REQUEST;
use abide_model::id::InvocationId;
use abide_model::limits::FAILURES_KEPT;
use abide_model::protocol::Failure;
use abide_model::table::{
    Empty, FailedAttempt, Failures, FailuresRow, InvocationRow, Invocations, Objects, Status, TimerKey, TimerKind,
};
use abide_model::view::{ReadError, View};

use crate::rule::accept::{self, First};
use crate::rule::complete::By;
use crate::rule::{complete, mailbox, start};
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, failed: AttemptFailed) -> Result<(), ReadError> {
    let Some(id) = InvocationId::from_bytes(&failed.id) else {
        let failure = Failure::new(u32::from(INVALID_REQUEST.0), "the invocation id is malformed");
        txn.emit(Effect::Answered { request, answer: Answer::Refused(failure) });
        return Ok(());
    };
    let accepted_here = failed.accept.is_some();
    if let Some(invoke) = failed.accept.clone() {
        if invoke.id() != Some(id) {
            let failure = Failure::new(u32::from(INVALID_REQUEST.0), "the attempt and its request have different ids");
            return accept::refuse(txn, request, &invoke, failure);
        }
        // Before acceptance: a failure does not count for an invocation that was there already.
        if accept::validate(&invoke).is_ok() && accept::answer_if_known(txn, request, id, &invoke)? {
            return Ok(());
        }
        accept::accept(txn, request, invoke, First::Failed)?;
    }
    let Some(mut row) = txn.get::<Invocations>(&id)? else { return Ok(()) };
    if !is_current(txn, &row, &failed, accepted_here)? {
        return tell_overtaken(txn, id, &row, &failed);
    }
    if !failed.uncounted {
        row.failures += 1;
    }
    row.last_failure = Some(failed.failure.clone().unwrap_or_default());
    remember(txn, id, &mut row, &failed)?;
    match failed.next {
        Some(Next::RetryAfter(ms)) => {
            let due = txn.now().plus(ms.max(1));
            start::rest(txn, id, &mut row, Status::BackingOff(due.0));
            start::set_timer(txn, TimerKey { due, kind: TimerKind::Retry, invocation: id, completion: 0 });
        }
        Some(Next::Fail(_)) => {
            let outcome = complete::failed(failed.failure.unwrap_or_default());
            return complete::complete(txn, id, &row, outcome, By::Exhaustion, true);
        }
        Some(Next::Pause(_)) | None => start::rest(txn, id, &mut row, Status::Paused(Empty {})),
    }
    Ok(())
}

/// Adds the attempt to the history of failures; the oldest ones go. The caller writes the row.
fn remember<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    failed: &AttemptFailed,
) -> Result<(), ReadError> {
    let mut history =
        if row.has_failures { txn.get::<Failures>(&id)?.unwrap_or_default() } else { FailuresRow::default() };
    history.total += 1;
    history.attempts.push(FailedAttempt {
        attempt: row.attempt,
        at: txn.now().0,
        failure: failed.failure.clone(),
        journal_len: row.journal_len,
        next: failed.next,
    });
    let surplus = history.attempts.len().saturating_sub(FAILURES_KEPT);
    history.attempts.drain(..surplus);
    row.has_failures = true;
    txn.put::<Failures>(&id, &history);
    Ok(())
}

/// Whether the attempt that failed is the one that counts.
fn is_current<V: View>(
    txn: &Txn<'_, V>,
    row: &InvocationRow,
    failed: &AttemptFailed,
    accepted_here: bool,
) -> Result<bool, ReadError> {
    let target = row.target.clone().unwrap_or_default();
    match &row.status {
        Some(Status::Running(_)) if accepted_here => Ok(true),
        Some(Status::Running(_)) => {
            Ok(row.attempt == failed.attempt && row.is_life(failed.life) && failed.term == txn.leader_term())
        }
        // A turn is run from the mailbox without a start; only the one that holds the key can have failed.
        Some(Status::Queued(_)) if target.form() == Form::Turn && (accepted_here || row.is_life(failed.life)) => {
            match target.exclusive_object() {
                Some(object) => {
                    let state = txn.get::<Objects>(&object)?.unwrap_or_default();
                    Ok(mailbox::holds(&state, row))
                }
                None => Ok(false),
            }
        }
        _ => Ok(false),
    }
}

/// Tells the host of a turn that it takes for failed although its place has not come: something of a class before it was
/// accepted meanwhile. Nothing else would tell it to run the turn again.
fn tell_overtaken<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    failed: &AttemptFailed,
) -> Result<(), ReadError> {
    let Some(target) = row.target.as_ref().filter(|target| target.form() == Form::Turn) else { return Ok(()) };
    let waits = matches!(row.status, Some(Status::Queued(_))) && row.life == failed.life;
    let Some(object) = target.exclusive_object().filter(|_| waits) else { return Ok(()) };
    let holder = txn.get::<Objects>(&object)?.unwrap_or_default().holder();
    if holder.is_some_and(|holder| holder.class != target.class()) {
        let work = start::work(txn, id, row)?;
        txn.emit(Effect::Abort { invocation: id, object: Some(object.clone()) });
        txn.emit(Effect::Enqueued { object, work });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
