//! The command `abide`: what runs, why it waits, and every order an operator can give. Talks HTTP to a node's admin API;
//! knows nothing of the node's code but how certificates between nodes are made, and how its state is saved.

mod api;
mod cluster;
mod deadletters;
mod editor;
mod error;
mod invocations;
mod output;
mod restore;
mod schedules;
mod services;
mod snapshots;
mod state;
mod status;
mod store;
mod table;
mod target;
mod text;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::api::{Client, Door};
use crate::error::CliError;
use crate::output::Output;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the operation failed, or some of several did
  2    wrong usage: the command line, or a value the server refuses (400)
  3    there is no such thing (404)
  4    its state does not allow it (409, 410, 422, 425), or there is no result yet
  5    the server cannot be reached
  130  aborted at the question";

/// Heading of the options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// Looks into an Abide node and controls what runs there.
#[derive(Parser)]
#[command(name = "abide", version, after_help = EXIT_CODES, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Global {
    /// Address of the admin API; of several, separated by commas, the first that answers is asked.
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "ABIDE_ADMIN", hide_env_values = true, default_value = "http://127.0.0.1:9070", value_name = "URL", value_delimiter = ',')]
    admin: Vec<String>,
    /// Address of the ingress, or several; only `attach` and `output` ask it.
    #[arg(long, global = true, help_heading = EVERYWHERE, env = "ABIDE_INGRESS", hide_env_values = true, default_value = "http://127.0.0.1:8080", value_name = "URL", value_delimiter = ',')]
    ingress: Vec<String>,
    /// How long to wait for an answer.
    #[arg(long, global = true, help_heading = EVERYWHERE, default_value = "30s", value_name = "TIME", value_parser = humantime::parse_duration)]
    request_timeout: Duration,
    /// Print one JSON document instead of text (with --watch, one line each time).
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// Do not ask.
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    yes: bool,
    /// Show dates instead of `3m ago`.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    absolute: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Health, version, and what runs.
    Status,
    /// Nodes, partitions and their leaders.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// What is bound on the node.
    #[command(subcommand, visible_alias = "svc")]
    Services(services::Command),
    /// What runs, waits and has ended.
    #[command(subcommand, visible_alias = "inv")]
    Invocations(invocations::Command),
    /// What starts by the clock.
    #[command(subcommand, visible_alias = "sched")]
    Schedules(schedules::Command),
    /// The state of objects.
    #[command(subcommand)]
    State(state::Command),
    /// Messages that failed for good.
    #[command(subcommand, visible_alias = "dl")]
    Deadletters(deadletters::Command),
    /// The saved state of partitions: made, listed, checked and restored, also where no node runs.
    #[command(subcommand)]
    Snapshot(snapshots::Command),
    /// A script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What every command is given.
struct Context {
    admin: Client,
    ingress: Vec<String>,
    patience: Duration,
    output: Output,
}

impl Context {
    /// A client of the ingress that waits at most `patience` for an answer.
    fn ingress(&self, patience: Option<Duration>) -> Result<Client, CliError> {
        Client::new(Door::Ingress, &self.ingress, patience)
    }
}

/// Carries out the command line of this process, and tells what came of it on its standard output and error.
///
/// Ends the process itself where the command line is wrong (2), or asks for help or the version (0).
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let output = Output::new(global.json, global.yes, global.absolute);
    let Err(error) = run(global, command) else { return ExitCode::SUCCESS };
    // What failed of several, or is not as it should be, is in the document already.
    if output.is_json() && !matches!(error, CliError::Partly { .. } | CliError::Shown { .. }) {
        // Who reads documents gets one in any case; standard output being gone is told by the exit code alone.
        let _ = output.write(&format!("{:#}\n", error.json()));
    }
    output.note(&format!("abide: {error}"));
    ExitCode::from(error.exit() as u8)
}

fn run(global: Global, command: Command) -> Result<(), CliError> {
    let output = Output::new(global.json, global.yes, global.absolute);
    // What is made on this machine asks no node.
    if let Command::Cluster(cluster::Command::Certs(command)) = &command {
        return cluster::certs(&output, command);
    }
    if let Command::Completions { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "abide", &mut script);
        return output.write(&String::from_utf8_lossy(&script));
    }
    let admin = Client::new(Door::Admin, &global.admin, Some(global.request_timeout))?;
    let context = Context { admin, ingress: global.ingress, patience: global.request_timeout, output };
    match command {
        Command::Status => status::run(&context),
        Command::Cluster(command) => cluster::run(&context, command),
        Command::Services(command) => services::run(&context, command),
        Command::Invocations(command) => invocations::run(&context, command),
        Command::Schedules(command) => schedules::run(&context, command),
        Command::State(command) => state::run(&context, command),
        Command::Deadletters(command) => deadletters::run(&context, command),
        Command::Snapshot(command) => snapshots::run(&context, command),
        Command::Completions { .. } => Ok(()),
    }
}

/// How a list is cut into pages and repeated.
#[derive(Args, Clone)]
struct Page {
    /// Show at most so many.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Go on behind the page that ended with this token.
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
    #[command(flatten)]
    watch: Watch,
}

/// Whether a list is repeated.
#[derive(Args, Clone)]
struct Watch {
    /// Show it again and again, every so often; a number alone is seconds.
    #[arg(
        long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "2s",
        value_parser = interval
    )]
    watch: Option<Duration>,
}

/// A time; a number alone is seconds.
fn interval(text: &str) -> Result<Duration, humantime::DurationError> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.map_or_else(|| humantime::parse_duration(text), Ok)
}

impl Page {
    /// `path` with the page's parameters.
    fn of(&self, path: api::Path) -> api::Path {
        path.with("limit", Some(self.limit)).with("after", self.after.as_deref())
    }
}

/// How to see the rest of a list that has one.
fn rest(document: &serde_json::Value, style: &text::Style) -> String {
    text::field(document, "next").map_or_else(String::new, |next| {
        format!("{}\n", style.paint(text::Tone::Faint, &format!("There are more: --after {next}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
