//! A running node: its threads, in the order in which they depend on each other.
//!
//! Starting: data directory, databases, handler threads, driver (every partition leads before anything is served), doors.
//! Stopping: the same backwards, so that what was accepted is finished or safely in the log.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use abide_host::{Host, HostSettings};
use abide_model::codec;
use abide_model::command::NodeInfo;
use abide_model::id::NodeId;
use abide_peer::{PeerSettings, Peers, ProtocolRange, TlsFiles, TlsMode, TlsSettings};
use abide_sdk::{Client, Registry};
use abide_storage::{
    DataDir, DataDirError, Expected, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, StorageError,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle as TaskHandle;

use crate::archive::{Archive, Place};
use crate::client::LocalTransport;
use crate::cluster::join::{self, JoinError};
use crate::cluster::transport::{Office, Transport};
use crate::cluster::wire::{Join, Joined};
use crate::cluster::{self, Cluster, controller, loan, transfer};
use crate::config::{Config, ConfigError, Tls};
use crate::driver::{Driver, DriverHandle, DriverSettings, FOUNDER, Fatal, Surroundings, Writers};
use crate::engine::{Engine, EngineError, Others, Retention};
use crate::health::{Health, Phase};
use crate::listener::{BindError, Listener, Reserved};
use crate::shutdown::{DRAIN_TIME, Stop};
use crate::{admin, ingress, log_level, metrics, random};

/// Exit code of a process whose log or tables failed: the outcome of requests under way is unknown.
pub const EXIT_FATAL: i32 = 70;
/// The versions of the protocol between nodes that this build speaks.
const PROTOCOL: ProtocolRange = ProtocolRange { min: 1, max: 1 };
/// How long a node that stops looks for heirs of its leaderships.
const RETIRE_TIME: Duration = Duration::from_secs(3);
/// Folder in the data directory for what people look at after a replica was found to be wrong.
const EVIDENCE: &str = "evidence";
/// File in the data directory that says that the disk failed; an operator looks at it before trusting the disk again.
const DISK_SUSPECT: &str = "DISK-SUSPECT";

/// Why a node did not start. Nothing was changed unless the text says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory was refused.
    #[error("{0} ({code})", code = .0.code())]
    DataDir(#[from] DataDirError),
    /// A database was refused.
    #[error("{0} ({code})", code = .0.code())]
    Storage(#[from] StorageError),
    /// The partitions cannot be opened from what the databases hold.
    #[error(transparent)]
    Driver(#[from] Fatal),
    /// A door could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin door would be open to the network.
    #[error(transparent)]
    OpenToNetwork(#[from] admin::OpenToNetwork),
    /// The handler threads did not start.
    #[error(transparent)]
    Host(#[from] abide_host::StartError),
    /// The operating system refused a thread or a runtime.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A schedule that the program declares was refused. The node was stopped again.
    #[error("schedule `{name}`: {source}")]
    Schedule {
        /// Its name.
        name: String,
        /// Why.
        source: EngineError,
    },
    /// The door for other nodes could not be opened.
    #[error("cannot listen for other nodes at {addr}: {source}; choose another `peer.addr`")]
    Peer {
        /// Where.
        addr: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The transport between nodes was refused.
    #[error("{0} ({code})", code = .0.code())]
    Transport(#[from] abide_peer::PeerError),
    /// The node could not join the cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The cluster could not be founded.
    #[error("the cluster cannot be founded: {0}")]
    Found(#[from] EngineError),
    /// The driver ended before it was ready.
    #[error("the driver ended while starting; the log of the process has the reason")]
    DriverGone,
}

/// A running node. Dropping it without [`Node::stop`] closes its doors; the driver ends when the last client is gone.
pub struct Node {
    engine: Engine,
    stop: Stop,
    health: Health,
    doors: Doors,
    runtime: Background,
    peer_runtime: Background,
    /// Of its own, so that nothing that serves waits for snapshots.
    _archive_runtime: Option<Background>,
    peers: Peers,
    host: Host,
    driver: DriverHandle,
    driver_thread: JoinHandle<()>,
}

/// Where a node is reached, and what serves there.
struct Doors {
    ingress: SocketAddr,
    admin: SocketAddr,
    peer: SocketAddr,
    tasks: Vec<TaskHandle<()>>,
}

impl Node {
    /// Starts a node with the handlers in `registry`. Returns when it serves requests. Blocks; do not call it on a
    /// runtime's worker thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(config: &Config, registry: &Registry) -> Result<Self, StartError> {
        config.validate()?;
        let recorder = metrics::recorder();
        // Addresses first: one in use is found before anything is written.
        let runtime = background("abide-doors", "the runtime of the doors")?;
        // Of its own, so that requests do not hold up what other nodes wait for.
        let peer_runtime = background("abide-peers", "the runtime of the peers")?;
        let (at_ingress, at_admin) = {
            let _entered = runtime.handle().enter();
            (Reserved::bind(config.ingress.addr, "ingress")?, Listener::bind(config.admin.addr, "admin")?)
        };
        let (ingress, admin) = (at_ingress.addr(), at_admin.addr());
        let at_peer = bind_peer(config.peer.addr)?;
        let peer = at_peer.local_addr().map_err(|source| StartError::Peer { addr: config.peer.addr, source })?;
        let address = if config.peer.advertise.is_empty() { peer.to_string() } else { config.peer.advertise.clone() };

        let (driver, events) = DriverHandle::new(config.limits.outstanding as usize);
        let (office, transport) = (Office::new(driver.clone()), Transport::default());
        let known = DataDir::look(&config.data)?;
        let peers = start_peers(config, peer_runtime.handle(), at_peer, known.as_ref(), office.clone())?;
        transport.set(peers.clone());
        let mut info = NodeInfo {
            store_uuid: known.as_ref().map_or_else(|| format!("{:032x}", random::u128()), |of| of.store_uuid.clone()),
            address,
            ingress: ingress.to_string(),
            admin: admin.to_string(),
            zone: config.cluster.zone.clone(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            features: codec::FEATURES,
        };
        let mut joined = match &known {
            None if !config.cluster.join.is_empty() => Some(join_cluster(config, &runtime, &peers, &info)?),
            _ => None,
        };
        let data = open_data(config, joined.as_ref(), &info.store_uuid)?;
        let identity = data.identity().clone();
        let node = NodeId(u32::try_from(identity.node_id).expect("node ids are given out as 32-bit numbers"));
        info.store_uuid.clone_from(&identity.store_uuid);
        peers.set_cluster(identity.cluster_id.clone());
        peers.set_node(node.0);
        let log = FjallLog::open(&data.log_dir(), FjallLogSettings::default())?;
        let state = Arc::new(FjallState::open(&data.state_dir(), FjallStateSettings::default())?);
        let partitions = identity.partitions;

        let cluster = Cluster::new(node);
        let host = Host::start(registry.clone(), driver.clone(), host_settings(config, partitions))?;
        let settings = DriverSettings {
            partitions,
            node,
            meta: true,
            overlay_bytes: config.storage.overlay_bytes.bytes(),
            checkpoint_interval: config.storage.checkpoint_interval,
            attempts: config.limits.flows as usize,
            retention: (&config.retention).into(),
            writers: Writers::Threads,
            evidence: Some(data.path().join(EVIDENCE)),
        };
        let surroundings = Surroundings {
            events,
            host: host.handle(),
            cluster: cluster.clone(),
            post: Some(Arc::new(transport.clone())),
            snapshots: Some(transfer::sender(peer_runtime.handle().clone(), transport.clone(), driver.clone())),
            lender: Some(loan::lender(runtime.handle().clone(), Arc::new(transport.clone()), node)),
        };
        let mut opened = Driver::open(log, &state, settings, surroundings, registry)?;
        let (ready, is_ready) = std::sync::mpsc::channel();
        let driver_thread = spawn("abide-driver", move || {
            let suspect = data.path().join(DISK_SUSPECT);
            let tell = || {
                // Nobody listens when the start was given up meanwhile.
                let _ = ready.send(());
            };
            let run = AssertUnwindSafe(|| opened.run(tell));
            // The databases are still open here: closing them could wait for the disk that just failed.
            match catch_unwind(run) {
                Ok(Ok(())) => {}
                Ok(Err(fatal)) => give_up(&fatal.to_string(), matches!(fatal, Fatal::Storage(_)).then_some(&suspect)),
                Err(_) => give_up("the driver panicked", None),
            }
            // The directory is free for others only when nothing of this node can write to it any more.
            drop(opened);
            drop(data);
        })?;
        is_ready.recv().map_err(|_| StartError::DriverGone)?;

        let others = Others { asker: Arc::new(transport.clone()), runtime: runtime.handle().clone() };
        let retention = (&config.retention).into();
        let engine = Engine::new(
            registry.clone(),
            driver.clone(),
            host.handle(),
            partitions,
            retention,
            cluster.clone(),
            Some(others),
        );
        office.open(engine.clone());
        let (stop, health) = (Stop::default(), Health::default());
        let mut doors = Vec::new();
        if node == FOUNDER {
            let found =
                join::found(&engine, &identity.cluster_id, partitions, info.clone(), config.cluster.replication_factor);
            if cluster.wanted().nodes.len() <= 1 {
                runtime.handle().block_on(found)?;
            }
        } else if cluster.wanted().nodes.is_empty() && known.is_some() {
            // It joined, and was stopped before it knew the others.
            joined = Some(join_cluster(config, &runtime, &peers, &info)?);
        }
        doors.push(peer_runtime.handle().spawn(cluster::roster(
            cluster.clone(),
            peers.clone(),
            joined.map(|joined| joined.nodes).unwrap_or_default(),
            stop.clone(),
        )));
        runtime.handle().spawn(join::announce(engine.clone(), node, info));
        doors.push(peer_runtime.handle().spawn(controller::run(engine.clone(), transport.clone(), stop.clone())));

        let archive_runtime = match Place::of(&config.snapshot, &identity.cluster_id, partitions) {
            Some(place) => {
                let runtime = background("abide-archive", "the runtime of the archive")?;
                let (archive, orders) = Archive::new(place, cluster.clone(), driver.clone());
                engine.set_archive(archive.clone());
                doors.push(runtime.handle().spawn(archive.keep(orders, stop.clone())));
                Some(runtime)
            }
            None => None,
        };

        let operating = {
            let (config, engine) = (config.clone(), engine.clone());
            let (health, stop) = (health.clone(), stop.clone());
            let (transport, metrics) = (transport.clone(), recorder.clone());
            async move {
                admin::serve(at_admin, engine, transport, &config, ingress, metrics, health, stop, DRAIN_TIME).await
            }
        };
        doors.push(runtime.handle().spawn(async move {
            if let Err(error) = operating.await {
                tracing::error!(%error, "the admin door is closed");
            }
        }));
        doors.push(runtime.handle().spawn(metrics::upkeep(stop.clone())));
        runtime.handle().block_on(cluster::until_known(&cluster, partitions));
        let settings = ingress::Settings::from(&config.ingress);
        let at_ingress = {
            let _entered = runtime.handle().enter();
            at_ingress.listen()?
        };
        let serving = ingress::serve(at_ingress, engine.clone(), settings, health.clone(), stop.clone(), DRAIN_TIME);
        doors.push(runtime.handle().spawn(async move {
            let drained = serving.await;
            tracing::info!(cut = drained.cut, "ingress closed");
        }));
        health.enter(Phase::Ready);
        let doors = Doors { ingress, admin, peer, tasks: doors };
        Ok(Self {
            engine,
            stop,
            health,
            doors,
            runtime,
            peer_runtime,
            _archive_runtime: archive_runtime,
            peers,
            host,
            driver,
            driver_thread,
        })
    }

    /// The way into the node.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A typed client inside the process.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(Arc::new(LocalTransport::new(self.engine.clone())))
    }

    /// Where requests are taken.
    #[must_use]
    pub fn ingress(&self) -> SocketAddr {
        self.doors.ingress
    }

    /// Where operators are served.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.doors.admin
    }

    /// Where other nodes are served.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.doors.peer
    }

    /// Calls `apply` with the cluster's setting `log_level`, as it is and whenever it changes; `None` is that nodes log as
    /// their own configurations say. Ends with the node.
    pub fn on_log_level(&self, apply: impl FnMut(Option<&str>) + Send + 'static) {
        let cluster = self.engine.cluster().clone();
        self.runtime.handle().spawn(log_level::follow(cluster, apply, self.stop.clone()));
    }

    /// The runtime of the doors, for waiting on something beside it.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// Stops: leaderships go to other nodes, no new requests, those in flight finish (at most [`DRAIN_TIME`]), everything
    /// is written out. Blocks.
    pub fn stop(self) {
        self.health.enter(Phase::Stopping);
        let retired = self.driver.retire();
        self.runtime.handle().block_on(async {
            // Who does not find an heir in time leaves an election to the others.
            let _ = tokio::time::timeout(RETIRE_TIME, retired).await;
        });
        self.stop.request();
        self.runtime.handle().block_on(async {
            for door in self.doors.tasks {
                // A door that panicked is closed as well.
                let _ = door.await;
            }
        });
        self.host.stop();
        self.driver.stop();
        self.peer_runtime.handle().block_on(self.peers.stop());
        if self.driver_thread.join().is_err() {
            tracing::error!("the driver ended with a panic; the next start replays the log");
        }
    }
}

/// A runtime that may be dropped anywhere, also on a thread of another runtime.
struct Background(Option<Runtime>);

impl Background {
    fn handle(&self) -> &tokio::runtime::Handle {
        self.0.as_ref().expect("taken only when dropped").handle()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn background(name: &'static str, what: &'static str) -> Result<Background, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .map(|runtime| Background(Some(runtime)))
        .map_err(|source| StartError::System { what, source })
}

fn bind_peer(addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).map_err(|source| StartError::Peer { addr, source })
}

fn start_peers(
    config: &Config,
    runtime: &tokio::runtime::Handle,
    listener: TcpListener,
    known: Option<&abide_storage::Identity>,
    office: Office,
) -> Result<Peers, StartError> {
    let identity = abide_peer::Identity {
        cluster_id: known.map(|of| of.cluster_id.clone()),
        node: known.and_then(|of| u32::try_from(of.node_id).ok()),
        // Grows with every start, as long as the clock does not go back between two of them.
        boot_id: crate::clock::now().0,
        protocol: PROTOCOL,
        build: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mode = match config.peer.tls {
        Tls::Off => TlsMode::Off,
        Tls::Allow => TlsMode::Allow,
        Tls::Require => TlsMode::Require,
    };
    let tls = (mode != TlsMode::Off).then(|| TlsSettings { mode, files: TlsFiles::in_dir(&config.peer.certs) });
    let settings = PeerSettings { tls, allow_plain_remote: config.peer.allow_plain_remote, ..PeerSettings::default() };
    Ok(Peers::start(runtime, listener, identity, settings, office)?)
}

fn join_cluster(config: &Config, runtime: &Background, peers: &Peers, info: &NodeInfo) -> Result<Joined, StartError> {
    let NodeInfo { store_uuid, address, zone, build, features, .. } = info.clone();
    let join = Join { store_uuid, address, zone, build, features };
    Ok(runtime.handle().block_on(join::join(peers, &config.cluster.join, &join))?)
}

fn open_data(config: &Config, joined: Option<&Joined>, store_uuid: &str) -> Result<DataDir, StartError> {
    let known = DataDir::look(&config.data)?;
    let partitions = match (joined, &known) {
        (Some(joined), _) => joined.partitions,
        // A joined node has the partitions of its cluster.
        (None, Some(known)) if known.node_id != u64::from(FOUNDER.0) => known.partitions,
        (None, _) => config.partitions,
    };
    let expected = Expected {
        cluster: joined.map(|joined| joined.cluster_id.clone()),
        node: joined.map(|joined| u64::from(joined.node)),
        partitions,
        cluster_id_if_new: format!("cl_{:032x}", random::u128()),
        node_id_if_new: u64::from(FOUNDER.0),
        store_uuid_if_new: store_uuid.to_owned(),
    };
    Ok(DataDir::open_or_create(&config.data, &expected)?)
}

fn host_settings(config: &Config, partitions: u32) -> HostSettings {
    let retention = Retention::from(&config.retention);
    let threads = config.handlers.threads as usize;
    HostSettings {
        partitions,
        threads,
        idle: config.handlers.idle,
        suspend_after: config.handlers.suspend_after,
        // Threads share nothing, so each gets its part.
        objects: (config.handlers.objects as usize).div_ceil(threads),
        object_bytes: config.handlers.object_bytes.bytes().div_ceil(threads),
        mailbox: config.limits.outstanding as usize,
        retention_ms: retention.completed_ms,
        workflow_retention_ms: retention.workflow_ms,
        journal_retention_ms: retention.journal_ms,
        clock: crate::clock::now,
        ..HostSettings::default()
    }
}

fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StartError::System { what: name, source })
}

/// Ends the process at once: what is under way is unknown, and nothing may be acknowledged after it. `suspect` is where
/// to leave a note when the disk failed.
fn give_up(reason: &str, suspect: Option<&PathBuf>) -> ! {
    tracing::error!(reason, "cannot go on; the process ends, a restart finds everything that was acknowledged");
    if let Some(suspect) = suspect {
        // Best effort: the disk may be the very thing that failed.
        let _ = std::fs::write(suspect, format!("{reason}\n"));
    }
    std::process::exit(EXIT_FATAL)
}
