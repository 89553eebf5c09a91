//! What a flow did since its last command: the messages of the service protocol, a file for each family.
//!
//! Everything that one message causes (entry, state, timer, outgoing invocation, immediate answer) is one step. An
//! append of an attempt that is no longer the current one changes nothing.

mod call;
mod interact;
mod plain;
mod promise;
mod state;
mod suspend;

use abide_model::command::{Append, FlowMessage, Outcome, Target};
use abide_model::effect::Effect;
use abide_model::error::TOO_LARGE;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::limits;
use abide_model::protocol::{Code, Failure, Output, OutputResult, PlainCommand, RawMessage};
use abide_model::table::{Empty, InvocationRow, Invocations, Journals, Status};
use abide_model::view::{ReadError, View};

use crate::rule::complete::By;
use crate::rule::{accept, complete, notify, start};
use crate::txn::Txn;

/// One append under way.
struct Attempt {
    id: InvocationId,
    row: InvocationRow,
    /// The object whose state the flow may read.
    object: Option<ObjectId>,
    /// Whether it may also change it.
    exclusive: bool,
    state_changed: bool,
    seen: u32,
}

/// How a message leaves the attempt.
enum Step {
    /// It goes on.
    Continue,
    /// It is over: finished or suspended.
    Over,
}

/// A message that its sender should not have sent; the attempt is paused with the reason.
struct Violation(Failure);

impl Violation {
    fn new(text: impl Into<String>) -> Self {
        Self(Failure::new(571, text))
    }
}

type StepResult = Result<Result<Step, Violation>, ReadError>;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, append: Append) -> Result<(), ReadError> {
    let Some(id) = InvocationId::from_bytes(&append.id) else { return Ok(()) };
    let Some(row) = txn.get::<Invocations>(&id)? else { return Ok(()) };
    let current = row.attempt == append.attempt
        && row.is_life(append.life)
        && append.term == txn.leader_term()
        && accept::can_listen(&row)
        && matches!(row.status, Some(Status::Running(_)));
    if !current {
        return Ok(());
    }
    let target = row.target.clone().unwrap_or_default();
    let exclusive = target.writable_object().is_some();
    let mut attempt = Attempt { id, row, object: target.object(), exclusive, state_changed: false, seen: append.seen };
    if attempt.row.version.is_none() && !append.version.is_empty() {
        attempt.row.version = Some(append.version);
    }
    for message in append.messages {
        match step(txn, &mut attempt, message)? {
            Ok(Step::Continue) => {}
            Ok(Step::Over) => {
                state::publish(txn, &attempt)?;
                return Ok(());
            }
            Err(Violation(failure)) => {
                state::publish(txn, &attempt)?;
                attempt.row.last_failure = Some(failure);
                start::rest(txn, id, &mut attempt.row, Status::Paused(Empty {}));
                txn.emit(Effect::Abort { invocation: id, object: None });
                return Ok(());
            }
        }
    }
    state::publish(txn, &attempt)?;
    txn.put::<Invocations>(&id, &attempt.row);
    txn.emit(Effect::Appended { invocation: id, attempt: append.attempt });
    Ok(())
}

fn step<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt, message: FlowMessage) -> StepResult {
    let raw = message.raw();
    match raw.code {
        Code::END => {
            end(txn, attempt)?;
            return Ok(Ok(Step::Over));
        }
        Code::SUSPENSION => return suspend::suspension(txn, attempt, &raw),
        _ => {}
    }
    if attempt.row.journal_len >= limits::JOURNAL_ENTRIES_MAX {
        let text = format!("the journal has reached its limit of {} entries", limits::JOURNAL_ENTRIES_MAX);
        return Ok(Err(Violation(Failure::new(u32::from(TOO_LARGE.0), text))));
    }
    match raw.code {
        Code::PROPOSE_RUN_COMPLETION => return plain::run_completion(txn, attempt, &raw),
        code if !code.is_command() || code == Code::INPUT => {
            return Ok(Err(Violation::new(format!("a handler may not send {code}"))));
        }
        _ => {}
    }
    // A stored command is progress: retries start over.
    attempt.row.failures = 0;
    match raw.code {
        Code::SET_STATE | Code::CLEAR_STATE | Code::CLEAR_ALL_STATE => state::write(txn, attempt, raw),
        Code::GET_LAZY_STATE | Code::GET_LAZY_STATE_KEYS => state::read(txn, attempt, raw),
        Code::GET_PROMISE => promise::get(txn, attempt, raw),
        Code::PEEK_PROMISE => promise::peek(txn, attempt, raw),
        Code::COMPLETE_PROMISE => promise::complete(txn, attempt, raw),
        Code::SLEEP => plain::sleep(txn, attempt, raw),
        Code::CALL | Code::ONE_WAY_CALL => call::call(txn, attempt, raw, message.callee),
        Code::SEND_SIGNAL => interact::send_signal(txn, attempt, raw),
        Code::COMPLETE_AWAKEABLE => interact::complete_awakeable(txn, attempt, raw),
        Code::ATTACH_INVOCATION | Code::GET_INVOCATION_OUTPUT => interact::attach(txn, attempt, raw),
        // What is decoded again later has to decode now, or a replica could not go on.
        Code::OUTPUT if raw.decode::<Output>().is_err() => Ok(Err(Violation::new("an Output does not decode"))),
        Code::RUN if raw.decode::<PlainCommand>().is_err() => Ok(Err(Violation::new("a Run does not decode"))),
        // Output, Run, eager reads and custom entries: recorded for replay, nothing else follows from them.
        _ => {
            attempt.append(txn, raw);
            Ok(Ok(Step::Continue))
        }
    }
}

impl Attempt {
    fn append<V: View>(&mut self, txn: &mut Txn<'_, V>, message: RawMessage) -> u32 {
        notify::append(txn, self.id, &mut self.row, message)
    }
}

/// Ends the invocation with its last Output.
fn end<V: View>(txn: &mut Txn<'_, V>, attempt: &mut Attempt) -> Result<(), ReadError> {
    let mut outcome = None;
    for index in (1..attempt.row.journal_len).rev() {
        let Some(entry) = txn.get::<Journals>(&(attempt.id, index))? else { continue };
        let message = entry.message();
        if message.code == Code::OUTPUT {
            let output: Output = message.decode()?;
            outcome = output.result;
            break;
        }
    }
    let outcome = match outcome {
        Some(OutputResult::Value(value)) => Outcome::success(value.content),
        Some(OutputResult::Failure(failure)) => Outcome::failure(failure),
        None => Outcome::failure(Failure::new(500, "the handler ended without an output")),
    };
    if std::mem::take(&mut attempt.state_changed) {
        state::bump(txn, attempt)?;
    }
    complete::complete(txn, attempt.id, &attempt.row, outcome, By::Flow, true)
}

/// The target of a flow, for messages.
fn describe(target: Option<&Target>) -> String {
    target.map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests;
