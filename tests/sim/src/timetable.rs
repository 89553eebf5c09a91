//! When schedules are due: what a leader reckons.

use abide_model::command::{CatchUp, Invoke, ScheduleDefinition, ScheduleFire};
use abide_model::limits::{SCHEDULE_CATCH_UP_MAX, SCHEDULE_LATE_MS};
use abide_model::protocol::Header;

/// Header of a run: the time for which it runs.
const SCHEDULED_AT: &str = "x-abide-scheduled-at";

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spec {
    /// Every so many ms, in step with a first time.
    Every(u64),
    /// Once.
    Once,
}

impl Spec {
    /// Reads `every <ms> from <ms>` and `at <ms>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["every", period, "from", _] => period.parse().ok().filter(|period| *period > 0).map(Self::Every),
            ["at", _] => Some(Self::Once),
            _ => None,
        }
    }

    /// The times from `due` to before `next`, which is 0 when there is none.
    pub(crate) fn times(self, due: u64, next: u64) -> Vec<u64> {
        match self {
            Self::Once => vec![due],
            Self::Every(period) => (due..next).step_by(usize::try_from(period).unwrap_or(usize::MAX)).collect(),
        }
    }

    /// The first time after `now`, from `due` on; 0 when there is none.
    fn next(self, due: u64, now: u64) -> u64 {
        match self {
            Self::Once => 0,
            Self::Every(period) => due + ((now.max(due) - due) / period + 1) * period,
        }
    }
}

/// What a leader answers at `now` when a schedule is due: `run` makes the invocation.
pub(crate) fn fire(
    definition: &ScheduleDefinition,
    due: u64,
    now: u64,
    mut run: impl FnMut(u64) -> Invoke,
) -> ScheduleFire {
    let Some(spec) = Spec::parse(&definition.spec) else { return ScheduleFire::default() };
    let now = now.max(due);
    let next = spec.next(due, now);
    let times = spec.times(due, next);
    let (missed, on_time): (Vec<u64>, Vec<u64>) = times.iter().partition(|at| **at + SCHEDULE_LATE_MS < now);
    let caught_up = match definition.catch_up() {
        CatchUp::Skip => 0,
        CatchUp::One => 1,
        CatchUp::All => SCHEDULE_CATCH_UP_MAX.saturating_sub(on_time.len()),
    };
    let skipped = missed.len().saturating_sub(caught_up);
    let runs = missed.iter().skip(skipped).chain(&on_time);
    let runs = runs.map(|at| {
        let mut invoke = run(*at);
        invoke.headers.push(Header { key: SCHEDULED_AT.into(), value: at.to_string() });
        invoke
    });
    ScheduleFire { due, runs: runs.collect(), next, skipped: skipped as u64, fault: String::new() }
}

/// The time for which a run runs; 0 when it does not say.
pub(crate) fn time_of(run: &Invoke) -> u64 {
    let header = run.headers.iter().find(|header| header.key == SCHEDULED_AT);
    header.and_then(|header| header.value.parse().ok()).unwrap_or(0)
}
