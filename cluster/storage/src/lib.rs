//! The two stores of a node: the log every replica acknowledges from, and the state that replaying the log rebuilds.
//!
//! * [`LogStore`] holds the consensus logs of all partitions. One [`LogBatch`] per loop turn, one `fsync` for all of them.
//!   Losing a synced batch is a safety bug, so its store opens strictly: damage is refused by name, never skipped.
//! * [`StateStore`] holds ordered bytes. It is never synced per command; what it lost is replayed from the log.
//! * [`Overlay`] keeps the recent writes of one partition in memory above the shared state store.
//! * [`FjallLog`] and [`FjallState`] are the stores of production, [`MemLog`] and [`MemState`] the models of their
//!   documented behaviour for simulation and tests. One conformance suite runs over both.
//! * [`DataDir`] makes sure that a directory belongs to this node, this cluster and one process.
//!
//! Nothing here reads a clock, draws a random number or starts a thread (the engine has its own workers). Every call may
//! block on the disk, so callers run it on threads of their own.

mod error;
mod log;
mod state;

mod overlay;

mod memory;

mod fjall_log;
mod fjall_state;

mod engine;
mod files;
mod journal;
mod manifest;
mod preflight;
mod row;
mod watermark;

mod data_dir;

pub use data_dir::{DataDir, DataDirError, Expected, IDENTITY_FORMAT, Identity};
pub use error::StorageError;
pub use fjall_log::{FjallLog, FjallLogSettings};
pub use fjall_state::{FjallState, FjallStateSettings};
pub use log::{
    EntryKind, GENERATIONS, HardState, LogBatch, LogEntry, LogPosition, LogReset, LogStore, LogWrite, Owner,
    PARTITIONS_MAX, RecoveredLog,
};
pub use memory::{CommitOutcome, MemLog, MemState};
pub use overlay::{Checkpoint, Export, ExportedRows, Overlay, SLOT_OVERHEAD_BYTES, drop_rows, load_rows, paged_rows};
pub use state::{StateSnapshot, StateStore, StateWrite};
