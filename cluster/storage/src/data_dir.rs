//! The data directory of a node: whose it is, and that only one process uses it.
//!
//! ```text
//! <data>/IDENTITY   JSON, see [`Identity`]; written once, when the directory is new
//! <data>/LOCK       locked while a process uses the directory
//! <data>/log/       the log store
//! <data>/state/     the state store
//! ```
//!
//! Operators start a node twice, in a wrong directory, or with the disk of another cluster. Each of these would destroy
//! data or elect two leaders, so each is refused by name, and a refusal writes nothing.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use abide_model::limits::PARTITIONS_MAX;

use crate::files;

/// Newest format of a data directory that this build reads, and the one it writes.
pub const IDENTITY_FORMAT: u32 = 1;

/// Only the owner may look into the directory: it holds the content of all objects.
const MODE: u32 = 0o700;

/// Whose a data directory is. Never changes after it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Format of the directory.
    pub format: u32,
    /// The cluster.
    pub cluster_id: String,
    /// The node within the cluster.
    pub node_id: u64,
    /// This disk: a node that gets an empty disk gets a new one, so that it cannot be taken for the old replica.
    pub store_uuid: String,
    /// Number of partitions of the cluster; keys are placed by it, so it is fixed for the life of the cluster.
    pub partitions: u32,
}

/// What a process expects of its data directory, and what a new one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The cluster the node was told to join, if it was told.
    pub cluster: Option<String>,
    /// The number of the node, if it was told.
    pub node: Option<u64>,
    /// Number of partitions, 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// Cluster of a new directory, if `cluster` does not say.
    pub cluster_id_if_new: String,
    /// Node of a new directory, if `node` does not say.
    pub node_id_if_new: u64,
    /// Identity of a new disk, drawn by the caller.
    pub store_uuid_if_new: String,
}

/// Why a data directory was refused. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process holds the lock.
    #[error(
        "data directory `{}` is in use by another process; stop that process, or give this node its own directory",
        path.display()
    )]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory is of another cluster.
    #[error(
        "data directory `{}` belongs to cluster `{found}`, this node was told to join `{expected}`; correct the directory \
         or the cluster in the configuration",
        path.display()
    )]
    ForeignCluster {
        /// The data directory.
        path: PathBuf,
        /// Cluster of the directory.
        found: String,
        /// Cluster of the configuration.
        expected: String,
    },
    /// The directory is of another node.
    #[error(
        "data directory `{}` belongs to node {found}, this is node {expected}; correct the directory or the node number in \
         the configuration",
        path.display()
    )]
    ForeignNode {
        /// The data directory.
        path: PathBuf,
        /// Node of the directory.
        found: u64,
        /// Node of the configuration.
        expected: u64,
    },
    /// The directory was written by a newer version.
    #[error(
        "data directory `{}` has format {found}, this version reads up to {}; run the newer version of the program",
        path.display(),
        IDENTITY_FORMAT
    )]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// Format of the directory.
        found: u32,
    },
    /// The number of partitions is not the one of the directory, or not possible.
    #[error(
        "data directory `{}` has {found} partitions, the configuration says {expected}; the number cannot change: set it \
         back in the configuration",
        path.display()
    )]
    PartitionCountMismatch {
        /// The data directory.
        path: PathBuf,
        /// Partitions of the directory.
        found: u32,
        /// Partitions of the configuration.
        expected: u32,
    },
    /// The configuration asks for a number of partitions that no directory can have.
    #[error(
        "data directory `{}` cannot have {expected} partitions; set a number from 1 to {}",
        path.display(),
        PARTITIONS_MAX
    )]
    PartitionCountInvalid {
        /// The data directory.
        path: PathBuf,
        /// Partitions of the configuration.
        expected: u32,
    },
    /// The path is a file, or a directory with other content.
    #[error("`{}` is not a data directory: {reason}; choose an empty or a new directory", path.display())]
    NotADataDir {
        /// The path.
        path: PathBuf,
        /// What is there instead.
        reason: &'static str,
    },
    /// The identity cannot be read.
    #[error(
        "`{}` is damaged: {reason}; restore the file from a backup, or replace this node with an empty directory",
        path.display()
    )]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system failed a file operation.
    #[error(
        "cannot {action} `{}`: {source}; check the disk, its free space and the owner of the directory",
        path.display()
    )]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason given by the operating system.
        source: io::Error,
    },
}

impl DataDirError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "DD001",
            Self::ForeignCluster { .. } => "DD002",
            Self::ForeignNode { .. } => "DD003",
            Self::NewerFormat { .. } => "DD004",
            Self::PartitionCountMismatch { .. } => "DD005",
            Self::PartitionCountInvalid { .. } => "DD006",
            Self::NotADataDir { .. } => "DD007",
            Self::DamagedIdentity { .. } => "DD008",
            Self::Io { .. } => "DD009",
        }
    }
}

/// An open data directory. The lock is held until this is dropped, so it has to outlive the stores.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    is_new: bool,
    _lock: File,
}

impl DataDir {
    /// Opens the data directory at `path`, or makes one of an empty or missing directory.
    ///
    /// # Errors
    /// Any [`DataDirError`]; nothing was written then, unless creating a new directory failed half-way, which the next call
    /// completes.
    pub fn open_or_create(path: &Path, expected: &Expected) -> Result<Self, DataDirError> {
        if !(1..=PARTITIONS_MAX).contains(&expected.partitions) {
            return Err(DataDirError::PartitionCountInvalid {
                path: path.to_path_buf(),
                expected: expected.partitions,
            });
        }
        let found = inspect(path)?;
        if let Some(identity) = &found {
            check(path, identity, expected)?;
        } else {
            create_dir(path).map_err(|error| io_error("create", path, error))?;
        }
        let lock_path = path.join("LOCK");
        let lock = files::try_lock(&lock_path).map_err(|error| io_error("lock", &lock_path, error))?;
        let lock = lock.ok_or_else(|| DataDirError::InUse { path: path.to_path_buf() })?;
        // Another process may have come first between the look and the lock.
        let found = inspect(path)?;
        let is_new = found.is_none();
        let identity = match found {
            Some(identity) => identity,
            None => write_identity(path, expected)?,
        };
        check(path, &identity, expected)?;
        Ok(Self { path: path.to_path_buf(), identity, is_new, _lock: lock })
    }

    /// Whose the directory at `path` is, without opening it; `None` for an empty or missing one.
    ///
    /// # Errors
    /// [`DataDirError`] when it is something else, or cannot be read.
    pub fn look(path: &Path) -> Result<Option<Identity>, DataDirError> {
        inspect(path)
    }

    /// Makes an empty or missing directory ready to be filled with databases that were made elsewhere; [`DataDir::complete`]
    /// then says whose they are. Until that, nobody takes the directory for a node's.
    ///
    /// # Errors
    /// [`DataDirError::NotADataDir`] when there is anything in it, also when it is of a node.
    pub fn prepare(path: &Path) -> Result<(), DataDirError> {
        if inspect(path)?.is_some() {
            return Err(DataDirError::NotADataDir { path: path.to_path_buf(), reason: "it is of a node already" });
        }
        create_dir(path).map_err(|error| io_error("create", path, error))
    }

    /// Says whose the databases in a directory are, once they are complete and synced; see [`DataDir::prepare`].
    ///
    /// # Errors
    /// [`DataDirError::Io`], and [`DataDirError::NotADataDir`] when the directory is somebody's already.
    pub fn complete(path: &Path, expected: &Expected) -> Result<Identity, DataDirError> {
        let file = path.join("IDENTITY");
        if files::read_optional(&file).map_err(|error| io_error("read", &file, error))?.is_some() {
            return Err(DataDirError::NotADataDir { path: path.to_path_buf(), reason: "it is of a node already" });
        }
        write_identity(path, expected)
    }

    /// Whose the directory is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this call made the directory, so that it holds nothing yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Directory of the log store.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Directory of the state store.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path.join("state")
    }
}

/// What an interrupted creation leaves, and what a new file system has.
const HARMLESS: [&str; 3] = ["LOCK", "IDENTITY.tmp", "lost+found"];

/// The identity of the directory, `None` if it is new: missing, or empty but for harmless names.
fn inspect(path: &Path) -> Result<Option<Identity>, DataDirError> {
    let refuse = |reason| Err(DataDirError::NotADataDir { path: path.to_path_buf(), reason });
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("look at", path, error)),
        Ok(metadata) if !metadata.is_dir() => return refuse("it is a file"),
        Ok(_) => {}
    }
    let file = path.join("IDENTITY");
    if let Some(content) = files::read_optional(&file).map_err(|error| io_error("read", &file, error))? {
        return parse(path, &file, &content).map(Some);
    }
    for name in fs::read_dir(path).map_err(|error| io_error("list", path, error))? {
        let name = name.map_err(|error| io_error("list", path, error))?.file_name();
        if HARMLESS.iter().all(|harmless| name != *harmless) {
            return refuse("it has content, but no file `IDENTITY`");
        }
    }
    Ok(None)
}

fn parse(path: &Path, file: &Path, content: &[u8]) -> Result<Identity, DataDirError> {
    let damaged = |error: serde_json::Error| DataDirError::DamagedIdentity {
        path: file.to_path_buf(),
        reason: error.to_string(),
    };
    let Format { format } = serde_json::from_slice(content).map_err(damaged)?;
    if format > IDENTITY_FORMAT {
        return Err(DataDirError::NewerFormat { path: path.to_path_buf(), found: format });
    }
    serde_json::from_slice(content).map_err(damaged)
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn check(path: &Path, identity: &Identity, expected: &Expected) -> Result<(), DataDirError> {
    let path = path.to_path_buf();
    if let Some(cluster) = &expected.cluster
        && *cluster != identity.cluster_id
    {
        let found = identity.cluster_id.clone();
        return Err(DataDirError::ForeignCluster { path, found, expected: cluster.clone() });
    }
    if let Some(node) = expected.node
        && node != identity.node_id
    {
        return Err(DataDirError::ForeignNode { path, found: identity.node_id, expected: node });
    }
    if expected.partitions != identity.partitions {
        let (found, expected) = (identity.partitions, expected.partitions);
        return Err(DataDirError::PartitionCountMismatch { path, found, expected });
    }
    Ok(())
}

fn create_dir(path: &Path) -> io::Result<()> {
    files::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

fn write_identity(path: &Path, expected: &Expected) -> Result<Identity, DataDirError> {
    let identity = Identity {
        format: IDENTITY_FORMAT,
        cluster_id: expected.cluster.clone().unwrap_or_else(|| expected.cluster_id_if_new.clone()),
        node_id: expected.node.unwrap_or(expected.node_id_if_new),
        store_uuid: expected.store_uuid_if_new.clone(),
        partitions: expected.partitions,
    };
    let file = path.join("IDENTITY");
    let content = serde_json::to_vec_pretty(&identity).expect("strings and numbers are valid JSON");
    files::write_atomic(&file, &content).map_err(|error| io_error("write", &file, error))?;
    Ok(identity)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { action, path: path.to_path_buf(), source }
}
