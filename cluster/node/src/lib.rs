//! A node: the composition root.
//!
//! [`Node::start`] opens the data directory, brings every partition to leadership, and opens the doors. The driver is
//! the only thread that touches log and tables; handler threads belong to the host; the doors run on a tokio runtime.

// The macros write paths of the facade, which the SDK offers under its own name too.
#[cfg(test)]
extern crate abide_sdk as abide;

pub mod admin;
pub mod client;
pub mod clock;
mod cluster;
pub mod config;
pub mod engine;
pub mod health;
pub mod ingress;
pub mod inspect;
pub mod listener;
pub mod metrics;
pub mod node;
pub mod schedule;
pub mod shutdown;
#[cfg(feature = "testing")]
pub mod testing;

mod archive;
mod backend;
mod date;
mod delay;
mod driver;
mod log_level;
mod random;

pub use driver::Fatal;
pub use node::{Node, StartError};
