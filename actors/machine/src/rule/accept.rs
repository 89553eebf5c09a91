//! Acceptance of an invocation.
//!
//! | case | what happens |
//! |---|---|
//! | malformed | refused, nothing changes |
//! | the id is known, a call of a workflow's `run` | refused with 409: it runs once |
//! | the id is known and completed | the stored result is the answer |
//! | the id is known and under way | the request waits for the same result, unless too many do already |
//! | its time has not come | scheduled, a timer starts it |
//! | an edit of a state that nothing is before | carried out by [`super::edit`] |
//! | exclusive | takes the last place of its class in the object's mailbox, or is refused when that is full |
//! | otherwise | its attempt is due |

use abide_model::command::{Access, Form, Invoke, Target};
use abide_model::effect::{Answer, Effect, Work};
use abide_model::error::{INVALID_REQUEST, MAILBOX_FULL};
use abide_model::id::{InvocationId, Millis};
use abide_model::limits;
use abide_model::protocol::{Code, Failure, Input, RawMessage, Value};
use abide_model::table::{
    Completions, Empty, InvocationRow, Invocations, JournalRow, Journals, Objects, Status, TimerKey, TimerKind,
};
use abide_model::view::{ReadError, View};

use super::{complete, edit, letter, mailbox, notify, start};
use crate::txn::Txn;

/// The failure of a second call of a workflow's `run`.
const ALREADY_INVOKED: u32 = 409;

/// Whether the first attempt of an invocation is still to be made when it is accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It is.
    Due,
    /// It was made and failed: the caller says what follows.
    Failed,
}

/// Accepts `invoke`, or answers `request` (0: nobody) and its sink.
pub(crate) fn accept<V: View>(
    txn: &mut Txn<'_, V>,
    request: u64,
    invoke: Invoke,
    first: First,
) -> Result<(), ReadError> {
    let (id, target) = match validate(&invoke) {
        Ok(valid) => valid,
        Err(failure) => return refuse(txn, request, &invoke, failure),
    };
    if answer_if_known(txn, request, id, &invoke)? {
        return Ok(());
    }
    let due = Millis(invoke.execute_at);
    let later = due > txn.now();
    if !later && let Some(failure) = mailbox_full(txn, &target)? {
        return refuse(txn, request, &invoke, failure);
    }
    txn.emit(Effect::Accepted { request, invocation: id, known: false, execute_at: later.then_some(due) });
    let mut row = record(txn, id, &invoke, target.clone());
    if later {
        row.status = Some(Status::Scheduled(due.0));
        txn.insert::<Invocations>(&id, &row);
        start::set_timer(txn, TimerKey { due, kind: TimerKind::Start, invocation: id, completion: 0 });
        return Ok(());
    }
    let life = row.life;
    let work = Work { id, target, input: invoke.input, headers: invoke.headers, failures: 0, life };
    if first == First::Failed && work.target.exclusive_object().is_none() && work.target.form() != Form::Edit {
        // As if started, so that attempts are numbered alike; the host is not told to make this one again.
        row.attempt = 1;
        row.status = Some(Status::Running(Empty {}));
        txn.insert::<Invocations>(&id, &row);
        return Ok(());
    }
    // New here, whatever is written over it before this command ends: it leaves no trace when it dies young.
    txn.insert::<Invocations>(&id, &row);
    admit(txn, id, &mut row, work)
}

/// Lets an accepted invocation take its turn now.
pub(crate) fn admit<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    row: &mut InvocationRow,
    work: Work,
) -> Result<(), ReadError> {
    match work.target.exclusive_object() {
        Some(object) => mailbox::enqueue(txn, object, id, row, work),
        None if work.target.form() == Form::Edit => {
            let object = edit::object(&work.target).expect("an edit without an object is not accepted");
            edit::at_once(txn, id, &object, row, &work.input)
        }
        None => {
            start::start(txn, id, row);
            Ok(())
        }
    }
}

/// The id and target of a well-formed invocation.
pub(crate) fn validate(invoke: &Invoke) -> Result<(InvocationId, Target), Failure> {
    let invalid = |what: &str| Failure::new(u32::from(INVALID_REQUEST.0), what);
    let id = invoke.id().ok_or_else(|| invalid("the invocation id is malformed"))?;
    let target = invoke.target.clone().ok_or_else(|| invalid("the invocation has no target"))?;
    let names_fit = [&target.service, &target.handler].iter().all(|name| name.len() <= limits::NAME_BYTES_MAX);
    if !names_fit || target.key.as_ref().is_some_and(|key| key.len() > limits::KEY_BYTES_MAX) {
        return Err(invalid("a name or key of the target is longer than allowed"));
    }
    if invoke.idempotency_key.as_ref().is_some_and(|key| key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX) {
        return Err(invalid("the idempotency key is longer than allowed"));
    }
    if invoke.input.len() > limits::BODY_BYTES_MAX {
        return Err(invalid("the input is longer than allowed"));
    }
    if target.form() == Form::Edit {
        if edit::object(&target).is_none() {
            return Err(invalid("the edit names nothing that has a state"));
        }
        edit::read(&invoke.input).map_err(|error| invalid(&error))?;
    } else if target.workflow || target.access() == Access::Workflow {
        validate_workflow(id, &target).map_err(invalid)?;
    }
    Ok((id, target))
}

/// What an invocation of a workflow's handler has to be.
fn validate_workflow(id: InvocationId, target: &Target) -> Result<(), &'static str> {
    let object = target.object().ok_or("the target is a workflow, but has no key")?;
    match target.access() {
        Access::Shared => Ok(()),
        Access::Exclusive => Err("a workflow has no exclusive handlers"),
        Access::Workflow if target.form() != Form::Flow => Err("the run of a workflow has to be a flow"),
        Access::Workflow if id != InvocationId::workflow(&object.service, &object.key) => {
            Err("the run of a workflow needs the id that its key gives it")
        }
        Access::Workflow => Ok(()),
    }
}

/// Answers from an earlier invocation with the same id. Ids that derive from a key repeat: of idempotent requests and of
/// workflows.
pub(crate) fn answer_if_known<V: View>(
    txn: &mut Txn<'_, V>,
    request: u64,
    id: InvocationId,
    invoke: &Invoke,
) -> Result<bool, ReadError> {
    let known = |txn: &mut Txn<'_, V>| {
        txn.emit(Effect::Accepted { request, invocation: id, known: true, execute_at: None });
    };
    if is_second_run(txn, id, invoke)? {
        let failure = Failure::new(ALREADY_INVOKED, "the workflow method was already invoked");
        return refuse(txn, request, invoke, failure).map(|()| true);
    }
    if let Some(row) = txn.get::<Completions>(&id)? {
        known(txn);
        let outcome = row.outcome.unwrap_or_default();
        if let Some(sink) = &invoke.sink {
            notify::respond(txn, id, sink, Some(outcome.clone()))?;
        }
        let expires_at = Some(Millis(row.expires_at));
        let target = row.target.unwrap_or_default();
        txn.emit(Effect::Completed { invocation: id, target, outcome, expires_at });
        return Ok(true);
    }
    if let Some(mut row) = txn.get::<Invocations>(&id)? {
        known(txn);
        if let Some(sink) = &invoke.sink {
            notify::wait(txn, id, &mut row, sink.clone())?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// Whether `invoke` waits for a result of a workflow's `run` that another request has got going.
fn is_second_run<V: View>(txn: &Txn<'_, V>, id: InvocationId, invoke: &Invoke) -> Result<bool, ReadError> {
    let is_call = !invoke.one_way && invoke.target.as_ref().is_some_and(|target| target.run_object().is_some());
    Ok(is_call && (txn.get::<Invocations>(&id)?.is_some() || txn.get::<Completions>(&id)?.is_some()))
}

/// Writes the journal's Input entry and returns the row of a new invocation, not yet written, without a status.
pub(crate) fn record<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    invoke: &Invoke,
    target: Target,
) -> InvocationRow {
    let input = Input {
        headers: invoke.headers.clone(),
        name: String::new(),
        value: Some(Value { content: invoke.input.clone() }),
    };
    let now = txn.now();
    let life = txn.next_life();
    txn.insert::<Journals>(&(id, 0), &JournalRow::new(RawMessage::new(Code::INPUT, &input), now));
    InvocationRow {
        target: Some(target),
        created_at: now.0,
        modified_at: now.0,
        journal_len: 1,
        sinks: invoke.sink.iter().cloned().collect(),
        invoked_by: invoke.invoked_by.clone(),
        idempotency_key: invoke.idempotency_key.clone(),
        retention_ms: invoke.retention_ms,
        life,
        chain: invoke.chain.clone(),
        journal_retention_ms: invoke.journal_retention_ms,
        state_ttl_ms: invoke.state_ttl_ms,
        one_way: invoke.one_way,
        schedule: invoke.schedule.clone(),
        restarted_from: invoke.restarted_from.clone(),
        ..InvocationRow::default()
    }
}

/// Why the object of `target` takes no further exclusive invocation, if that is so.
pub(crate) fn mailbox_full<V: View>(txn: &Txn<'_, V>, target: &Target) -> Result<Option<Failure>, ReadError> {
    let Some(object) = target.exclusive_object() else { return Ok(None) };
    let state = txn.get::<Objects>(&object)?.unwrap_or_default();
    Ok((state.queued() >= limits::MAILBOX_MAX).then(|| {
        let text = format!("the mailbox of {object} is full ({} invocations); retry later", limits::MAILBOX_MAX);
        Failure::new(u32::from(MAILBOX_FULL.0), text)
    }))
}

/// Answers that `invoke` is not accepted; a message that nobody waits for becomes a dead letter.
pub(crate) fn refuse<V: View>(
    txn: &mut Txn<'_, V>,
    request: u64,
    invoke: &Invoke,
    failure: Failure,
) -> Result<(), ReadError> {
    if let (Some(sink), Some(id)) = (&invoke.sink, invoke.id()) {
        notify::respond(txn, id, sink, Some(complete::failed(failure.clone())))?;
    }
    if request == 0 && invoke.sink.is_none() {
        // The sender has committed and nobody is told: what it sent may not vanish.
        letter::leave_refused(txn, invoke, &failure)?;
    }
    txn.emit(Effect::Answered { request, answer: Answer::Refused(failure) });
    Ok(())
}

/// Whether an invocation of this form can be told something while it runs.
pub(crate) fn can_listen(row: &InvocationRow) -> bool {
    row.target.as_ref().is_some_and(|target| target.form() == Form::Flow)
}
