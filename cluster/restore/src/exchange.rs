//! Messages between partitions whose two ends are of different moments.
//!
//! Messages from one partition to another are numbered. The sender keeps the last number that it gave out (`sent`) and the
//! messages that are not acknowledged (from `kept` on); the receiver keeps the last number that it took (`taken`). While a
//! cluster lives, `kept - 1 <= taken <= sent`. Of snapshots of different moments that need not be so:
//!
//! | what was saved earlier | then | what becomes of it |
//! |---|---|---|
//! | the receiver | `taken < kept - 1`: the sender forgot messages that the receiver, as it is now, never took | they are **lost**, and the receiver goes on behind them. Without that it would wait for them for ever, and so would everything that follows |
//! | the sender | `taken > sent`: the receiver took messages that the sender, as it is now, never sent | their effects stay. What the sender sends from now on gets higher numbers. Without that the receiver would drop it as taken before; and as the sender may do again what it has forgotten, such an effect may happen **twice** |
//! | neither | the numbers fit | what is under way is shipped again, and taken once |
//!
//! So both ends always go on, and how much did not fit is counted: two zeros say that the snapshots are as good as of one
//! moment.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use abide_model::id::PartitionId;
use abide_model::table::{Direction, Outbox, SequenceRow, Sequences, Table};
use abide_model::view::{RawView, ReadError, View};

/// What did not fit between two partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The sender.
    pub from: PartitionId,
    /// The receiver.
    pub to: PartitionId,
    /// Messages that are lost.
    pub lost: u64,
    /// Messages whose effects are there, and which their sender does not know of.
    pub unknown: u64,
}

/// The numbers of all partitions, of sender and receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    ends: BTreeMap<(PartitionId, PartitionId), Ends>,
}

/// The numbers of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    sent: u64,
    /// Number of the first message that is kept, if any is.
    kept: Option<u64>,
    taken: u64,
}

/// A number that has to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raise {
    /// In whose tables.
    pub(crate) partition: PartitionId,
    /// Which one.
    pub(crate) key: (Direction, PartitionId),
    /// To what.
    pub(crate) last: u64,
}

impl Exchange {
    /// Takes in the numbers of a partition.
    pub(crate) fn read(&mut self, partition: PartitionId, view: &impl RawView) -> Result<(), ReadError> {
        let mut receivers = BTreeSet::new();
        let (from, to) = Sequences::whole();
        view.scan_bytes::<Sequences>(&from, &to, &mut |(direction, other), SequenceRow { last }| {
            match direction {
                Direction::Sent => {
                    receivers.insert(other);
                    self.ends.entry((partition, other)).or_default().sent = last;
                }
                Direction::Taken => self.ends.entry((other, partition)).or_default().taken = last,
            }
            ControlFlow::Continue(())
        })?;
        for to in receivers {
            let behind = PartitionId(to.0 + 1);
            view.scan::<Outbox>(&(to, 0), &(behind, 0), &mut |(_, seq), _| {
                self.ends.entry((partition, to)).or_default().kept = Some(seq);
                ControlFlow::Break(())
            })?;
        }
        Ok(())
    }

    /// What has to be raised, and what does not fit.
    pub(crate) fn settle(&self) -> (Vec<Raise>, Vec<Gap>) {
        let (mut raises, mut gaps) = (Vec::new(), Vec::new());
        for ((from, to), ends) in &self.ends {
            let settled = ends.settle();
            if settled.sent != ends.sent {
                raises.push(Raise { partition: *from, key: (Direction::Sent, *to), last: settled.sent });
            }
            if settled.taken != ends.taken {
                raises.push(Raise { partition: *to, key: (Direction::Taken, *from), last: settled.taken });
            }
            let gap = Gap {
                from: *from,
                to: *to,
                lost: settled.taken - ends.taken,
                unknown: ends.taken.saturating_sub(ends.sent),
            };
            if gap.lost > 0 || gap.unknown > 0 {
                gaps.push(gap);
            }
        }
        (raises, gaps)
    }
}

impl Ends {
    fn settle(self) -> Self {
        let forgotten = self.kept.map_or(self.sent, |kept| kept.saturating_sub(1));
        let taken = self.taken.max(forgotten);
        Self { sent: self.sent.max(taken), taken, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: PartitionId = PartitionId(1);
    const B: PartitionId = PartitionId(2);

    fn settle(sent: u64, kept: Option<u64>, taken: u64) -> (Vec<Raise>, Vec<Gap>) {
        Exchange { ends: [((A, B), Ends { sent, kept, taken })].into() }.settle()
    }

    #[test]
    fn numbers_of_one_moment_stay() {
        for (sent, kept, taken) in [(0, None, 0), (7, None, 7), (7, Some(5), 4), (7, Some(5), 6), (7, Some(5), 7)] {
            assert_eq!(settle(sent, kept, taken), (vec![], vec![]), "{sent} {kept:?} {taken}");
        }
    }

    #[test]
    fn a_receiver_of_an_earlier_moment_goes_on_behind_what_is_lost() {
        let raise = Raise { partition: B, key: (Direction::Taken, A), last: 4 };
        let gap = Gap { from: A, to: B, lost: 2, unknown: 0 };
        assert_eq!(settle(7, Some(5), 2), (vec![raise], vec![gap]));
        let raise = Raise { last: 7, ..raise };
        assert_eq!(settle(7, None, 2), (vec![raise], vec![Gap { lost: 5, ..gap }]));
    }

    #[test]
    fn a_sender_of_an_earlier_moment_gives_no_number_twice() {
        let raise = Raise { partition: A, key: (Direction::Sent, B), last: 9 };
        let gap = Gap { from: A, to: B, lost: 0, unknown: 2 };
        assert_eq!(settle(7, Some(5), 9), (vec![raise], vec![gap]));
        // It had not sent anything then.
        assert_eq!(settle(0, None, 9), (vec![raise], vec![Gap { unknown: 9, ..gap }]));
    }

    proptest! {
        #[test]
        fn both_ends_fit_afterwards(sent in 0_u64..50, kept in proptest::option::of(1_u64..50), taken in 0_u64..50) {
            let kept = kept.filter(|kept| *kept <= sent);
            let before = Ends { sent, kept, taken };
            let after = before.settle();
            prop_assert!(kept.unwrap_or(after.sent + 1) > 0);
            prop_assert!(kept.map_or(sent, |kept| kept - 1) <= after.taken && after.taken <= after.sent);
            prop_assert!(after.sent >= sent && after.taken >= taken, "no number goes back");
            prop_assert_eq!(after.settle(), after);
        }
    }
}
