//! The frames that wait for one peer, and the stream that takes them in batches.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_core::Stream;

use crate::{error::SendError, message::FrameBatch, metrics::Outgoing, settings::Limits};

/// A batch is full with the frame that reaches this.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
/// Most frames of a batch.
const BATCH_FRAMES: usize = 8_192;
/// What a frame counts beside its content, so that empty ones are bounded too.
const FRAME_OVERHEAD_BYTES: usize = 32;

/// A bounded queue, open while there is a connection. What waits when the connection ends is dropped.
pub(crate) struct Queue {
    limits: Limits,
    metrics: Arc<Outgoing>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the openings; a writer of an earlier one gets nothing.
    opening: u64,
    open: bool,
    frames: VecDeque<Bytes>,
    bytes: usize,
    writer: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(limits: Limits, metrics: Arc<Outgoing>) -> Self {
        Self { limits, metrics, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    /// Puts a frame at the end. Never waits.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), SendError> {
        let limit = self.limits.frame_bytes;
        if frame.len() > limit {
            self.metrics.dropped_too_large.increment(1);
            return Err(SendError::TooLarge { limit });
        }
        let mut state = self.state();
        if !state.open {
            drop(state);
            self.metrics.dropped_not_connected.increment(1);
            return Err(SendError::NotConnected);
        }
        let bytes = state.bytes + frame.len() + FRAME_OVERHEAD_BYTES;
        // One frame always has place, even if it is as large as the queue.
        if state.frames.len() >= self.limits.queue_frames
            || (bytes > self.limits.queue_bytes && !state.frames.is_empty())
        {
            drop(state);
            self.metrics.dropped_full.increment(1);
            return Err(SendError::Full);
        }
        state.frames.push_back(frame);
        state.bytes = bytes;
        self.metrics.queue_bytes.set(bytes as f64);
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    /// There is a connection: takes frames from now on, and gives them to the returned stream.
    pub(crate) fn open(self: &Arc<Self>) -> Batches {
        let mut state = self.state();
        state.opening += 1;
        state.open = true;
        Batches { opening: state.opening, queue: self.clone() }
    }

    /// The connection is gone, and what waits with it.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.open = false;
        state.bytes = 0;
        self.metrics.dropped_disconnected.increment(state.frames.len() as u64);
        self.metrics.queue_bytes.set(0.0);
        let (frames, writer) = (std::mem::take(&mut state.frames), state.writer.take());
        drop(state);
        drop(frames);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// Everything that waits, whenever the connection has place for it. Ends when the queue is closed.
pub(crate) struct Batches {
    queue: Arc<Queue>,
    opening: u64,
}

impl Stream for Batches {
    type Item = FrameBatch;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameBatch>> {
        let queue = &self.queue;
        let mut state = queue.state();
        if !state.open || state.opening != self.opening {
            return Poll::Ready(None);
        }
        if state.frames.is_empty() {
            match &mut state.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let (frames, bytes) = state.take_batch();
        queue.metrics.queue_bytes.set(state.bytes as f64);
        drop(state);
        queue.metrics.batches.increment(1);
        queue.metrics.frames.increment(frames.len() as u64);
        queue.metrics.bytes.increment((bytes - frames.len() * FRAME_OVERHEAD_BYTES) as u64);
        Poll::Ready(Some(FrameBatch { frames }))
    }
}

impl State {
    fn take_batch(&mut self) -> (Vec<Bytes>, usize) {
        if self.bytes <= BATCH_BYTES && self.frames.len() <= BATCH_FRAMES {
            let bytes = std::mem::take(&mut self.bytes);
            return (std::mem::take(&mut self.frames).into(), bytes);
        }
        let (mut count, mut bytes) = (0, 0);
        for frame in self.frames.iter().take(BATCH_FRAMES) {
            count += 1;
            bytes += frame.len() + FRAME_OVERHEAD_BYTES;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.bytes -= bytes;
        (self.frames.drain(..count).collect(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(queue_bytes: usize, queue_frames: usize) -> Arc<Queue> {
        let limits = Limits { queue_bytes, queue_frames, frame_bytes: 1 << 20, ..Limits::default() };
        Arc::new(Queue::new(limits, Arc::new(Outgoing::new(1))))
    }

    fn poll(batches: &mut Batches) -> Poll<Option<Vec<Bytes>>> {
        let polled = Pin::new(batches).poll_next(&mut Context::from_waker(Waker::noop()));
        polled.map(|batch| batch.map(|batch| batch.frames))
    }

    #[test]
    fn everything_that_waits_is_one_batch() {
        let queue = queue(1 << 20, 100);
        let mut batches = queue.open();
        assert!(poll(&mut batches).is_pending());
        for frame in ["a", "b", "c"] {
            queue.push(Bytes::from_static(frame.as_bytes())).unwrap();
        }
        assert_eq!(poll(&mut batches), Poll::Ready(Some(vec!["a".into(), "b".into(), "c".into()])));
        assert!(poll(&mut batches).is_pending());
    }

    #[test]
    fn large_batches_are_cut_in_order() {
        let queue = queue(8 << 20, 100);
        let mut batches = queue.open();
        for frame in 0..6_u8 {
            queue.push(Bytes::from(vec![frame; 100 << 10])).unwrap();
        }
        let mut seen = Vec::new();
        while let Poll::Ready(Some(frames)) = poll(&mut batches) {
            assert!(frames.len() <= 3);
            seen.extend(frames.iter().map(|frame| frame[0]));
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
        assert_eq!(queue.state().bytes, 0);
    }

    #[test]
    fn both_bounds_hold() {
        let by_count = queue(1 << 20, 2);
        assert_eq!(by_count.push(Bytes::new()), Err(SendError::NotConnected));
        let _batches = by_count.open();
        assert_eq!([(); 3].map(|()| by_count.push(Bytes::new())), [Ok(()), Ok(()), Err(SendError::Full)]);
        let by_bytes = queue(1 << 20, 100);
        let mut batches = by_bytes.open();
        let frame = Bytes::from(vec![0; 1 << 20]);
        assert_eq!(by_bytes.push(frame.clone()), Ok(()));
        assert_eq!(by_bytes.push(Bytes::new()), Err(SendError::Full));
        assert!(poll(&mut batches).is_ready());
        assert_eq!(by_bytes.push(Bytes::new()), Ok(()));
        let larger = Bytes::from(vec![0; (1 << 20) + 1]);
        assert_eq!(by_bytes.push(larger), Err(SendError::TooLarge { limit: 1 << 20 }));
    }

    #[test]
    fn an_earlier_writer_gets_nothing() {
        let queue = queue(1 << 20, 10);
        let mut first = queue.open();
        queue.push(Bytes::from_static(b"lost")).unwrap();
        queue.close();
        assert_eq!(queue.push(Bytes::new()), Err(SendError::NotConnected));
        let mut second = queue.open();
        queue.push(Bytes::from_static(b"kept")).unwrap();
        assert_eq!(poll(&mut first), Poll::Ready(None));
        assert_eq!(poll(&mut second), Poll::Ready(Some(vec!["kept".into()])));
    }
}
