//! The lasting connection to one peer: made, kept, and made again.

use std::{
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    time::sleep,
};

use crate::{
    backoff::Backoff,
    context::Context,
    identity::NodeId,
    metrics::Outgoing,
    outbound::{ConnectError, Connection, connect},
    queue::Queue,
    refusal::{Agreement, Refusal},
    service::Events,
    settings::PeerSettings,
    wire::Wire,
};

/// A connection that lived for this long was a good one: the next failure is a first one.
const GOOD_TIME: Duration = Duration::from_secs(1);

/// Where a peer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `host:port`; `None` while the node is no peer.
    pub(crate) addr: Option<String>,
    /// Changes when the connection has to be made anew although the address is the same.
    pub(crate) epoch: u64,
}

/// What the handle and the task of one peer share.
pub(crate) struct Slot {
    pub(crate) node: NodeId,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Arc<Outgoing>,
    /// Places for requests.
    pub(crate) asks: Semaphore,
    pub(crate) target: watch::Sender<Target>,
    /// The peer connected to us, so it lives.
    pub(crate) heard: Notify,
    /// Connections to this peer so far.
    links: AtomicU64,
    wire: RwLock<Option<Wire>>,
    state: Mutex<State>,
}

/// For people.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) peer: Option<Agreement>,
    pub(crate) encrypted: bool,
    pub(crate) last_error: Option<String>,
}

impl Slot {
    pub(crate) fn new(node: NodeId, settings: &PeerSettings) -> Self {
        let metrics = Arc::new(Outgoing::new(node));
        Self {
            node,
            queue: Arc::new(Queue::new(settings.limits, metrics.clone())),
            metrics,
            asks: Semaphore::new(settings.limits.asks_in_flight),
            target: watch::Sender::new(Target::default()),
            heard: Notify::new(),
            links: AtomicU64::new(0),
            wire: RwLock::new(None),
            state: Mutex::default(),
        }
    }

    /// Sets where the peer is; a change makes the connection anew at once.
    pub(crate) fn aim(&self, addr: Option<&str>) {
        self.target.send_if_modified(|target| {
            let changed = target.addr.as_deref() != addr;
            if changed {
                target.addr = addr.map(str::to_owned);
            }
            changed
        });
    }

    /// The present connection.
    pub(crate) fn wire(&self) -> Option<Wire> {
        self.wire.read().expect("nothing panics while it holds the lock").clone()
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().expect("nothing panics while it holds the lock").clone()
    }

    fn set_wire(&self, wire: Option<Wire>) {
        *self.wire.write().expect("nothing panics while it holds the lock") = wire;
    }

    fn set_state(&self, peer: Option<(Agreement, bool)>, last_error: Option<String>) {
        let mut state = self.state.lock().expect("nothing panics while it holds the lock");
        // While a connection is up the last failure is of no interest; after it, the reason of its end is.
        let last_error = if peer.is_some() { None } else { last_error.or(state.last_error.take()) };
        let (peer, encrypted) = peer.map_or((None, false), |(peer, encrypted)| (Some(peer), encrypted));
        *state = State { peer, encrypted, last_error };
    }
}

/// Runs until the node stops: the task of a peer outlives its membership, so that a peer that comes back is told of in order.
pub(crate) async fn run(slot: Arc<Slot>, context: Arc<Context>, events: Arc<dyn Events>) {
    let mut target = slot.target.subscribe();
    let timing = context.settings.timing;
    let mut backoff = Backoff::new(timing.backoff_min, timing.backoff_max);
    loop {
        let addr = target.borrow_and_update().addr.clone();
        // A node that joins knows no peers yet, it asks by address.
        let addr = addr.filter(|_| context.identity().is_member());
        let delay = {
            let attempt = async {
                let addr = addr?;
                let lived = session(&slot, &context, &*events, &addr).await;
                if lived >= GOOD_TIME {
                    backoff.reset();
                }
                Some(backoff.next())
            };
            tokio::select! {
                biased;
                () = context.stop.cancelled() => break,
                _ = target.changed() => {
                    backoff.reset();
                    continue;
                }
                delay = attempt => delay,
            }
        };
        let rest = async {
            match delay {
                Some(delay) => sleep(delay).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = context.stop.cancelled() => break,
            _ = target.changed() => backoff.reset(),
            () = slot.heard.notified(), if delay.is_some() => {}
            () = rest => {}
        }
    }
}

/// One connection, from the attempt to its end. Says how long it lived.
async fn session(slot: &Arc<Slot>, context: &Arc<Context>, events: &dyn Events, addr: &str) -> Duration {
    let link = slot.links.fetch_add(1, Ordering::Relaxed) + 1;
    let connection = match connect(context, addr, Some(slot.node), link).await {
        Ok(connection) => connection,
        Err(error) => {
            failed(slot, context, addr, &error);
            return Duration::ZERO;
        }
    };
    let began = Instant::now();
    context.refusals.forget(|(whom, _)| whom == addr);
    let reason = carry(slot, events, addr, &connection).await;
    tracing::info!(node = slot.node, addr, reason, "disconnected from peer");
    slot.set_state(None, Some(reason));
    began.elapsed()
}

/// Carries frames until the connection is over; says why it is.
async fn carry(slot: &Arc<Slot>, events: &dyn Events, addr: &str, connection: &Connection) -> String {
    let Connection { wire, peer, encrypted, over, .. } = connection;
    slot.metrics.connects_ok.increment(1);
    slot.set_state(Some((peer.clone(), *encrypted)), None);
    tracing::info!(node = slot.node, addr, boot = peer.boot, protocol = peer.protocol, encrypted, "connected to peer");
    let batches = slot.queue.open();
    slot.set_wire(Some(wire.clone()));
    let _up = Up::new(slot, events);
    tokio::select! {
        biased;
        () = over.cancelled() => "the connection ended".to_owned(),
        end = wire.send(batches) => match end {
            Ok(reply) => match Refusal::from_number(reply.refusal) {
                Some(refusal) => refusal.to_string(),
                None => "the peer ended the stream of frames".to_owned(),
            },
            Err(status) => status.message().to_owned(),
        },
    }
}

fn failed(slot: &Slot, context: &Context, addr: &str, error: &ConnectError) {
    slot.metrics.connects_failed.increment(1);
    let text = error.to_string();
    let last = slot.state().last_error;
    // Said once, until the reason changes or a connection was made.
    if last.as_deref() != Some(&text) {
        match error {
            // It is about to: it has told its address, and is not done with beginning.
            ConnectError::Refused(Refusal::NotJoined) | ConnectError::Refusing(Refusal::NotJoined) => {
                tracing::info!(node = slot.node, addr, error = text, "no connection to peer yet; trying again");
            }
            ConnectError::Refused(refusal) | ConnectError::Refusing(refusal) => {
                if context.refusals.first((addr.to_owned(), *refusal)) {
                    tracing::error!(
                        node = slot.node,
                        addr,
                        reason = refusal.label(),
                        error = text,
                        "no connection to peer"
                    );
                }
            }
            _ => tracing::warn!(node = slot.node, addr, error = text, "no connection to peer; trying again"),
        }
    }
    slot.set_state(None, Some(text));
}

/// While it lives, the peer is connected. However the session ends, also by being dropped, it tells so once.
struct Up<'a> {
    slot: &'a Slot,
    events: &'a dyn Events,
}

impl<'a> Up<'a> {
    fn new(slot: &'a Slot, events: &'a dyn Events) -> Self {
        slot.metrics.connected.set(1.0);
        events.connected(slot.node);
        Self { slot, events }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.slot.set_wire(None);
        self.slot.queue.close();
        self.slot.set_state(None, None);
        self.slot.metrics.connected.set(0.0);
        self.events.disconnected(self.slot.node);
    }
}
