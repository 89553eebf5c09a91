//! Cron expressions in a time zone.
//!
//! Where the clocks change: a schedule of certain hours (`30 2 * * *`) runs on each day it names. A local time that is
//! skipped runs when the clocks have been put forward; one that occurs twice runs the first time. A schedule of every
//! hour (`*/10 * * * *`) runs by elapsed time: through both of the doubled hours, and not in the skipped one.

mod fields;

use std::fmt;

use abide_model::id::Millis;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::error::{SpecError, Token};
use fields::Fields;

/// A cron expression and the time zone in which it is read.
#[derive(Clone, Debug)]
pub struct Cron {
    /// With single spaces.
    expression: String,
    fields: Fields,
    zone: TimeZone,
    zone_name: String,
}

impl Cron {
    /// Reads `expression`: five fields (minute, hour, day of month, month, day of week), six with seconds in front, or
    /// a macro such as `@daily`. `zone` is a name of the IANA database, such as `Europe/Berlin`, or `UTC`.
    ///
    /// Fields have `*`, numbers, names (`JAN`, `MON`), ranges (`1-5`), steps (`*/15`, `10-40/5`) and lists (`1,15`). Days
    /// of week are 0 to 7, where 0 and 7 are Sunday. `?` is `*` in the fields of days; `L` is the last day of the month,
    /// `5L` the last Friday and `5#2` the second. When both fields of days restrict, either is enough.
    ///
    /// # Errors
    /// [`SpecError`] that points at the part that is wrong; also when there is no such time in a hundred years.
    pub fn new(expression: &str, zone: &str) -> Result<Self, SpecError> {
        const WHAT: &str = "cron expression";
        SpecError::check_length(WHAT, expression)?;
        // First, because a zone that was left out makes a fault of the expression as well.
        let zone = find_zone(zone)?;
        let fields = Fields::parse(expression)?;
        let start = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
        if fields.next(start).is_none() {
            return Err(SpecError::whole(WHAT, expression, "it never comes: no month has such a day"));
        }
        let zone_name = zone.iana_name().expect("zones are found by their name").to_owned();
        let words: Vec<&str> = expression.split_whitespace().collect();
        Ok(Self { expression: words.join(" "), fields, zone, zone_name })
    }

    /// The expression.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// The first time after `after`; `None` when there is none before the year 10,000 or within a hundred years.
    #[must_use]
    pub fn next_after(&self, after: Millis) -> Option<Millis> {
        let after = Timestamp::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let next = self.next(after)?;
        u64::try_from(next.as_millisecond()).ok().map(Millis)
    }

    /// Goes through the stretches of time in which the zone's offset is the same: within one, local times and instants
    /// run in step.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let by_elapsed_time = self.fields.is_every_hour();
        let mut offset = self.zone.to_offset(after);
        let second = SignedDuration::from_secs(1);
        let mut from = whole_second(offset.to_datetime(after)).checked_add(second).ok()?;
        if !by_elapsed_time && let Some(repeated_until) = self.local_before_last_change(after) {
            from = from.max(repeated_until);
        }
        let mut changes = self.zone.following(after);
        loop {
            let local = self.fields.next(from)?;
            let change = changes.next().map(|change| (change.timestamp(), change.offset()));
            let at = offset.to_timestamp(local).ok()?;
            let Some((change, next_offset)) = change.filter(|(change, _)| at >= *change) else { return Some(at) };
            let (old_local, new_local) = (offset.to_datetime(change), next_offset.to_datetime(change));
            if by_elapsed_time {
                from = new_local;
            } else if local < new_local {
                return Some(change);
            } else {
                from = old_local.max(new_local);
            }
            offset = next_offset;
        }
    }

    /// What the clocks showed at the last change of the offset before they were changed: up to there, local times have
    /// been.
    fn local_before_last_change(&self, at: Timestamp) -> Option<DateTime> {
        let nanosecond = SignedDuration::from_nanos(1);
        // A change at `at` itself has happened.
        let change = self.zone.preceding(at.checked_add(nanosecond).ok()?).next()?.timestamp();
        let before = self.zone.to_offset(change.checked_sub(nanosecond).ok()?);
        Some(before.to_datetime(change))
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.expression, &self.zone_name) == (&other.expression, &other.zone_name)
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.expression, self.zone_name)
    }
}

fn find_zone(name: &str) -> Result<TimeZone, SpecError> {
    const WHAT: &str = "time zone";
    SpecError::check_length(WHAT, name)?;
    let advice = "it is not in the IANA database; name a zone such as Europe/Berlin, America/New_York or UTC";
    let unknown = || SpecError::whole(WHAT, name, advice);
    let zone = TimeZone::get(name).map_err(|_| unknown())?;
    if zone.is_unknown() || zone.iana_name().is_none() { Err(unknown()) } else { Ok(zone) }
}

/// Splits `expression zone` at its last space.
///
/// # Errors
/// When there is only one word.
pub(crate) fn split_zone<'a>(
    what: &'static str,
    text: &str,
    both: Token<'a>,
) -> Result<(&'a str, Token<'a>), SpecError> {
    let zone = both.words().last();
    let zone = zone.filter(|zone| zone.at > both.at && !zone.text.starts_with('@'));
    let missing = || SpecError::missing(what, text, "write an expression and a time zone, such as 0 9 * * 1-5 UTC");
    let zone = zone.ok_or_else(missing)?;
    Ok((&both.text[..zone.at - both.at], zone))
}

fn whole_second(local: DateTime) -> DateTime {
    local.date().at(local.hour(), local.minute(), local.second(), 0)
}

#[cfg(test)]
mod tests;
