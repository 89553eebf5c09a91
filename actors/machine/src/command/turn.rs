//! The result of a turn.
//!
//! | case | what happens |
//! |---|---|
//! | breaks a limit | refused, or failed when it was accepted before; nothing it did counts |
//! | brings its request, the id is known | answered from the earlier one; what it changed is void |
//! | brings its request, the key is free, ran on the applied state | changes, messages and outcome take effect |
//! | brings its request, otherwise | the request goes into the mailbox and will run again; the activation is void |
//! | from the mailbox, holds the key, ran on the applied state | changes, messages and outcome take effect |
//! | from the mailbox, otherwise | void; it stays where it is |
//! | not exclusive | messages and outcome take effect, once |

use abide_model::command::{Form, Invoke, ParcelBody, StateVersion, Target, Turn};
use abide_model::effect::{Answer, Effect};
use abide_model::error::{INVALID_REQUEST, TOO_LARGE};
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId};
use abide_model::limits;
use abide_model::protocol::Failure;
use abide_model::table::{InvocationRow, Invocations, Objects, Status};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use crate::rule::accept::{self, First};
use crate::rule::complete::By;
use crate::rule::{complete, mailbox, route, state};
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, turn: Turn) -> Result<(), ReadError> {
    let Some(id) = InvocationId::from_bytes(&turn.id) else {
        return malformed(txn, request, "the invocation id is malformed");
    };
    match turn.accept.clone() {
        Some(invoke) => with_request(txn, request, id, invoke, turn),
        None => from_mailbox(txn, id, turn),
    }
}

/// The failure of a turn that did more than it may.
fn excess(turn: &Turn) -> Option<Failure> {
    let too_large = |what: String| Some(Failure::new(u32::from(TOO_LARGE.0), what));
    if turn.sends.len() > limits::SENDS_PER_TURN_MAX {
        return too_large(format!("the turn sends {} messages, more than allowed", turn.sends.len()));
    }
    state::excess(&turn.changes).and_then(too_large)
}

fn with_request<V: View>(
    txn: &mut Txn<'_, V>,
    request: u64,
    id: InvocationId,
    invoke: Invoke,
    turn: Turn,
) -> Result<(), ReadError> {
    let object = invoke.target.as_ref().and_then(Target::exclusive_object);
    let valid = accept::validate(&invoke).and_then(|(accepted, target)| match excess(&turn) {
        Some(failure) => Err(failure),
        None if accepted != id => {
            Err(Failure::new(u32::from(INVALID_REQUEST.0), "the turn and its request have different ids"))
        }
        None => Ok(target),
    });
    let target = match valid {
        Ok(target) => target,
        Err(failure) => {
            reject(txn, object, &turn);
            return accept::refuse(txn, request, &invoke, failure);
        }
    };
    // What leaves no trace of its id behind needs no look for an earlier trace.
    let traceless = invoke.idempotency_key.is_none() && invoke.retention_ms == 0 && invoke.journal_retention_ms == 0;
    if !traceless && accept::answer_if_known(txn, request, id, &invoke)? {
        reject(txn, object, &turn);
        return Ok(());
    }
    let runs = target.form() == Form::Turn && Millis(invoke.execute_at) <= txn.now();
    let fits = match &object {
        Some(object) => {
            let state = txn.get::<Objects>(object)?.unwrap_or_default();
            state.is_idle() && turn.base == Some(state.version())
        }
        None => true,
    };
    if !(runs && fits) {
        // Before the Enqueued effect, so that the host does not run it on the void state.
        reject(txn, object, &turn);
        return accept::accept(txn, request, invoke, First::Due);
    }
    txn.emit(Effect::Accepted { request, invocation: id, known: false, execute_at: None });
    commit(txn, id, object.as_ref(), &turn, invoke.state_ttl_ms)?;
    complete::complete_at_once(txn, id, &invoke, target, turn.outcome.unwrap_or_default())
}

fn from_mailbox<V: View>(txn: &mut Txn<'_, V>, id: InvocationId, turn: Turn) -> Result<(), ReadError> {
    let Some(row) = txn.get::<Invocations>(&id)? else {
        // Cancelled or killed meanwhile, which the Abort told. If it changed anything, every later record of the
        // activation meets another version: what it was to make of the state nobody else can make.
        return Ok(());
    };
    let object = row.target.as_ref().and_then(Target::exclusive_object);
    let runs = matches!(row.status, Some(Status::Running(_) | Status::Queued(_)))
        && row.is_life(turn.life)
        && !accept::can_listen(&row);
    let current = match &object {
        None => runs,
        Some(object) => runs && is_current(txn, object, &row, turn.base)?,
    };
    if !current {
        reject(txn, object, &turn);
        return Ok(());
    }
    if let Some(failure) = excess(&turn) {
        // It would do so again, so this is its end.
        reject(txn, object, &turn);
        return complete::complete(txn, id, &row, complete::failed(failure), By::Flow, true);
    }
    commit(txn, id, object.as_ref(), &turn, row.state_ttl_ms)?;
    complete::complete(txn, id, &row, turn.outcome.unwrap_or_default(), By::Turn, true)
}

fn is_current<V: View>(
    txn: &Txn<'_, V>,
    object: &ObjectId,
    row: &InvocationRow,
    base: Option<StateVersion>,
) -> Result<bool, ReadError> {
    let state = txn.get::<Objects>(object)?.unwrap_or_default();
    Ok(mailbox::holds(&state, row) && base == Some(state.version()))
}

/// Writes the changed fields and sends the messages.
fn commit<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    object: Option<&ObjectId>,
    turn: &Turn,
    ttl_ms: u64,
) -> Result<(), ReadError> {
    if let Some(object) = object.filter(|_| !turn.changes.is_empty()) {
        state::write(txn, object, &turn.changes);
        let version = txn.get::<Objects>(object)?.unwrap_or_default().version();
        state::set_version(txn, object, version.next(ActivationId(turn.activation)), ttl_ms)?;
    }
    for send in &turn.sends {
        let invoked_by = Bytes::copy_from_slice(&id.to_bytes());
        route::send(txn, ParcelBody::Invoke(Invoke { invoked_by, ..send.clone() }))?;
    }
    Ok(())
}

fn reject<V: View>(txn: &mut Txn<'_, V>, object: Option<ObjectId>, turn: &Turn) {
    if let Some(object) = object {
        txn.emit(Effect::TurnRejected { object, activation: ActivationId(turn.activation) });
    }
}

fn malformed<V: View>(txn: &mut Txn<'_, V>, request: u64, what: &str) -> Result<(), ReadError> {
    txn.emit(Effect::Answered { request, answer: Answer::Refused(Failure::new(u32::from(INVALID_REQUEST.0), what)) });
    Ok(())
}

#[cfg(test)]
mod tests;
