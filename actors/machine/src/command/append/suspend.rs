//! An attempt puts itself away until one of some notifications is there.

use abide_model::protocol::{Code, Notification, NotificationId, RawMessage, Suspension};
use abide_model::table::{Awaiting, Journals, Status};
use abide_model::view::{ReadError, View};

use super::{Attempt, Step, StepResult, Violation};
use crate::rule::start;
use crate::txn::Txn;

pub(super) fn suspension<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: &RawMessage) -> StepResult {
    let Ok(suspension) = raw.decode::<Suspension>() else {
        return Ok(Err(Violation::new("a Suspension does not decode")));
    };
    let awaiting = Awaiting {
        completions: suspension.waiting_completions,
        signals: suspension.waiting_signals,
        names: suspension.waiting_named_signals,
    };
    if awaiting == Awaiting::default() {
        return Ok(Err(Violation::new("a Suspension waits for nothing")));
    }
    if is_satisfied(txn, attempt, &awaiting)? {
        start::start(txn, attempt.id, &mut attempt.row);
    } else {
        attempt.row.failures = 0;
        start::rest(txn, attempt.id, &mut attempt.row, Status::Suspended(awaiting));
    }
    Ok(Ok(Step::Over))
}

/// Whether something awaited is in the journal. A completion counts wherever it is; a signal only where the attempt
/// cannot have known it, since an earlier one may have been consumed.
fn is_satisfied<V: View>(txn: &Txn<'_, V>, attempt: &Attempt, awaiting: &Awaiting) -> Result<bool, ReadError> {
    for index in (1..attempt.row.journal_len).rev() {
        let Some(entry) = txn.get::<Journals>(&(attempt.id, index))? else { continue };
        let message = entry.message();
        if !message.code.is_notification() || (message.code == Code::SIGNAL && index < attempt.seen) {
            continue;
        }
        let notification: Notification = message.decode()?;
        let is_completion = matches!(notification.id, Some(NotificationId::Completion(_)));
        let awaited = notification.id.as_ref().is_some_and(|id| awaiting.includes(id));
        if awaited && (is_completion || index >= attempt.seen) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
