//! Lengths of time as people write them: `90s`, `1h30m`, `2d`.

use crate::error::{SpecError, Token};

const WHAT: &str = "period";
/// Units, the longest first.
const UNITS: [(&str, u64); 6] =
    [("w", 7 * 24 * 3_600_000), ("d", 24 * 3_600_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a period, in ms. A bare number is in ms.
///
/// # Errors
/// [`SpecError`] that points at the part that is wrong.
pub(crate) fn parse(text: &str) -> Result<u64, SpecError> {
    SpecError::check_length(WHAT, text)?;
    let trimmed = text.trim();
    if let Ok(ms) = trimmed.parse() {
        return Ok(ms);
    }
    if trimmed.is_empty() {
        return Err(SpecError::missing(WHAT, text, "write a length of time such as 90s or 1h30m"));
    }
    let mut total = 0u64;
    let mut at = text.len() - text.trim_start().len();
    while let Some(rest) = text.get(at..).map(str::trim_start).filter(|rest| !rest.is_empty()) {
        at = text.len() - rest.len();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = rest[digits..].split(|c: char| c.is_ascii_digit() || c.is_whitespace()).next().unwrap_or_default();
        let token = Token { text: &rest[..digits + unit.len()], at };
        if digits == 0 {
            return Err(SpecError::new(WHAT, text, token, "a whole number is expected here, such as in 90s or 1h30m"));
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(SpecError::new(WHAT, text, token, "the units are ms, s, m, h, d and w"));
        };
        let part = rest[..digits].parse::<u64>().ok().and_then(|count| count.checked_mul(*unit_ms));
        let Some(sum) = part.and_then(|part| total.checked_add(part)) else {
            return Err(SpecError::new(WHAT, text, token, "it is too long"));
        };
        total = sum;
        at += token.text.len();
    }
    Ok(total)
}

/// Writes a period of `ms` so that [`parse`] reads it again.
pub(crate) fn format(ms: u64) -> String {
    let mut rest = ms;
    let mut text = String::new();
    // Weeks are read and not written: 10d says more than 1w3d.
    for (name, unit) in &UNITS[1..] {
        if rest >= *unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn periods_are_read() {
        for (text, ms) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1500ms", 1_500),
            ("1500", 1_500),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn faults_are_pointed_at() {
        for (text, message) in [
            ("", "period: write a length of time such as 90s or 1h30m"),
            ("1h 5x", "period `1h 5x`, at character 4 (`5x`): the units are ms, s, m, h, d and w"),
            ("1.5h", "period `1.5h`, at character 1 (`1.`): the units are ms, s, m, h, d and w"),
            ("soon", "period `soon`: a whole number is expected here, such as in 90s or 1h30m"),
            ("-5s", "period `-5s`, at character 1 (`-`): a whole number is expected here, such as in 90s or 1h30m"),
            ("99999999999999999999s", "period `99999999999999999999s`: it is too long"),
            (
                "2m9999999999999999d",
                "period `2m9999999999999999d`, at character 3 (`9999999999999999d`): it is too long",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(parse(&"1s".repeat(200)).unwrap_err().to_string().contains("longer than 256 bytes"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ms: u64) {
            prop_assert_eq!(parse(&format(ms)), Ok(ms));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,20}|[0-9 a-z]{0,12}") {
            let _ = parse(&text).map_err(|error| error.to_string());
        }
    }
}
