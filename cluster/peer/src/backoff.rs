//! When to try again.

use std::time::Duration;

/// Delays that double from failure to failure, each with half of it by chance: nodes that lost one peer together do not
/// come back together.
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(50), millis(300));
        for full in [50, 100, 200, 300, 300] {
            let delay = backoff.next();
            assert!(delay >= millis(full) / 2 && delay <= millis(full), "{delay:?} of {full} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= millis(50));
    }
}
