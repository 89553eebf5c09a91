//! The rule of a schedule, and its text.

use std::fmt;
use std::str::FromStr;

use abide_model::id::Millis;
use abide_model::limits;
use jiff::Timestamp;

use crate::cron::{self, Cron};
use crate::error::{SpecError, Token};
use crate::period;

const WHAT: &str = "schedule";

/// When a schedule is due. Its text is persisted: `cron 0 9 * * 1-5 Europe/Berlin`, `every 1m30s from
/// 2026-11-23T06:47:12Z`, `at 2026-11-23T06:47:12Z`. Times may be written in ms since the Unix epoch too, and periods in
/// ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// By the calendar and the clock of a time zone.
    Cron(Cron),
    /// Again and again after the same length of time.
    Every(Every),
    /// Once; in ms since the Unix epoch, in the year 9999 at the latest.
    At(Millis),
}

/// A period from a point in time on. The point itself is due too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    period_ms: u64,
    anchor: Millis,
}

impl Every {
    /// Every `period_ms` from `anchor` on.
    ///
    /// # Errors
    /// When the period is shorter than [`limits::SCHEDULE_PERIOD_MS_MIN`].
    pub fn new(period_ms: u64, anchor: Millis) -> Result<Self, SpecError> {
        if period_ms < limits::SCHEDULE_PERIOD_MS_MIN {
            let least = period::format(limits::SCHEDULE_PERIOD_MS_MIN);
            let reason = format!("the shortest period of a schedule is {least}");
            return Err(SpecError::whole("period", &period::format(period_ms), reason));
        }
        Ok(Self { period_ms, anchor })
    }

    /// The period, in ms.
    #[must_use]
    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// The period as people write it, such as `1h30m`.
    #[must_use]
    pub fn period(&self) -> String {
        period::format(self.period_ms)
    }

    /// The first time.
    #[must_use]
    pub fn anchor(&self) -> Millis {
        self.anchor
    }

    fn next_after(&self, after: Millis) -> Option<Millis> {
        let Some(elapsed) = after.0.checked_sub(self.anchor.0) else { return Some(self.anchor) };
        let ahead = (elapsed / self.period_ms + 1).checked_mul(self.period_ms)?;
        self.anchor.0.checked_add(ahead).map(Millis)
    }

    /// How many times are in `after < time <= until`.
    pub(crate) fn count(&self, after: Millis, until: Millis) -> u64 {
        let up_to = |time: Millis| time.0.checked_sub(self.anchor.0).map_or(0, |elapsed| elapsed / self.period_ms + 1);
        up_to(until).saturating_sub(up_to(after))
    }
}

impl Spec {
    /// By the calendar; see [`Cron::new`].
    ///
    /// # Errors
    /// [`SpecError`] that points at the part that is wrong.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, SpecError> {
        Cron::new(expression, zone).map(Self::Cron)
    }

    /// Every `period` (`90s`, `1h30m`, `2d`) from `anchor` on.
    ///
    /// # Errors
    /// [`SpecError`] when it is not a period, or too short.
    pub fn every(period: &str, anchor: Millis) -> Result<Self, SpecError> {
        let period_ms = period::parse(period)?;
        let every = Every::new(period_ms, anchor);
        every.map(Self::Every).map_err(|error| SpecError::whole("period", period, error.reason))
    }

    /// Once, at a time as [`timestamp`] reads it.
    ///
    /// # Errors
    /// [`SpecError`] when it is not a time.
    pub fn at(time: &str) -> Result<Self, SpecError> {
        timestamp(time).map(Self::At)
    }

    /// The first time after `after`, and none before the year 1970 or after 9999.
    #[must_use]
    pub fn next_after(&self, after: Millis) -> Option<Millis> {
        let next = match self {
            Self::Cron(cron) => cron.next_after(after),
            Self::Every(every) => every.next_after(after),
            Self::At(time) => Some(*time).filter(|time| *time > after),
        };
        next.filter(|next| next.0 <= last_ms())
    }

    /// The times after `after`, in their order.
    pub fn upcoming(&self, after: Millis) -> impl Iterator<Item = Millis> + '_ {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(cron) => write!(f, "cron {cron}"),
            Self::Every(every) => {
                write!(f, "every {} from {}", period::format(every.period_ms), time_text(every.anchor))
            }
            Self::At(time) => write!(f, "at {}", time_text(*time)),
        }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        // Room for the words around an expression of the greatest length.
        if text.len() > 2 * limits::SCHEDULE_SPEC_BYTES_MAX {
            return Err(SpecError { text: String::new(), ..SpecError::whole(WHAT, "", "it is too long") });
        }
        let mut words = Token::new(text).words();
        let kind = words.next().map(|word| (word.text, word.at + word.text.len()));
        let rest = |from: usize| Token { text: &text[from..], at: from };
        match kind {
            Some(("cron", from)) => {
                let rest = rest(from);
                let (expression, zone) = cron::split_zone(WHAT, text, rest)?;
                Cron::new(expression, zone.text).map(Self::Cron).map_err(|error| {
                    let offset = if error.what == "time zone" { zone.at } else { rest.at };
                    error.within(WHAT, text, offset)
                })
            }
            Some(("every", from)) => {
                let rest = rest(from);
                let Some((period, anchor)) = rest.text.split_once(" from ") else {
                    return Err(SpecError::missing(WHAT, text, "write from when, such as `from 2026-01-01T00:00:00Z`"));
                };
                let anchor_at = from + rest.text.len() - anchor.len();
                let anchor = timestamp(anchor).map_err(|error| error.within(WHAT, text, anchor_at))?;
                Self::every(period, anchor).map_err(|error| error.within(WHAT, text, from))
            }
            Some(("at", from)) => Self::at(rest(from).text).map_err(|error| error.within(WHAT, text, from)),
            Some(_) | None => {
                let reason = "a schedule begins with `cron`, `every` or `at`";
                let first = Token::new(text).words().next();
                Err(first.map_or_else(
                    || SpecError::missing(WHAT, text, reason),
                    |first| SpecError::new(WHAT, text, first, reason),
                ))
            }
        }
    }
}

/// Reads a point in time: RFC 3339 with an offset, or ms since the Unix epoch. What is finer than a ms is cut off.
///
/// # Errors
/// [`SpecError`] when it is neither, or not between 1970 and 9999.
pub fn timestamp(text: &str) -> Result<Millis, SpecError> {
    const WHAT: &str = "time";
    SpecError::check_length(WHAT, text)?;
    let trimmed = text.trim();
    let fault = |reason: &str| {
        let at = text.len() - text.trim_start().len();
        SpecError::new(WHAT, text, Token { text: trimmed, at }, reason)
    };
    let ms = match trimmed.parse::<u64>() {
        Ok(ms) => Some(ms),
        Err(_) => {
            let advice =
                "write a date, a time and an offset, such as 2026-03-29T09:00:00Z or 2026-03-29T09:00:00+02:00";
            let time = trimmed.parse::<Timestamp>().map_err(|_| fault(advice))?;
            u64::try_from(time.as_millisecond()).ok()
        }
    };
    ms.filter(|ms| *ms <= last_ms()).map(Millis).ok_or_else(|| fault("it is not between the years 1970 and 9999"))
}

/// RFC 3339 in UTC; in ms where the calendar ends.
fn time_text(time: Millis) -> String {
    let timestamp = i64::try_from(time.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| time.0.to_string(), |timestamp| timestamp.to_string())
}

/// The last ms that can be told as a time of any zone.
fn last_ms() -> u64 {
    u64::try_from(Timestamp::MAX.as_millisecond()).expect("the calendar ends after 1970")
}

#[cfg(test)]
pub(crate) mod tests;
