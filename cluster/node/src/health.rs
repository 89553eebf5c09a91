//! Whether the node can serve, as told to load balancers and operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The phases of a node's life, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The databases are being opened and leaders elected.
    Starting,
    /// Requests are served.
    Ready,
    /// Requests in flight are finished; new ones should go elsewhere.
    Stopping,
}

impl Phase {
    /// The word for it in answers and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// The node's present phase, shared by everyone who tells or changes it. A phase is never left backwards.
#[derive(Clone, Debug)]
pub struct Health(Arc<AtomicU8>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(AtomicU8::new(Phase::Starting as u8)))
    }
}

impl Health {
    /// The present phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    /// Enters `phase`; without effect when a later one is reached already.
    pub fn enter(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let health = Health::default();
        let shared = health.clone();
        assert_eq!(health.phase(), Phase::Starting);
        shared.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Ready);
        shared.enter(Phase::Stopping);
        shared.enter(Phase::Ready);
        assert_eq!(health.phase(), Phase::Stopping);
        assert_eq!(health.phase().word(), "stopping");
    }
}
