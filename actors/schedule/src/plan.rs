//! What a leader makes of a schedule that is due.

use abide_model::command::CatchUp;
use abide_model::id::Millis;
use abide_model::limits::{SCHEDULE_CATCH_UP_MAX, SCHEDULE_LATE_MS, SCHEDULE_PERIOD_MS_MIN};

use crate::spec::Spec;

/// All that can be on time is run, whatever was missed.
const _: () = assert!(SCHEDULE_LATE_MS / SCHEDULE_PERIOD_MS_MIN + 1 < SCHEDULE_CATCH_UP_MAX as u64);
/// Missed times of cron expressions are counted up to here.
const COUNTED_MAX: usize = 10_000;
/// Most times that are looked at in one search for the latest ones.
const WINDOW_MAX: usize = 4 * SCHEDULE_CATCH_UP_MAX;

/// What to do about a schedule that is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The times to run for, ascending, each at most once, none before the one that was due; at most
    /// [`SCHEDULE_CATCH_UP_MAX`].
    pub runs: Vec<Millis>,
    /// Missed times that are not run. Of a cron expression that missed more than ten thousand, a lower bound.
    pub skipped: u64,
    /// When the schedule is due next, after the present; `None` is never.
    pub next: Option<Millis>,
}

/// Reckons what to do at `now` about a schedule that became due at `due`. The times from `due` to `now` that are at most
/// [`SCHEDULE_LATE_MS`] old are on time and are run; older ones were missed, and `catch_up` decides: all are skipped, the
/// latest is run for all of them, or as many of the latest are run as make [`SCHEDULE_CATCH_UP_MAX`] with those on time.
/// The work is bounded however long ago
/// `due` was. A `now` before `due` counts as `due`.
#[must_use]
pub fn plan(spec: &Spec, due: Millis, now: Millis, catch_up: CatchUp) -> Plan {
    let now = now.max(due);
    let times = Times { spec, due };
    // The first moment that is not too long ago.
    let late = Millis(now.0.saturating_sub(SCHEDULE_LATE_MS));
    if due >= late {
        let on_time = std::iter::once(due).chain(spec.upcoming(due)).take_while(|time| *time <= now);
        return Plan { runs: on_time.collect(), skipped: 0, next: spec.next_after(now) };
    }
    let last_missed = Millis(late.0 - 1);
    let on_time: Vec<Millis> = times.after(last_missed).take_while(|time| *time <= now).collect();
    let wanted = match catch_up {
        CatchUp::Skip => 0,
        CatchUp::One => 1,
        CatchUp::All => SCHEDULE_CATCH_UP_MAX - on_time.len(),
    };
    let mut runs = times.latest(last_missed, wanted);
    let skipped = times.count(last_missed).saturating_sub(runs.len() as u64);
    runs.extend(on_time);
    Plan { runs, skipped, next: spec.next_after(now) }
}

/// The times of a schedule from the one that was due on, which belongs to it even when its rule has changed since.
struct Times<'a> {
    spec: &'a Spec,
    due: Millis,
}

impl Times<'_> {
    /// The times after `start`, which is not before the one that was due.
    fn after(&self, start: Millis) -> impl Iterator<Item = Millis> {
        self.spec.upcoming(start)
    }

    /// How many there are up to `last`, which is not before the one that was due.
    fn count(&self, last: Millis) -> u64 {
        1 + match self.spec {
            Spec::Every(every) => every.count(self.due, last),
            Spec::Cron(_) | Spec::At(_) => {
                self.after(self.due).take_while(|time| *time <= last).take(COUNTED_MAX).count() as u64
            }
        }
    }

    /// The latest `wanted` times up to `last`, ascending.
    ///
    /// Times can be told forwards only, and there may be millions: a start is sought from which there are enough and not
    /// too many, halving the stretch in which it lies.
    fn latest(&self, last: Millis, wanted: usize) -> Vec<Millis> {
        if wanted == 0 {
            return Vec::new();
        }
        let from = |start: Millis| -> Vec<Millis> {
            self.after(start).take_while(|time| *time <= last).take(WINDOW_MAX + 1).collect()
        };
        // From `too_early` on there may be too many, from `too_late` on too few.
        let (mut too_early, mut too_late) = (self.due, last);
        let mut start = self.due;
        loop {
            let mut times = from(start);
            if times.len() > WINDOW_MAX {
                too_early = start;
            } else if start > self.due && times.len() < wanted {
                too_late = start;
            } else {
                if start == self.due {
                    times.insert(0, self.due);
                }
                return times.split_off(times.len().saturating_sub(wanted));
            }
            start = Millis(too_early.0 + (too_late.0 - too_early.0) / 2);
        }
    }
}

#[cfg(test)]
mod tests;
