//! A running node: its threads, in the order in which they depend on each other.
//!
//! Starting: data directory, databases, handler threads, driver (every partition leads before anything is served), doors.
//! Stopping: the same backwards, so that what was accepted is finished or safely in the log.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use abide_host::{Host, HostSettings};
use abide_sdk::{Client, Registry};
use abide_storage::{
    DataDir, DataDirError, Expected, FjallLog, FjallLogSettings, FjallState, FjallStateSettings, StorageError,
};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle as TaskHandle;

use crate::client::LocalTransport;
use crate::config::{Config, ConfigError};
use crate::driver::{CheckpointWriter, Driver, DriverHandle, DriverSettings, Fatal};
use crate::engine::{Engine, EngineError, Retention};
use crate::health::{Health, Phase};
use crate::listener::{BindError, Listener};
use crate::shutdown::{DRAIN_TIME, Stop};
use crate::{admin, ingress, metrics, random};

/// Exit code of a process whose log or tables failed: the outcome of requests under way is unknown.
pub const EXIT_FATAL: i32 = 70;
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
    /// The driver ended before it was ready.
    #[error("the driver ended while starting; the log of the process has the reason")]
    DriverGone,
}

/// A running node. Dropping it without [`Node::stop`] closes its doors; the driver ends when the last client is gone.
pub struct Node {
    engine: Engine,
    stop: Stop,
    health: Health,
    ingress: SocketAddr,
    admin: SocketAddr,
    doors: Vec<TaskHandle<()>>,
    runtime: Background,
    host: Host,
    driver: DriverHandle,
    driver_thread: JoinHandle<()>,
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
        // Doors first: an address in use is found before anything is written. Early requests wait to be accepted.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("abide-doors")
            .enable_all()
            .build()
            .map(|runtime| Background(Some(runtime)))
            .map_err(|source| StartError::System { what: "the runtime of the doors", source })?;
        let (at_ingress, at_admin) = runtime.handle().block_on(async {
            let at_ingress = Listener::bind(config.ingress.addr, "ingress").await?;
            let at_admin = Listener::bind(config.admin.addr, "admin").await?;
            Ok::<_, BindError>((at_ingress, at_admin))
        })?;
        let data = open_data(config)?;
        let log = FjallLog::open(&data.log_dir(), FjallLogSettings::default())?;
        let state = Arc::new(FjallState::open(&data.state_dir(), FjallStateSettings::default())?);
        let partitions = data.identity().partitions;

        let (driver, events) = DriverHandle::new(config.limits.outstanding as usize);
        let host = Host::start(registry.clone(), driver.clone(), host_settings(config, partitions))?;
        let settings = DriverSettings {
            partitions,
            overlay_bytes: config.storage.overlay_bytes.bytes(),
            checkpoint_interval: config.storage.checkpoint_interval,
            attempts: config.limits.flows as usize,
            retention: (&config.retention).into(),
            checkpoints: CheckpointWriter::Thread,
        };
        let mut opened = Driver::open(log, &state, settings, events, host.handle(), registry)?;
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

        let engine =
            Engine::new(registry.clone(), driver.clone(), host.handle(), partitions, (&config.retention).into());
        let (stop, health) = (Stop::default(), Health::default());
        let (ingress, admin) = (at_ingress.addr(), at_admin.addr());
        let settings = ingress::Settings::from(&config.ingress);
        let serving = ingress::serve(at_ingress, engine.clone(), settings, health.clone(), stop.clone(), DRAIN_TIME);
        let door = runtime.handle().spawn(async move {
            let drained = serving.await;
            tracing::info!(cut = drained.cut, "ingress closed");
        });
        let operating = {
            let (config, engine) = (config.clone(), engine.clone());
            let (health, stop) = (health.clone(), stop.clone());
            async move { admin::serve(at_admin, engine, &config, ingress, recorder.clone(), health, stop, DRAIN_TIME).await }
        };
        let office = runtime.handle().spawn(async move {
            if let Err(error) = operating.await {
                tracing::error!(%error, "the admin door is closed");
            }
        });
        let upkeep = runtime.handle().spawn(metrics::upkeep(stop.clone()));
        health.enter(Phase::Ready);
        Ok(Self {
            engine,
            stop,
            health,
            ingress,
            admin,
            doors: vec![door, office, upkeep],
            runtime,
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
        self.ingress
    }

    /// Where operators are served.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The runtime of the doors, for waiting on something beside it.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.runtime.handle()
    }

    /// Stops: no new requests, those in flight finish (at most [`DRAIN_TIME`]), everything is written out. Blocks.
    pub fn stop(self) {
        self.health.enter(Phase::Stopping);
        self.stop.request();
        self.runtime.handle().block_on(async {
            for door in self.doors {
                // A door that panicked is closed as well.
                let _ = door.await;
            }
        });
        self.host.stop();
        self.driver.stop();
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

fn open_data(config: &Config) -> Result<DataDir, StartError> {
    let expected = Expected {
        cluster: None,
        node: None,
        partitions: config.partitions,
        cluster_id_if_new: format!("cl_{:032x}", random::u128()),
        node_id_if_new: 1,
        store_uuid_if_new: format!("{:032x}", random::u128()),
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
