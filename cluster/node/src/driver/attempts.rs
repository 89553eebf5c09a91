//! Which attempts run, within a bound; further ones wait here by their id alone.

use std::collections::{HashSet, VecDeque};

use abide_model::id::InvocationId;

pub(super) struct Attempts {
    max: usize,
    running: HashSet<InvocationId>,
    waiting: VecDeque<InvocationId>,
}

impl Attempts {
    pub(super) fn new(max: usize) -> Self {
        Self { max, running: HashSet::new(), waiting: VecDeque::new() }
    }

    /// Whether the attempt may start now; otherwise it is remembered.
    pub(super) fn start(&mut self, id: InvocationId) -> bool {
        if self.running.contains(&id) || self.running.len() < self.max {
            self.running.insert(id);
            return true;
        }
        self.waiting.push_back(id);
        false
    }

    /// The attempt is over; returns one that may start instead.
    pub(super) fn over(&mut self, id: InvocationId) -> Option<InvocationId> {
        if !self.running.remove(&id) {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running.insert(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::id::PartitionKey;

    #[test]
    fn the_bound_holds_and_nobody_is_forgotten() {
        let id = |n| InvocationId { partition_key: PartitionKey(n), unique: 0 };
        let mut attempts = Attempts::new(1);
        assert!(attempts.start(id(1)));
        assert!(attempts.start(id(1)), "a new attempt of a running invocation needs no new place");
        assert!(!attempts.start(id(2)));
        assert_eq!(attempts.over(id(3)), None);
        assert_eq!(attempts.over(id(1)), Some(id(2)));
        assert_eq!(attempts.over(id(2)), None);
        assert!(attempts.start(id(3)));
    }
}
