//! The load generator.
//!
//! *Closed loop*: a fixed number of callers, each of which calls again as soon as it has its answer; what is measured is
//! how much the node does. *Open loop*: calls come at a fixed rate whatever the node does, and a call's latency counts
//! from when it should have been made (so a stall is seen by all calls that fell into it, not by one).

pub mod args;
pub mod report;

mod http1;
mod keys;
mod line;
mod pace;
mod probe;
mod run;

use std::io::Write as _;

use clap::Parser as _;

use args::Args;

/// The `main` of the load generator.
///
/// # Errors
/// When the load could not be applied; failed calls are figures, not errors.
pub fn main() -> anyhow::Result<()> {
    let report = run::run(&Args::parse())?;
    serde_json::to_writer(std::io::stdout(), &report)?;
    writeln!(std::io::stdout())?;
    Ok(())
}
