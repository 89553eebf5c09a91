//! What the node behind the transport does with what arrives.

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;

use crate::{identity::NodeId, parts::PartStream};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its node number; `None` for a node that joins.
    pub node: Option<NodeId>,
    /// Where its connection comes from.
    pub remote: SocketAddr,
    /// Whether both sides are members of the one cluster. False for a node that joins, whose claims are its own.
    pub member: bool,
    /// The version of the protocol that both speak.
    pub protocol: u32,
    /// Version of its program.
    pub build: Arc<str>,
}

/// A handler's refusal, carried to the caller as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("declined with code {code}: {message}")]
pub struct Declined {
    /// Meaning given by the node, stable.
    pub code: u32,
    /// For people.
    pub message: String,
}

/// What the node does with what arrives. Methods that return futures run concurrently; futures are dropped at the next
/// await when their caller gave up or its connection broke.
pub trait Service: Send + Sync + 'static {
    /// Frames of a peer, in the order it sent them. Runs on the transport's thread and must not block.
    ///
    /// A peer's frames are delivered by one call at a time, and none of an older boot or connection after the first one of
    /// a newer. They can come before [`connected`](Self::connected): that one is about the other direction.
    ///
    /// Runs under the lock that keeps older boots out, so it must not call [`Peers::ban`](crate::Peers::ban). Frames that
    /// came together share memory: what is kept for long is better copied.
    fn received(&self, from: NodeId, frames: Vec<Bytes>);

    /// A request.
    fn asked(&self, from: Caller, request: Bytes) -> impl Future<Output = Result<Bytes, Declined>> + Send;

    /// A large transfer. Parts not taken hold the sender back. May answer before the end, which stops the sender.
    fn streamed(
        &self,
        from: Caller,
        header: Bytes,
        parts: PartStream,
    ) -> impl Future<Output = Result<Bytes, Declined>> + Send;

    /// Frames and requests can be sent to the node from now on. Must not block.
    fn connected(&self, node: NodeId);

    /// The connection that `connected` told of is gone, with all frames that were queued. Told once for each `connected`.
    /// Must not block.
    fn disconnected(&self, node: NodeId);
}

/// The part of a [`Service`] that the outgoing connections need.
pub(crate) trait Events: Send + Sync + 'static {
    fn connected(&self, node: NodeId);
    fn disconnected(&self, node: NodeId);
}

impl<S: Service> Events for S {
    fn connected(&self, node: NodeId) {
        Service::connected(self, node);
    }

    fn disconnected(&self, node: NodeId) {
        Service::disconnected(self, node);
    }
}
