//! A schedule, or a change of one, as JSON.

use std::collections::BTreeMap;

use abide_model::command::{CatchUp, Overlap};
use abide_model::protocol::Header;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::admin::answer::AdminError;
use crate::schedule::{Schedule, ScheduleChange, When};

/// What may be said of a schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleBody {
    cron: Option<String>,
    zone: Option<String>,
    every: Option<String>,
    from: Option<String>,
    at: Option<String>,
    service: Option<String>,
    handler: Option<String>,
    /// `null` takes the key away.
    #[serde(default, deserialize_with = "present")]
    key: Option<Option<String>>,
    /// `null` is an input too.
    #[serde(default, deserialize_with = "present")]
    input: Option<Box<RawValue>>,
    headers: Option<BTreeMap<String, String>>,
    catch_up: Option<CatchUpWord>,
    overlap: Option<OverlapWord>,
    paused: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CatchUpWord {
    Skip,
    One,
    All,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OverlapWord {
    Allow,
    Skip,
    CancelOther,
}

/// What is there is told apart from what is left out, also when it is `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl ScheduleBody {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, AdminError> {
        serde_json::from_slice(bytes)
            .map_err(|error| AdminError::invalid(format!("the schedule is not as expected: {error}")))
    }

    /// A whole schedule.
    pub(super) fn into_schedule(mut self, name: String) -> Result<Schedule, AdminError> {
        let missing = |what: &str| AdminError::invalid(format!("{what} is missing in the schedule"));
        let paused = self.paused.take().unwrap_or_default();
        let mut change = self.into_change()?;
        let when = change.when.take().ok_or_else(|| missing("one of `cron`, `every` and `at`"))?;
        if change.service.is_none() {
            return Err(missing("`service`"));
        }
        if change.handler.is_none() {
            return Err(missing("`handler`"));
        }
        let mut schedule = Schedule::new(name, when);
        schedule.paused = paused;
        change.apply(&mut schedule);
        Ok(schedule)
    }

    /// A change of a schedule that exists.
    pub(super) fn into_change(self) -> Result<ScheduleChange, AdminError> {
        let when = match (self.cron, self.every, self.at) {
            (None, None, None) => None,
            (Some(expression), None, None) => Some(When::Cron(expression)),
            (None, Some(period), None) => Some(When::Every(period)),
            (None, None, Some(time)) => Some(When::At(time)),
            _ => return Err(AdminError::invalid("a schedule has only one of `cron`, `every` and `at`")),
        };
        if self.paused.is_some() {
            return Err(AdminError::invalid(
                "`paused` is said when a schedule is created; use /pause and /resume later",
            ));
        }
        let header = |(key, value): (String, String)| Header { key: key.to_ascii_lowercase(), value };
        Ok(ScheduleChange {
            when,
            zone: self.zone,
            from: self.from,
            service: self.service,
            handler: self.handler,
            key: self.key,
            input: self.input.map(|input| Bytes::from(Box::<str>::from(input).into_string())),
            headers: self.headers.map(|headers| headers.into_iter().map(header).collect()),
            catch_up: self.catch_up.map(|word| match word {
                CatchUpWord::Skip => CatchUp::Skip,
                CatchUpWord::One => CatchUp::One,
                CatchUpWord::All => CatchUp::All,
            }),
            overlap: self.overlap.map(|word| match word {
                OverlapWord::Allow => Overlap::Allow,
                OverlapWord::Skip => Overlap::Skip,
                OverlapWord::CancelOther => Overlap::CancelOther,
            }),
        })
    }
}
