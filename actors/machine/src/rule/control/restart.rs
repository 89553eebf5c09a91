//! Restart: a completed invocation runs again as a new one, from its start or behind the first entries of its journal.
//!
//! | case | what happens |
//! |---|---|
//! | the run of a workflow, a state edit | 422: there is one run per key; an edit is made anew |
//! | the journal is not kept | 410 |
//! | the new id is malformed, of another partition | 400 |
//! | the new id is known | 409 |
//! | more entries are to be kept than there are | 400 |
//! | a command that is kept has no answer in the journal | 400, naming it |
//! | the mailbox is full | refused as an acceptance is |
//! | otherwise | the new invocation is accepted with a journal of the kept entries and the answers to them |
//!
//! What kept commands did is done and is not done again: states are as they are now, calls and messages are not repeated.
//! A sleep that is kept and had not ended goes on until its time.

use std::collections::BTreeMap;

use abide_model::codec::CodecError;
use abide_model::command::{Access, Control, Form, Target};
use abide_model::effect::{Answer, Effect};
use abide_model::id::InvocationId;
use abide_model::protocol::{
    Call, Code, CompletePromise, InvocationTarget, Notification, NotificationId, OneWayCall, PlainCommand,
    PromiseCommand, RawMessage, StateKeyCommand,
};
use abide_model::table::{CompletionRow, InvocationRow, Invocations, JournalRow, Journals, TimerKey, TimerKind};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::resume;
use crate::rule::sleeps::{self, OpenSleeps};
use crate::rule::{accept, fresh, refusal, start};
use crate::txn::Txn;

pub(super) fn restart<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &CompletionRow,
    control: &Control,
) -> Result<Answer, ReadError> {
    let target = row.target.clone().unwrap_or_default();
    if target.access() == Access::Workflow {
        let text = format!("{id} is the run of a workflow, which happens once per key: purge it, or start another key");
        return Ok(refusal::unsupported(text));
    }
    if target.form() == Form::Edit {
        return Ok(refusal::unsupported(format!("{id} is an edit of a state: make it anew")));
    }
    if row.journal_len == 0 {
        let text = format!("the journal of invocation {id} is not kept any more: invoke the handler anew");
        return Ok(refusal::journal_gone(text));
    }
    let new = match fresh::id(txn, &control.new_id)? {
        Ok(new) => new,
        Err(answer) => return Ok(answer),
    };
    let keep = control.keep.max(1);
    if keep > row.journal_len {
        let text = format!("{keep} entries of {id} are to be kept, and its journal has {}", row.journal_len);
        return Ok(refusal::invalid(text));
    }
    if let Some(failure) = accept::mailbox_full(txn, &target)? {
        return Ok(Answer::Refused(failure));
    }
    let copy = match copy(txn, id, row.journal_len, keep)? {
        Ok(copy) => copy,
        Err(text) => return Ok(refusal::invalid(text)),
    };
    let again = again(txn, id, row, target, control);
    begin(txn, new, copy, again)?;
    Ok(Answer::Created(new))
}

/// The row of the repetition, without a journal and a status.
fn again<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &CompletionRow,
    target: Target,
    control: &Control,
) -> InvocationRow {
    let pinned = (!row.version.is_empty()).then(|| row.version.clone());
    InvocationRow {
        target: Some(target),
        created_at: txn.now().0,
        modified_at: txn.now().0,
        retention_ms: row.retention_ms,
        journal_retention_ms: row.journal_retention_ms,
        state_ttl_ms: row.state_ttl_ms,
        one_way: row.one_way,
        version: resume::version(pinned, control.version.as_deref()),
        restarted_from: Bytes::copy_from_slice(&id.to_bytes()),
        life: txn.next_life(),
        ..InvocationRow::default()
    }
}

/// Writes the journal of the new invocation and lets it take its turn.
fn begin<V: View>(
    txn: &mut Txn<'_, V>,
    new: InvocationId,
    copy: Copied,
    mut row: InvocationRow,
) -> Result<(), ReadError> {
    let mut entries = copy.entries;
    for (completion, due) in copy.sleeps.into_due() {
        if due > txn.now() {
            row.open_sleeps += 1;
            start::set_timer(txn, TimerKey { due, kind: TimerKind::Wake, invocation: new, completion });
        } else {
            entries.push(JournalRow::new(RawMessage::new(Code::SLEEP_DONE, &sleeps::slept(completion)), txn.now()));
        }
    }
    for (index, entry) in (0..).zip(&entries) {
        txn.insert::<Journals>(&(new, index), entry);
        row.journal_len = index + 1;
    }
    txn.emit(Effect::Accepted { request: 0, invocation: new, known: false, execute_at: None });
    txn.insert::<Invocations>(&new, &row);
    let work = start::work(txn, new, &row)?;
    accept::admit(txn, new, &mut row, work)
}

/// What a repetition takes over of a journal.
struct Copied {
    entries: Vec<JournalRow>,
    /// Sleeps among the entries that have not ended.
    sleeps: OpenSleeps,
}

/// The first `keep` of `len` entries, and behind them the answers to their commands; or why that cannot be.
fn copy<V: View>(txn: &Txn<'_, V>, id: InvocationId, len: u32, keep: u32) -> Result<Result<Copied, String>, ReadError> {
    let mut copied = Copied { entries: Vec::new(), sleeps: OpenSleeps::default() };
    // Completions that kept commands wait for, with the index and kind of the command.
    let mut missing: BTreeMap<u32, (u32, Code)> = BTreeMap::new();
    for index in 0..len {
        let entry = txn
            .get::<Journals>(&(id, index))?
            .ok_or_else(|| ReadError(format!("the journal of {id} has no entry {index}")))?;
        let message = entry.message();
        if index < keep {
            let Ok(completions) = completions(&message) else {
                return Ok(Err(format!("entry {index} ({}) of {id} cannot be read: keep fewer entries", message.code)));
            };
            missing.extend(completions.into_iter().map(|completion| (completion, (index, message.code))));
            copied.sleeps.read(&message)?;
        }
        let answers = answers(&message, &mut missing, &mut copied.sleeps, index >= keep)?;
        if index < keep || answers {
            copied.entries.push(entry);
        }
    }
    Ok(match missing.into_values().min() {
        None => Ok(copied),
        Some((index, code)) => {
            let text =
                format!("entry {index} ({code}) of {id} has no answer in the journal: keep at most {index} entries");
            Err(text)
        }
    })
}

/// Whether the entry answers a command that is kept. Signals answer none.
fn answers(
    message: &RawMessage,
    missing: &mut BTreeMap<u32, (u32, Code)>,
    sleeps: &mut OpenSleeps,
    behind: bool,
) -> Result<bool, CodecError> {
    if !message.code.is_notification() || message.code == Code::SIGNAL {
        return Ok(false);
    }
    let notification: Notification = message.decode()?;
    if message.code == Code::SLEEP_DONE {
        return Ok(behind && sleeps.end(&notification));
    }
    let Some(NotificationId::Completion(completion)) = notification.id else { return Ok(false) };
    Ok(missing.remove(&completion).is_some())
}

/// The completions that the answer to a command carries. Sleeps are looked after by [`OpenSleeps`].
fn completions(message: &RawMessage) -> Result<Vec<u32>, CodecError> {
    Ok(match message.code {
        Code::GET_LAZY_STATE => vec![message.decode::<StateKeyCommand>()?.result_completion_id],
        Code::GET_LAZY_STATE_KEYS | Code::RUN => vec![message.decode::<PlainCommand>()?.result_completion_id],
        Code::GET_PROMISE | Code::PEEK_PROMISE => vec![message.decode::<PromiseCommand>()?.result_completion_id],
        Code::COMPLETE_PROMISE => vec![message.decode::<CompletePromise>()?.result_completion_id],
        Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT => {
            vec![message.decode::<InvocationTarget>()?.result_completion_id]
        }
        Code::CALL => {
            let call: Call = message.decode()?;
            vec![call.invocation_id_notification_idx, call.result_completion_id]
        }
        Code::ONE_WAY_CALL => vec![message.decode::<OneWayCall>()?.invocation_id_notification_idx],
        _ => Vec::new(),
    })
}
