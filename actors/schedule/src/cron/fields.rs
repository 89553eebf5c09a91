//! The fields of a cron expression, and the local times that match them.

use jiff::civil::{Date, DateTime};

use crate::error::{SpecError, Token};

const WHAT: &str = "cron expression";
/// How far ahead a match is sought, in years. Dates and weekdays recur within forty, even over a century without leap
/// day.
const YEARS_AHEAD_MAX: i16 = 100;

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// One kind of field.
struct Kind {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of the values from `min` on.
    names: &'static [&'static str],
}

const SECOND: Kind = Kind { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Kind = Kind { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Kind = Kind { name: "month", min: 1, max: 12, names: &MONTHS };
const WEEKDAY: Kind = Kind { name: "day of week", min: 0, max: 7, names: &WEEKDAYS };

/// The values that each field allows, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: Days,
    months: u64,
}

/// The days that both fields of days allow together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Days {
    of_month: u64,
    last_of_month: bool,
    /// Sunday is bit 0.
    of_week: u64,
    /// By day of week: bit `n` is its `n`th in the month, bit 0 its last.
    nth_of_week: [u8; 7],
    /// Whether both fields have to match, because one of them begins with `*` or is `?`.
    both: bool,
}

impl Fields {
    /// Reads an expression of five or six fields, or a macro.
    pub(super) fn parse(text: &str) -> Result<Self, SpecError> {
        let expression = Token::new(text);
        if let Some(word) = expression.words().next().filter(|word| word.text.starts_with('@')) {
            if let Some(second) = expression.words().nth(1) {
                return Err(SpecError::new(WHAT, text, second, "nothing may follow a macro"));
            }
            return Self::parse(expand(text, word)?);
        }
        let words: Vec<Token<'_>> = expression.words().collect();
        let parser = Parser { text };
        let (seconds, words) = match words.as_slice() {
            [_, _, _, _, _] => (1, words.as_slice()),
            [first, rest @ ..] if rest.len() == 5 => (parser.field(*first, &SECOND)?, rest),
            [_, _, _, _, _, _, extra, ..] => {
                return Err(SpecError::new(WHAT, text, *extra, "there are at most six fields"));
            }
            words => {
                let reason = format!(
                    "there are {} fields; write five (minute, hour, day of month, month, day of week), or six with \
                     seconds in front",
                    words.len()
                );
                return Err(SpecError::missing(WHAT, text, reason));
            }
        };
        let [minute, hour, day, month, weekday] = words else { unreachable!("five words are left in every arm") };
        Ok(Self {
            seconds,
            minutes: parser.field(*minute, &MINUTE)?,
            hours: parser.field(*hour, &HOUR)?,
            days: parser.days(*day, *weekday)?,
            months: parser.field(*month, &MONTH)?,
        })
    }

    /// Whether every hour of a day matches.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours.count_ones() == 24
    }

    /// The first match at or after `from`, a whole second; `None` when there is none within [`YEARS_AHEAD_MAX`].
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut time = (from.hour(), from.minute(), from.second());
        let last_year = date.year().saturating_add(YEARS_AHEAD_MAX);
        while date.year() <= last_year {
            let next_date = if self.months >> date.month() & 1 == 0 {
                date.last_of_month().tomorrow()
            } else {
                if self.days.contain(date)
                    && let Some((hour, minute, second)) = self.next_time(time)
                {
                    return Some(date.at(hour, minute, second, 0));
                }
                date.tomorrow()
            };
            date = next_date.ok()?;
            time = (0, 0, 0);
        }
        None
    }

    fn next_time(&self, (hour, minute, second): (i8, i8, i8)) -> Option<(i8, i8, i8)> {
        if self.hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = at_or_after(self.seconds, second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = at_or_after(self.minutes, minute + 1) {
                return Some((hour, minute, at_or_after(self.seconds, 0)?));
            }
        }
        let hour = at_or_after(self.hours, hour + 1)?;
        Some((hour, at_or_after(self.minutes, 0)?, at_or_after(self.seconds, 0)?))
    }
}

impl Days {
    fn contain(&self, date: Date) -> bool {
        let last = date.days_in_month();
        let in_month = self.of_month >> date.day() & 1 == 1 || (self.last_of_month && date.day() == last);
        let weekday = date.weekday().to_sunday_zero_offset();
        let nth = self.nth_of_week[usize::try_from(weekday).expect("weekdays are 0 to 6")];
        let is_nth = nth >> ((date.day() - 1) / 7 + 1) & 1 == 1 || (nth & 1 == 1 && date.day() + 7 > last);
        let in_week = self.of_week >> weekday & 1 == 1 || is_nth;
        if self.both { in_month && in_week } else { in_month || in_week }
    }
}

/// The lowest set bit from `start` on.
fn at_or_after(bits: u64, start: i8) -> Option<i8> {
    let rest = bits >> start << start;
    (rest != 0).then(|| i8::try_from(rest.trailing_zeros()).expect("there are 64 bits"))
}

fn expand(text: &str, word: Token<'_>) -> Result<&'static str, SpecError> {
    Ok(match word.text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let reason = "the macros are @yearly, @monthly, @weekly, @daily and @hourly";
            return Err(SpecError::new(WHAT, text, word, reason));
        }
    })
}

/// Reads fields and knows the text that they are part of, to point at faults.
struct Parser<'a> {
    text: &'a str,
}

impl Parser<'_> {
    fn field(&self, word: Token<'_>, kind: &Kind) -> Result<u64, SpecError> {
        let mut bits = 0;
        for item in word.split(',') {
            bits |= self.item(item, kind)?;
        }
        Ok(bits)
    }

    fn days(&self, day: Token<'_>, weekday: Token<'_>) -> Result<Days, SpecError> {
        let restricts = |word: Token<'_>| !word.text.starts_with('*') && word.text != "?";
        let mut days = Days {
            of_month: 0,
            last_of_month: false,
            of_week: 0,
            nth_of_week: [0; 7],
            both: !(restricts(day) && restricts(weekday)),
        };
        if day.text == "?" {
            days.of_month = u64::MAX;
        } else {
            for item in day.split(',') {
                if item.text.eq_ignore_ascii_case("L") {
                    days.last_of_month = true;
                } else {
                    days.of_month |= self.item(item, &DAY)?;
                }
            }
        }
        if weekday.text == "?" {
            days.of_week = u64::MAX;
        } else {
            for item in weekday.split(',') {
                self.weekday(item, &mut days)?;
            }
        }
        Ok(days)
    }

    fn weekday(&self, item: Token<'_>, days: &mut Days) -> Result<(), SpecError> {
        let (name, nth) = if let Some((name, nth)) = item.split_once('#') {
            let known = nth.text.parse::<u8>().ok().filter(|nth| (1..=5).contains(nth));
            let nth = known.ok_or_else(|| self.fault(nth, "a number from 1 to 5 follows `#`"))?;
            (name, nth)
        } else if let Some(name) = item.text.strip_suffix(['L', 'l']).filter(|name| !name.is_empty()) {
            (Token { text: name, at: item.at }, 0)
        } else {
            let bits = self.item(item, &WEEKDAY)?;
            days.of_week |= bits & 0x7F | bits >> 7;
            return Ok(());
        };
        let weekday = self.value(name, &WEEKDAY)? % 7;
        days.nth_of_week[weekday as usize] |= 1 << nth;
        Ok(())
    }

    /// `*`, a value or a range, perhaps with a step.
    fn item(&self, item: Token<'_>, kind: &Kind) -> Result<u64, SpecError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (first, last) = if range.text == "*" {
            (kind.min, if kind.names == WEEKDAYS { 6 } else { kind.max })
        } else if let Some((first, last)) = range.split_once('-') {
            let first = self.value(first, kind)?;
            let last = match self.value(last, kind)? {
                // A week may end with its Sunday.
                0 if kind.names == WEEKDAYS && first > 0 => 7,
                last => last,
            };
            if first > last {
                let reason = format!("the range of the {} runs backwards; write two ranges with a comma", kind.name);
                return Err(self.fault(range, reason));
            }
            (first, last)
        } else {
            let value = self.value(range, kind)?;
            // As in other crons, `5/15` is every fifteenth from five on.
            (value, if step.is_some() { kind.max } else { value })
        };
        let step = match step {
            None => 1,
            Some(step) => {
                let known = step.text.parse::<u32>().ok().filter(|step| (1..=kind.max).contains(step));
                known.ok_or_else(|| {
                    self.fault(step, format!("the step of the {} is a number from 1 to {}", kind.name, kind.max))
                })?
            }
        };
        let mut bits = 0;
        let mut value = first;
        while value <= last {
            bits |= 1 << value;
            value += step;
        }
        Ok(bits)
    }

    fn value(&self, word: Token<'_>, kind: &Kind) -> Result<u32, SpecError> {
        if let Some(index) = kind.names.iter().position(|name| name.eq_ignore_ascii_case(word.text)) {
            return Ok(kind.min + u32::try_from(index).expect("there are at most twelve names"));
        }
        let digits = word.text.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.text.parse().ok().filter(|number| digits && (kind.min..=kind.max).contains(number));
        number.ok_or_else(|| {
            let names = match kind.names {
                [first, .., last] => format!(" or a name from {first} to {last}"),
                _ => String::new(),
            };
            self.fault(word, format!("the {} is a number from {} to {}{names}", kind.name, kind.min, kind.max))
        })
    }

    fn fault(&self, token: Token<'_>, reason: impl Into<String>) -> SpecError {
        SpecError::new(WHAT, self.text, token, reason)
    }
}
