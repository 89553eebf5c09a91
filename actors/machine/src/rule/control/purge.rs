//! Purge: a completed invocation is forgotten before its time, or its journal only.

use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::table::{CompletionRow, Completions, Expiries, Expiry, ExpiryKey};
use abide_model::view::{ReadError, View};

use crate::rule::expiry;
use crate::txn::Txn;

pub(super) fn purge<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, row: CompletionRow) -> Result<Answer, ReadError> {
    expiry::forget_completion(txn, id, &row)?;
    txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.expires_at), what: Expiry::Completion(id) });
    Ok(Answer::Done)
}

/// A journal that is gone already is no reason to refuse: what was wished for is so.
pub(super) fn purge_journal<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, mut row: CompletionRow) -> Answer {
    if row.journal_len == 0 {
        return Answer::Done;
    }
    expiry::drop_journal(txn, id, row.journal_len);
    if row.journal_expires_at != 0 {
        txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.journal_expires_at), what: Expiry::Journal(id) });
    }
    row.journal_len = 0;
    row.journal_expires_at = 0;
    txn.put::<Completions>(&id, &row);
    Answer::Done
}
