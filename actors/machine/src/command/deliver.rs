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
    let mut last = txn.get::<Sequences>(&key)?.unwrap_or_default().last;
    for (seq, parcel) in (delivery.first..).zip(delivery.messages) {
        if seq > last + 1 {
            break;
        }
        if seq == last + 1 {
            route::take(txn, parcel)?;
            last = seq;
        }
    }
    txn.put::<Sequences>(&key, &SequenceRow { last });
    txn.emit(Effect::Acknowledge { to: from, up_to: last });
    Ok(())
}
