//! Pauses behind rounds that failed.

use std::time::Duration;

use tokio::time::Instant;

use crate::random;

/// Longest pause behind the first failure.
const PAUSE: Duration = Duration::from_secs(2);
/// Pauses do not grow past this: who mended the store waits no longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When the next attempt may be made.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The pause doubles with each failure, and is drawn between half of it and all: nodes do not come back as one.
    pub(super) fn failed(&mut self, now: Instant) {
        let full = PAUSE.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        let half = full / 2;
        let drawn = random::u64() % (u64::try_from(half.as_millis()).unwrap_or(u64::MAX) + 1);
        self.until = Some(now + half + Duration::from_millis(drawn));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_a_success() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert!(backoff.is_over(now));
        backoff.failed(now);
        assert!(!backoff.is_over(now + PAUSE / 4) && backoff.is_over(now + PAUSE));
        for _ in 0..100 {
            backoff.failed(now);
        }
        assert!(!backoff.is_over(now + PAUSE_MAX / 4) && backoff.is_over(now + PAUSE_MAX));
        backoff.succeeded();
        assert!(backoff.is_over(now));
    }
}
