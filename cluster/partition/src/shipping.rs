//! Messages on their way to other partitions, gathered so that one delivery carries many.

use std::collections::BTreeMap;

use abide_model::command::{Deliver, OutboxAck, Parcel};
use abide_model::id::PartitionId;
use abide_model::limits::DELIVERY_MESSAGES_MAX;

use crate::Output;

#[derive(Debug, Default)]
pub(crate) struct Shipping {
    parcels: BTreeMap<PartitionId, Vec<(u64, Parcel)>>,
    acks: BTreeMap<PartitionId, u64>,
    shipped: BTreeMap<PartitionId, u64>,
    acknowledged: BTreeMap<PartitionId, u64>,
}

impl Shipping {
    pub(crate) fn ship(&mut self, to: PartitionId, seq: u64, parcel: Parcel) {
        self.parcels.entry(to).or_default().push((seq, parcel));
        let shipped = self.shipped.entry(to).or_default();
        *shipped = (*shipped).max(seq);
    }

    pub(crate) fn acknowledge(&mut self, to: PartitionId, up_to: u64) {
        let last = self.acks.entry(to).or_default();
        *last = (*last).max(up_to);
    }

    pub(crate) fn acknowledged(&mut self, by: PartitionId, up_to: u64) {
        let last = self.acknowledged.entry(by).or_default();
        *last = (*last).max(up_to);
    }

    pub(crate) fn unacknowledged(&self) -> u64 {
        self.shipped.iter().map(|(to, seq)| seq.saturating_sub(self.acknowledged.get(to).copied().unwrap_or(0))).sum()
    }

    /// Everything gathered, as few outputs as possible. Consecutive numbers share a delivery.
    pub(crate) fn flush(&mut self, from: PartitionId, mut emit: impl FnMut(Output)) {
        for (to, parcels) in std::mem::take(&mut self.parcels) {
            let mut delivery: Option<Deliver> = None;
            for (seq, parcel) in parcels {
                if let Some(open) = &mut delivery {
                    let next = open.first + open.messages.len() as u64;
                    if next == seq && open.messages.len() < DELIVERY_MESSAGES_MAX {
                        open.messages.push(parcel);
                        continue;
                    }
                }
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
}
