//! The id of an invocation that an order creates.

use abide_model::effect::Answer;
use abide_model::id::{InvocationId, PartitionId};
use abide_model::table::{Completions, Invocations};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::refusal;
use crate::txn::Txn;

/// The id in `bytes`, when it is of this partition and not known; otherwise the answer to the order.
pub(crate) fn id<V: View>(txn: &Txn<'_, V>, bytes: &Bytes) -> Result<Result<InvocationId, Answer>, ReadError> {
    let Some(new) = InvocationId::from_bytes(bytes) else {
        return Ok(Err(refusal::invalid("the id of the new invocation is malformed")));
    };
    if PartitionId::of(new.partition_key, txn.partitions()) != txn.partition() {
        return Ok(Err(refusal::invalid(format!("the new id {new} is not of partition {}", txn.partition()))));
    }
    if txn.get::<Invocations>(&new)?.is_some() || txn.get::<Completions>(&new)?.is_some() {
        return Ok(Err(refusal::conflict(format!("the new id {new} is taken: choose another one"))));
    }
    Ok(Ok(new))
}
