//! The durable queue of an object's exclusive invocations.
//!
//! Everything exclusive stands in it from acceptance to completion, in the lane of its class; lanes are FIFO. One
//! invocation holds the key, until it leaves. Then the first one of the first lane in [`Priority::ORDER`] that has any
//! holds it. Turns further back may be run ahead by the host in this order; a flow runs only while it holds the key; an
//! edit is carried out when the key comes to it.
//!
//! | event | the holder |
//! |---|---|
//! | enqueued, the object is idle | is the new one |
//! | enqueued otherwise, of whatever class | stays |
//! | another than the holder leaves | stays; the place is a hole, which is passed later |
//! | the holder leaves | is the first of the first lane, or nobody: the object is idle |

use abide_model::command::{Form, Priority, Target};
use abide_model::effect::{Effect, Work};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::table::{
    Empty, InvocationRow, Invocations, Lanes, MailboxRow, Mailboxes, ObjectRow, Objects, Place, Status,
};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::complete::{self, By};
use super::{edit, start};
use crate::txn::Txn;

/// The place of an invocation in the mailbox of its object.
pub(crate) fn place(row: &InvocationRow) -> Option<Place> {
    let class = row.target.as_ref().map_or(Priority::Normal, Target::class);
    row.mailbox_seq.map(|seq| Place { class, seq })
}

/// Whether the invocation with `row` holds the key of its object, whose row is `state`.
pub(crate) fn holds(state: &ObjectRow, row: &InvocationRow) -> bool {
    state.holder().is_some_and(|holder| place(row) == Some(holder))
}

/// Who has a place.
pub(crate) fn at<V: View>(
    txn: &Txn<'_, V>,
    object: &ObjectId,
    place: Place,
) -> Result<Option<InvocationId>, ReadError> {
    let slot = match place.class {
        Priority::Normal => txn.get::<Mailboxes>(&(object.clone(), place.seq))?,
        class => txn.get::<Lanes>(&(object.clone(), class, place.seq))?,
    };
    slot.map(|slot| read(object, &slot)).transpose()
}

/// Who is in a slot of the mailbox of `object`.
pub(crate) fn read(object: &ObjectId, slot: &MailboxRow) -> Result<InvocationId, ReadError> {
    InvocationId::from_bytes(&slot.invocation)
        .ok_or_else(|| ReadError(format!("the mailbox of {object} holds a malformed invocation id")))
}

fn put<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, place: Place, id: InvocationId) {
    let slot = MailboxRow { invocation: Bytes::copy_from_slice(&id.to_bytes()) };
    match place.class {
        Priority::Normal => txn.insert::<Mailboxes>(&(object.clone(), place.seq), &slot),
        class => txn.insert::<Lanes>(&(object.clone(), class, place.seq), &slot),
    }
}

fn remove<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, place: Place) {
    match place.class {
        Priority::Normal => txn.delete::<Mailboxes>(&(object.clone(), place.seq)),
        class => txn.delete::<Lanes>(&(object.clone(), class, place.seq)),
    }
}

/// Puts an accepted invocation behind all others of its class and its object, and starts it when the object is idle.
pub(crate) fn enqueue<V: View>(
    txn: &mut Txn<'_, V>,
    object: ObjectId,
    id: InvocationId,
    row: &mut InvocationRow,
    work: Work,
) -> Result<(), ReadError> {
    let mut state = txn.get::<Objects>(&object)?.unwrap_or_default();
    let idle = state.is_idle();
    let (form, class) = (work.target.form(), work.target.class());
    if idle && form == Form::Edit {
        return edit::at_once(txn, id, &object, row, &work.input);
    }
    let mut lane = state.lane(class);
    let place = Place { class, seq: lane.tail };
    lane.tail += 1;
    state.set_lane(class, lane);
    if idle {
        state.set_holding(class);
    }
    txn.put::<Objects>(&object, &state);
    put(txn, &object, place, id);
    row.mailbox_seq = Some(place.seq);
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

/// Takes who is at `place` out, and lets the next one go when it held the key. `by_turn` says that a turn's record did
/// it: the host then runs what follows by itself.
pub(crate) fn leave<V: View>(
    txn: &mut Txn<'_, V>,
    object: &ObjectId,
    place: Place,
    by_turn: bool,
) -> Result<(), ReadError> {
    remove(txn, object, place);
    let mut state = txn.get::<Objects>(object)?.unwrap_or_default();
    if state.holder() != Some(place) {
        return Ok(());
    }
    let (mut by_turn, mut emptied) = (by_turn, false);
    while let Some((next, id)) = advance(txn, object, &mut state)? {
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
                remove(txn, object, next);
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

/// Gives the key to the next one when the holder has left; cancelled invocations leave holes.
fn advance<V: View>(
    txn: &Txn<'_, V>,
    object: &ObjectId,
    state: &mut ObjectRow,
) -> Result<Option<(Place, InvocationId)>, ReadError> {
    let Some(left) = state.holder() else { return Ok(None) };
    let mut lane = state.lane(left.class);
    lane.head += 1;
    state.set_lane(left.class, lane);
    for class in Priority::ORDER {
        let mut lane = state.lane(class);
        while !lane.is_empty() {
            let place = Place { class, seq: lane.head };
            if let Some(id) = at(txn, object, place)? {
                state.set_lane(class, lane);
                state.set_holding(class);
                return Ok(Some((place, id)));
            }
            lane.head += 1;
        }
        state.set_lane(class, lane);
    }
    state.set_holding(Priority::Normal);
    Ok(None)
}

#[cfg(test)]
mod tests;
