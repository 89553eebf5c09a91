//! Points in time as people and clients read them.

use std::time::{Duration, SystemTime};

use abide_model::id::Millis;

/// RFC 3339 in UTC, with a fraction only when there is one. Times beyond the year 9999 are written as its end.
pub(crate) fn rfc3339(at: Millis) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    humantime::format_rfc3339(SystemTime::UNIX_EPOCH + Duration::from_millis(at.0.min(LAST_MS))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(Millis(1_795_416_432_191)), "2026-11-23T06:47:12.191000000Z");
        assert_eq!(rfc3339(Millis(0)), "1970-01-01T00:00:00Z");
        assert!(rfc3339(Millis(u64::MAX)).starts_with("9999-12-31"));
    }
}
