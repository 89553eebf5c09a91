//! One connection that another node opened: its handshake, and the calls on it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, body::Body, server::Grpc};
use tower::service_fn;

use crate::{
    book::{Member, Origin},
    codec::Exact,
    context::Context,
    identity::{Identity, NodeId},
    message::{
        ASK, AskReply, AskRequest, DeclinedReply, FrameBatch, HELLO, HelloReply, HelloRequest, SEND, STREAM, SendReply,
        StreamPiece, Who,
    },
    metrics,
    parts::PartStream,
    refusal::{Refusal, judge, judge_intent},
    service::{Caller, Declined, Service},
    subject::Subject,
    wire::{HELLO_BYTES_MAX, MESSAGE_BYTES_MAX},
};

/// How the other end proved who it is.
pub(crate) enum Security {
    /// It did not.
    Plain,
    /// By a certificate for these nodes.
    Tls(Subject),
}

/// One connection that another node opened.
pub(crate) struct Inbound<S> {
    context: Arc<Context>,
    service: Arc<S>,
    remote: SocketAddr,
    security: Security,
    greeted: OnceLock<Greeted>,
    /// Cancelled to end the connection.
    pub(crate) over: CancellationToken,
}

/// What the handshake told.
struct Greeted {
    caller: Caller,
    /// Present if both are members of the one cluster.
    member: Option<Sender>,
    boot: u64,
}

/// Who sends frames.
struct Sender {
    node: NodeId,
    member: Arc<Member>,
    link: u64,
}

impl<S: Service> Inbound<S> {
    pub(crate) fn new(context: Arc<Context>, service: Arc<S>, remote: SocketAddr, security: Security) -> Self {
        Self { context, service, remote, security, greeted: OnceLock::new(), over: CancellationToken::new() }
    }

    /// Whether the handshake is done.
    pub(crate) fn is_greeted(&self) -> bool {
        self.greeted.get().is_some()
    }

    /// One call.
    pub(crate) async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let inbound = self.clone();
        let response = match request.uri().path() {
            // A stranger's messages are not even read.
            path if path != HELLO && !self.is_greeted() => {
                Status::unauthenticated(Refusal::NoHandshake.to_string()).into_http()
            }
            ASK => {
                let ask = service_fn(move |request: tonic::Request<AskRequest>| {
                    let inbound = inbound.clone();
                    async move { answer(inbound.ask(request.into_inner().body).await) }
                });
                let codec = Exact::<AskReply, AskRequest>::default();
                Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX).unary(ask, request).await
            }
            SEND => {
                let send = service_fn(move |request: tonic::Request<Streaming<FrameBatch>>| {
                    let inbound = inbound.clone();
                    async move {
                        let refusal = inbound.receive(request.into_inner()).await.err();
                        answer(SendReply { refusal: refusal.map_or(0, Refusal::number) })
                    }
                });
                let codec = Exact::<SendReply, FrameBatch>::default();
                Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX).client_streaming(send, request).await
            }
            STREAM => {
                let stream = service_fn(move |request: tonic::Request<Streaming<StreamPiece>>| {
                    let inbound = inbound.clone();
                    async move { inbound.stream(request.into_inner()).await.map(tonic::Response::new) }
                });
                let codec = Exact::<AskReply, StreamPiece>::default();
                Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX).client_streaming(stream, request).await
            }
            HELLO => {
                let hello = service_fn(move |request: tonic::Request<HelloRequest>| {
                    let inbound = inbound.clone();
                    async move { answer(inbound.hello(request.into_inner())) }
                });
                let codec = Exact::<HelloReply, HelloRequest>::default();
                Grpc::new(codec).max_decoding_message_size(HELLO_BYTES_MAX).unary(hello, request).await
            }
            path => Status::unimplemented(format!("this build has no `{path}`")).into_http(),
        };
        Ok(response)
    }

    fn hello(&self, request: HelloRequest) -> HelloReply {
        let own = self.context.identity();
        let HelloRequest { who, to, link } = request;
        let other = Identity::from(who);
        match self.greet(&own, &other, to, link) {
            Ok(()) => HelloReply { who: Some(Who::from(&*own)), refusal: 0 },
            Err(refusal) => {
                metrics::refused(refusal);
                self.log(&own, &other, refusal);
                HelloReply { who: None, refusal: refusal.number() }
            }
        }
    }

    fn greet(&self, own: &Identity, other: &Identity, to: Option<NodeId>, link: u64) -> Result<(), Refusal> {
        let agreed = judge(own, other)?;
        judge_intent(own, to)?;
        if let Security::Tls(subject) = &self.security
            && !subject.allows(agreed.node)
        {
            return Err(Refusal::CertificateMismatch);
        }
        let mut sender = None;
        if let Some(node) = agreed.node.filter(|_| agreed.members) {
            let member = self.context.book.member(node)?;
            member.admit(agreed.boot, &self.over)?;
            sender = Some(Sender { node, member, link });
        }
        let caller = Caller {
            node: agreed.node,
            remote: self.remote,
            member: agreed.members,
            protocol: agreed.protocol,
            build: agreed.build,
        };
        let heard = sender.as_ref().map(|sender| sender.node);
        let greeted = Greeted { caller, member: sender, boot: agreed.boot };
        self.greeted.set(greeted).map_err(|_| Refusal::Superseded)?;
        if let Some(slot) = heard.and_then(|node| self.context.slot(node)) {
            slot.heard.notify_one();
        }
        Ok(())
    }

    fn log(&self, own: &Identity, other: &Identity, refusal: Refusal) {
        let whom = format!("{} node {:?}", self.remote.ip(), other.node);
        if self.context.refusals.first((whom, refusal)) {
            tracing::warn!(
                remote = %self.remote,
                node = other.node,
                cluster = other.cluster_id,
                boot = other.boot_id,
                build = other.build,
                own_cluster = own.cluster_id,
                reason = refusal.label(),
                "handshake of a peer refused: {refusal}",
            );
        }
    }

    /// Who calls, if the handshake was and still holds.
    fn caller(&self) -> Result<&Greeted, Refusal> {
        let greeted = self.greeted.get().ok_or(Refusal::NoHandshake)?;
        if let Some(sender) = &greeted.member {
            sender.member.judge(greeted.boot)?;
        }
        Ok(greeted)
    }

    /// Takes frames until they end, or are of the past.
    async fn receive(&self, mut batches: Streaming<FrameBatch>) -> Result<(), Refusal> {
        let greeted = self.caller()?;
        let Sender { node, member, link } = greeted.member.as_ref().ok_or(Refusal::NotJoined)?;
        let origin = Origin { boot: greeted.boot, link: *link };
        member.begin(origin, &self.over)?;
        while let Ok(Some(FrameBatch { frames })) = batches.message().await {
            let count = frames.len() as u64;
            let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
            let delivered = member.deliver(origin, || self.service.received(*node, frames));
            match delivered {
                Ok(()) => {
                    member.metrics.frames.increment(count);
                    member.metrics.bytes.increment(bytes);
                }
                Err(refusal) => {
                    let dropped = match refusal {
                        Refusal::Banned => &member.metrics.dropped_banned,
                        Refusal::OldBoot => &member.metrics.dropped_old_boot,
                        _ => &member.metrics.dropped_superseded,
                    };
                    dropped.increment(count);
                    return Err(refusal);
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, request: Bytes) -> AskReply {
        match self.caller() {
            Ok(greeted) => self.reply(self.service.asked(greeted.caller.clone(), request).await),
            Err(refusal) => AskReply::refused(refusal),
        }
    }

    async fn stream(&self, mut pieces: Streaming<StreamPiece>) -> Result<AskReply, Status> {
        let greeted = match self.caller() {
            Ok(greeted) if greeted.caller.member => greeted,
            Ok(_) => return Ok(AskReply::refused(Refusal::NotJoined)),
            Err(refusal) => return Ok(AskReply::refused(refusal)),
        };
        let Some(StreamPiece { header: Some(header), .. }) = pieces.message().await? else {
            return Err(Status::invalid_argument("a transfer begins with its header"));
        };
        let result = self.service.streamed(greeted.caller.clone(), header, PartStream::new(pieces)).await;
        Ok(self.reply(result))
    }

    fn reply(&self, result: Result<Bytes, Declined>) -> AskReply {
        match result {
            Ok(body) if body.len() > self.context.settings.limits.frame_bytes => {
                AskReply { too_large: true, ..AskReply::default() }
            }
            Ok(body) => AskReply { body, ..AskReply::default() },
            Err(Declined { code, message }) => {
                AskReply { declined: Some(DeclinedReply { code, message }), ..AskReply::default() }
            }
        }
    }
}

/// A call that came to its end; what went wrong stands in the message.
#[allow(clippy::unnecessary_wraps)] // The caller needs the type.
fn answer<T>(message: T) -> Result<tonic::Response<T>, Status> {
    Ok(tonic::Response::new(message))
}
