//! The settings of a node: one struct, read once at start.
//!
//! Later sources win: defaults, the file (`--config FILE` or `ABIDE_CONFIG`), the environment (`ABIDE_DATA`,
//! `ABIDE_INGRESS`, `ABIDE_ADMIN`, `ABIDE_PARTITIONS`, and `ABIDE_SECTION__KEY` for every setting), flags (`--data`,
//! `--ingress`, `--admin`, `--partitions`, and `--section.key` for every setting). Names are the same in all of them.
//! Unknown names are faults, and all faults are reported at once.

mod fault;
mod secret;
mod source;
mod text;
pub mod units;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use abide_model::limits;
use serde::{Deserialize, Serialize};

pub use fault::{ConfigError, Fault};
pub use secret::Secret;
pub use text::{annotated_defaults, usage};
pub use units::ByteSize;

/// All settings of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the node's databases; created when absent. Default `abide-data`.
    pub data: PathBuf,
    /// Number of partitions of a new data folder, 1 to 1023; fixed once the folder exists. Default 8.
    pub partitions: u32,
    /// The door for requests.
    pub ingress: Ingress,
    /// The door for operators.
    pub admin: Admin,
    /// The door for other nodes.
    pub peer: Peer,
    /// The cluster that the node belongs to.
    pub cluster: ClusterOf,
    /// Where the state of partitions is saved.
    pub snapshot: Snapshot,
    /// Bounds of the work in progress.
    pub limits: Limits,
    /// Threads and memory of native handlers.
    pub handlers: Handlers,
    /// The databases.
    pub storage: Storage,
    /// How long results are kept.
    pub retention: Retention,
}

/// The door for requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingress {
    /// Address to listen on, HTTP/1.1 and h2c. Default `127.0.0.1:8080`.
    pub addr: SocketAddr,
    /// Most open connections; further ones are answered 429 and closed. Default 10,000.
    pub connections_max: u32,
    /// Largest request body; larger ones are answered 413. Default and upper bound 8 MiB.
    pub body_bytes_max: ByteSize,
}

/// The door for operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address to listen on. Default `127.0.0.1:9070`.
    pub addr: SocketAddr,
    /// Whether `addr` may be reachable from other machines. There is no authentication: whoever reaches it operates
    /// the node. Default false.
    pub allow_remote: bool,
    /// Host names, without port, by which the admin API may be addressed beside loopback names and `addr` itself.
    /// Requests for any other host are refused (DNS rebinding). Default empty.
    pub hosts: Vec<String>,
}

/// The door for other nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// Address to listen on. Default `127.0.0.1:5122`.
    pub addr: SocketAddr,
    /// The address by which other nodes reach this one, `host:port`; `addr` when empty. Default empty.
    pub advertise: String,
    /// Whether connections between nodes are encrypted and their ends proven: `off`, `allow` or `require`. Default `off`.
    pub tls: Tls,
    /// Folder of the certificates `ca.pem`, `node.pem` and `node-key.pem`; not read with `tls = "off"`. Default empty.
    pub certs: PathBuf,
    /// Whether `addr` may be reachable from other machines although connections without certificates are taken. Default
    /// false.
    pub allow_plain_remote: bool,
}

/// Whether connections between nodes are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Never.
    Off,
    /// If the other side has a certificate. As safe as `Off`: a step on the way to `Require`.
    Allow,
    /// Always, with certificates of the cluster's authority on both sides.
    Require,
}

/// The cluster that the node belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterOf {
    /// Peer addresses of nodes whose cluster a new data folder joins; without any it founds a cluster of its own. Default
    /// empty.
    pub join: Vec<String>,
    /// What fails together with other nodes of the same zone; replicas are spread over zones. Default empty.
    pub zone: String,
    /// Replicas of a partition in a cluster that this node founds; changed later by `abide cluster config set`. Default 3.
    pub replication_factor: u32,
}

/// Where the state of partitions is saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// `s3://bucket/prefix?region=…&endpoint=…`, or a folder; nothing is saved when empty. The same on all nodes. Default
    /// empty.
    pub to: String,
    /// Key of a bucket; with an empty one it is that of the environment, a profile or the machine's role. Default empty.
    pub access_key_id: String,
    /// Its secret. Default empty.
    pub secret_access_key: Secret,
}

/// Bounds of the work in progress; past one of them new work is refused at the door with 429.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most requests that wait for their result or acceptance. Default 4096.
    pub outstanding: u32,
    /// Most flows with a running attempt; further ones wait in the log. Default 10,000.
    pub flows: u32,
}

/// Threads and memory of native handlers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Handlers {
    /// Number of threads that run handlers, 1 to 256. Default 1.
    pub threads: u32,
    /// An object without work leaves memory after this time. Default 60 s.
    #[serde(with = "units::duration")]
    pub idle: Duration,
    /// A waiting flow leaves memory after this time. Default 30 s.
    #[serde(with = "units::duration")]
    pub suspend_after: Duration,
    /// Most objects in memory on all threads together; beyond, idle ones leave it before their time. Default 20,000.
    pub objects: u32,
    /// Most bytes of state of objects in memory; as `objects`. Default 64 MiB.
    pub object_bytes: ByteSize,
}

/// The databases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Applied changes of all partitions that are kept in memory before they are written in bulk. Default 16 MiB, at
    /// least 1 MiB.
    pub overlay_bytes: ByteSize,
    /// Applied changes are written in bulk at least this often. Default 10 s.
    #[serde(with = "units::duration")]
    pub checkpoint_interval: Duration,
}

/// How long results are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Results of invocations with an idempotency key and of sends, from their completion on. Default 24 h.
    #[serde(with = "units::duration")]
    pub completed: Duration,
    /// Journals of completed invocations, from their completion on; 0 s keeps none. Default 0 s.
    #[serde(with = "units::duration")]
    pub journal: Duration,
    /// Results, state and promises of workflows, from the completion of their run on. Default 24 h.
    #[serde(with = "units::duration")]
    pub workflow: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("abide-data"),
            partitions: 8,
            ingress: Ingress::default(),
            admin: Admin::default(),
            peer: Peer::default(),
            cluster: ClusterOf::default(),
            snapshot: Snapshot::default(),
            limits: Limits::default(),
            handlers: Handlers::default(),
            storage: Storage::default(),
            retention: Retention::default(),
        }
    }
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            connections_max: 10_000,
            body_bytes_max: ByteSize(limits::BODY_BYTES_MAX as u64),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 9070)), allow_remote: false, hosts: Vec::new() }
    }
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 5122)),
            advertise: String::new(),
            tls: Tls::Off,
            certs: PathBuf::new(),
            allow_plain_remote: false,
        }
    }
}

impl Default for ClusterOf {
    fn default() -> Self {
        Self { join: Vec::new(), zone: String::new(), replication_factor: 3 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { outstanding: 4096, flows: 10_000 }
    }
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            threads: 1,
            idle: Duration::from_secs(60),
            suspend_after: Duration::from_secs(30),
            objects: 20_000,
            object_bytes: ByteSize::mib(64),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { overlay_bytes: ByteSize::mib(16), checkpoint_interval: Duration::from_secs(10) }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let default = Duration::from_millis(limits::RETENTION_DEFAULT_MS);
        Self { completed: default, journal: Duration::ZERO, workflow: default }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Run a node with these settings.
    Run(Box<Config>),
    /// Print the usage text ([`usage`]) and stop.
    Help,
    /// Print the version and stop.
    Version,
}

impl Config {
    /// Reads all sources. `args` are those behind the program's name, `env` is the whole environment (names without the
    /// prefix `ABIDE_` are ignored). Reads the configuration file, prints nothing and never ends the process.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault of every source.
    pub fn parse(
        args: impl Iterator<Item = OsString>,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Parsed, ConfigError> {
        source::parse(args, env)
    }

    /// Whether the settings can work together; for settings that are made in code. [`Config::parse`] has checked it.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let faults: Vec<_> =
            self.faults().into_iter().map(|(key, message)| Fault::new("settings", Some(key), message)).collect();
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }

    /// The faults of values that are well formed by themselves, each with the key it is about.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut check = |ok: bool, key: &'static str, message: &str| {
            if !ok {
                faults.push((key, message.to_owned()));
            }
        };
        check(!self.data.as_os_str().is_empty(), "data", "must name a folder");
        check((1..=1023).contains(&self.partitions), "partitions", "must be between 1 and 1023");
        check(self.ingress.connections_max > 0, "ingress.connections_max", "must be at least 1");
        check(
            (1..=limits::BODY_BYTES_MAX as u64).contains(&self.ingress.body_bytes_max.0),
            "ingress.body_bytes_max",
            "must be between 1 B and 8 MiB, the largest request that the log takes",
        );
        check(
            self.admin.allow_remote || self.admin.addr.ip().is_loopback(),
            "admin.addr",
            "is not a loopback address, and the admin API has no authentication: whoever reaches it operates the node. \
             Bind it to 127.0.0.1, or set `admin.allow_remote = true` when the network is trusted",
        );
        check(
            self.admin.hosts.iter().all(|host| is_host_name(host)),
            "admin.hosts",
            "must list host names without scheme or port, for example \"abide.internal\"",
        );
        check(
            self.admin.addr != self.ingress.addr || self.admin.addr.port() == 0,
            "admin.addr",
            "must differ from `ingress.addr`",
        );
        check(
            self.peer.advertise.is_empty() || self.peer.advertise.contains(':'),
            "peer.advertise",
            "must be `host:port`, as other nodes reach this one",
        );
        check(
            self.peer.tls == Tls::Off || !self.peer.certs.as_os_str().is_empty(),
            "peer.certs",
            "must name the folder of the certificates; `abide cluster certs create` makes some",
        );
        check(
            self.peer.tls == Tls::Require || self.peer.allow_plain_remote || self.peer.addr.ip().is_loopback(),
            "peer.addr",
            "is not a loopback address, and connections without certificates are taken there: whoever reaches it is part \
             of the cluster. Set `peer.tls = \"require\"`, or `peer.allow_plain_remote = true` when the network is trusted",
        );
        check(
            (1..=7).contains(&self.cluster.replication_factor),
            "cluster.replication_factor",
            "must be between 1 and 7",
        );
        check(
            self.cluster.join.iter().all(|address| address.contains(':')),
            "cluster.join",
            "must list peer addresses, for example \"10.0.0.1:5122\"",
        );
        if !self.snapshot.to.is_empty()
            && let Err(error) = self.snapshot.to.parse::<abide_snapshot::Location>()
        {
            check(false, "snapshot.to", &format!("cannot be used: {error}"));
        }
        check(
            self.snapshot.access_key_id.is_empty() == self.snapshot.secret_access_key.is_empty(),
            "snapshot.secret_access_key",
            "comes together with `snapshot.access_key_id`",
        );
        check(self.limits.outstanding > 0, "limits.outstanding", "must be at least 1");
        check(self.limits.flows > 0, "limits.flows", "must be at least 1");
        check((1..=256).contains(&self.handlers.threads), "handlers.threads", "must be between 1 and 256");
        check(!self.handlers.idle.is_zero(), "handlers.idle", "must be longer than 0s");
        check(!self.handlers.suspend_after.is_zero(), "handlers.suspend_after", "must be longer than 0s");
        check(self.handlers.objects > 0, "handlers.objects", "must be at least 1");
        check(self.handlers.object_bytes.0 > 0, "handlers.object_bytes", "must be at least 1 B");
        check(self.storage.overlay_bytes >= ByteSize::mib(1), "storage.overlay_bytes", "must be at least 1 MiB");
        check(!self.storage.checkpoint_interval.is_zero(), "storage.checkpoint_interval", "must be longer than 0s");
        for (key, retention) in [
            ("retention.completed", self.retention.completed),
            ("retention.journal", self.retention.journal),
            ("retention.workflow", self.retention.workflow),
        ] {
            let message = "must be at most 36500d; what is kept are rows that would never leave the disk";
            check(retention <= RETENTION_MAX, key, message);
        }
        faults
    }
}

/// A hundred years: longer ones are mistakes, and every point in time stays printable.
const RETENTION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

#[cfg(test)]
pub(crate) mod tests;
