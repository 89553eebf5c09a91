//! Waiting for something to become so, with an end.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` again and again until it gives a value.
///
/// # Panics
/// When that takes longer than [`PATIENCE`]; the message has `what` and the last answer.
pub async fn until<T, E: Debug, F: Future<Output = Result<T, E>>>(what: &str, probe: impl FnMut() -> F) -> T {
    within(PATIENCE, Duration::from_millis(2), what, probe).await
}

/// As [`until`], with an end and a rhythm of its own.
///
/// # Panics
/// When it takes longer than `patience`.
pub async fn within<T, E: Debug, F: Future<Output = Result<T, E>>>(
    patience: Duration,
    rhythm: Duration,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) => assert!(begun.elapsed() < patience, "waited too long until {what}; last: {last:?}"),
        }
        tokio::time::sleep(rhythm).await;
    }
}
