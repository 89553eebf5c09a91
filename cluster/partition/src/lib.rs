//! One replica of a partition: raft-rs and the machine as one value without I/O.
//!
//! The shell hands in what happened ([`Input`]) with the time, and carries out what comes out ([`Output`]), in order.
//! Nothing here reads a clock, draws a random number, spawns or waits:
//!
//! ```text
//! partition.handle(Input::Propose(command), now)?;
//! while let Some(output) = partition.poll_output() { /* persist, run, ship */ }
//! partition.handle(Input::Persisted, now)?;     // after the batch is durable; effects come out now
//! ```
//!
//! A leader proposes what waits as one entry; what arrives while that entry is being made durable is the next one.

mod failure;
mod guard;
mod io;
mod partition;
mod raft_log;
mod recent;
mod recover;
mod settings;
mod shipping;
mod wire;

pub use failure::PartitionError;
pub use guard::Dropped;
pub use io::{Input, Output, Progress, Stats};
pub use partition::Partition;
pub use recent::Recent;
pub use settings::PartitionSettings;
pub use wire::{Kind, Members, Message, SnapshotPoint, WireEntry};
