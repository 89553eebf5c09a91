//! What is kept for some time, and how it is forgotten: by its time, or by an operator's purge.
//!
//! | what | goes with |
//! |---|---|
//! | a result | its journal |
//! | the result of a workflow's `run` | its journal, and the workflow's promises, state and row; in portions when there are many promises, the result with the last one |
//! | a journal | nothing; the result stays |
//! | the state of an object | as [`super::state`] says |

use abide_model::command::Target;
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis};
use abide_model::limits::{EXPIRED_ROWS_PER_COMMAND_SOFT_MAX, EXPIRIES_PER_COMMAND_MAX};
use abide_model::table::key::KeyWriter;
use abide_model::table::{CompletionRow, Completions, Empty, Expiries, Expiry, ExpiryKey, Journals, Objects, Table};
use abide_model::view::{ReadError, View};

use super::{promise, state};
use crate::txn::Txn;

/// Puts `key` into the expiry index, and tells the leader.
pub(crate) fn set<V: View>(txn: &mut Txn<'_, V>, key: ExpiryKey) {
    txn.insert::<Expiries>(&key, &Empty {});
    txn.emit(Effect::TimerSet { due: key.due });
}

/// Forgets what is due, but not more than one command may do. Returns when the next is due, now if there is more.
pub(crate) fn forget_due<V: View>(txn: &mut Txn<'_, V>) -> Result<Option<Millis>, ReadError> {
    let (from, to) = txn.floors.due::<Expiries>(txn.now());
    let due = txn.scan_before::<Expiries>(&from, &to, EXPIRIES_PER_COMMAND_MAX)?;
    let next = match due.last() {
        Some((last, _)) if due.len() == EXPIRIES_PER_COMMAND_MAX => {
            txn.floors.raise::<Expiries>(last.due);
            Some(txn.now())
        }
        _ => {
            let next = next(txn)?;
            txn.floors.raise::<Expiries>(next.unwrap_or(Millis(u64::MAX)));
            // The look did not see what this command has set before it.
            txn.note_written::<Expiries>();
            next
        }
    };
    let mut rows = 0;
    for (key, _) in due {
        if rows >= EXPIRED_ROWS_PER_COMMAND_SOFT_MAX {
            txn.floors.note(&Expiries::encode_key(&key));
            return Ok(Some(txn.now()));
        }
        rows += 1 + forget(txn, &key)?;
        txn.delete::<Expiries>(&key);
    }
    Ok(next)
}

/// When something is due after now.
pub(crate) fn next<V: View>(txn: &Txn<'_, V>) -> Result<Option<Millis>, ReadError> {
    let floor = txn.floors.get::<Expiries>();
    let mut from = KeyWriter::new(Expiries::TAG);
    from.u64(txn.now().plus(1).max(floor).0);
    let (_, to) = Expiries::whole();
    Ok(txn.scan_before::<Expiries>(&from.finish(), &to, 1)?.first().map(|(key, _)| key.due))
}

/// Forgets one thing, if it is still what the index says. Returns how many rows that took.
fn forget<V: View>(txn: &mut Txn<'_, V>, key: &ExpiryKey) -> Result<usize, ReadError> {
    match &key.what {
        Expiry::Completion(id) => match txn.get::<Completions>(id)? {
            Some(row) if row.expires_at == key.due.0 => forget_completion(txn, *id, &row),
            _ => Ok(0),
        },
        Expiry::Journal(id) => match txn.get::<Completions>(id)? {
            Some(mut row) if row.journal_expires_at == key.due.0 => {
                let rows = drop_journal(txn, *id, row.journal_len);
                row.journal_len = 0;
                row.journal_expires_at = 0;
                txn.put::<Completions>(id, &row);
                Ok(rows)
            }
            _ => Ok(0),
        },
        Expiry::State(object) => state::expire(txn, object, key.due),
    }
}

/// Forgets a completed invocation with its entries in the index. Returns how many rows that took.
///
/// A workflow may leave behind more than one command removes: then the record stays for a moment, and a new entry in the
/// index sees to the rest.
pub(crate) fn forget_completion<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &CompletionRow,
) -> Result<usize, ReadError> {
    let workflow = row.target.as_ref().and_then(Target::run_object);
    let mut rows = drop_journal(txn, id, row.journal_len);
    if row.journal_expires_at != 0 {
        let what = Expiry::Journal(id);
        txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.journal_expires_at), what });
    }
    txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.expires_at), what: Expiry::Completion(id) });
    if let Some(workflow) = workflow {
        rows += promise::forget(txn, &workflow, EXPIRED_ROWS_PER_COMMAND_SOFT_MAX)?;
        if promise::any(txn, &workflow)? {
            postpone(txn, id, row);
            return Ok(rows);
        }
        rows += state::clear(txn, &workflow)?;
        if let Some(object) = txn.get::<Objects>(&workflow)? {
            state::forget_row(txn, &workflow, &object);
            txn.emit(Effect::StateChanged { object: workflow });
        }
    }
    txn.delete::<Completions>(&id);
    Ok(rows + 1)
}

/// Lets the record of a completed invocation be forgotten by the next command.
fn postpone<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: &CompletionRow) {
    // Never where the old entry was: whoever forgets removes that one.
    let due = if row.expires_at == txn.now().0 { txn.now().plus(1) } else { txn.now() };
    let record = CompletionRow { expires_at: due.0, journal_len: 0, journal_expires_at: 0, ..row.clone() };
    txn.put::<Completions>(&id, &record);
    set(txn, ExpiryKey { due, what: Expiry::Completion(id) });
}

/// Removes the first `len` entries of a journal. Returns how many rows that took.
pub(crate) fn drop_journal<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, len: u32) -> usize {
    for index in 0..len {
        txn.delete::<Journals>(&(id, index));
    }
    len as usize
}

#[cfg(test)]
mod tests;
