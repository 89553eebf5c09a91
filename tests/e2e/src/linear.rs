//! Whether what clients saw of one object could have been seen of one that does one thing at a time.
//!
//! [`search`] asks nothing of the product: it looks for an order of all operations, each somewhere between its call and its
//! return, in which every result is right (Wing and Gong's search with Lowe's memory of what was tried). It is exponential
//! in what is concurrent, so objects are retired after [`OPERATIONS_MAX`] operations. An operation whose outcome is unknown
//! never returns: it may take effect at any time after its call, which includes after everything else, that is never.
//!
//! [`versions`] takes the number that the object itself gives to each of its states, and only sorts. It says more
//! precisely what is wrong, but believes the object; so both are asked.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::history::Micros;

/// So many operations of one object can be searched.
pub const OPERATIONS_MAX: usize = 256;
/// So many operations may be under way at once, without those that never return.
pub const CONCURRENT_MAX: usize = 16;
/// A search that has seen so many states gives up.
const STATES_MAX: usize = 2_000_000;

/// An operation on a register that begins as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets it.
    Write(u64),
    /// Adds one; the new value, when it was told.
    Increment(Option<u64>),
    /// Reads this.
    Read(u64),
}

/// An operation with its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose it is, for messages.
    pub number: u64,
    /// When it was called.
    pub called: Micros,
    /// When it returned; `None`: never, or nobody knows.
    pub returned: Option<Micros>,
    /// What it did.
    pub step: Step,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Such an order exists.
    Linear,
    /// There is none. The operations that the longest attempt could not place.
    Broken(Vec<Call>),
    /// Too much to search.
    GaveUp,
}

/// Which operations have been placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Placed([u64; OPERATIONS_MAX / 64]);

impl Placed {
    fn with(mut self, call: usize) -> Self {
        self.0[call / 64] |= 1 << (call % 64);
        self
    }

    fn without(mut self, call: usize) -> Self {
        self.0[call / 64] &= !(1 << (call % 64));
        self
    }

    fn has(self, call: usize) -> bool {
        self.0[call / 64] & (1 << (call % 64)) != 0
    }
}

/// Calls and returns in the order of time, as a list from which a call and its return can be taken and put back.
struct Timeline {
    /// Which call, and whether it is its return.
    events: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Position of each call's return.
    returns: Vec<usize>,
}

/// Before the first event, and behind the last.
const ENDS: usize = 0;

impl Timeline {
    fn new(calls: &[Call]) -> Self {
        let mut moments = Vec::with_capacity(calls.len() * 2);
        for (index, call) in calls.iter().enumerate() {
            moments.push((call.called, false, index));
            moments.push((call.returned.unwrap_or(Micros::MAX), true, index));
        }
        // What returns when another is called is concurrent with it.
        moments.sort_unstable();
        let mut events = vec![(usize::MAX, false)];
        let mut returns = vec![0; calls.len()];
        for (_, is_return, index) in moments {
            if is_return {
                returns[index] = events.len();
            }
            events.push((index, is_return));
        }
        let count = events.len();
        let next = (0..count).map(|event| (event + 1) % count).collect();
        let previous = (0..count).map(|event| (event + count - 1) % count).collect();
        Self { events, next, previous, returns }
    }

    fn take(&mut self, event: usize) {
        for event in [event, self.returns[self.events[event].0]] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    fn put_back(&mut self, event: usize) {
        for event in [self.returns[self.events[event].0], event] {
            let (previous, next) = (self.previous[event], self.next[event]);
            self.next[previous] = event;
            self.previous[next] = event;
        }
    }
}

/// The value after a step, if the step's result is right.
fn after(value: u64, step: Step) -> Option<u64> {
    match step {
        Step::Write(written) => Some(written),
        Step::Increment(told) => told.is_none_or(|told| told == value + 1).then_some(value + 1),
        Step::Read(read) => (read == value).then_some(value),
    }
}

/// Looks for an order in which every result is right.
///
/// # Panics
/// When there are more than [`OPERATIONS_MAX`] calls: the workload has to retire objects earlier.
#[must_use]
pub fn search(calls: &[Call]) -> Found {
    assert!(calls.len() <= OPERATIONS_MAX, "{} operations on one object are too many to search", calls.len());
    let mut timeline = Timeline::new(calls);
    let (mut placed, mut value) = (Placed::default(), 0);
    let mut way: Vec<(usize, u64)> = Vec::new();
    let (mut longest, mut furthest) = (0, Placed::default());
    let mut seen = HashSet::new();
    let mut event = timeline.next[ENDS];
    while timeline.next[ENDS] != ENDS {
        let (call, is_return) = timeline.events[event];
        if is_return {
            // It has to have happened by now, and it has not: what was placed last was placed wrongly.
            let Some((last, before)) = way.pop() else {
                let left = calls.iter().enumerate().filter(|(index, _)| !furthest.has(*index));
                return Found::Broken(left.map(|(_, call)| *call).collect());
            };
            placed = placed.without(timeline.events[last].0);
            value = before;
            timeline.put_back(last);
            event = timeline.next[last];
            continue;
        }
        let with = placed.with(call);
        match after(value, calls[call].step) {
            Some(new) if seen.insert((with, new)) => {
                way.push((event, value));
                (placed, value) = (with, new);
                timeline.take(event);
                event = timeline.next[ENDS];
                if way.len() > longest {
                    (longest, furthest) = (way.len(), placed);
                }
                if seen.len() > STATES_MAX {
                    return Found::GaveUp;
                }
            }
            _ => event = timeline.next[event],
        }
    }
    Found::Linear
}

/// The most operations that were under way at once, without those that never return.
#[must_use]
pub fn concurrency(calls: &[Call]) -> usize {
    let mut moments = Vec::new();
    for call in calls {
        if let Some(returned) = call.returned {
            moments.extend([(call.called, false), (returned, true)]);
        }
    }
    moments.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, is_return) in moments {
        if is_return {
            now -= 1;
        } else {
            now += 1;
            most = most.max(now);
        }
    }
    most
}

/// An operation that returned, with the version of the object that it told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Whose it is, for messages.
    pub number: u64,
    /// When it was called.
    pub called: Micros,
    /// When it returned.
    pub returned: Micros,
    /// Version of the object after it: how many changes there have been.
    pub version: u64,
    /// Value of the object after it.
    pub value: u64,
    /// What it did.
    pub kind: Kind,
}

/// What an operation does to the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sets it.
    Write,
    /// Adds one.
    Increment,
    /// Nothing.
    Read,
}

/// Something that cannot have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Two changes made the same version.
    Twice(Versioned, Versioned),
    /// Two operations tell different values of the same version.
    Differ(Versioned, Versioned),
    /// The second was called after the first had returned, and saw an older object; or changed it into one not newer.
    Backwards(Versioned, Versioned),
    /// An increment does not make the value before it one more.
    Skips(Versioned, Versioned),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, first, second) = match self {
            Self::Twice(first, second) => ("two changes made the same version", first, second),
            Self::Differ(first, second) => ("two values of the same version", first, second),
            Self::Backwards(first, second) => ("a later operation saw an earlier version", first, second),
            Self::Skips(first, second) => ("an increment is not one more than before", first, second),
        };
        write!(f, "{what}: {first:?}, {second:?}")
    }
}

/// Compares the versions that an object told with each other and with time.
#[must_use]
pub fn versions(operations: &[Versioned]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut changes: BTreeMap<u64, Versioned> = BTreeMap::new();
    let mut values: BTreeMap<u64, Versioned> = BTreeMap::new();
    for operation in operations {
        if operation.kind != Kind::Read
            && let Some(first) = changes.insert(operation.version, *operation)
        {
            faults.push(Fault::Twice(first, *operation));
        }
        let first = values.entry(operation.version).or_insert(*operation);
        if first.value != operation.value {
            faults.push(Fault::Differ(*first, *operation));
        }
    }
    for (version, change) in changes.iter().filter(|(_, change)| change.kind == Kind::Increment) {
        let before = version.checked_sub(1).and_then(|before| values.get(&before));
        if before.is_some_and(|before| before.value + 1 != change.value) {
            faults.push(Fault::Skips(*before.unwrap_or(change), *change));
        }
    }
    let mut by_call = operations.to_vec();
    by_call.sort_unstable_by_key(|operation| operation.called);
    let mut by_return = operations.to_vec();
    by_return.sort_unstable_by_key(|operation| operation.returned);
    let mut returned = by_return.into_iter().peekable();
    let mut newest: Option<Versioned> = None;
    for later in by_call {
        while let Some(earlier) = returned.next_if(|earlier| earlier.returned < later.called) {
            if newest.is_none_or(|newest| earlier.version > newest.version) {
                newest = Some(earlier);
            }
        }
        let Some(newest) = newest else { continue };
        let at_least = newest.version + u64::from(later.kind != Kind::Read);
        if later.version < at_least {
            faults.push(Fault::Backwards(newest, later));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn calls(of: &[(Micros, Option<Micros>, Step)]) -> Vec<Call> {
        let numbered = of.iter().zip(1..);
        numbered
            .map(|((called, returned, step), number)| Call {
                number,
                called: *called,
                returned: *returned,
                step: *step,
            })
            .collect()
    }

    fn broken(of: &[(Micros, Option<Micros>, Step)]) -> bool {
        matches!(search(&calls(of)), Found::Broken(_))
    }

    use Step::{Increment, Read, Write};

    #[test]
    fn one_after_another() {
        let good =
            [(0, Some(1), Write(7)), (2, Some(3), Read(7)), (4, Some(5), Increment(Some(8))), (6, Some(7), Read(8))];
        assert_eq!(search(&calls(&good)), Found::Linear);
        assert_eq!(search(&[]), Found::Linear);
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(broken(&[(0, Some(1), Write(1)), (2, Some(3), Write(2)), (4, Some(5), Read(1))]));
        // While the second write is under way both may be read, but not the new one before the old one.
        assert!(!broken(&[
            (0, Some(1), Write(1)),
            (2, Some(9), Write(2)),
            (4, Some(5), Read(1)),
            (6, Some(7), Read(2))
        ]));
        assert!(broken(&[
            (0, Some(1), Write(1)),
            (2, Some(9), Write(2)),
            (4, Some(5), Read(2)),
            (6, Some(7), Read(1))
        ]));
    }

    #[test]
    fn a_lost_write_is_found() {
        assert!(broken(&[(0, Some(1), Write(1)), (2, Some(3), Read(0))]));
    }

    #[test]
    fn a_lost_and_a_doubled_increment_are_found() {
        assert!(broken(&[(0, Some(1), Increment(Some(1))), (2, Some(3), Increment(Some(1)))]));
        assert!(broken(&[(0, Some(1), Increment(Some(1))), (2, Some(3), Increment(Some(3)))]));
        assert!(broken(&[(0, Some(5), Increment(Some(1))), (0, Some(5), Increment(Some(1)))]));
        assert!(!broken(&[(0, Some(5), Increment(Some(2))), (0, Some(5), Increment(Some(1)))]));
    }

    #[test]
    fn an_unknown_operation_may_happen_at_any_time_or_never() {
        for read in [0, 5] {
            assert!(!broken(&[(0, None, Write(5)), (10, Some(11), Read(read))]), "{read}");
        }
        // Late, between two reads.
        assert!(!broken(&[(0, None, Write(5)), (10, Some(11), Read(0)), (12, Some(13), Read(5))]));
        // But once only, and not before it was called.
        assert!(broken(&[
            (0, None, Write(5)),
            (10, Some(11), Read(5)),
            (12, Some(13), Write(6)),
            (14, Some(15), Read(5))
        ]));
        assert!(broken(&[(0, Some(1), Read(5)), (2, None, Write(5))]));
        assert!(!broken(&[(0, None, Increment(None)), (1, Some(2), Increment(Some(2)))]));
        assert!(broken(&[(0, None, Increment(None)), (1, Some(2), Increment(Some(3)))]));
    }

    #[test]
    fn what_touches_is_concurrent() {
        assert!(!broken(&[(0, Some(5), Read(1)), (5, Some(6), Write(1))]));
    }

    #[test]
    fn the_calls_that_do_not_fit_are_told() {
        let history = calls(&[(0, Some(1), Write(1)), (2, Some(3), Read(2)), (4, Some(5), Write(3))]);
        assert_eq!(search(&history), Found::Broken(history[1..].to_vec()));
    }

    /// A register that really does one thing at a time, and clients that wait for it.
    fn random_history(random: &mut Random, count: u64, clients: u64, lose: bool) -> (Vec<Call>, Vec<Versioned>) {
        let (mut calls, mut told) = (Vec::new(), Vec::new());
        let (mut value, mut version, mut now) = (0, 0, 0);
        let mut free_at = vec![0; usize::try_from(clients).unwrap()];
        for number in 1..=count {
            // The effect is at `now`; the call before and the return behind it, as far as the client is free.
            let client = usize::try_from(random.below(clients)).unwrap();
            now = now.max(free_at[client]) + 1 + random.below(20);
            let called = free_at[client] + random.below(now - free_at[client]);
            let returned = now + random.below(60);
            free_at[client] = returned + 1;
            let (step, kind) = match random.below(3) {
                0 => (Step::Write(number << 32), Kind::Write),
                1 => (Step::Increment(Some(value + 1)), Kind::Increment),
                _ => (Step::Read(value), Kind::Read),
            };
            value = after(value, step).unwrap();
            version += u64::from(kind != Kind::Read);
            let unknown = lose && random.below(20) == 0;
            let step = match step {
                Step::Increment(_) if unknown => Step::Increment(None),
                step => step,
            };
            if !(unknown && kind == Kind::Read) {
                calls.push(Call { number, called, returned: (!unknown).then_some(returned), step });
            }
            if !unknown {
                told.push(Versioned { number, called, returned, version, value, kind });
            }
        }
        (calls, told)
    }

    #[test]
    fn what_an_honest_register_tells_passes_both() {
        for seed in 0..200 {
            let (calls, told) = random_history(&mut Random::from_seed(seed), 200, 12, seed % 2 == 0);
            assert!(concurrency(&calls) <= 12);
            assert_eq!(search(&calls), Found::Linear, "seed {seed}");
            assert_eq!(versions(&told), [], "seed {seed}");
        }
    }

    #[test]
    fn what_a_forgetful_register_tells_passes_neither() {
        let (mut by_search, mut by_versions) = (0, 0);
        for seed in 0..100 {
            // From some time on the last writes are forgotten: what a node without its newest log entries would tell.
            let (mut calls, mut told) = random_history(&mut Random::from_seed(seed), 150, 6, false);
            let cut = told.iter().position(|op| op.version > 30 && op.kind == Kind::Increment).unwrap();
            let old = told[cut].value - 2;
            calls[cut].step = Step::Increment(Some(old + 1));
            (told[cut].value, told[cut].version) = (old + 1, told[cut].version - 1);
            by_search += usize::from(matches!(search(&calls), Found::Broken(_)));
            by_versions += usize::from(!versions(&told).is_empty());
        }
        assert_eq!((by_search, by_versions), (100, 100));
    }

    fn told(called: Micros, version: u64, value: u64, kind: Kind) -> Versioned {
        Versioned { number: called, called, returned: called + 1, version, value, kind }
    }

    #[test]
    fn versions_that_cannot_be() {
        let first = told(0, 1, 7, Kind::Write);
        let cases = [
            (told(2, 1, 7, Kind::Read), None),
            (told(2, 2, 8, Kind::Increment), None),
            (told(2, 3, 5, Kind::Increment), None),
            (told(2, 1, 6, Kind::Read), Some("two values")),
            (told(2, 0, 0, Kind::Read), Some("a later operation saw an earlier version")),
            (told(1, 1, 7, Kind::Write), Some("two changes")),
            (told(2, 1, 7, Kind::Write), Some("two changes")),
            (told(2, 2, 9, Kind::Increment), Some("an increment")),
        ];
        for (second, fault) in cases {
            let found: Vec<_> = versions(&[first, second]).iter().map(ToString::to_string).collect();
            match fault {
                None => assert!(found.is_empty(), "{second:?}: {found:?}"),
                Some(fault) => assert!(found.iter().any(|found| found.starts_with(fault)), "{second:?}: {found:?}"),
            }
        }
    }
}
