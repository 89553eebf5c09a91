//! The handle of the transport.

use std::{
    collections::{BTreeMap, HashMap},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::DropGuard;

use crate::{
    context::Context,
    error::{AskError, NotSent, PeerError, SendError},
    identity::{Identity, NodeId},
    link::{self, Slot},
    listen,
    outbound::connect,
    parts::{Pieces, TooLarge},
    service::{Events, Service},
    settings::{PeerSettings, TlsMode},
    tls::TlsStore,
};

/// How long a stop waits for handlers that are being dropped.
const STOP_TIME: Duration = Duration::from_secs(5);

/// The transport of a node. Clones are handles of the one; it stops with [`stop`](Self::stop), or with the last
/// handle, of which the service may not hold one then.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

struct Inner {
    context: Arc<Context>,
    runtime: Handle,
    /// Taken by a stop: a service may hold a handle of its transport.
    events: Mutex<Option<Arc<dyn Events>>>,
    roster: Mutex<Roster>,
    _stop: DropGuard,
}

/// Who is to be connected.
#[derive(Default)]
struct Roster {
    wanted: BTreeMap<NodeId, String>,
    /// All nodes that ever were peers; each has a task. Its present peers stand in the context as well.
    slots: HashMap<NodeId, Arc<Slot>>,
}

/// How it stands with one peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub node: NodeId,
    /// Where it is looked for.
    pub addr: String,
    /// Whether frames and requests can be sent to it.
    pub connected: bool,
    /// Whether the connection is over TLS. Before TLS is required, it should be so for all.
    pub encrypted: bool,
    /// Its process, while it is connected.
    pub boot_id: Option<u64>,
    /// The version of the protocol that both speak, while it is connected.
    pub protocol: Option<u32>,
    /// Version of its program, while it is connected.
    pub build: Option<String>,
    /// Why it is not connected, as far as it is known.
    pub last_error: Option<String>,
}

impl Peers {
    /// Begins to accept connections. Connects to nobody before [`set_peers`](Self::set_peers).
    ///
    /// All work runs on `runtime`; one thread is enough. `listener` may be bound to any port.
    ///
    /// # Errors
    /// [`PeerError::PlainRemote`] if connections without certificates would be accepted from other machines although that
    /// is not allowed; any error about settings, certificates and the listener. Nothing was started then.
    pub fn start<S: Service>(
        runtime: &Handle,
        listener: TcpListener,
        identity: Identity,
        settings: PeerSettings,
        service: S,
    ) -> Result<Self, PeerError> {
        settings.check()?;
        if identity.protocol.min > identity.protocol.max {
            return Err(PeerError::Settings { reason: "the protocol range is empty" });
        }
        let listen_error = |source| PeerError::Listen { source };
        let addr = listener.local_addr().map_err(listen_error)?;
        if settings.tls_mode() != TlsMode::Require
            && !addr.ip().to_canonical().is_loopback()
            && !settings.allow_plain_remote
        {
            return Err(PeerError::PlainRemote { addr });
        }
        let tls = match &settings.tls {
            Some(tls) if tls.mode != TlsMode::Off => Some(TlsStore::open(tls.files.clone(), identity.node)?),
            _ => None,
        };
        listener.set_nonblocking(true).map_err(listen_error)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(listen_error)?
        };
        let context = Arc::new(Context::new(identity, settings, tls));
        let service = Arc::new(service);
        context.tasks.spawn_on(listen::run(listener, context.clone(), service.clone()), runtime);
        Ok(Self(Arc::new(Inner {
            _stop: context.stop.clone().drop_guard(),
            context,
            runtime: runtime.clone(),
            events: Mutex::new(Some(service)),
            roster: Mutex::default(),
        })))
    }

    /// Connects to all of these nodes, and disconnects from all others. Addresses are `host:port`; hosts are looked up for
    /// each attempt. A changed address is tried at once. The own node is skipped.
    ///
    /// May be called at any time; connections are made as soon as the node knows its cluster and its number.
    pub fn set_peers(&self, peers: BTreeMap<NodeId, String>) {
        let mut roster = self.roster();
        roster.wanted = peers;
        self.connect_wanted(&mut roster);
    }

    /// The node learned which cluster it belongs to.
    pub fn set_cluster(&self, cluster_id: String) {
        self.change_identity(|identity| identity.cluster_id = Some(cluster_id));
    }

    /// The node learned its number.
    pub fn set_node(&self, node: NodeId) {
        self.change_identity(|identity| identity.node = Some(node));
    }

    /// Ends all connections with a node that was removed, and refuses it until the process ends. The caller repeats this
    /// after a restart.
    pub fn ban(&self, node: NodeId) {
        match self.0.context.book.member(node) {
            Ok(member) => member.ban(),
            Err(refusal) => tracing::error!(node, %refusal, "the removed node cannot be banned"),
        }
    }

    /// Puts a frame into the queue of a peer. Callable from any thread; never blocks.
    ///
    /// # Errors
    /// The frame was dropped and counted, see [`SendError`]. Without an error it can still be lost with the connection.
    pub fn send(&self, to: NodeId, frame: Bytes) -> Result<(), SendError> {
        let slots = self.0.context.slots.read().expect("nothing panics while it holds the lock");
        slots.get(&to).ok_or(SendError::Unknown)?.queue.push(frame)
    }

    /// Asks a peer, and waits for its answer. If the future is dropped, so is the peer's handler, at its next await.
    ///
    /// # Errors
    /// [`AskError::NotSent`] if no handler saw the request, [`AskError::Unknown`] if one may have (as after `timeout`),
    /// [`AskError::Declined`] if it declined.
    pub async fn ask(&self, to: NodeId, request: Bytes, timeout: Duration) -> Result<Bytes, AskError> {
        let slot = self.0.context.slot(to).ok_or(AskError::NotSent(NotSent::NotAPeer))?;
        let result = self.ask_slot(&slot, request, timeout).await;
        slot.metrics.asked(&result);
        result
    }

    async fn ask_slot(&self, slot: &Slot, request: Bytes, time: Duration) -> Result<Bytes, AskError> {
        self.check_size(&request)?;
        let _place = slot.asks.try_acquire().map_err(|_| AskError::NotSent(NotSent::Full))?;
        let wire = slot.wire().ok_or(AskError::NotSent(NotSent::NotConnected))?;
        timeout(time, wire.ask(request)).await.unwrap_or_else(|_| Err(late(time)))
    }

    /// Asks whoever listens at `host:port`, over a connection of its own: for nodes that join and know no numbers.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_addr(&self, addr: &str, request: Bytes, timeout: Duration) -> Result<Bytes, AskError> {
        self.check_size(&request)?;
        let deadline = Instant::now() + timeout;
        let connection = timeout_at(deadline, connect(&self.0.context, addr, None, 0))
            .await
            .map_err(|_| AskError::NotSent(NotSent::Connect("no connection in time".to_owned())))?
            .map_err(|error| AskError::NotSent(error.into()))?;
        timeout_at(deadline, connection.wire.ask(request)).await.unwrap_or_else(|_| Err(late(timeout)))
    }

    /// Transfers parts to a peer, and waits for its answer, which may come before the last part. Uses a connection of its
    /// own, made for it. Parts are taken from the stream as the peer takes them, but for about three megabytes. There is no
    /// timeout; to give up, drop the future: the peer's handler sees that the transfer is not complete.
    ///
    /// # Errors
    /// As [`ask`](Self::ask). A part above the limit of a frame ends the transfer with [`AskError::Unknown`].
    pub async fn stream(
        &self,
        to: NodeId,
        header: Bytes,
        parts: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, AskError> {
        self.check_size(&header)?;
        let slot = self.0.context.slot(to).ok_or(AskError::NotSent(NotSent::NotAPeer))?;
        let addr = slot.target.borrow().addr.clone().ok_or(AskError::NotSent(NotSent::NotAPeer))?;
        let connection =
            connect(&self.0.context, &addr, Some(to), 0).await.map_err(|error| AskError::NotSent(error.into()))?;
        let too_large = TooLarge::default();
        let limit = self.0.context.settings.limits.frame_bytes;
        let pieces = Pieces::new(header, parts, limit, too_large.clone());
        tokio::select! {
            biased;
            result = connection.wire.stream(pieces) => result,
            () = too_large.told() => Err(AskError::Unknown(format!("a part is larger than {limit} bytes"))),
        }
    }

    /// How it stands with each peer.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        let roster = self.roster();
        let wanted = roster.wanted.iter().filter_map(|(node, addr)| Some((roster.slots.get(node)?, addr)));
        wanted
            .map(|(slot, addr)| {
                let state = slot.state();
                let peer = state.peer;
                PeerStatus {
                    node: slot.node,
                    addr: addr.clone(),
                    connected: peer.is_some(),
                    encrypted: state.encrypted,
                    boot_id: peer.as_ref().map(|peer| peer.boot),
                    protocol: peer.as_ref().map(|peer| peer.protocol),
                    build: peer.map(|peer| peer.build.to_string()),
                    last_error: state.last_error,
                }
            })
            .collect()
    }

    /// Ends all connections and waits until every task of the transport is gone, for at most five seconds. Handlers are
    /// dropped; all other handles are of no use any more.
    pub async fn stop(self) {
        let context = &self.0.context;
        context.stop.cancel();
        self.0.events.lock().expect("nothing panics while it holds the lock").take();
        context.tasks.close();
        if timeout(STOP_TIME, context.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = context.tasks.len(), "the peer transport stops with handlers that do not end");
        }
    }

    fn roster(&self) -> std::sync::MutexGuard<'_, Roster> {
        self.0.roster.lock().expect("nothing panics while it holds the lock")
    }

    /// Brings slots and their targets in line with what is wanted.
    fn connect_wanted(&self, roster: &mut Roster) {
        let context = &self.0.context;
        let own = context.identity().node;
        let Roster { wanted, slots } = roster;
        let events = self.0.events.lock().expect("nothing panics while it holds the lock").clone();
        let Some(events) = events else { return };
        let mut present = HashMap::new();
        for (node, addr) in wanted.iter().filter(|(node, _)| Some(**node) != own) {
            let slot = slots.entry(*node).or_insert_with(|| {
                let slot = Arc::new(Slot::new(*node, &context.settings));
                let task = link::run(slot.clone(), context.clone(), events.clone());
                context.tasks.spawn_on(task, &self.0.runtime);
                slot
            });
            slot.aim(Some(addr));
            present.insert(*node, slot.clone());
        }
        for (_, gone) in slots.iter().filter(|(node, _)| !present.contains_key(node)) {
            gone.aim(None);
        }
        *context.slots.write().expect("nothing panics while it holds the lock") = present;
    }

    /// Connections told the earlier identity, so all are made anew.
    fn change_identity(&self, change: impl FnOnce(&mut Identity)) {
        let mut roster = self.roster();
        self.0.context.change_identity(change);
        self.connect_wanted(&mut roster);
        for slot in roster.slots.values() {
            slot.target.send_modify(|target| target.epoch += 1);
        }
    }

    fn check_size(&self, request: &Bytes) -> Result<(), AskError> {
        let limit = self.0.context.settings.limits.frame_bytes;
        if request.len() > limit { Err(AskError::NotSent(NotSent::TooLarge(limit))) } else { Ok(()) }
    }
}

fn late(time: Duration) -> AskError {
    AskError::Unknown(format!("no answer within {} ms", time.as_millis()))
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("identity", &self.0.context.identity()).finish_non_exhaustive()
    }
}
