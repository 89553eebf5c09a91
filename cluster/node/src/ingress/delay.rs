//! The `delay` parameter of sends (service protocol §4.2).

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The longest delay: a hundred years. Longer ones are mistakes, and every point in time stays printable.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// The value of the first parameter `name` of a query, decoded; `None` when it is absent or not UTF-8.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
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
pub(super) fn parse(text: &str) -> Result<Duration, String> {
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
        fn any_iso_like_text_is_read_or_refused(text in "[PT0-9WDHMS.,]{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_query_is_searched(query in ".{0,60}") {
            let _ = parameter(&query, "delay");
        }
    }
}
