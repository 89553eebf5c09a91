//! The only file of the crate that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use abide_model::id::Millis;
use abide_sdk::attempt::Clock;

/// The node's wall clock, for what handlers are told the time is. Nothing durable is decided by it.
pub(crate) struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}
