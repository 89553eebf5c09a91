//! The node's clock; no other file of the node reads one for a decision.

use std::time::{SystemTime, UNIX_EPOCH};

use abide_model::id::Millis;

/// Milliseconds since the Unix epoch. A clock before the epoch reads as the epoch.
#[must_use]
pub fn now() -> Millis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
