//! A deterministic simulator of a cluster: seed in, verdict out.
//!
//! The partitions, the machine and the stores' models are the product's own. Around them, in virtual time and on one
//! thread, are a shell that drives them as the node's driver does, a network, a controller of members, hosts that play
//! handlers, clients, and faults.
//!
//! | module | what it is |
//! |---|---|
//! | `world` | time, the heap of events, storm and calm |
//! | `machine`, `net` | computers with their disks and clocks, and what is between them |
//! | `node` | the shell: log batches with an fsync that takes time, checkpoints, snapshots, crashes, the log tap |
//! | `ingress` | requests at any node, passed on to the leader and repeated when that is lost |
//! | `archive` | the object store with its faults, rounds of saving, what has to hold of it, and restoring |
//! | `cluster` | the controller: who belongs to which group |
//! | `host` | activations that run ahead of their commit, flows from their journals |
//! | `program`, `app`, `names` | the simulated application |
//! | `client` | requests, and what their senders believe |
//! | `ledger` | what the world outside saw |
//! | `timetable` | when schedules are due, as a leader reckons |
//! | `model` | the reference model: what the committed log means |
//! | `audit` | the checks at the end |
//! | `config`, `rng`, `trace`, `counts` | what a seed decides, and what it led to |

mod app;
mod archive;
mod audit;
mod client;
mod cluster;
mod config;
mod counts;
mod host;
mod ingress;
mod ledger;
mod machine;
mod model;
mod names;
mod net;
mod node;
mod program;
mod rng;
mod store;
mod timetable;
mod trace;
mod violation;
mod world;

pub use config::Canary;
pub use counts::Counts;
pub use violation::{Invariant, Violation};

use std::panic::{AssertUnwindSafe, catch_unwind};

use config::Config;
use world::World;

/// What became of a seed.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What it decided.
    pub config: String,
    /// Hash over everything that happened: equal for equal seeds and builds.
    pub trace_hash: u64,
    /// What happened how often.
    pub counts: Counts,
    /// The first broken promise.
    pub violation: Option<Violation>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, canary: Option<Canary>, verbose: bool) -> Report {
    let config = Config::draw(seed, canary);
    let text = format!("{config:?}");
    let mut world = World::new(seed, config, verbose);
    let violation = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = format!("panicked: {}", text.unwrap_or_default());
            Some(Violation { invariant: Invariant::Stopped, text })
        }
    };
    Report { seed, config: text, trace_hash: world.trace.hash(), counts: world.counts, violation }
}
