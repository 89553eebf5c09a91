//! What all connections of a node share.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, RwLock},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    book::Book,
    identity::{Identity, NodeId},
    link::Slot,
    quiet::Quiet,
    refusal::Refusal,
    settings::PeerSettings,
    tls::TlsStore,
};

/// Window of one HTTP/2 stream: what a sender may be ahead of a receiver.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
/// Window of a connection. Larger than a stream's, so that a slow one leaves place for the others.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of one HTTP/2 frame; larger ones cost less, smaller ones let others in between.
pub(crate) const HTTP_FRAME_BYTES: u32 = 128 << 10;
/// What HTTP/2 buffers of a stream before it holds the writer back.
pub(crate) const SEND_BUFFER_BYTES: usize = 1 << 20;
/// Requests whose callers gave up before they were looked at, before it is taken for an attack.
pub(crate) const RESETS_MAX: usize = 4_096;

/// What all connections of a node share.
pub(crate) struct Context {
    pub(crate) settings: PeerSettings,
    /// Present unless TLS is off.
    pub(crate) tls: Option<TlsStore>,
    pub(crate) book: Book,
    /// The present peers.
    pub(crate) slots: RwLock<HashMap<NodeId, Arc<Slot>>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Refusals that were logged, by the other side and the reason.
    pub(crate) refusals: Quiet<(String, Refusal)>,
    identity: RwLock<Arc<Identity>>,
}

impl Context {
    pub(crate) fn new(identity: Identity, settings: PeerSettings, tls: Option<TlsStore>) -> Self {
        Self {
            settings,
            tls,
            book: Book::default(),
            slots: RwLock::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            refusals: Quiet::new(),
            identity: RwLock::new(Arc::new(identity)),
        }
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        self.identity.read().expect("nothing panics while it holds the lock").clone()
    }

    pub(crate) fn change_identity(&self, change: impl FnOnce(&mut Identity)) {
        let mut identity = self.identity.write().expect("nothing panics while it holds the lock");
        change(Arc::make_mut(&mut identity));
    }

    pub(crate) fn slot(&self, node: NodeId) -> Option<Arc<Slot>> {
        self.slots.read().expect("nothing panics while it holds the lock").get(&node).cloned()
    }
}

/// Starts the tasks of HTTP/2 so that a stop waits for them.
#[derive(Clone)]
pub(crate) struct Tasks(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
