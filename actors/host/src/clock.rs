//! The only file of the crate that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use abide_model::id::Millis;
use abide_sdk::attempt::Clock;

/// The clock of a host that is given none: the operating system's.
pub(crate) fn system() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The node's clock, for what handlers are told the time is.
pub(crate) struct NodeClock(pub(crate) fn() -> Millis);

impl Clock for NodeClock {
    fn now(&self) -> Millis {
        (self.0)()
    }
}
