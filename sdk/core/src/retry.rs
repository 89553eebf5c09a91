//! Retry policies: a pure decision from the number of failures.

use std::time::Duration;

use abide_model::command::Next;

/// What follows failed attempts of a handler, or failed executions of a step.
///
/// The default is 500 ms, doubled each time up to 60 s, 70 attempts in all, then a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Delay after the first failure.
    pub initial: Duration,
    /// By what the delay grows with each further failure; at least 1.
    pub factor: f64,
    /// Longest delay.
    pub max_interval: Duration,
    /// Most attempts, counting the first; `None` never gives up.
    pub max_attempts: Option<u32>,
    /// What follows the last one.
    pub exhausted: Exhausted,
}

/// What follows when all attempts of a [`RetryPolicy`] have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The invocation waits for an operator.
    Pause,
    /// The last failure is the result.
    Fail,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            factor: 2.0,
            max_interval: Duration::from_secs(60),
            max_attempts: Some(70),
            exhausted: Exhausted::Pause,
        }
    }
}

impl RetryPolicy {
    /// Most by which jitter lengthens a delay, as a part of it.
    const JITTER: f64 = 0.25;

    /// At most `attempts` attempts, counting the first; then the last failure is the result.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { max_attempts: Some(attempts), exhausted: Exhausted::Fail, ..Self::default() }
    }

    /// The default delays without end.
    #[must_use]
    pub fn forever() -> Self {
        Self { max_attempts: None, ..Self::default() }
    }

    /// This policy with another delay after the first failure.
    #[must_use]
    pub fn initial(self, initial: Duration) -> Self {
        Self { initial, ..self }
    }

    /// This policy with another growth of the delay.
    #[must_use]
    pub fn factor(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// This policy with another longest delay.
    #[must_use]
    pub fn max_interval(self, max_interval: Duration) -> Self {
        Self { max_interval, ..self }
    }

    /// This policy with another end.
    #[must_use]
    pub fn exhausted(self, exhausted: Exhausted) -> Self {
        Self { exhausted, ..self }
    }

    /// The decision after `failures` failed attempts (at least 1). `jitter` in `0.0..1.0` lengthens the delay by up to a
    /// quarter.
    #[must_use]
    pub fn after(&self, failures: u32, jitter: f64) -> Next {
        if self.max_attempts.is_some_and(|max| failures >= max) {
            return match self.exhausted {
                Exhausted::Pause => Next::Pause(true),
                Exhausted::Fail => Next::Fail(true),
            };
        }
        let growth = self.factor.max(1.0).powf(f64::from(failures.saturating_sub(1)));
        let seconds = (self.initial.as_secs_f64() * growth).min(self.max_interval.as_secs_f64());
        let jittered = seconds * (1.0 + Self::JITTER * jitter.clamp(0.0, 1.0));
        let delay = Duration::try_from_secs_f64(jittered).unwrap_or(Duration::MAX);
        Next::RetryAfter(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_longest() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.after(1, 0.0), Next::RetryAfter(500));
        assert_eq!(policy.after(2, 0.0), Next::RetryAfter(1_000));
        assert_eq!(policy.after(8, 0.0), Next::RetryAfter(60_000));
        assert_eq!(policy.after(69, 0.0), Next::RetryAfter(60_000));
        assert_eq!(RetryPolicy::forever().after(u32::MAX, 0.0), Next::RetryAfter(60_000));
    }

    #[test]
    fn jitter_lengthens_by_up_to_a_quarter() {
        assert_eq!(RetryPolicy::default().after(1, 1.0), Next::RetryAfter(625));
    }

    #[test]
    fn exhaustion_counts_the_first_attempt() {
        assert_eq!(RetryPolicy::default().after(70, 0.5), Next::Pause(true));
        assert_eq!(RetryPolicy::attempts(3).after(2, 0.0), Next::RetryAfter(1_000));
        assert_eq!(RetryPolicy::attempts(3).after(3, 0.0), Next::Fail(true));
    }
}
