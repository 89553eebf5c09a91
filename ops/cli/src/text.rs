//! Words for people: times, durations, values; nothing in them can steer a terminal.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How text is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Columns of the terminal; absent when the output goes elsewhere: then nothing is shortened or left out.
    pub(crate) width: Option<usize>,
    /// Whether escape sequences for colours are written.
    pub(crate) colors: bool,
    /// Whether times are dates instead of distances from `now`.
    pub(crate) absolute: bool,
    /// The time that distances are measured from.
    pub(crate) now: SystemTime,
}

/// Emphasis of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Waits, by itself ends.
    Calm,
    /// Something went wrong and is tried again.
    Warning,
    /// Somebody has to look.
    Bad,
    /// Of little interest.
    Faint,
    /// A heading.
    Strong,
}

impl Style {
    /// `text` in colour, when there are colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colors {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Calm => "36",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A time of the server, an RFC 3339 text or milliseconds since the epoch: `3m ago`, `in 5s`, or the date.
    pub(crate) fn time(&self, value: &Value) -> Option<String> {
        let at = match value {
            Value::String(text) => match humantime::parse_rfc3339_weak(text) {
                Ok(at) => at,
                Err(_) => return Some(clean(text)),
            },
            Value::Number(number) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(number.as_u64()?))?,
            _ => return None,
        };
        if self.absolute {
            return Some(humantime::format_rfc3339_millis(at).to_string());
        }
        Some(match self.now.duration_since(at) {
            Ok(passed) => format!("{} ago", span(passed)),
            Err(ahead) => format!("in {}", span(ahead.duration())),
        })
    }

    /// The field `name` of `value` as [`Self::time`].
    pub(crate) fn time_of(&self, value: &Value, name: &str) -> Option<String> {
        self.time(&value[name])
    }

    /// A time at which something is to happen: as [`Self::time`], and `now` once it has come.
    pub(crate) fn due(&self, value: &Value, name: &str) -> Option<String> {
        let shown = self.time_of(value, name)?;
        Some(if shown.ends_with(" ago") { "now".to_owned() } else { shown })
    }

    /// How long ago the field `name` of `value` is, for a narrow column: `3m32s`, or the date.
    pub(crate) fn age(&self, value: &Value, name: &str) -> Option<String> {
        let shown = self.time_of(value, name)?;
        Some(shown.strip_suffix(" ago").map_or_else(|| shown.clone(), |age| age.replace(' ', "")))
    }
}

/// A time as a date, to the second.
pub(crate) fn date(value: &Value) -> String {
    let text = show(value);
    humantime::parse_rfc3339_weak(&text).map_or(text, |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// A number of bytes in the unit that fits.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// A duration in its largest unit, and the next one below while that says something.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: u64, unit: &str, small: u64, sub: &str| {
        if small == 0 || large >= 10 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{sub}") }
    };
    if days > 0 {
        two(days, "d", hours % 24, "h")
    } else if hours > 0 {
        two(hours, "h", minutes % 60, "m")
    } else if minutes > 0 {
        two(minutes, "m", seconds % 60, "s")
    } else if seconds > 0 {
        format!("{seconds}s")
    } else {
        format!("{}ms", time.subsec_millis())
    }
}

/// `text` on one line, its control characters and direction marks shown as escapes.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => {
                out.extend(char.escape_unicode());
            }
            _ if char.is_control() => out.extend(char.escape_default()),
            _ => out.push(char),
        }
    }
    out
}

/// `text` in at most `width` columns; `…` tells that there was more.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for char in text.chars() {
        let columns = char.width().unwrap_or(0);
        if used + columns + 1 > width {
            break;
        }
        used += columns;
        out.push(char);
    }
    out.push('…');
    out
}

/// A scalar as itself, anything else as compact JSON; cleaned.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// The field `name`, cleaned; absent when it is null or empty.
pub(crate) fn field(value: &Value, name: &str) -> Option<String> {
    let text = show(&value[name]);
    (!text.is_empty()).then_some(text)
}

/// The first of `names` that is there.
pub(crate) fn first(value: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| field(value, name))
}

/// A failure as one line: the text itself, or `[code] message` of an object.
pub(crate) fn failure(value: &Value) -> Option<String> {
    match value {
        Value::Object(_) => {
            let message = field(value, "message").unwrap_or_default();
            Some(field(value, "code").map_or_else(|| message.clone(), |code| format!("[{code}] {message}")))
        }
        _ => Some(show(value)).filter(|text| !text.is_empty()),
    }
}

/// `1 invocation`, `2 invocations`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn style(absolute: bool) -> Style {
        let now = humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap();
        Style { width: None, colors: false, absolute, now }
    }

    #[test]
    fn times_are_distances_or_dates() {
        for (at, shown) in [
            (json!("2026-05-01T11:59:58.500Z"), "1s ago"),
            (json!("2026-05-01T11:59:59.900Z"), "100ms ago"),
            (json!("2026-05-01T11:00:00Z"), "1h ago"),
            (json!("2026-05-01T10:58:00Z"), "1h 2m ago"),
            (json!("2026-04-29T09:00:00Z"), "2d 3h ago"),
            (json!("2026-05-01T12:05:03Z"), "in 5m 3s"),
            (json!("soon\u{7}"), "soon\\u{7}"),
        ] {
            assert_eq!(style(false).time(&at).unwrap(), shown);
        }
        assert_eq!(style(true).time(&json!("2026-05-01T11:59:58.5Z")).unwrap(), "2026-05-01T11:59:58.500Z");
        assert_eq!(style(true).time(&json!(1_777_636_800_000_u64)).unwrap(), "2026-05-01T12:00:00.000Z");
        assert_eq!(style(false).time(&Value::Null), None);
    }

    #[test]
    fn ages_are_narrow_and_what_is_due_is_now() {
        let row = json!({"at": "2026-05-01T11:56:28Z", "then": "2026-05-01T12:00:04Z"});
        assert_eq!(style(false).age(&row, "at").unwrap(), "3m32s");
        assert_eq!(style(true).age(&row, "at").unwrap(), "2026-05-01T11:56:28.000Z");
        assert_eq!(style(false).due(&row, "at").unwrap(), "now");
        assert_eq!(style(false).due(&row, "then").unwrap(), "in 4s");
        assert_eq!(style(false).due(&row, "none"), None);
        assert_eq!(date(&json!("2026-05-01T11:56:28.250000000Z")), "2026-05-01T11:56:28Z");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\r\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\nc\\r\\u{202e}d\\u{9b}");
    }

    #[test]
    fn shortened_by_columns() {
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("日本語日本語", 6), "日本…");
    }

    #[test]
    fn failures_are_one_line() {
        assert_eq!(failure(&json!({"code": 500, "message": "a\nb"})).unwrap(), "[500] a\\nb");
        assert_eq!(failure(&json!("[500 Internal] x")).unwrap(), "[500 Internal] x");
        assert_eq!(failure(&Value::Null), None);
    }
}
