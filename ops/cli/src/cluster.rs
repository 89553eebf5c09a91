//! `abide cluster`: nodes, partitions, who leads them, and the settings of all.

mod certs;
mod config;
mod hashes;
mod leaders;
mod nodes;
mod partitions;
mod status;

use clap::Subcommand;
use serde_json::Value;

use crate::api::Path;
use crate::error::CliError;
use crate::output::Output;
use crate::{Context, Watch, restore, snapshots};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// All on one screen: nodes, leaders, and what is wrong.
    Status {
        #[command(flatten)]
        watch: Watch,
    },
    /// Nodes; empties, removes and replaces them.
    #[command(args_conflicts_with_subcommands = true)]
    Nodes {
        #[command(flatten)]
        watch: Watch,
        #[command(subcommand)]
        command: Option<nodes::Command>,
    },
    /// Partitions, with their replicas and how far these are.
    Partitions {
        /// Only these, each with its replicas: p0, or meta.
        #[arg(value_name = "PARTITION")]
        ids: Vec<String>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Which node leads a partition.
    #[command(subcommand)]
    Leader(leaders::Command),
    /// Settings that hold on all nodes, changed while everything runs.
    #[command(subcommand)]
    Config(config::Command),
    /// Whether replicas have the same state.
    #[command(subcommand)]
    Hash(hashes::Command),
    /// Certificates for connections between nodes; made on this machine.
    #[command(subcommand)]
    Certs(certs::Command),
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
        Command::Status { watch } => {
            let fetch = || {
                let mut document = context.admin.get(&Path::of(["cluster"]))?;
                document["address"] = context.admin.base().into();
                Ok(document)
            };
            context.output.watch(watch.watch, fetch, status::render)
        }
        Command::Nodes { watch, command: None } => {
            let fetch = || context.admin.get(&Path::of(["cluster", "nodes"]));
            context.output.watch(watch.watch, fetch, nodes::list)
        }
        Command::Nodes { command: Some(command), .. } => nodes::run(context, command),
        Command::Partitions { ids, watch } => {
            let fetch = || partitions::fetch(context, &ids);
            context
                .output
                .watch(watch.watch, fetch, |document, style| partitions::render(document, !ids.is_empty(), style))
        }
        Command::Leader(command) => leaders::run(context, &command),
        Command::Config(command) => config::run(context, command),
        Command::Hash(hashes::Command::Check) => hashes::check(context),
        Command::Certs(command) => certs(&context.output, &command),
        Command::Snapshots(command) => snapshots::online(context, command),
        Command::Restore(args) => restore::run(context, &args),
    }
}

/// Makes certificates, which asks no node.
///
/// # Errors
/// Files that are there already, or cannot be written.
pub(crate) fn certs(output: &Output, command: &certs::Command) -> Result<(), CliError> {
    certs::run(output, command)
}

/// The list in the field `name`.
fn items<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    document[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The words in the field `name`, cleaned.
fn words(document: &Value, name: &str) -> Vec<String> {
    items(document, name).iter().map(crate::text::show).collect()
}

#[cfg(test)]
mod tests;
