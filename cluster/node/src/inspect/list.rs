//! Lists of invocations: those under way, then those completed, partition by partition, in the order of their ids.
//!
//! Scheduled ones alone are listed in the order of their times, from the timers. A filter by key or whole id reads only the
//! rows of that key or id.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use abide_model::command::{Outcome, OutcomeKind};
use abide_model::id::{InvocationId, Millis, PartitionId, PartitionKey};
use abide_model::table::{Completions, Invocations, Table, TimerKey, TimerKind, Timers};
use abide_model::view::{RawView, ReadError, View};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::{BadCursor, Budget, Filter, InvocationDetails, behind, visit};

/// The last row of a list that was looked at, as far as the next page has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In which partition.
    pub(crate) partition: PartitionId,
    /// Where there.
    pub(crate) place: Place,
}

/// A place in the list of one partition; what follows it is still to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The beginning.
    Start,
    /// A timer.
    Timer(TimerKey),
    /// An invocation under way.
    Active(InvocationId),
    /// A completed one.
    Completed(InvocationId),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let partition = self.partition;
        match self.place {
            Place::Start => write!(f, "{partition}.s"),
            Place::Timer(key) => write!(f, "{partition}.t.{}", URL_SAFE_NO_PAD.encode(Timers::encode_key(&key))),
            Place::Active(id) => write!(f, "{partition}.a.{id}"),
            Place::Completed(id) => write!(f, "{partition}.c.{id}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parse = || {
            let parts: Vec<_> = text.split('.').collect();
            let place = match parts.get(1..)? {
                ["s"] => Place::Start,
                ["a", id] => Place::Active(id.parse().ok()?),
                ["c", id] => Place::Completed(id.parse().ok()?),
                ["t", key] => Place::Timer(Timers::decode_key(&URL_SAFE_NO_PAD.decode(key).ok()?).ok()?),
                _ => return None,
            };
            Some(Self { partition: parts[0].parse().ok()?, place })
        };
        parse().ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}

/// What a filter makes necessary to read.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    filter: Filter,
    now: Millis,
    /// The only partition key that can match.
    partition_key: Option<PartitionKey>,
}

impl Plan {
    pub(crate) fn new(filter: Filter, now: Millis) -> Self {
        let of_id = filter.only().map(|id| id.partition_key);
        let partition_key = of_id.or_else(|| filter.key.as_deref().map(PartitionKey::of));
        Self { filter, now, partition_key }
    }

    /// The only partition that has to be read, of `count`.
    pub(crate) fn partition(&self, count: u32) -> Option<PartitionId> {
        self.partition_key.map(|key| PartitionId::of(key, count))
    }

    /// Whether a cursor is one of this plan's lists, among `count` partitions.
    pub(crate) fn continues(&self, cursor: &Cursor, count: u32) -> bool {
        let by_time = matches!(cursor.place, Place::Timer(_));
        let begins = cursor.place == Place::Start;
        cursor.partition.0 < count
            && self.partition(count).is_none_or(|only| only == cursor.partition)
            && (begins || by_time == self.by_time())
    }

    fn wants(&self, status: impl Fn(&str) -> bool) -> bool {
        let statuses = &self.filter.statuses;
        statuses.is_empty() || statuses.iter().any(|wanted| status(wanted))
    }

    fn by_time(&self) -> bool {
        self.filter.statuses == ["scheduled"] && self.partition_key.is_none()
    }

    /// Bounds of the ids that can match, in a table whose keys are ids.
    fn bounds<T: Table<Key = InvocationId>>(&self) -> (Box<[u8]>, Box<[u8]>) {
        if let Some(id) = self.filter.only() {
            let key = T::encode_key(&id);
            let end = behind(&key);
            return (key, end);
        }
        let Some(partition_key) = self.partition_key else { return T::whole() };
        let id = |unique| T::encode_key(&InvocationId { partition_key, unique });
        (id(0), behind(&id(u128::MAX)))
    }
}

/// What one look found.
pub(crate) struct Step {
    /// What matches, at most the limit.
    pub(crate) found: Vec<InvocationDetails>,
    /// Where to go on; `None` when the partition is through.
    pub(crate) next: Option<Place>,
    /// Rows that were read.
    pub(crate) rows: usize,
}

/// Looks through the partition behind `place`, until `limit` (at least 1) invocations are found or as much is read as one
/// look may.
pub(crate) fn step(view: &dyn RawView, plan: &Plan, place: Place, limit: usize) -> Result<Step, ReadError> {
    let mut budget = Budget::default();
    let mut found = Vec::new();
    let next = walk(view, plan, place, limit, &mut found, &mut budget)?;
    Ok(Step { found, next, rows: budget.used() })
}

fn walk(
    view: &dyn RawView,
    plan: &Plan,
    place: Place,
    limit: usize,
    found: &mut Vec<InvocationDetails>,
    budget: &mut Budget,
) -> Result<Option<Place>, ReadError> {
    let mut keep = |invocation: InvocationDetails| {
        if plan.filter.matches(&invocation, plan.now) {
            found.push(slim(invocation));
        }
        if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    if plan.by_time() {
        let after = match place {
            Place::Timer(last) => Some(last),
            _ => None,
        };
        return timers(view, after, budget, &mut keep);
    }
    if plan.wants(|status| status != "completed") && matches!(place, Place::Start | Place::Active(_)) {
        let (mut from, to) = plan.bounds::<Invocations>();
        if let Place::Active(last) = place {
            from = from.max(behind(&Invocations::encode_key(&last)));
        }
        let last =
            visit::<Invocations>(view, &from, &to, budget, |id, row| Ok(keep(InvocationDetails::active(id, row))))?;
        if let Some(last) = last {
            return Ok(Some(Place::Active(Invocations::decode_key(&last)?)));
        }
    }
    if !plan.wants(|status| status == "completed") {
        return Ok(None);
    }
    let (mut from, to) = plan.bounds::<Completions>();
    if let Place::Completed(last) = place {
        from = from.max(behind(&Completions::encode_key(&last)));
    }
    let last =
        visit::<Completions>(view, &from, &to, budget, |id, row| Ok(keep(InvocationDetails::completed(id, row))))?;
    last.map(|last| Ok(Place::Completed(Completions::decode_key(&last)?))).transpose()
}

/// Scheduled invocations in the order of their times.
fn timers(
    view: &dyn RawView,
    after: Option<TimerKey>,
    budget: &mut Budget,
    keep: &mut impl FnMut(InvocationDetails) -> ControlFlow<()>,
) -> Result<Option<Place>, ReadError> {
    let (mut from, to) = Timers::whole();
    if let Some(last) = after {
        from = behind(&Timers::encode_key(&last));
    }
    let last = visit::<Timers>(view, &from, &to, budget, |key, _| {
        if key.kind != TimerKind::Start {
            return Ok(ControlFlow::Continue(()));
        }
        let row = view.get::<Invocations>(&key.invocation)?;
        Ok(row.map_or(ControlFlow::Continue(()), |row| keep(InvocationDetails::active(key.invocation, row))))
    })?;
    last.map(|last| Ok(Place::Timer(Timers::decode_key(&last)?))).transpose()
}

/// Without what is large and not shown in lists.
fn slim(mut invocation: InvocationDetails) -> InvocationDetails {
    if let Some(Outcome { kind: Some(OutcomeKind::Success(value)) }) = &mut invocation.outcome {
        *value = Bytes::new();
    }
    invocation.chain = Vec::new();
    invocation
}
