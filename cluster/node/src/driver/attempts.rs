//! Which attempts run, within bounds; further ones wait here by their id alone.
//!
//! There is a bound for all attempts of the node, and one for each service and handler that says so
//! ([`abide_sdk::service::Options::concurrency`]). An attempt takes a place under each bound it belongs to, all at once;
//! it waits in the queue of the first bound that is reached, so that one bound never holds up what does not belong to it.

use std::collections::{HashMap, HashSet, VecDeque};

use abide_model::id::InvocationId;
use abide_sdk::Registry;

/// Number of a bound; 0 is that of the node.
type Bound = usize;

pub(super) struct Attempts {
    bounds: Vec<Places>,
    /// Bounds of services and of single handlers, by name.
    of_service: HashMap<String, Bound>,
    of_handler: HashMap<(String, String), Bound>,
    /// Running attempts with the bounds they belong to.
    running: HashMap<InvocationId, Vec<Bound>>,
    /// Those in a queue; each is in one queue, once.
    waiting: HashSet<InvocationId>,
}

/// The places under one bound, and who waits for one.
struct Places {
    max: usize,
    taken: usize,
    queue: VecDeque<(InvocationId, Vec<Bound>)>,
}

impl Places {
    fn new(max: usize) -> Self {
        Self { max, taken: 0, queue: VecDeque::new() }
    }

    fn is_full(&self) -> bool {
        self.taken >= self.max
    }
}

impl Attempts {
    /// At most `max` attempts in all, and what the services in `registry` say of theirs.
    pub(super) fn new(max: usize, registry: &Registry) -> Self {
        let mut bounds = vec![Places::new(max)];
        let (mut of_service, mut of_handler) = (HashMap::new(), HashMap::new());
        let mut bound = |max: Option<u32>| {
            max.map(|max| {
                bounds.push(Places::new(max.max(1) as usize));
                bounds.len() - 1
            })
        };
        for service in registry.services() {
            let descriptor = service.descriptor();
            if let Some(number) = bound(descriptor.options.concurrency) {
                of_service.insert(descriptor.name.clone(), number);
            }
            for handler in &descriptor.handlers {
                if let Some(number) = bound(handler.options.concurrency) {
                    of_handler.insert((descriptor.name.clone(), handler.name.clone()), number);
                }
            }
        }
        Self { bounds, of_service, of_handler, running: HashMap::new(), waiting: HashSet::new() }
    }

    /// Whether any service or handler has a bound of its own: only then the target of an attempt matters.
    pub(super) fn looks_at_targets(&self) -> bool {
        self.bounds.len() > 1
    }

    /// Whether the attempt may start now; otherwise it is remembered. `target` is its service and handler, which may be
    /// left out unless [`Attempts::looks_at_targets`].
    pub(super) fn start(&mut self, id: InvocationId, target: Option<(&str, &str)>) -> bool {
        if self.running.contains_key(&id) {
            return true;
        }
        if self.waiting.contains(&id) {
            return false;
        }
        let mut bounds = vec![0];
        if let Some((service, handler)) = target {
            bounds.extend(self.of_service.get(service));
            bounds.extend(self.of_handler.get(&(service.to_owned(), handler.to_owned())));
        }
        self.admit(id, bounds)
    }

    fn admit(&mut self, id: InvocationId, bounds: Vec<Bound>) -> bool {
        match bounds.iter().find(|bound| self.bounds[**bound].is_full()) {
            Some(full) => {
                let full = *full;
                self.waiting.insert(id);
                self.bounds[full].queue.push_back((id, bounds));
                false
            }
            None => {
                for bound in &bounds {
                    self.bounds[*bound].taken += 1;
                }
                self.running.insert(id, bounds);
                true
            }
        }
    }

    /// What runs or waits of some invocations runs here no longer; returns those that may start in the places they had.
    pub(super) fn lose(&mut self, of: impl Fn(InvocationId) -> bool) -> Vec<InvocationId> {
        for places in &mut self.bounds {
            places.queue.retain(|(id, _)| !of(*id));
        }
        self.waiting.retain(|id| !of(*id));
        let lost: Vec<InvocationId> = self.running.keys().copied().filter(|id| of(*id)).collect();
        lost.into_iter().flat_map(|id| self.over(id)).collect()
    }

    /// The attempt is over; returns those that may start in the places it had.
    pub(super) fn over(&mut self, id: InvocationId) -> Vec<InvocationId> {
        let Some(freed) = self.running.remove(&id) else { return Vec::new() };
        for bound in &freed {
            self.bounds[*bound].taken -= 1;
        }
        let mut next = Vec::new();
        for bound in freed {
            // One that finds another bound full moves to that queue, and leaves the place to the one behind it.
            while !self.bounds[bound].is_full()
                && let Some((waiting, bounds)) = self.bounds[bound].queue.pop_front()
            {
                self.waiting.remove(&waiting);
                if self.admit(waiting, bounds) {
                    next.push(waiting);
                }
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_model::id::PartitionKey;
    use proptest::prelude::*;

    fn id(n: u64) -> InvocationId {
        InvocationId { partition_key: PartitionKey(n), unique: 0 }
    }

    fn attempts(max: usize, services: &[(&str, usize)], handlers: &[(&str, &str, usize)]) -> Attempts {
        let mut attempts = Attempts::new(max, &Registry::default());
        for (service, max) in services {
            attempts.bounds.push(Places::new(*max));
            attempts.of_service.insert((*service).to_owned(), attempts.bounds.len() - 1);
        }
        for (service, handler, max) in handlers {
            attempts.bounds.push(Places::new(*max));
            attempts.of_handler.insert(((*service).to_owned(), (*handler).to_owned()), attempts.bounds.len() - 1);
        }
        attempts
    }

    #[test]
    fn the_bound_holds_and_nobody_is_forgotten() {
        let mut attempts = attempts(1, &[], &[]);
        assert!(!attempts.looks_at_targets());
        assert!(attempts.start(id(1), None));
        assert!(attempts.start(id(1), None), "a new attempt of a running invocation needs no new place");
        assert!(!attempts.start(id(2), None));
        assert!(!attempts.start(id(2), None), "it waits once");
        assert_eq!(attempts.over(id(3)), []);
        assert_eq!(attempts.over(id(1)), [id(2)]);
        assert_eq!(attempts.over(id(2)), []);
        assert!(attempts.start(id(3), None));
    }

    #[test]
    fn a_lost_partition_frees_its_places() {
        let mut attempts = attempts(2, &[], &[]);
        assert!(attempts.start(id(1), None) && attempts.start(id(2), None));
        assert!(!attempts.start(id(3), None) && !attempts.start(id(4), None));
        assert_eq!(attempts.lose(|lost| lost == id(1) || lost == id(3)), [id(4)]);
        assert_eq!(attempts.over(id(2)), []);
    }

    #[test]
    fn a_full_handler_holds_up_nobody_else() {
        let mut attempts = attempts(10, &[("S", 2)], &[("S", "h", 1)]);
        assert!(attempts.start(id(1), Some(("S", "h"))));
        assert!(!attempts.start(id(2), Some(("S", "h"))));
        assert!(attempts.start(id(3), Some(("S", "g"))));
        assert!(!attempts.start(id(4), Some(("S", "g"))), "the service is full");
        assert!(attempts.start(id(5), Some(("T", "h"))));
        // The handler's place goes to the one that waits for it, unless the service is full meanwhile.
        assert_eq!(attempts.over(id(1)), [id(4)]);
        assert_eq!(attempts.over(id(3)), [id(2)]);
        assert_eq!(attempts.over(id(2)), []);
    }

    proptest! {
        /// Whatever starts and ends: no bound is passed, and in the end all have run.
        #[test]
        fn bounds_hold_and_all_run(
            targets in proptest::collection::vec((0..3usize, 0..3usize), 1..60), ends in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            let services = ["A", "B", "C"];
            let mut attempts = attempts(4, &[("A", 2), ("B", 3)], &[("A", "x", 1), ("C", "y", 1)]);
            let (mut running, mut ran) = (Vec::new(), 0);
            let mut ends = ends.into_iter();
            for (n, (service, handler)) in (0..).zip(&targets) {
                if attempts.start(id(n), Some((services[*service], ["x", "y", "z"][*handler]))) {
                    running.push(id(n));
                }
                if let Some(end) = ends.next() && !running.is_empty() && end % 2 == 0 {
                    let over = running.remove(usize::from(end) % running.len());
                    ran += 1;
                    running.extend(attempts.over(over));
                }
                prop_assert!(attempts.bounds.iter().all(|places| places.taken <= places.max));
                prop_assert_eq!(attempts.bounds[0].taken, running.len());
            }
            while let Some(over) = running.pop() {
                ran += 1;
                running.extend(attempts.over(over));
            }
            prop_assert_eq!(ran, targets.len());
            prop_assert!(attempts.waiting.is_empty());
        }
    }
}
