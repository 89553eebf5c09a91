//! A leader begins: everything that is due or under way is started again, because the host that had it is gone or is
//! no longer believed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use abide_model::command::Form;
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::table::{
    Expiries, Invocations, Lanes, Mailboxes, Objects, Outbox, Place, Ready, Schedules, Status, Table, Timers,
};
use abide_model::view::{ReadError, View};

use crate::rule::{mailbox, start};
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>) -> Result<(), ReadError> {
    wake_mailboxes(txn)?;
    let (from, to) = Ready::whole();
    for (id, _) in txn.scan_before::<Ready>(&from, &to, usize::MAX)? {
        let mut row = txn
            .get::<Invocations>(&id)?
            .ok_or_else(|| ReadError(format!("invocation {id} is ready but has no row")))?;
        start::start(txn, id, &mut row);
    }
    let (from, to) = Outbox::whole();
    for ((to, seq), parcel) in txn.scan_before::<Outbox>(&from, &to, usize::MAX)? {
        txn.emit(Effect::Ship { to, seq, parcel });
    }
    let (from, to) = Schedules::whole();
    for (schedule, row) in txn.scan_before::<Schedules>(&from, &to, usize::MAX)? {
        if row.firing {
            txn.emit(Effect::ScheduleDue { schedule, row: Box::new(row) });
        }
    }
    let (from, to) = Timers::whole();
    for (key, _) in txn.scan_before::<Timers>(&from, &to, 1)? {
        txn.emit(Effect::TimerSet { due: key.due });
    }
    let (from, to) = Expiries::whole();
    for (key, _) in txn.scan_before::<Expiries>(&from, &to, 1)? {
        txn.emit(Effect::TimerSet { due: key.due });
    }
    Ok(())
}

/// Offers the turn that holds the key of every mailbox; its object then finds the rest. Flows that do are ready rows.
fn wake_mailboxes<V: View>(txn: &mut Txn<'_, V>) -> Result<(), ReadError> {
    // Of objects with more than the lane of normal priority.
    let mut holders: BTreeMap<ObjectId, Option<Place>> = BTreeMap::new();
    let (from, to) = Lanes::whole();
    for ((object, _, _), _) in txn.scan_before::<Lanes>(&from, &to, usize::MAX)? {
        if let Entry::Vacant(slot) = holders.entry(object) {
            let holder = txn.get::<Objects>(slot.key())?.and_then(|row| row.holder());
            slot.insert(holder);
        }
    }
    let (from, to) = Mailboxes::whole();
    let mut last: Option<ObjectId> = None;
    for ((object, _), slot) in txn.scan_before::<Mailboxes>(&from, &to, usize::MAX)? {
        if last.as_ref() == Some(&object) {
            continue;
        }
        if !holders.contains_key(&object) {
            let id = mailbox::read(&object, &slot)?;
            offer(txn, &object, id)?;
        }
        last = Some(object);
    }
    for (object, holder) in holders {
        let id = holder.map(|place| mailbox::at(txn, &object, place)).transpose()?.flatten();
        let id =
            id.ok_or_else(|| ReadError(format!("nobody is where the mailbox of {object} says who holds the key")))?;
        offer(txn, &object, id)?;
    }
    Ok(())
}

/// Offers who holds the key of `object`, if it is a turn.
fn offer<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, id: InvocationId) -> Result<(), ReadError> {
    let row = txn
        .get::<Invocations>(&id)?
        .ok_or_else(|| ReadError(format!("invocation {id} is in the mailbox of {object} but has no row")))?;
    let is_turn = row.target.as_ref().is_some_and(|target| target.form() == Form::Turn);
    if is_turn && matches!(row.status, Some(Status::Queued(_))) {
        let work = start::work(txn, id, &row)?;
        txn.emit(Effect::Enqueued { object: object.clone(), work });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
