//! Results of plain calls that were applied of late.
//!
//! The result of a call without an idempotency key is told once and not kept in the tables (decision 0004). When the
//! leader dies between the commit and the answer, whoever passed the request on asks the next leader, under the same
//! invocation id. Every replica therefore remembers the last results it has applied, in memory: a repeated request is
//! answered from here, and never executed again. What the memory does not reach back to is unknown, and said to be.

use std::collections::{BTreeMap, VecDeque};

use abide_model::command::{Outcome, OutcomeKind};
use abide_model::id::InvocationId;
use abide_model::limits::{RECENT_RESULT_BYTES_MAX, RECENT_RESULTS_MAX};

/// What is known of a request that is repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum Recent {
    /// It was executed.
    Done(Box<Outcome>),
    /// It was not executed in the part of the log that was asked about.
    NotDone,
    /// That part begins before what is remembered.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct RecentResults {
    /// Everything applied behind this index is remembered.
    since: u64,
    by_id: BTreeMap<InvocationId, Outcome>,
    order: VecDeque<(u64, InvocationId)>,
    bytes: usize,
}

impl RecentResults {
    /// Remembers what is applied behind `index`.
    pub(crate) fn since(index: u64) -> Self {
        Self { since: index, by_id: BTreeMap::new(), order: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn record(&mut self, index: u64, id: InvocationId, outcome: &Outcome) {
        self.bytes += cost(outcome);
        if let Some(before) = self.by_id.insert(id, outcome.clone()) {
            self.bytes -= cost(&before);
        } else {
            self.order.push_back((index, id));
        }
        while self.order.len() > RECENT_RESULTS_MAX || self.bytes > RECENT_RESULT_BYTES_MAX {
            let Some((index, oldest)) = self.order.pop_front() else { break };
            self.bytes -= self.by_id.remove(&oldest).as_ref().map_or(0, cost);
            self.since = self.since.max(index);
        }
    }

    /// What became of a request that was first made when the log was applied at least up to `index`.
    pub(crate) fn find(&self, id: InvocationId, index: u64) -> Recent {
        match self.by_id.get(&id) {
            Some(outcome) => Recent::Done(Box::new(outcome.clone())),
            None if index >= self.since => Recent::NotDone,
            None => Recent::Unknown,
        }
    }
}

/// Bytes of a result beyond its place.
fn cost(outcome: &Outcome) -> usize {
    match &outcome.kind {
        Some(OutcomeKind::Success(value)) => value.len(),
        Some(OutcomeKind::Failure(failure)) => failure.message.len(),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::id::PartitionKey;
    use bytes::Bytes;

    fn id(n: u128) -> InvocationId {
        InvocationId { partition_key: PartitionKey(0), unique: n }
    }

    fn outcome(bytes: usize) -> Outcome {
        Outcome { kind: Some(OutcomeKind::Success(Bytes::from(vec![0; bytes]))) }
    }

    #[test]
    fn a_result_is_found_and_its_absence_is_known_as_far_as_memory_reaches() {
        let mut recent = RecentResults::since(10);
        recent.record(11, id(1), &outcome(3));
        assert_eq!(recent.find(id(1), 0), Recent::Done(Box::new(outcome(3))));
        assert_eq!(recent.find(id(2), 10), Recent::NotDone);
        assert_eq!(recent.find(id(2), 9), Recent::Unknown);
    }

    #[test]
    fn memory_is_bounded_and_says_where_it_begins() {
        let mut recent = RecentResults::since(0);
        let half = RECENT_RESULT_BYTES_MAX / 2;
        for n in 1..=3 {
            recent.record(n, id(u128::from(n)), &outcome(half));
        }
        assert_eq!((recent.find(id(1), 0), recent.find(id(9), 1)), (Recent::Unknown, Recent::NotDone));
        assert!(matches!(recent.find(id(3), 0), Recent::Done(_)));
        let mut recent = RecentResults::since(0);
        for n in 0..=RECENT_RESULTS_MAX as u64 {
            recent.record(n, id(u128::from(n)), &outcome(0));
        }
        assert_eq!((recent.order.len(), recent.by_id.len()), (RECENT_RESULTS_MAX, RECENT_RESULTS_MAX));
        recent.record(0, id(1), &outcome(5));
        assert_eq!((recent.order.len(), recent.bytes), (RECENT_RESULTS_MAX, 5), "a repeated id takes one place");
    }
}
