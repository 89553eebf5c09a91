//! One executable, several programs.
//!
//! `cargo run --bin` builds one program, but a suite needs a load generator and that one a node. So each of them starts
//! itself again and names the part to play in [`VARIABLE`]: the arguments stay those of the part.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::{cluster, load, node, suite};

/// The environment variable that names the part.
pub const VARIABLE: &str = "BENCH_ROLE";

/// A part to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `bench-node`.
    Node,
    /// `bench-load`.
    Load,
    /// `bench-suite`.
    Suite,
    /// `bench-cluster`.
    Cluster,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Load => "load",
            Self::Suite => "suite",
            Self::Cluster => "cluster",
        }
    }

    /// A command that runs this executable in this part.
    ///
    /// # Errors
    /// When the system does not tell where the executable is.
    pub fn command(self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("where this program is")?);
        command.env(VARIABLE, self.word());
        Ok(command)
    }
}

/// The `main` of all programs: `own` unless [`VARIABLE`] says otherwise.
#[must_use]
pub fn main(own: Role) -> ExitCode {
    let named = std::env::var(VARIABLE).ok();
    let roles = [Role::Node, Role::Load, Role::Suite, Role::Cluster];
    let role = named.as_deref().and_then(|named| roles.into_iter().find(|role| role.word() == named));
    let result = match role.unwrap_or(own) {
        // A node that was started by another program ends with it.
        Role::Node => return node::serve(named.is_some()),
        Role::Load => load::main(),
        Role::Suite => suite::main(),
        Role::Cluster => cluster::main(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where data folders go unless told otherwise: beside the executable, which is a real disk where `/tmp` often is not.
///
/// # Errors
/// When the system does not tell where the executable is.
pub fn scratch() -> anyhow::Result<std::path::PathBuf> {
    let program = std::env::current_exe().context("where this program is")?;
    Ok(program.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned))
}
