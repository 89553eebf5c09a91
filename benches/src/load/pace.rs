//! When calls are made.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Calls of an open loop that are due and not made. Shared by the callers, all on one thread.
#[derive(Clone, Default)]
pub(super) struct Due(Rc<Inner>);

#[derive(Default)]
struct Inner {
    calls: RefCell<VecDeque<Instant>>,
    more: Notify,
}

impl Due {
    /// Waits for the next call and returns when it was due.
    pub(super) async fn next(&self) -> Instant {
        loop {
            if let Some(at) = self.0.calls.borrow_mut().pop_front() {
                return at;
            }
            self.0.more.notified().await;
        }
    }

    /// Whether no call is due.
    pub(super) fn is_empty(&self) -> bool {
        self.0.calls.borrow().is_empty()
    }

    /// Takes all calls that were never made.
    pub(super) fn take(&self) -> VecDeque<Instant> {
        std::mem::take(&mut *self.0.calls.borrow_mut())
    }

    /// Fills itself from `calls` until it ends.
    pub(super) async fn fill(self, mut calls: UnboundedReceiver<Instant>) {
        while let Some(at) = calls.recv().await {
            self.0.calls.borrow_mut().push_back(at);
            self.0.more.notify_one();
        }
    }
}

/// Tells on a thread of its own when calls are due: `rate` a second from `start` to `end`, evenly spaced. The timer of
/// the callers' runtime has steps of a millisecond, far too coarse.
pub(super) fn metronome(rate: f64, start: Instant, end: Instant) -> UnboundedReceiver<Instant> {
    let (sender, receiver) = unbounded_channel();
    let beat = move |sender: UnboundedSender<Instant>| {
        for number in 0_u32.. {
            let due = start + Duration::from_secs_f64(f64::from(number) / rate);
            if due >= end {
                return;
            }
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            if sender.send(due).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("bench-metronome".into())
        .spawn(move || beat(sender))
        .expect("the system can start a thread");
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_call_is_told_once_and_in_time() {
        let start = Instant::now();
        let mut calls = metronome(1_000.0, start, start + Duration::from_millis(50));
        let mut last = start;
        let mut count = 0;
        while let Some(due) = calls.recv().await {
            assert!(due >= last && Instant::now() >= due);
            (last, count) = (due, count + 1);
        }
        assert_eq!(count, 50);
    }
}
