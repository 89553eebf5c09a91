//! Another partition has taken messages: they leave the outbox.

use abide_model::command::OutboxAck;
use abide_model::id::PartitionId;
use abide_model::table::{Outbox, Table};
use abide_model::view::{ReadError, View};

use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, ack: OutboxAck) -> Result<(), ReadError> {
    let to = PartitionId(ack.by);
    let from = Outbox::encode_key(&(to, 0));
    let until = Outbox::encode_key(&(to, ack.up_to.saturating_add(1)));
    for key in txn.keys::<Outbox>(&from, &until)? {
        txn.delete::<Outbox>(&key);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
