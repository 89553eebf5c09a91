//! The node behind the peer transport: what other nodes say goes to the driver, what they ask to the engine.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use abide_model::codec;
use abide_model::id::NodeId;
use abide_peer::{AskError, Caller, Declined, PartStream, Peers, Service};
use bytes::Bytes;

use super::transfer;
use super::wire::{Ask, Reply, Request, Told, WireRefusal};
use super::{AskFailed, Asker, Post};
use crate::driver::{DriverHandle, PeerInput, decode_frame};
use crate::engine::Engine;

/// A request that is not understood: of a build that this one does not know.
const NOT_UNDERSTOOD: u32 = 1;
/// Only members may ask this.
const NOT_A_MEMBER: u32 = 2;
/// The node is starting.
const NOT_READY: u32 = 3;

/// The transport, once it is started; everything before is lost.
#[derive(Clone, Default)]
pub(crate) struct Transport(Arc<OnceLock<Peers>>);

impl Transport {
    /// From now on there is a way to other nodes.
    pub(crate) fn set(&self, peers: Peers) {
        // It is started once.
        let _ = self.0.set(peers);
    }

    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.0.get()
    }
}

impl Post for Transport {
    fn send(&self, to: NodeId, frame: Bytes) {
        if let Some(peers) = self.peers() {
            // Lost frames are counted by the transport, and raft sends again.
            let _ = peers.send(to.0, frame);
        }
    }
}

impl Asker for Transport {
    fn ask(
        &self,
        to: NodeId,
        request: Request,
        patience: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Told, AskFailed>> + Send + '_>> {
        Box::pin(async move {
            let peers = self.peers().ok_or_else(|| AskFailed::NotSent("the node is starting".into()))?;
            let reply = peers.ask(to.0, codec::encode(&request), patience).await.map_err(failed)?;
            read_reply(&reply)
        })
    }
}

/// The answer in a reply.
pub(crate) fn read_reply(reply: &Bytes) -> Result<Told, AskFailed> {
    let reply: Reply = codec::decode("a reply", reply).map_err(|error| AskFailed::Unknown(error.to_string()))?;
    reply.told.ok_or_else(|| AskFailed::Unknown("the reply is of a kind that this build does not know".into()))
}

/// Why there is no reply.
pub(crate) fn failed(error: AskError) -> AskFailed {
    match error {
        AskError::NotSent(reason) => AskFailed::NotSent(reason.to_string()),
        AskError::Unknown(reason) => AskFailed::Unknown(reason),
        // A node declines before it does anything.
        AskError::Declined(declined) => AskFailed::NotSent(declined.message),
        other => AskFailed::Unknown(other.to_string()),
    }
}

/// What the node does with what arrives.
#[derive(Clone)]
pub(crate) struct Office {
    driver: DriverHandle,
    /// Set when the node is ready.
    engine: Arc<OnceLock<Engine>>,
}

impl Office {
    pub(crate) fn new(driver: DriverHandle) -> Self {
        Self { driver, engine: Arc::default() }
    }

    /// From now on requests are answered.
    pub(crate) fn open(&self, engine: Engine) {
        // It is opened once.
        let _ = self.engine.set(engine);
    }

    async fn answer(&self, from: &Caller, request: Bytes) -> Result<Told, Declined> {
        let decline = |code, message: &str| Declined { code, message: message.to_owned() };
        let request: Request =
            codec::decode("a request", &request).map_err(|error| decline(NOT_UNDERSTOOD, &error.to_string()))?;
        let ask = request.ask.ok_or_else(|| decline(NOT_UNDERSTOOD, "the request is of an unknown kind"))?;
        let engine = self.engine.get().ok_or_else(|| decline(NOT_READY, "the node is starting"))?;
        match ask {
            Ask::Join(join) => Ok(super::join::welcome(engine, join)
                .await
                .map_or_else(|refusal| Told::Refused(WireRefusal::from(refusal)), Told::Joined)),
            _ if !from.member => Err(decline(NOT_A_MEMBER, "only members of the cluster may ask this")),
            ask => Ok(engine.serve(ask).await),
        }
    }
}

impl Service for Office {
    fn received(&self, from: u32, frames: Vec<Bytes>) {
        for frame in frames {
            for input in decode_frame(NodeId(from), &frame) {
                // What has no room is lost, as on the way.
                if !self.driver.mail(input) {
                    metrics::counter!("abide_raft_messages_dropped_total", "reason" => "full").increment(1);
                }
            }
        }
    }

    async fn asked(&self, from: Caller, request: Bytes) -> Result<Bytes, Declined> {
        let told = self.answer(&from, request).await?;
        Ok(codec::encode(&Reply { told: Some(told) }))
    }

    async fn streamed(&self, from: Caller, header: Bytes, parts: PartStream) -> Result<Bytes, Declined> {
        if !from.member {
            return Err(Declined { code: NOT_A_MEMBER, message: "only members of the cluster send state".into() });
        }
        match transfer::receive(&self.driver, header, parts).await {
            Ok(()) => Ok(Bytes::new()),
            Err(reason) => {
                tracing::warn!(%reason, "a snapshot was not taken");
                Err(Declined { code: NOT_UNDERSTOOD, message: reason.to_string() })
            }
        }
    }

    fn connected(&self, node: u32) {
        tracing::info!(node = %NodeId(node), "connected");
    }

    fn disconnected(&self, node: u32) {
        tracing::info!(node = %NodeId(node), "disconnected");
        self.driver.mail(PeerInput::Disconnected(NodeId(node)));
        if let Some(engine) = self.engine.get() {
            engine.cluster().silent(NodeId(node));
        }
    }
}
