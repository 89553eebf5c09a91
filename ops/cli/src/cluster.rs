//! `abide cluster`: what concerns all nodes.

use clap::Subcommand;

use crate::error::CliError;
use crate::{Context, restore, snapshots};

/// What concerns all nodes.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// The saved state of its partitions.
    #[command(subcommand)]
    Snapshots(snapshots::Online),
    /// Found a cluster anew from the snapshots of one that is gone.
    ///
    /// Fills an empty folder with the newest sound snapshot of every partition, as that of the first node of a new cluster.
    /// Start a node on it, and let others join. No node has to run. Says what is lost.
    Restore(restore::Args),
}

/// Runs one of them.
///
/// # Errors
/// As the server or the store answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Snapshots(command) => snapshots::online(context, command),
        Command::Restore(args) => restore::run(context, &args),
    }
}
