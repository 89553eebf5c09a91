//! Messages on their way to other partitions, gathered so that one delivery carries many.

use std::collections::BTreeMap;

use abide_model::command::{Deliver, OutboxAck, Parcel};
use abide_model::id::PartitionId;
use abide_model::limits::{DELIVERY_MESSAGES_MAX, ENTRY_BYTES_SOFT_MAX};
use prost::Message as _;

use crate::Output;

/// Ticks without an acknowledgement after which messages are taken for lost and shipped again.
const RESEND_TICKS: u32 = 10;

#[derive(Debug, Default)]
pub(crate) struct Shipping {
    parcels: BTreeMap<PartitionId, Vec<(u64, Parcel)>>,
    acks: BTreeMap<PartitionId, u64>,
    routes: BTreeMap<PartitionId, Route>,
}

/// What is under way to one partition.
#[derive(Debug, Default)]
struct Route {
    shipped: u64,
    acknowledged: u64,
    /// Ticks since something was acknowledged, while something is not.
    waited: u32,
}

impl Route {
    fn unacknowledged(&self) -> u64 {
        self.shipped.saturating_sub(self.acknowledged)
    }
}

impl Shipping {
    pub(crate) fn ship(&mut self, to: PartitionId, seq: u64, parcel: Parcel) {
        self.parcels.entry(to).or_default().push((seq, parcel));
        // Messages are shipped in order, so everything before the first one was acknowledged to an earlier leader.
        let first = || Route { acknowledged: seq.saturating_sub(1), ..Route::default() };
        let route = self.routes.entry(to).or_insert_with(first);
        route.shipped = route.shipped.max(seq);
    }

    pub(crate) fn acknowledge(&mut self, to: PartitionId, up_to: u64) {
        let last = self.acks.entry(to).or_default();
        *last = (*last).max(up_to);
    }

    pub(crate) fn acknowledged(&mut self, by: PartitionId, up_to: u64) {
        let Some(route) = self.routes.get_mut(&by) else { return };
        if up_to > route.acknowledged {
            route.acknowledged = up_to;
            route.waited = 0;
        }
    }

    pub(crate) fn unacknowledged(&self) -> u64 {
        self.routes.values().map(Route::unacknowledged).sum()
    }

    /// A tick has passed: what has waited too long, as target and the numbers on both ends.
    pub(crate) fn tick(&mut self) -> Vec<(PartitionId, u64, u64)> {
        let mut overdue = Vec::new();
        for (to, route) in self.routes.iter_mut().filter(|(_, route)| route.unacknowledged() > 0) {
            route.waited += 1;
            if route.waited >= RESEND_TICKS {
                route.waited = 0;
                overdue.push((*to, route.acknowledged + 1, route.shipped));
            }
        }
        overdue
    }

    /// Everything gathered, as few outputs as possible. Consecutive numbers share a delivery.
    pub(crate) fn flush(&mut self, from: PartitionId, mut emit: impl FnMut(Output)) {
        for (to, parcels) in std::mem::take(&mut self.parcels) {
            let mut delivery: Option<Deliver> = None;
            let mut bytes = 0;
            for (seq, parcel) in parcels {
                if let Some(open) = &mut delivery {
                    let next = open.first + open.messages.len() as u64;
                    let fits = open.messages.len() < DELIVERY_MESSAGES_MAX && bytes < ENTRY_BYTES_SOFT_MAX;
                    if next == seq && fits {
                        bytes += parcel.encoded_len();
                        open.messages.push(parcel);
                        continue;
                    }
                }
                bytes = parcel.encoded_len();
                if let Some(full) = delivery.replace(Deliver { from: from.0, first: seq, messages: vec![parcel] }) {
                    emit(Output::Deliver { to, delivery: full });
                }
            }
            if let Some(delivery) = delivery {
                emit(Output::Deliver { to, delivery });
            }
        }
        for (to, up_to) in std::mem::take(&mut self.acks) {
            emit(Output::Acknowledge { to, ack: OutboxAck { by: from.0, up_to } });
        }
    }

    /// Forgets what an earlier leadership gathered.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_messages_share_a_delivery_and_acks_are_merged() {
        let mut shipping = Shipping::default();
        for seq in [1, 2, 3, 7] {
            shipping.ship(PartitionId(2), seq, Parcel::default());
        }
        shipping.acknowledge(PartitionId(1), 4);
        shipping.acknowledge(PartitionId(1), 6);
        let mut outputs = Vec::new();
        shipping.flush(PartitionId(0), |output| outputs.push(output));
        let deliver = |first, count| Output::Deliver {
            to: PartitionId(2),
            delivery: Deliver { from: 0, first, messages: vec![Parcel::default(); count] },
        };
        let ack = Output::Acknowledge { to: PartitionId(1), ack: OutboxAck { by: 0, up_to: 6 } };
        assert_eq!(outputs, [deliver(1, 3), deliver(7, 1), ack]);
        assert_eq!(shipping.unacknowledged(), 7);
        shipping.acknowledged(PartitionId(2), 7);
        assert_eq!(shipping.unacknowledged(), 0);
    }

    #[test]
    fn what_nobody_acknowledges_is_overdue() {
        let mut shipping = Shipping::default();
        shipping.ship(PartitionId(2), 5, Parcel::default());
        shipping.ship(PartitionId(2), 6, Parcel::default());
        assert_eq!(shipping.unacknowledged(), 2, "an earlier leader had the first four acknowledged");
        for _ in 1..RESEND_TICKS {
            assert!(shipping.tick().is_empty());
        }
        assert_eq!(shipping.tick(), [(PartitionId(2), 5, 6)]);
        assert!(shipping.tick().is_empty(), "the wait begins anew");
        shipping.acknowledged(PartitionId(2), 6);
        assert!((0..2 * RESEND_TICKS).all(|_| shipping.tick().is_empty()));
    }
}
