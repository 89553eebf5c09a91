//! Delays and times as people write them: the `delay` and `at` parameters of sends (service protocol §4.2; `at` is not in
//! the reference) and of operators, and `Retry-After`.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use abide_model::id::Millis;
use percent_encoding::percent_decode_str;

/// The longest delay: a hundred years. Longer ones are mistakes, and every point in time stays printable.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// The value of the first parameter `name` of a query, decoded; `None` when it is absent or not UTF-8.
pub(crate) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let raw = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })?;
    let spaced = if raw.contains('+') { Cow::Owned(raw.replace('+', " ")) } else { Cow::Borrowed(raw) };
    if !spaced.contains('%') {
        return Some(spaced);
    }
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}

/// Reads a duration with units (`10s`, `1h 30m`, `60 sec`), in ISO 8601 (`PT1M30S`, `P1DT2H`), or a bare integer, which
/// is milliseconds.
///
/// # Errors
/// A sentence saying what is wrong and what to write.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let fault = |reason: &str| {
        let shown: String = text.chars().take(64).collect();
        format!("the delay `{shown}` {reason}; write for example `10s`, `1h 30m`, `PT60S`, or milliseconds")
    };
    let duration = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map(Duration::from_millis).map_err(|_| fault("is too long"))?
    } else if text.starts_with(['P', 'p']) {
        iso(text).ok_or_else(|| fault("is not an ISO 8601 duration of weeks, days, hours, minutes and seconds"))?
    } else {
        humantime::parse_duration(text).map_err(|error| fault(&format!("is not a duration: {error}")))?
    };
    if duration > DELAY_MAX { Err(fault("is longer than 36500 days")) } else { Ok(duration) }
}

/// Whole milliseconds of a delay that was read here.
pub(crate) fn ms(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).expect("delays are bounded to a hundred years")
}

/// Reads a point in time: RFC 3339 with `Z` or an offset (`2026-11-23T08:00:00+01:00`), or milliseconds since the Unix
/// epoch. At most a hundred years behind `now`.
///
/// # Errors
/// A sentence saying what is wrong and what to write.
pub(crate) fn parse_time(text: &str, now: Millis) -> Result<Millis, String> {
    let text = text.trim();
    let fault = |reason: &str| {
        let shown: String = text.chars().take(64).collect();
        format!(
            "the time `{shown}` {reason}; write for example `2026-11-23T08:00:00Z`, `2026-11-23T08:00:00+01:00`, or \
             milliseconds since 1970"
        )
    };
    let at = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map(Millis).map_err(|_| fault("is too far away"))?
    } else {
        rfc3339(text).ok_or_else(|| fault("is not one of RFC 3339"))?
    };
    if at > now.plus(ms(DELAY_MAX)) { Err(fault("is more than 36500 days away")) } else { Ok(at) }
}

/// The form of `Retry-After`: rounded up, because a request that comes too early is refused again.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn rfc3339(text: &str) -> Option<Millis> {
    let (local, offset_minutes) = match text.len().checked_sub(6).and_then(|at| text.split_at_checked(at)) {
        // A plus that is not percent-encoded is read as a space.
        Some((local, offset)) if offset.starts_with(['+', '-', ' ']) && offset.as_bytes()[3] == b':' => {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
            let (hours, minutes): (i64, i64) = (digits(offset.get(1..3)?)?, digits(offset.get(4..)?)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (local, (hours * 60 + minutes) * if offset.starts_with('-') { -1 } else { 1 })
        }
        _ => (text.strip_suffix(['Z', 'z'])?, 0),
    };
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let local = i64::try_from(local.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    u64::try_from(local - offset_minutes * 60_000).ok().map(Millis)
}

/// `P[nW][nD][T[nH][nM][n[.n]S]]`. Years and months have no fixed length and are refused.
fn iso(text: &str) -> Option<Duration> {
    let text = text.to_ascii_uppercase();
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        // A `T` promises a time.
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text.strip_prefix('P')?, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let date = fields(date, &[('W', 7 * 86_400), ('D', 86_400)])?;
    let time = fields(time, &[('H', 3_600), ('M', 60), ('S', 1)])?;
    date.checked_add(time)
}

/// Numbers with units in the given order, each at most once. Only seconds may have a fraction.
fn fields(mut text: &str, units: &[(char, u64)]) -> Option<Duration> {
    let mut total = Duration::ZERO;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        let (whole, fraction) = number.split_once(['.', ',']).unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || (fraction != "0" && *unit != 'S') {
            return None;
        }
        let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        let part = Duration::new(whole.parse::<u64>().ok()?.checked_mul(*seconds)?, nanos);
        total = total.checked_add(part)?;
        text = rest;
    }
    text.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_that_clients_send() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1000ms", 1_000),
            ("1h 30m", 5_400_000),
            ("60 sec", 60_000),
            ("PT60S", 60_000),
            ("pt1m30s", 90_000),
            ("PT0.25S", 250),
            ("PT1,5S", 1_500),
            ("P1DT2H", 93_600_000),
            ("P2W", 1_209_600_000),
            ("P0D", 0),
            ("1000", 1_000),
            ("0", 0),
            (" 5s ", 5_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            " ",
            "s",
            "-1",
            "-10s",
            "10 parsecs",
            "1.5",
            "P",
            "PT",
            "P1",
            "PT1",
            "P1Y",
            "P1M",
            "PT1S1H",
            "PT1.5H",
            "PT-1S",
            "PT.5S",
            "P1DT",
            "99999999999999999999",
            "9223372036854775807",
            "40000d",
            "∞",
            "PT1é",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("write for example"), "{error}");
        }
    }

    #[test]
    fn times_are_read_with_any_offset() {
        let now = Millis(1_795_000_000_000);
        for (text, ms) in [
            ("1795416432191", 1_795_416_432_191),
            ("2026-11-23T06:47:12.191Z", 1_795_416_432_191),
            ("2026-11-23T07:47:12.191+01:00", 1_795_416_432_191),
            ("2026-11-23T07:47:12.191 01:00", 1_795_416_432_191),
            ("2026-11-23T01:17:12.191-05:30", 1_795_416_432_191),
            ("0", 0),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse_time(text, now), Ok(Millis(ms)), "{text}");
        }
        for text in [
            "",
            "tomorrow",
            "2026-11-23",
            "2026-11-23T06:47:12",
            "2026-13-23T06:47:12Z",
            "2026-11-23T06:47:12+24:00",
            "2026-11-23T06:47:12+01:60",
            "2026-11-23T06:47:12+0100",
            "1970-01-01T00:00:00+01:00",
            "9999-11-23T06:47:12Z",
            "99999999999999999999",
            "9999999999999999",
            "+é:00",
        ] {
            let error = parse_time(text, now).expect_err(text);
            assert!(error.contains("write for example"), "{error}");
        }
    }

    #[test]
    fn parameters_are_found_and_decoded() {
        for (query, value) in [
            ("delay=10s", Some("10s")),
            ("a=1&delay=60+sec&b", Some("60 sec")),
            ("delay=1h%2030m", Some("1h 30m")),
            ("delay", Some("")),
            ("delayed=1", None),
            ("", None),
            ("delay=%ff", None),
        ] {
            assert_eq!(parameter(query, "delay").as_deref(), value, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in ".{0,40}", like in "[0-9TZ:. +-]{0,30}") {
            let _ = parse_time(&text, Millis(0));
            let _ = parse_time(&like, Millis(0));
        }

        #[test]
        fn any_iso_like_text_is_read_or_refused(text in "[PT0-9WDHMS.,]{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_query_is_searched(query in ".{0,60}") {
            let _ = parameter(&query, "delay");
        }
    }
}
