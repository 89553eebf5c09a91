//! The node's clock; no other file of the node reads one for a decision.
//!
//! Wall time as it was when the process began, plus what has elapsed since: steps of the system's clock, which would
//! end sleeps too early or fire everything at once, are not seen. A restart takes the wall clock anew, but never goes
//! behind what the log has recorded.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use abide_model::id::Millis;

static START: OnceLock<(Instant, u64)> = OnceLock::new();
/// How far the log was ahead of the wall clock when the process began, in ms.
static AHEAD: AtomicU64 = AtomicU64::new(0);

#[cfg(feature = "testing")]
thread_local! {
    /// When the virtual clock of this thread was started, and what it showed.
    static VIRTUAL: std::cell::Cell<Option<(tokio::time::Instant, Millis)>> = const { std::cell::Cell::new(None) };
}

/// From now on, and until the guard is dropped, this thread's clock starts at `epoch` and follows tokio's, which a test can
/// pause and move. What it shows is only as coarse as tokio's timers: 1 ms.
#[cfg(feature = "testing")]
pub(crate) fn follow_tokio(epoch: Millis) -> Virtual {
    VIRTUAL.set(Some((tokio::time::Instant::now(), epoch)));
    Virtual
}

/// Moves this thread's virtual clock forward, beside the time that its timers see.
#[cfg(feature = "testing")]
pub(crate) fn skip(span: std::time::Duration) {
    let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    VIRTUAL.set(VIRTUAL.get().map(|(start, epoch)| (start, epoch.plus(span))));
}

/// See [`follow_tokio`].
#[cfg(feature = "testing")]
pub(crate) struct Virtual;

#[cfg(feature = "testing")]
impl Drop for Virtual {
    fn drop(&mut self) {
        VIRTUAL.set(None);
    }
}

/// Milliseconds since the Unix epoch; never goes back within a process.
#[must_use]
pub fn now() -> Millis {
    #[cfg(feature = "testing")]
    if let Some((start, epoch)) = VIRTUAL.get() {
        return epoch.plus(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
    }
    let (start, wall) = START.get_or_init(|| (Instant::now(), wall()));
    let elapsed = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Millis(wall.saturating_add(elapsed)).plus(AHEAD.load(Ordering::Relaxed))
}

/// Moves the clock forward to `floor` unless it is there already.
pub(crate) fn raise(floor: Millis) {
    #[cfg(feature = "testing")]
    if VIRTUAL.get().is_some() {
        // It stands still while a simulated node restarts; nothing can be ahead of it.
        return;
    }
    let behind = floor.0.saturating_sub(now().0);
    if behind > 0 {
        AHEAD.fetch_add(behind, Ordering::Relaxed);
        tracing::warn!(ms = behind, "the log is ahead of the system's clock; the node's clock goes on from the log");
    }
}

/// What the system's clock shows, in ms since the Unix epoch: for what is compared with the clocks of others, such as a
/// store's.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_behind_the_log() {
        let floor = now().plus(50);
        raise(floor);
        assert!(now() >= floor);
        let raised = now();
        raise(Millis(1));
        assert!(now() >= raised);
        assert!(now().0 - raised.0 < 10_000, "an older floor changes nothing");
    }
}
