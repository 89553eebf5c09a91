//! Steps and sleeps.

use abide_model::id::Millis;
use abide_model::protocol::{
    Code, Notification, NotificationId, NotificationResult, ProposeRunCompletion, RawMessage, RunResult, Sleep, Value,
    Void,
};
use abide_model::table::{Journals, TimerKey, TimerKind, Timers};
use abide_model::view::{ReadError, View};

use super::{Attempt, Step, StepResult, Violation};
use crate::rule::sleeps::slept;
use crate::rule::{notify, start};
use crate::txn::Txn;

/// A step's result becomes its notification. The attempt that proposes it has it already and is not told again.
pub(super) fn run_completion<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: &RawMessage) -> StepResult {
    let Ok(proposal) = raw.decode::<ProposeRunCompletion>() else {
        return Ok(Err(Violation::new("a ProposeRunCompletion does not decode")));
    };
    if !is_open_run(txn, attempt, proposal.result_completion_id)? {
        let text = format!("completion {} belongs to no step that is open", proposal.result_completion_id);
        return Ok(Err(Violation::new(text)));
    }
    let result = match proposal.result {
        Some(RunResult::Value(content)) => NotificationResult::Value(Value { content }),
        Some(RunResult::Failure(failure)) => NotificationResult::Failure(failure),
        None => NotificationResult::Void(Void {}),
    };
    let notification =
        Notification { id: Some(NotificationId::Completion(proposal.result_completion_id)), result: Some(result) };
    attempt.append(txn, RawMessage::new(Code::RUN_DONE, &notification));
    Ok(Ok(Step::Continue))
}

/// Whether a Run command with this completion is in the journal and has no result. Searched from the end: the step is
/// among the last entries.
fn is_open_run<V: View>(txn: &Txn<'_, V>, attempt: &Attempt, completion: u32) -> Result<bool, ReadError> {
    for index in (1..attempt.row.journal_len).rev() {
        let Some(entry) = txn.get::<Journals>(&(attempt.id, index))? else { continue };
        let message = entry.message();
        if message.code == Code::RUN_DONE {
            let done: Notification = message.decode()?;
            if done.id == Some(NotificationId::Completion(completion)) {
                return Ok(false);
            }
        } else if message.code == Code::RUN {
            let run: abide_model::protocol::PlainCommand = message.decode()?;
            if run.result_completion_id == completion {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A sleep ends by a durable timer, or at once when its time has passed.
pub(super) fn sleep<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, raw: RawMessage) -> StepResult {
    let Ok(sleep) = raw.decode::<Sleep>() else { return Ok(Err(Violation::new("a Sleep does not decode"))) };
    let due = Millis(sleep.wake_up_time);
    let completion = sleep.result_completion_id;
    let timer = TimerKey { due, kind: TimerKind::Wake, invocation: attempt.id, completion };
    if txn.get::<Timers>(&timer)?.is_some() {
        return Ok(Err(Violation::new(format!("two sleeps have the completion {completion}"))));
    }
    attempt.append(txn, raw);
    if due > txn.now() {
        attempt.row.open_sleeps += 1;
        start::set_timer(txn, timer);
    } else {
        let notification = slept(completion);
        notify::append_and_tell(txn, attempt.id, &mut attempt.row, Code::SLEEP_DONE, &notification);
    }
    Ok(Ok(Step::Continue))
}

#[cfg(test)]
mod tests;
