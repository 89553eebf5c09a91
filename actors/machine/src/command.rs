//! The commands, a file each, and the dispatcher that only dispatches.

mod append;
mod attempt_failed;
mod control;
mod deliver;
mod fire_timers;
mod invoke;
mod leader_start;
mod letter;
mod meta;
mod outbox_ack;
mod schedule;
mod signal;
mod turn;

use abide_model::command::{Body, Command};
use abide_model::id::PartitionId;
use abide_model::view::{ReadError, View};

use crate::txn::Txn;

pub(crate) fn apply<V: View>(txn: &mut Txn<'_, V>, command: Command) -> Result<(), ReadError> {
    let request = command.request;
    match command.body {
        Some(Body::LeaderStart(_)) => leader_start::apply(txn),
        Some(Body::Meta(order)) => meta::apply(txn, request, order),
        Some(_) if txn.partition() == PartitionId::META => {
            meta::refuse_other(txn, request);
            Ok(())
        }
        Some(Body::Invoke(invoke)) => invoke::apply(txn, request, invoke),
        Some(Body::Turn(turn)) => turn::apply(txn, request, turn),
        Some(Body::Append(append)) => append::apply(txn, append),
        Some(Body::AttemptFailed(failed)) => attempt_failed::apply(txn, request, failed),
        Some(Body::Signal(signal)) => signal::apply(txn, request, signal),
        Some(Body::Control(control)) => control::apply(txn, request, &control),
        Some(Body::FireTimers(_)) => fire_timers::apply(txn),
        Some(Body::Deliver(delivery)) => deliver::apply(txn, delivery),
        Some(Body::OutboxAck(ack)) => outbox_ack::apply(txn, ack),
        Some(Body::Letter(order)) => letter::apply(txn, request, &order),
        Some(Body::Schedule(order)) => schedule::apply(txn, request, order),
        // A command of a newer build that this one does not know cannot be skipped: replicas would part ways.
        None => {
            Err(ReadError("a command in the log is of a kind this build does not know: start the newer build".into()))
        }
    }
}
