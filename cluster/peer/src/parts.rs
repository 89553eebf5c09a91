//! Large transfers: pieces that the sender makes and parts that the receiver takes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::Notify;
use tonic::Streaming;

use crate::message::StreamPiece;

/// A transfer ended before it was complete: the sender gave up, or the connection broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transfer ended before it was complete: {reason}")]
pub struct StreamCut {
    /// What happened.
    pub reason: String,
}

/// The parts of a transfer, in order. Each is asked for; what is not asked for stays with the sender, but for a bounded
/// window.
pub struct PartStream {
    pieces: Streaming<StreamPiece>,
    complete: bool,
}

impl PartStream {
    pub(crate) fn new(pieces: Streaming<StreamPiece>) -> Self {
        Self { pieces, complete: false }
    }

    /// The next part; `None` after the last one of a complete transfer.
    ///
    /// # Errors
    /// The transfer ended before it was complete. What came before must not be taken for all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamCut> {
        if self.complete {
            return Ok(None);
        }
        match self.pieces.message().await {
            Ok(Some(StreamPiece { end: true, .. })) => {
                self.complete = true;
                Ok(None)
            }
            Ok(Some(piece)) => Ok(Some(piece.part)),
            Ok(None) => Err(StreamCut { reason: "the sender gave up".to_owned() }),
            Err(status) => Err(StreamCut { reason: status.message().to_owned() }),
        }
    }
}

impl std::fmt::Debug for PartStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartStream").finish_non_exhaustive()
    }
}

/// Tells that a part was too large to be sent.
#[derive(Clone, Default)]
pub(crate) struct TooLarge(Arc<(AtomicBool, Notify)>);

impl TooLarge {
    fn tell(&self) {
        self.0.0.store(true, Ordering::Release);
        self.0.1.notify_one();
    }

    fn is_told(&self) -> bool {
        self.0.0.load(Ordering::Acquire)
    }

    /// Returns when a part was too large.
    pub(crate) async fn told(&self) {
        while !self.is_told() {
            self.0.1.notified().await;
        }
    }
}

/// The pieces of a transfer: the header, the parts, the end. Stands still at a part that is too large, so that the transfer is
/// cut and never taken for complete.
pub(crate) struct Pieces<P> {
    header: Option<Bytes>,
    parts: Pin<Box<P>>,
    bytes_max: usize,
    too_large: TooLarge,
    ended: bool,
}

impl<P> Pieces<P> {
    pub(crate) fn new(header: Bytes, parts: P, bytes_max: usize, too_large: TooLarge) -> Self {
        Self { header: Some(header), parts: Box::pin(parts), bytes_max, too_large, ended: false }
    }
}

impl<P: Stream<Item = Bytes>> Stream for Pieces<P> {
    type Item = StreamPiece;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StreamPiece>> {
        if let Some(header) = self.header.take() {
            return Poll::Ready(Some(StreamPiece { header: Some(header), ..StreamPiece::default() }));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        if self.too_large.is_told() {
            return Poll::Pending;
        }
        match self.parts.as_mut().poll_next(cx) {
            Poll::Ready(Some(part)) if part.len() > self.bytes_max => {
                self.too_large.tell();
                Poll::Pending
            }
            Poll::Ready(Some(part)) => Poll::Ready(Some(StreamPiece { part, ..StreamPiece::default() })),
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(Some(StreamPiece { end: true, ..StreamPiece::default() }))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
