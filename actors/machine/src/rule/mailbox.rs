//! The durable FIFO queue of an object's exclusive invocations.
//!
//! Everything exclusive stands in it from acceptance to completion; its first element holds the key. Turns further back
//! may be run ahead by the host in this order; a flow runs only at the front; an edit is carried out when it comes there.

use abide_model::command::Form;
use abide_model::effect::{Effect, Work};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::table::{Empty, InvocationRow, Invocations, MailboxRow, Mailboxes, ObjectRow, Objects, Status};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::complete::{self, By};
use super::{edit, start};
use crate::txn::Txn;

/// Puts an accepted invocation behind all others of its object, and starts it when there are none.
pub(crate) fn enqueue<V: View>(
    txn: &mut Txn<'_, V>,
    object: ObjectId,
    id: InvocationId,
    row: &mut InvocationRow,
    work: Work,
) -> Result<(), ReadError> {
    let mut state = txn.get::<Objects>(&object)?.unwrap_or_default();
    let seq = state.tail;
    let idle = state.is_idle();
    let form = work.target.form();
    if idle && form == Form::Edit {
        return edit::at_once(txn, id, &object, row, &work.input);
    }
    state.tail += 1;
    txn.put::<Objects>(&object, &state);
    txn.insert::<Mailboxes>(&(object.clone(), seq), &MailboxRow { invocation: Bytes::copy_from_slice(&id.to_bytes()) });
    row.mailbox_seq = Some(seq);
    row.status = Some(Status::Queued(Empty {}));
    if form != Form::Edit {
        txn.emit(Effect::Enqueued { object, work });
    }
    if idle && form == Form::Flow {
        start::start(txn, id, row);
    } else {
        txn.put::<Invocations>(&id, row);
    }
    Ok(())
}

/// Takes number `seq` out, and lets the next one go when it was the first. `by_turn` says that a turn's record did it:
/// the host then runs what follows by itself.
pub(crate) fn leave<V: View>(
    txn: &mut Txn<'_, V>,
    object: &ObjectId,
    seq: u64,
    by_turn: bool,
) -> Result<(), ReadError> {
    txn.delete::<Mailboxes>(&(object.clone(), seq));
    let mut state = txn.get::<Objects>(object)?.unwrap_or_default();
    if state.head != seq {
        return Ok(());
    }
    let (mut by_turn, mut emptied) = (by_turn, false);
    while let Some(id) = advance(txn, object, &mut state)? {
        txn.put::<Objects>(object, &state);
        let mut row = txn
            .get::<Invocations>(&id)?
            .ok_or_else(|| ReadError(format!("invocation {id} is in the mailbox of {object} but has no row")))?;
        match row.target.as_ref().map(|target| target.form()) {
            Some(Form::Flow) => start::start(txn, id, &mut row),
            Some(Form::Turn) | None if !by_turn => {
                let work = start::work(txn, id, &row)?;
                txn.emit(Effect::Enqueued { object: object.clone(), work });
            }
            Some(Form::Turn) | None => {}
            Some(Form::Edit) => {
                let work = start::work(txn, id, &row)?;
                let edited = edit::carry_out(txn, object, &row, &work.input)?;
                emptied = edited.emptied || (emptied && edited.outcome.is_failure());
                complete::end(txn, id, &row, edited.outcome, By::Edit, true)?;
                txn.delete::<Mailboxes>(&(object.clone(), state.head));
                state = txn.get::<Objects>(object)?.unwrap_or_default();
                // The host's state is void: what it was offered has to be offered again.
                by_turn = false;
                continue;
            }
        }
        return Ok(());
    }
    txn.put::<Objects>(object, &state);
    if emptied { edit::forget_emptied(txn, object) } else { Ok(()) }
}

/// Moves the head to the next number in use; cancelled invocations leave holes.
fn advance<V: View>(
    txn: &Txn<'_, V>,
    object: &ObjectId,
    state: &mut ObjectRow,
) -> Result<Option<InvocationId>, ReadError> {
    while state.head < state.tail {
        state.head += 1;
        if state.is_idle() {
            break;
        }
        if let Some(row) = txn.get::<Mailboxes>(&(object.clone(), state.head))? {
            return InvocationId::from_bytes(&row.invocation)
                .map(Some)
                .ok_or_else(|| ReadError(format!("the mailbox of {object} holds a malformed invocation id")));
        }
    }
    Ok(None)
}
