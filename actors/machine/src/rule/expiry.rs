//! What is kept for some time, and how it is forgotten: by its time, or by an operator's purge.
//!
//! | what | goes with |
//! |---|---|
//! | a result | its journal |
//! | a journal | nothing; the result stays |
//! | the state of an object | its row, unless something is queued or the state was changed meanwhile |

use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis};
use abide_model::limits::{EXPIRED_ROWS_PER_COMMAND_SOFT_MAX, EXPIRIES_PER_COMMAND_MAX};
use abide_model::table::key::KeyWriter;
use abide_model::table::{CompletionRow, Completions, Empty, Expiries, Expiry, ExpiryKey, Journals, Table};
use abide_model::view::{ReadError, View};

use crate::txn::Txn;

/// Puts `key` into the expiry index, and tells the leader.
pub(crate) fn set<V: View>(txn: &mut Txn<'_, V>, key: ExpiryKey) {
    txn.insert::<Expiries>(&key, &Empty {});
    txn.emit(Effect::TimerSet { due: key.due });
}

/// Forgets what is due, but not more than one command may do. Returns when the next is due, now if there is more.
pub(crate) fn forget_due<V: View>(txn: &mut Txn<'_, V>) -> Result<Option<Millis>, ReadError> {
    let (from, _) = Expiries::whole();
    let mut to = KeyWriter::new(Expiries::TAG);
    to.u64(txn.now().0.saturating_add(1));
    let due = txn.scan_before::<Expiries>(&from, &to.finish(), EXPIRIES_PER_COMMAND_MAX)?;
    let full = due.len() == EXPIRIES_PER_COMMAND_MAX;
    let mut rows = 0;
    for (key, _) in due {
        if rows >= EXPIRED_ROWS_PER_COMMAND_SOFT_MAX {
            return Ok(Some(txn.now()));
        }
        rows += 1 + forget(txn, &key)?;
        txn.delete::<Expiries>(&key);
    }
    if full { Ok(Some(txn.now())) } else { next(txn) }
}

/// When something is due after now.
pub(crate) fn next<V: View>(txn: &Txn<'_, V>) -> Result<Option<Millis>, ReadError> {
    let mut from = KeyWriter::new(Expiries::TAG);
    from.u64(txn.now().0.saturating_add(1));
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
        // The index has no such entries as long as no handler has a TTL.
        Expiry::State(_) => Ok(0),
    }
}

/// Forgets a completed invocation.
pub(crate) fn forget_completion<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &CompletionRow,
) -> Result<usize, ReadError> {
    let rows = drop_journal(txn, id, row.journal_len);
    txn.delete::<Completions>(&id);
    if row.journal_expires_at != 0 {
        let what = Expiry::Journal(id);
        txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.journal_expires_at), what });
    }
    Ok(rows + 1)
}

/// Removes the first `len` entries of a journal. Returns how many rows that took.
pub(crate) fn drop_journal<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, len: u32) -> usize {
    for index in 0..len {
        txn.delete::<Journals>(&(id, index));
    }
    len as usize
}
