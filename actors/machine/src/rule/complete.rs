//! The end of an invocation: the result goes to everybody who waits, the record is kept or forgotten, the key is freed.

use abide_model::command::{Invoke, Outcome, Target};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis, ObjectId};
use abide_model::protocol::Failure;
use abide_model::table::{
    CompletionRow, Completions, Expiry, ExpiryKey, Failures, InvocationRow, Invocations, Journals, Ready, Status,
    TimerKey, TimerKind, Timers,
};
use abide_model::view::{ReadError, View};

use super::sleeps::OpenSleeps;
use super::{edit, expiry, letter, mailbox, notify};
use crate::txn::Txn;

/// What ended an invocation, which decides what its host must be told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The record of a turn: the host knows.
    Turn,
    /// The End of its own flow, or a limit that a turn broke: the host's object must look at its mailbox and state again.
    Flow,
    /// The failure of its last attempt, by the retry policy: as with an order.
    Exhaustion,
    /// An operator or a parent: a running attempt has to stop.
    Order,
    /// The machine, which carried it out as an edit: what the host made of the state is void.
    Edit,
}

/// The outcome for a failure.
pub(crate) fn failed(failure: Failure) -> Outcome {
    Outcome::failure(failure)
}

/// Ends an invocation that has a row, and frees its key. `keep` is false for those that never started: nothing remembers
/// them.
pub(crate) fn complete<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    outcome: Outcome,
    by: By,
    keep: bool,
) -> Result<(), ReadError> {
    end(txn, id, row, outcome, by, keep)?;
    match (row.target.as_ref().and_then(Target::exclusive_object), mailbox::place(row)) {
        (Some(object), Some(place)) => mailbox::leave(txn, &object, place, by == By::Turn),
        _ => Ok(()),
    }
}

/// As [`complete`], but its place in the mailbox stays taken.
pub(crate) fn end<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    outcome: Outcome,
    by: By,
    keep: bool,
) -> Result<(), ReadError> {
    forget_timers(txn, id, row)?;
    letter::leave(txn, id, row, &outcome, by)?;
    let keeps_journal = keep && row.journal_retention_ms > 0;
    if !keeps_journal {
        expiry::drop_journal(txn, id, row.journal_len);
    }
    txn.delete::<Ready>(&id);
    txn.delete::<Invocations>(&id);
    if row.has_failures {
        txn.delete::<Failures>(&id);
    }
    let target = row.target.clone().unwrap_or_default();
    if keep {
        let journal_len = if keeps_journal { row.journal_len } else { 0 };
        retain(txn, id, &target, row, &outcome, journal_len);
    }
    for sink in &row.sinks {
        notify::respond(txn, id, sink, Some(outcome.clone()))?;
    }
    txn.emit(Effect::Completed { invocation: id, target, outcome, expires_at: None });
    if by != By::Turn {
        txn.emit(Effect::Abort { invocation: id, object: voided(row, by) });
    }
    Ok(())
}

/// The object whose state in the host's memory is void when this ends: it left the mailbox without a turn's record, or
/// changed the state beside the mailbox.
fn voided(row: &InvocationRow, by: By) -> Option<ObjectId> {
    let target = row.target.as_ref()?;
    if by == By::Edit {
        return edit::object(target);
    }
    target.exclusive_object().filter(|_| row.mailbox_seq.is_some()).or_else(|| target.run_object())
}

/// Ends a turn that was accepted and executed by one record, so that no row of it exists.
pub(crate) fn complete_at_once<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    invoke: &Invoke,
    target: Target,
    outcome: Outcome,
) -> Result<(), ReadError> {
    let row = InvocationRow {
        created_at: txn.now().0,
        retention_ms: invoke.retention_ms,
        journal_retention_ms: invoke.journal_retention_ms,
        state_ttl_ms: invoke.state_ttl_ms,
        one_way: invoke.one_way,
        schedule: invoke.schedule.clone(),
        idempotency_key: invoke.idempotency_key.clone(),
        invoked_by: invoke.invoked_by.clone(),
        ..InvocationRow::default()
    };
    letter::leave_at_once(txn, id, &row, invoke, &outcome)?;
    retain(txn, id, &target, &row, &outcome, 0);
    if let Some(sink) = &invoke.sink {
        notify::respond(txn, id, sink, Some(outcome.clone()))?;
    }
    txn.emit(Effect::Completed { invocation: id, target, outcome, expires_at: None });
    Ok(())
}

/// Keeps the record of a completed invocation as long as its result or its journal is wanted.
fn retain<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    target: &Target,
    row: &InvocationRow,
    outcome: &Outcome,
    journal_len: u32,
) {
    let mut kept_ms = row.retention_ms.max(row.journal_retention_ms);
    if target.run_object().is_some() {
        // What a workflow leaves behind goes with its record, so there has to be one.
        kept_ms = kept_ms.max(1);
    }
    if kept_ms == 0 {
        return;
    }
    let expires_at = txn.now().plus(kept_ms);
    let journal_expires_at = txn.now().plus(row.journal_retention_ms);
    let journal_goes_first = journal_len > 0 && journal_expires_at < expires_at;
    let record = CompletionRow {
        target: Some(target.clone()),
        outcome: Some(outcome.clone()),
        created_at: row.created_at,
        completed_at: txn.now().0,
        expires_at: expires_at.0,
        idempotency_key: row.idempotency_key.clone(),
        invoked_by: row.invoked_by.clone(),
        journal_len,
        journal_expires_at: if journal_goes_first { journal_expires_at.0 } else { 0 },
        attempt: row.attempt,
        version: row.version.clone().unwrap_or_default(),
        schedule: row.schedule.clone(),
        restarted_from: row.restarted_from.clone(),
        state_ttl_ms: row.state_ttl_ms,
        retention_ms: row.retention_ms,
        journal_retention_ms: row.journal_retention_ms,
        one_way: row.one_way,
    };
    txn.insert::<Completions>(&id, &record);
    expiry::set(txn, ExpiryKey { due: expires_at, what: Expiry::Completion(id) });
    if journal_goes_first {
        expiry::set(txn, ExpiryKey { due: journal_expires_at, what: Expiry::Journal(id) });
    }
}

/// Removes the timers that would find nobody.
fn forget_timers<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: &InvocationRow) -> Result<(), ReadError> {
    let mut forget = |due: u64, kind, completion| {
        txn.delete::<Timers>(&TimerKey { due: Millis(due), kind, invocation: id, completion });
    };
    match row.status {
        Some(Status::Scheduled(due)) => forget(due, TimerKind::Start, 0),
        Some(Status::BackingOff(due)) => forget(due, TimerKind::Retry, 0),
        Some(Status::Queued(_) | Status::Running(_) | Status::Suspended(_) | Status::Paused(_)) | None => {}
    }
    if row.open_sleeps == 0 {
        return Ok(());
    }
    let mut sleeps = OpenSleeps::default();
    for index in 1..row.journal_len {
        if let Some(entry) = txn.get::<Journals>(&(id, index))? {
            sleeps.read(&entry.message())?;
        }
    }
    for (completion, due) in sleeps.into_due() {
        txn.delete::<Timers>(&TimerKey { due, kind: TimerKind::Wake, invocation: id, completion });
    }
    Ok(())
}
