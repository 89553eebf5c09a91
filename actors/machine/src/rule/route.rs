//! Messages to invocations elsewhere: to this partition at once, to another one through the outbox.

use abide_model::command::{Parcel, ParcelBody};
use abide_model::effect::Effect;
use abide_model::id::PartitionId;
use abide_model::table::{Direction, Outbox, SequenceRow, Sequences};
use abide_model::view::{ReadError, View};

use super::accept::{self, First};
use super::{control, notify, signal};
use crate::txn::Txn;

/// Sends `body` to the partition that it names. Malformed messages, which only a bug can make, go nowhere.
pub(crate) fn send<V: View>(txn: &mut Txn<'_, V>, body: ParcelBody) -> Result<(), ReadError> {
    let parcel = Parcel::new(body);
    let Some(key) = parcel.partition_key() else { return Ok(()) };
    let to = PartitionId::of(key, txn.partitions());
    if to == txn.partition() {
        txn.local.push_back(parcel);
        return Ok(());
    }
    let sequence = (Direction::Sent, to);
    let seq = txn.get::<Sequences>(&sequence)?.unwrap_or_default().last + 1;
    txn.put::<Sequences>(&sequence, &SequenceRow { last: seq });
    txn.insert::<Outbox>(&(to, seq), &parcel);
    txn.emit(Effect::Ship { to, seq, parcel });
    Ok(())
}

/// Takes a message that this partition received, from itself or another one.
pub(crate) fn take<V: View>(txn: &mut Txn<'_, V>, parcel: Parcel) -> Result<(), ReadError> {
    match parcel.body {
        Some(ParcelBody::Invoke(invoke)) => accept::accept(txn, 0, invoke, First::Due),
        Some(ParcelBody::Response(response)) => notify::respond_here(txn, response),
        Some(ParcelBody::Signal(it)) => signal::deliver(txn, &it).map(drop),
        Some(ParcelBody::Control(it)) => control::carry_out(txn, &it).map(drop),
        Some(ParcelBody::Attach(it)) => notify::attach(txn, it),
        Some(ParcelBody::Peek(it)) => notify::peek(txn, it),
        None => Err(ReadError("a message between partitions is of a kind this build does not know".into())),
    }
}

/// Handles the messages that this command sent to its own partition, and those that they caused.
pub(crate) fn settle<V: View>(txn: &mut Txn<'_, V>) -> Result<(), ReadError> {
    while let Some(parcel) = txn.local.pop_front() {
        take(txn, parcel)?;
    }
    Ok(())
}
