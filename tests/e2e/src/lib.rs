//! The harness: programs as processes, requests over HTTP, and what can be seen of both from outside.
//!
//! A test starts one of the programs in `src/bin` on a folder and on ports of its own ([`Program`], [`Process`]), asks it
//! as any client would ([`http`]), does to it what operating systems and operators do, and compares what it says
//! afterwards with what it had acknowledged, and with a [`ledger`] that handlers write outside of the node.
#![allow(clippy::unwrap_used, reason = "everything here is a test's helper, and a test may panic")]

pub mod cli;
pub mod cluster;
pub mod damage;
pub mod disk;
pub mod files;
pub mod history;
pub mod http;
pub mod ledger;
pub mod linear;
pub mod load;
pub mod look;
pub mod nemesis;
pub mod netns;
pub mod program;
pub mod random;
pub mod table;
pub mod verdict;
pub mod wait;

use std::io::Write as _;

pub use cli::{Cli, Told};
pub use cluster::Cluster;
pub use http::{Answer, Http, Lost, Sent};
pub use program::{Ended, Process, Program};

/// Prints a line also when the test passes: measurements, and that something was skipped.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether what a test needs may not be missing: in CI nothing is skipped.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}
