//! Schedules: what runs when, and what is known of it.

mod check;
mod run;

pub use abide_model::command::{CatchUp, Overlap};

use abide_model::command::ScheduleDefinition;
use abide_model::id::{InvocationId, Millis, ScheduleId};
use abide_model::protocol::Header;
use abide_model::table::ScheduleRow;
use abide_schedule::Spec;
use bytes::Bytes;
use serde::Serialize;

pub(crate) use check::check_name;
pub(crate) use run::{Runner, order};

/// A schedule as its owner describes it. Checked when it is handed in.
///
/// ```
/// # use abide_node::schedule::Schedule;
/// let nightly = Schedule::cron("nightly", "0 3 * * *").zone("Europe/Berlin").call("Report", "make").input(&"short");
/// let sweep = Schedule::every("sweep", "90s").call("Cart", "sweep").key("all");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name, unique in the cluster: printable, at most [`abide_model::limits::NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// When it is due.
    pub when: When,
    /// The time zone of a cron expression; UTC when it is absent.
    pub zone: Option<String>,
    /// Where a period begins, as [`abide_schedule::timestamp`] reads it; when the schedule is handed in, if it is absent.
    pub from: Option<String>,
    /// What it invokes.
    pub service: String,
    /// Handler.
    pub handler: String,
    /// Key, for keyed services.
    pub key: Option<String>,
    /// Argument, as the handler takes it: JSON for native ones.
    pub input: Bytes,
    /// Headers for the handler.
    pub headers: Vec<Header>,
    /// What becomes of times that were missed.
    pub catch_up: CatchUp,
    /// What becomes of a run that is due while an earlier one is under way.
    pub overlap: Overlap,
    /// Created paused. A schedule that exists stays as it is.
    pub paused: bool,
    /// Why the input could not be encoded.
    fault: Option<String>,
}

/// When a schedule is due, as its owner writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// A cron expression; see [`abide_schedule::Cron::new`].
    Cron(String),
    /// Again and again after a period such as `90s` or `1h30m`.
    Every(String),
    /// Once, at a time as [`abide_schedule::timestamp`] reads it.
    At(String),
}

impl Schedule {
    /// By a cron expression, in UTC unless [`Schedule::zone`] says otherwise.
    #[must_use]
    pub fn cron(name: impl Into<String>, expression: impl Into<String>) -> Self {
        Self::new(name.into(), When::Cron(expression.into()))
    }

    /// After each `period`, such as `90s` or `1h30m`.
    #[must_use]
    pub fn every(name: impl Into<String>, period: impl Into<String>) -> Self {
        Self::new(name.into(), When::Every(period.into()))
    }

    /// Once, at an RFC 3339 time.
    #[must_use]
    pub fn at(name: impl Into<String>, time: impl Into<String>) -> Self {
        Self::new(name.into(), When::At(time.into()))
    }

    pub(crate) fn new(name: String, when: When) -> Self {
        Self {
            name,
            when,
            zone: None,
            from: None,
            service: String::new(),
            handler: String::new(),
            key: None,
            input: Bytes::new(),
            headers: Vec::new(),
            catch_up: CatchUp::Skip,
            overlap: Overlap::Allow,
            paused: false,
            fault: None,
        }
    }

    /// The time zone of a cron expression: a name of the IANA database.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Where a period begins: an RFC 3339 time.
    #[must_use]
    pub fn starting(mut self, from: impl Into<String>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// What it invokes.
    #[must_use]
    pub fn call(mut self, service: impl Into<String>, handler: impl Into<String>) -> Self {
        self.service = service.into();
        self.handler = handler.into();
        self
    }

    /// Which object it invokes.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The argument. What cannot be encoded is told when the schedule is handed in.
    #[must_use]
    pub fn input<T: Serialize + ?Sized>(mut self, input: &T) -> Self {
        match serde_json::to_vec(input) {
            Ok(input) => self.input = input.into(),
            Err(error) => self.fault = Some(error.to_string()),
        }
        self
    }

    /// Adds a header for the handler.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header { key: name.into().to_ascii_lowercase(), value: value.into() });
        self
    }

    /// What becomes of times that were missed; they are skipped unless said otherwise.
    #[must_use]
    pub fn catch_up(mut self, policy: CatchUp) -> Self {
        self.catch_up = policy;
        self
    }

    /// What becomes of a run that is due while an earlier one is under way; it runs unless said otherwise.
    #[must_use]
    pub fn overlap(mut self, policy: Overlap) -> Self {
        self.overlap = policy;
        self
    }

    /// Creates it paused.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }

    /// A schedule that exists; a rule that cannot be read is empty.
    pub(crate) fn of(definition: ScheduleDefinition) -> Self {
        let mut schedule = Self::new(definition.name.clone(), When::Cron(String::new()));
        match definition.spec.parse() {
            Ok(Spec::Cron(cron)) => {
                schedule.when = When::Cron(cron.expression().to_owned());
                schedule.zone = Some(cron.zone().to_owned());
            }
            Ok(Spec::Every(every)) => {
                schedule.when = When::Every(every.period_ms().to_string());
                schedule.from = Some(every.anchor().0.to_string());
            }
            Ok(Spec::At(time)) => schedule.when = When::At(time.0.to_string()),
            Err(_) => {}
        }
        schedule.catch_up = definition.catch_up();
        schedule.overlap = definition.overlap();
        Self {
            service: definition.service,
            handler: definition.handler,
            key: definition.key,
            input: definition.input,
            headers: definition.headers,
            paused: definition.paused,
            ..schedule
        }
    }
}

/// What is to be different about a schedule; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleChange {
    /// When it is due. A cron expression keeps its time zone; a period begins anew.
    pub when: Option<When>,
    /// Time zone.
    pub zone: Option<String>,
    /// Where a period begins.
    pub from: Option<String>,
    /// What it invokes.
    pub service: Option<String>,
    /// Handler.
    pub handler: Option<String>,
    /// Key; `Some(None)` takes it away.
    pub key: Option<Option<String>>,
    /// Argument.
    pub input: Option<Bytes>,
    /// All headers.
    pub headers: Option<Vec<Header>>,
    /// Catch-up policy.
    pub catch_up: Option<CatchUp>,
    /// Overlap policy.
    pub overlap: Option<Overlap>,
}

impl ScheduleChange {
    /// Changes `schedule`.
    pub(crate) fn apply(self, schedule: &mut Schedule) {
        if let Some(when) = self.when {
            let both_cron = matches!((&when, &schedule.when), (When::Cron(_), When::Cron(_)));
            schedule.zone = schedule.zone.take().filter(|_| both_cron);
            schedule.from = None;
            schedule.when = when;
        }
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut schedule.zone, self.zone.map(Some));
        set(&mut schedule.from, self.from.map(Some));
        set(&mut schedule.service, self.service);
        set(&mut schedule.handler, self.handler);
        set(&mut schedule.key, self.key);
        set(&mut schedule.input, self.input);
        set(&mut schedule.headers, self.headers);
        set(&mut schedule.catch_up, self.catch_up);
        set(&mut schedule.overlap, self.overlap);
    }
}

/// Everything known about a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleDetails {
    /// Its id.
    pub id: ScheduleId,
    /// Its row.
    pub row: ScheduleRow,
}

impl ScheduleDetails {
    /// As its owner described it.
    #[must_use]
    pub fn definition(&self) -> ScheduleDefinition {
        self.row.definition.clone().unwrap_or_default()
    }

    /// The times after `now` at which it is due, at most `count`; none while it is paused, or when its rule cannot be
    /// read.
    #[must_use]
    pub fn upcoming(&self, now: Millis, count: usize) -> Vec<Millis> {
        let spec = self.row.definition.as_ref().and_then(|definition| definition.spec.parse::<Spec>().ok());
        let Some(spec) = spec.filter(|_| self.row.due != 0 && !self.row.paused) else { return Vec::new() };
        let due = Some(Millis(self.row.due)).filter(|due| *due > now);
        let after = due.unwrap_or(now);
        due.into_iter().chain(spec.upcoming(after)).take(count).collect()
    }

    /// Where it is: `paused`, `over` when it is never due again, otherwise `waiting`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match &self.row {
            row if row.paused => "paused",
            row if row.due == 0 => "over",
            _ => "waiting",
        }
    }

    /// The runs under way, oldest first.
    #[must_use]
    pub fn active(&self) -> Vec<InvocationId> {
        self.row.active.iter().filter_map(|id| InvocationId::from_bytes(id)).collect()
    }
}

#[cfg(test)]
mod tests;
