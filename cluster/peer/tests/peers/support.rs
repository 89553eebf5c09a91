//! Nodes, and a network between them that can be broken.

use std::{
    collections::{BTreeMap, HashSet},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use abide_peer::{
    Caller, Declined, Identity, NodeId, PartStream, PeerSettings, PeerStatus, Peers, ProtocolRange, Service,
};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    sync::Semaphore,
};

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What a node saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) frames: Mutex<Vec<(NodeId, Bytes)>>,
    pub(crate) batches: AtomicUsize,
    /// `(node, true)` for connected.
    pub(crate) links: Mutex<Vec<(NodeId, bool)>>,
    pub(crate) asked: Mutex<HashSet<Bytes>>,
    pub(crate) callers: Mutex<Vec<Caller>>,
    pub(crate) cut_transfers: AtomicUsize,
    pub(crate) parts: AtomicUsize,
    /// Handlers that were dropped.
    pub(crate) given_up: AtomicUsize,
    /// Set: frames are forgotten, for long runs.
    pub(crate) forgets: AtomicBool,
    pub(crate) received: AtomicUsize,
}

struct GivenUp(Arc<Seen>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct Probe {
    pub(crate) seen: Arc<Seen>,
    pub(crate) gate: Arc<Semaphore>,
}

impl Service for Probe {
    fn received(&self, from: NodeId, frames: Vec<Bytes>) {
        self.seen.batches.fetch_add(1, Ordering::Relaxed);
        self.seen.received.fetch_add(frames.len(), Ordering::Relaxed);
        if !self.seen.forgets.load(Ordering::Relaxed) {
            self.seen.frames.lock().unwrap().extend(frames.into_iter().map(|frame| (from, frame)));
        }
    }

    async fn asked(&self, from: Caller, request: Bytes) -> Result<Bytes, Declined> {
        if self.seen.forgets.load(Ordering::Relaxed) {
            return Ok(request);
        }
        self.seen.callers.lock().unwrap().push(from);
        self.seen.asked.lock().unwrap().insert(request.clone());
        match &*request {
            b"decline" => Err(Declined { code: 7, message: "not now".to_owned() }),
            b"never" => {
                let _given_up = GivenUp(self.seen.clone());
                std::future::pending().await
            }
            b"large" => Ok(Bytes::from(vec![0; 2 << 20])),
            _ => Ok(request),
        }
    }

    async fn streamed(&self, _from: Caller, header: Bytes, mut parts: PartStream) -> Result<Bytes, Declined> {
        if &*header == b"early" {
            return Ok(Bytes::from_static(b"enough"));
        }
        let mut bytes = 0;
        loop {
            if &*header == b"gated" {
                self.gate.acquire().await.unwrap().forget();
            }
            match parts.next().await {
                Ok(Some(part)) => {
                    bytes += part.len();
                    self.seen.parts.fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => return Ok(Bytes::from(format!("{} {bytes}", String::from_utf8_lossy(&header)))),
                Err(cut) => {
                    self.seen.cut_transfers.fetch_add(1, Ordering::Relaxed);
                    return Err(Declined { code: 1, message: cut.to_string() });
                }
            }
        }
    }

    fn connected(&self, node: NodeId) {
        self.seen.links.lock().unwrap().push((node, true));
    }

    fn disconnected(&self, node: NodeId) {
        self.seen.links.lock().unwrap().push((node, false));
    }
}

pub(crate) struct Node {
    pub(crate) peers: Peers,
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    pub(crate) gate: Arc<Semaphore>,
}

pub(crate) fn identity(node: NodeId, boot_id: u64) -> Identity {
    Identity {
        cluster_id: Some("c1".to_owned()),
        node: Some(node),
        boot_id,
        protocol: ProtocolRange { min: 1, max: 1 },
        build: "test".to_owned(),
    }
}

pub(crate) fn start(identity: Identity) -> Node {
    start_with(identity, PeerSettings::default(), "127.0.0.1:0".parse().unwrap())
}

pub(crate) fn start_with(identity: Identity, settings: PeerSettings, addr: SocketAddr) -> Node {
    let listener = TcpListener::bind(addr).unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, gate) = (Arc::new(Seen::default()), Arc::new(Semaphore::new(0)));
    let probe = Probe { seen: seen.clone(), gate: gate.clone() };
    let peers = Peers::start(&Handle::current(), listener, identity, settings, probe).unwrap();
    Node { peers, addr, seen, gate }
}

impl Node {
    /// Connects to these nodes, and waits until it has.
    pub(crate) async fn join(&self, peers: &[(NodeId, SocketAddr)]) {
        self.aim(peers);
        for (node, _) in peers {
            self.until_connected(*node).await;
        }
    }

    pub(crate) fn aim(&self, peers: &[(NodeId, SocketAddr)]) {
        let peers: BTreeMap<_, _> = peers.iter().map(|(node, addr)| (*node, addr.to_string())).collect();
        self.peers.set_peers(peers);
    }

    pub(crate) fn status(&self, node: NodeId) -> PeerStatus {
        self.peers.status().into_iter().find(|status| status.node == node).unwrap()
    }

    pub(crate) async fn until_connected(&self, node: NodeId) {
        until(|| self.status(node).connected, || format!("{:?}", self.peers.status())).await;
    }

    pub(crate) async fn until_refused(&self, node: NodeId, why: &str) {
        let refused = || self.status(node).last_error.is_some_and(|error| error.contains(why));
        until(refused, || format!("{:?}", self.peers.status())).await;
    }

    pub(crate) async fn until_frames(&self, count: usize) {
        until(|| self.frames().len() >= count, || format!("{} frames", self.frames().len())).await;
    }

    pub(crate) fn frames(&self) -> Vec<(NodeId, Bytes)> {
        self.seen.frames.lock().unwrap().clone()
    }

    pub(crate) fn links(&self) -> Vec<(NodeId, bool)> {
        self.seen.links.lock().unwrap().clone()
    }

    pub(crate) async fn ask(&self, to: NodeId, request: &'static [u8]) -> Result<Bytes, abide_peer::AskError> {
        self.peers.ask(to, Bytes::from_static(request), SOON).await
    }
}

/// Two nodes, 1 and 2, connected both ways.
pub(crate) async fn pair() -> (Node, Node) {
    let (one, two) = (start(identity(1, 1)), start(identity(2, 1)));
    one.join(&[(2, two.addr)]).await;
    two.join(&[(1, one.addr)]).await;
    (one, two)
}

pub(crate) async fn until(mut condition: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < SOON, "not in time: {}", otherwise());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A network between a caller and a node that can be broken.
pub(crate) struct Network {
    pub(crate) addr: SocketAddr,
    silent: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl Network {
    pub(crate) async fn before(node: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let connections: Arc<Mutex<Vec<tokio::task::AbortHandle>>> = Arc::default();
        let (hush, made) = (silent.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                near.set_nodelay(true).unwrap();
                let Ok(far) = tokio::net::TcpStream::connect(node).await else { continue };
                far.set_nodelay(true).unwrap();
                let hush = hush.clone();
                let task = tokio::spawn(async move {
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::join!(pump(near_in, far_out, hush.clone()), pump(far_in, near_out, hush));
                });
                made.lock().unwrap().push(task.abort_handle());
            }
        });
        Self { addr, silent, connections }
    }

    /// Nothing passes any more; connections stay open.
    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    silent: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        while silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                while silent.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
