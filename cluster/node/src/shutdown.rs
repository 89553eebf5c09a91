//! The order to stop, and where it comes from.
//!
//! Whoever serves holds a [`Stop`] and waits for [`Stop::requested`] beside its work. The composition root waits for a
//! signal, requests the stop, and then ends its parts in the order in which requests pass through them: listeners
//! first, with [`DRAIN_TIME`] for requests in flight, then handlers, then the log and the databases.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long requests in flight may take to finish once the stop is requested.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// The order to stop: given once, seen by all clones, never taken back.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// Gives the order. Repetitions have no effect.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the order is given; at once when it was given already.
    pub async fn requested(&self) {
        // The sender is part of `self`, so the channel cannot close while this waits.
        let _ = self.0.subscribe().wait_for(|requested| *requested).await;
    }
}

/// The signals that end a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: from the service manager.
    Terminate,
    /// SIGINT: ctrl-c.
    Interrupt,
}

/// Takes SIGTERM and SIGINT over: from now on neither ends the process by itself, and the future gives the first of them,
/// also one that comes before the future is polled. To be called in the context of a runtime.
///
/// # Errors
/// When the operating system refuses the signal handler.
pub fn listen() -> io::Result<impl Future<Output = Signal>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Signal::Terminate,
            _ = interrupt.recv() => Signal::Interrupt,
        }
    })
}

/// Waits for SIGTERM or SIGINT. Once called, neither ends the process by itself any more: a caller that wants a second
/// signal to end it at once calls this again.
///
/// # Errors
/// When the operating system refuses the signal handler.
pub async fn signalled() -> io::Result<Signal> {
    Ok(listen()?.await)
}

/// Requests `stop` on the first signal.
///
/// # Errors
/// When the operating system refuses the signal handler.
pub async fn stop_on_signal(stop: &Stop) -> io::Result<Signal> {
    let signal = signalled().await?;
    stop.request();
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_order_reaches_those_who_wait_and_those_who_come_later() {
        let stop = Stop::default();
        assert!(!stop.is_requested());
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.requested().await }
        });
        tokio::task::yield_now().await;
        stop.request();
        stop.request();
        waiting.await.unwrap();
        stop.requested().await;
        assert!(stop.is_requested());
    }

    #[tokio::test]
    async fn a_signal_requests_the_stop() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop_on_signal(&stop).await }
        });
        // The handler is installed when the task is polled for the first time.
        tokio::task::yield_now().await;
        let killed = std::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(killed.unwrap().success());
        assert_eq!(waiting.await.unwrap().unwrap(), Signal::Terminate);
        assert!(stop.is_requested());
    }
}
