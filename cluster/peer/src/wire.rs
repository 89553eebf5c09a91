//! The gRPC calls on one open HTTP/2 connection.

use std::{
    future::Future,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use tonic::{Status, body::Body, client::Grpc};
use tower::Service;

use crate::{
    codec::Exact,
    error::{AskError, NotSent},
    message::{
        ASK, AskReply, AskRequest, FrameBatch, HELLO, HelloReply, HelloRequest, SEND, STREAM, SendReply, StreamPiece,
    },
    queue::BATCH_BYTES,
    refusal::Refusal,
    service::Declined,
    settings::FRAME_BYTES_MAX,
};

/// Most bytes of a message: a frame of the largest size with what a batch may hold before it, and the tags of them all.
pub(crate) const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX + BATCH_BYTES + (128 << 10);
/// Most bytes of a handshake.
pub(crate) const HELLO_BYTES_MAX: usize = 16 << 10;

/// A connection that calls can be made on. Clones share it.
#[derive(Clone)]
pub(crate) struct Wire(SendRequest<Body>);

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Nothing of it was written.
    #[error("the connection was lost before the request was written")]
    Unsent,
    /// Some of it was.
    #[error("{0}")]
    Lost(String),
}

static ORIGIN: LazyLock<Uri> = LazyLock::new(|| Uri::from_static("http://abide"));

impl Wire {
    pub(crate) fn new(sender: SendRequest<Body>) -> Self {
        Self(sender)
    }

    fn grpc(&self, bytes_max: usize) -> Grpc<Self> {
        Grpc::with_origin(self.clone(), ORIGIN.clone()).max_decoding_message_size(bytes_max)
    }

    /// The handshake.
    pub(crate) async fn hello(&self, hello: HelloRequest) -> Result<HelloReply, Status> {
        let (path, codec) = (PathAndQuery::from_static(HELLO), Exact::default());
        let reply = self.grpc(HELLO_BYTES_MAX).unary(tonic::Request::new(hello), path, codec).await?;
        Ok(reply.into_inner())
    }

    /// Writes frames until there are no more, or the other side has enough.
    pub(crate) async fn send(
        &self,
        batches: impl Stream<Item = FrameBatch> + Send + 'static,
    ) -> Result<SendReply, Status> {
        let (path, codec) = (PathAndQuery::from_static(SEND), Exact::default());
        let reply = self.grpc(HELLO_BYTES_MAX).client_streaming(tonic::Request::new(batches), path, codec).await?;
        Ok(reply.into_inner())
    }

    /// One request.
    pub(crate) async fn ask(&self, body: Bytes) -> Result<Bytes, AskError> {
        let (path, codec) = (PathAndQuery::from_static(ASK), Exact::default());
        let request = tonic::Request::new(AskRequest { body });
        result(self.grpc(MESSAGE_BYTES_MAX).unary(request, path, codec).await)
    }

    /// One transfer.
    pub(crate) async fn stream(
        &self,
        pieces: impl Stream<Item = StreamPiece> + Send + 'static,
    ) -> Result<Bytes, AskError> {
        let (path, codec) = (PathAndQuery::from_static(STREAM), Exact::default());
        let request = tonic::Request::new(pieces);
        result(self.grpc(MESSAGE_BYTES_MAX).client_streaming(request, path, codec).await)
    }
}

fn result(reply: Result<tonic::Response<AskReply>, Status>) -> Result<Bytes, AskError> {
    match reply.map(tonic::Response::into_inner) {
        Ok(AskReply { declined: Some(declined), .. }) => {
            Err(AskError::Declined(Declined { code: declined.code, message: declined.message }))
        }
        Ok(AskReply { too_large: true, .. }) => Err(AskError::Unknown("the answer is too large to be sent".to_owned())),
        Ok(AskReply { body, refusal, .. }) => match Refusal::from_number(refusal) {
            None => Ok(body),
            Some(refusal) => Err(AskError::NotSent(NotSent::Refused(refusal))),
        },
        Err(status) => Err(match wire_error(&status) {
            Some(WireError::Unsent) => AskError::NotSent(NotSent::Lost),
            Some(WireError::Lost(reason)) => AskError::Unknown(reason.clone()),
            None => AskError::Unknown(status.message().to_owned()),
        }),
    }
}

fn wire_error(status: &Status) -> Option<&WireError> {
    std::error::Error::source(status)?.downcast_ref()
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, WireError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        // A call on a closed connection says so itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.try_send_request(request);
        Box::pin(async move {
            // The request comes back exactly if no byte of it was handed to HTTP/2.
            answer.await.map_err(|mut error| match error.take_message() {
                Some(_) => WireError::Unsent,
                None => WireError::Lost(describe(error.error())),
            })
        })
    }
}

/// An error with its causes.
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    text
}
