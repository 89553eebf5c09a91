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
mod io;
mod partition;
mod raft_log;
mod recover;
mod settings;
mod shipping;

pub use failure::PartitionError;
pub use io::{Input, Output, Stats};
pub use partition::Partition;
pub use settings::PartitionSettings;
