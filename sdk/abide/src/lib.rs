//! Durable virtual objects in one dependency.
//!
//! A struct is the state, its methods are the handlers; every object with a key lives once, remembers its state, gets
//! its messages in order and exactly once, and survives crashes.
//!
//! ```no_run
//! use abide::prelude::*;
//!
//! #[object]
//! struct Counter {
//!     value: i64,
//! }
//!
//! #[handlers]
//! impl Counter {
//!     fn add(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
//!         self.value += amount;
//!         self.value
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     abide::Server::builder().bind::<Counter>().serve()
//! }
//! ```
//!
//! `curl localhost:8080/Counter/alice/add --json 5` answers `5`, and still does the sum after a `kill -9`.
//!
//! The feature `server` (default) brings the node; without it this crate is the SDK alone: handlers, contexts, typed
//! clients. The feature `http` brings the client for programs that talk to a node over HTTP. The feature
//! `testing`, for `[dev-dependencies]`, brings `abide::testing`: the engine in memory, with virtual time.

pub use abide_sdk::*;

#[cfg(feature = "server")]
mod schedules;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "server")]
pub use abide_node::engine::EngineError;
#[cfg(feature = "server")]
pub use abide_node::schedule::{CatchUp, Overlap, Schedule, ScheduleChange, ScheduleDetails, When};
#[cfg(feature = "server")]
pub use schedules::Schedules;
#[cfg(feature = "server")]
pub use server::{Config, Running, Server, ServerBuilder, StartError};

#[cfg(feature = "testing")]
pub use abide_sdk::__private::test;
