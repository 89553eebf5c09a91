//! Messages of another partition: each is taken exactly once, in order.
//!
//! | case | what happens |
//! |---|---|
//! | the next numbers | taken, acknowledged |
//! | numbers that were taken before | skipped, acknowledged again |
//! | a gap | nothing is taken; the last number taken is acknowledged, which tells the sender where to go on |

use abide_model::command::Deliver;
use abide_model::effect::Effect;
use abide_model::table::{Direction, SequenceRow, Sequences};
use abide_model::view::{ReadError, View};

use crate::rule::route;
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, delivery: Deliver) -> Result<(), ReadError> {
    let from = delivery.from_partition();
    let key = (Direction::Taken, from);
    let before = txn.get::<Sequences>(&key)?.unwrap_or_default().last;
    let mut last = before;
    // Numbers beyond a u64 are behind any gap.
    for (offset, parcel) in (0..).zip(delivery.messages) {
        let Some(seq) = delivery.first.checked_add(offset).filter(|seq| *seq <= last.saturating_add(1)) else { break };
        if seq > last {
            route::take(txn, parcel)?;
            last = seq;
        }
    }
    if last > before {
        txn.put::<Sequences>(&key, &SequenceRow { last });
    }
    txn.emit(Effect::Acknowledge { to: from, up_to: last });
    Ok(())
}

#[cfg(test)]
mod tests;
