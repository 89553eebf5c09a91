//! Values with a unit: sizes such as `32 MiB` and durations such as `1h 30m`, read and printed in one form everywhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number of bytes. Printed in the largest binary unit that divides it (`32 MiB`); read with or without a unit,
/// binary (`KiB`, `MiB`, `GiB`) or decimal (`KB`, `MB`, `GB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Names and factors, larger units first; the first three are used for printing.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// `n` mebibytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// As a length in memory; saturates where `usize` is smaller.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[..3].iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match binary {
            Some((name, factor)) => write!(f, "{} {name}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// A text that is not a [`ByteSize`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write for example `32 MiB`, or a number of bytes")]
pub struct ParseSizeError(String);

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let text = text.trim();
            let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
            let number: u64 = digits.parse().ok()?;
            let unit = unit.trim();
            let factor =
                if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1 };
            number.checked_mul(factor).map(Self)
        };
        parse().ok_or_else(|| ParseSizeError(text.to_owned()))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;

        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"32 MiB\", or a number of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size cannot be negative"))
            }
        }

        deserializer.deserialize_any(Size)
    }
}

/// The short form of a duration: `1d`, `1h 30m`, `500ms`, `0s`. Read back by every place that reads durations.
#[must_use]
pub fn friendly(duration: Duration) -> String {
    let mut parts = Vec::new();
    let mut seconds = duration.as_secs();
    for (name, length) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if seconds >= length {
            parts.push(format!("{}{name}", seconds / length));
            seconds %= length;
        }
    }
    let mut nanos = duration.subsec_nanos();
    for (name, length) in [("ms", 1_000_000), ("us", 1_000), ("ns", 1)] {
        if nanos >= length {
            parts.push(format!("{}{name}", nanos / length));
            nanos %= length;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Durations in files: a text such as `"1h 30m"`; a bare number is refused because its unit would be a guess.
pub mod duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, friendly};

    /// Writes the short form.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&friendly(*duration))
    }

    /// Reads a text with units.
    ///
    /// # Errors
    /// When the text is not a duration, with what is wrong and an example.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| de::Error::custom(format!("`{text}` is not a duration: {error}; write for example `10s`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_any_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("32 MiB", 32 << 20),
            ("32MiB", 32 << 20),
            ("1 gib", 1 << 30),
            ("5 KB", 5_000),
            (" 7 B ", 7),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5 MiB", "1 XB", "99999999999 GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_printed_shortly() {
        for (ms, text) in
            [(0, "0s"), (500, "500ms"), (1_500, "1s 500ms"), (60_000, "1m"), (5_400_000, "1h 30m"), (86_400_000, "1d")]
        {
            assert_eq!(friendly(Duration::from_millis(ms)), text);
        }
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes: u64) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn durations_round_trip(ms in 0..10_000_000_000_u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(humantime::parse_duration(&friendly(duration)), Ok(duration));
        }
    }
}
