//! Models of the two stores with the documented semantics of the real ones, for simulation and tests.
//!
//! A handle is a disk: clones share it, so a simulator keeps one, lets the node use the other, and "restarts" by a call of
//! `crash` or `restart`. Nothing is random inside: what survives a crash is an argument.

mod log;
mod state;

pub use log::MemLog;
pub use state::MemState;

/// What a failed commit left behind. Its caller cannot tell; only a restart shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The batch is there after the restart, as if the error had hit after the write.
    Present,
    /// The batch is not there.
    Absent,
}
