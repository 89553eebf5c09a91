//! Dead letters: failed invocations that nobody is told of, kept so that they can be invoked again.
//!
//! | an invocation fails | letter |
//! |---|---|
//! | cancelled or killed; an operator's edit of a state | no |
//! | one-way | yes |
//! | one-way and not accepted by its target: mailbox full, over a limit | yes |
//! | its attempts are exhausted, and no invocation or schedule waits for it | yes |
//! | otherwise | no: whoever waits is told |
//!
//! | order | letter there | not there |
//! |---|---|---|
//! | drop | removed | not found |
//! | redrive | invoked again one-way under the new id, letter removed | not found |
//! | redrive of a workflow's run | 422, the letter stays | not found |
//! | redrive under an id that is malformed, of another partition, known | 400, 400, 409; the letter stays | not found |
//! | redrive into a full mailbox | refused, the letter stays | not found |
//!
//! A service has a bounded number of letters; the oldest ones go and are counted.

use abide_model::command::{Access, Form, Invoke, LetterOrder, Outcome, OutcomeKind, Target};
use abide_model::effect::Answer;
use abide_model::error::CANCELLED;
use abide_model::id::InvocationId;
use abide_model::limits::LETTERS_MAX;
use abide_model::protocol::{Code, Failure, Header, Input, Notification, NotificationId, RawMessage, SIGNAL_CANCEL};
use abide_model::table::key::KeyWriter;
use abide_model::table::{InvocationRow, Journals, LetterBounds, LetterRow, Letters, Table};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::accept::{self, First};
use super::complete::By;
use super::{fresh, refusal};
use crate::txn::Txn;

/// Leaves a letter when an invocation ends so that it takes one. Its journal must still be there.
pub(crate) fn leave<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    outcome: &Outcome,
    by: By,
) -> Result<(), ReadError> {
    let Some(OutcomeKind::Failure(failure)) = &outcome.kind else { return Ok(()) };
    let unheard = row.one_way || (by == By::Exhaustion && row.sinks.is_empty());
    let is_edit = row.target.as_ref().is_some_and(|target| target.form() == Form::Edit);
    if !unheard || is_edit || by == By::Order || was_cancelled(txn, id, row, failure)? {
        return Ok(());
    }
    let Some(entry) = txn.get::<Journals>(&(id, 0))? else { return Ok(()) };
    let input: Input = entry.message().decode()?;
    let argument = input.value.map(|value| value.content).unwrap_or_default();
    let target = row.target.clone().unwrap_or_default();
    add(txn, letter(txn, id, row, target, (argument, input.headers), failure))
}

/// As [`leave`], of a turn that was accepted and executed by one record.
pub(crate) fn leave_at_once<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    invoke: &Invoke,
    outcome: &Outcome,
) -> Result<(), ReadError> {
    match &outcome.kind {
        Some(OutcomeKind::Failure(failure)) if row.one_way => {
            let target = invoke.target.clone().unwrap_or_default();
            let content = (invoke.input.clone(), invoke.headers.clone());
            add(txn, letter(txn, id, row, target, content, failure))
        }
        _ => Ok(()),
    }
}

/// As [`leave`], of a message that its target did not accept.
pub(crate) fn leave_refused<V: View>(
    txn: &mut Txn<'_, V>,
    invoke: &Invoke,
    failure: &Failure,
) -> Result<(), ReadError> {
    let (Some(id), Some(target)) = (invoke.id(), invoke.target.clone()) else { return Ok(()) };
    if !invoke.one_way || target.form() == Form::Edit {
        return Ok(());
    }
    let row = InvocationRow {
        created_at: txn.now().0,
        invoked_by: invoke.invoked_by.clone(),
        retention_ms: invoke.retention_ms,
        journal_retention_ms: invoke.journal_retention_ms,
        state_ttl_ms: invoke.state_ttl_ms,
        ..InvocationRow::default()
    };
    let content = (invoke.input.clone(), invoke.headers.clone());
    add(txn, letter(txn, id, &row, target, content, failure))
}

/// Whether a flow failed because it was asked to stop.
fn was_cancelled<V: View>(
    txn: &Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    failure: &Failure,
) -> Result<bool, ReadError> {
    if failure.code != u32::from(CANCELLED.0) {
        return Ok(false);
    }
    for index in (1..row.journal_len).rev() {
        if txn.get::<Journals>(&(id, index))?.is_some_and(|entry| is_cancel(&entry.message())) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_cancel(message: &RawMessage) -> bool {
    let cancel = NotificationId::SignalIndex(SIGNAL_CANCEL);
    message.code == Code::SIGNAL && message.decode::<Notification>().is_ok_and(|signal| signal.id == Some(cancel))
}

fn letter<V: View>(
    txn: &Txn<'_, V>,
    id: InvocationId,
    row: &InvocationRow,
    target: Target,
    (input, headers): (Bytes, Vec<Header>),
    failure: &Failure,
) -> LetterRow {
    LetterRow {
        invocation: Bytes::copy_from_slice(&id.to_bytes()),
        target: Some(target),
        input,
        headers,
        failure: Some(failure.clone()),
        created_at: row.created_at,
        failed_at: txn.now().0,
        attempt: row.attempt,
        invoked_by: row.invoked_by.clone(),
        retention_ms: row.retention_ms,
        journal_retention_ms: row.journal_retention_ms,
        state_ttl_ms: row.state_ttl_ms,
    }
}

fn add<V: View>(txn: &mut Txn<'_, V>, letter: LetterRow) -> Result<(), ReadError> {
    let service = letter.target.as_ref().map(|target| target.service.clone()).unwrap_or_default();
    let mut bounds = txn.get::<LetterBounds>(&service)?.unwrap_or_default();
    if bounds.count >= LETTERS_MAX
        && let Some(seq) = oldest(txn, &service)?
    {
        txn.delete::<Letters>(&(service.clone(), seq));
        bounds.count -= 1;
        bounds.dropped += 1;
    }
    txn.insert::<Letters>(&(service.clone(), bounds.next), &letter);
    bounds.next += 1;
    bounds.count += 1;
    txn.put::<LetterBounds>(&service, &bounds);
    Ok(())
}

/// The number of the service's oldest letter among those that were there before this command.
fn oldest<V: View>(txn: &Txn<'_, V>, service: &str) -> Result<Option<u64>, ReadError> {
    let mut prefix = KeyWriter::new(Letters::TAG);
    prefix.text(service);
    let (mut from, to) = prefix.prefix_bounds();
    while let Some((key, _)) = txn.scan_before::<Letters>(&from, &to, 1)?.pop() {
        if txn.get::<Letters>(&key)?.is_some() {
            return Ok(Some(key.1));
        }
        from = Letters::encode_key(&(key.0, key.1 + 1));
    }
    Ok(None)
}

/// Drops a letter or invokes it again.
pub(crate) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: &LetterOrder) -> Result<Answer, ReadError> {
    let key = (order.service.clone(), order.seq);
    let Some(letter) = txn.get::<Letters>(&key)? else { return Ok(Answer::NotFound) };
    let answer = if order.redrive_as.is_empty() { Answer::Done } else { redrive(txn, letter, &order.redrive_as)? };
    if matches!(answer, Answer::Refused(_)) {
        return Ok(answer);
    }
    txn.delete::<Letters>(&key);
    let mut bounds = txn.get::<LetterBounds>(&key.0)?.unwrap_or_default();
    bounds.count = bounds.count.saturating_sub(1);
    txn.put::<LetterBounds>(&key.0, &bounds);
    Ok(answer)
}

fn redrive<V: View>(txn: &mut Txn<'_, V>, letter: LetterRow, redrive_as: &Bytes) -> Result<Answer, ReadError> {
    let target = letter.target.clone().unwrap_or_default();
    if target.access() == Access::Workflow {
        let text = format!("{target} is the run of a workflow, which happens once per key: start another key");
        return Ok(refusal::unsupported(text));
    }
    let id = match fresh::id(txn, redrive_as)? {
        Ok(id) => id,
        Err(answer) => return Ok(answer),
    };
    if let Some(failure) = accept::mailbox_full(txn, &target)? {
        return Ok(Answer::Refused(failure));
    }
    let invoke = Invoke {
        id: redrive_as.clone(),
        target: Some(target),
        input: letter.input,
        headers: letter.headers,
        retention_ms: letter.retention_ms,
        journal_retention_ms: letter.journal_retention_ms,
        state_ttl_ms: letter.state_ttl_ms,
        one_way: true,
        restarted_from: letter.invocation,
        ..Invoke::default()
    };
    if let Err(failure) = accept::validate(&invoke) {
        return Ok(refusal::invalid(failure.message));
    }
    accept::accept(txn, 0, invoke, First::Due)?;
    Ok(Answer::Created(id))
}

#[cfg(test)]
mod tests;
