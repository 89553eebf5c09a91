//! `abide invocations`: what runs, waits and has ended, and every order for it.

mod describe;
mod filter;
mod list;
mod orders;
mod results;

use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;

use self::filter::Selection;
use self::orders::{Chosen, Order, Verb};
use crate::api::Path;
use crate::error::CliError;
use crate::{Context, Page};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Those that match, oldest first within each partition.
    List {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        page: Page,
    },
    /// Everything about one: where it is, why it waits, what failed, its journal.
    Describe {
        /// Its id.
        id: String,
    },
    /// Ask them to stop; their compensation runs.
    Cancel(Chosen),
    /// End them now, with all that they called; no compensation runs.
    Kill(Chosen),
    /// Make no further attempts until they are resumed.
    Pause(Chosen),
    /// Try paused and backing-off ones again now.
    Resume {
        #[command(flatten)]
        chosen: Chosen,
        /// With which code: `keep`, `latest`, or a version.
        #[arg(long, value_name = "WHICH")]
        deployment: Option<String>,
    },
    /// Forget completed ones, with result and journal.
    Purge(Chosen),
    /// Forget the journals of completed ones; their results stay.
    PurgeJournal(Chosen),
    /// Run completed ones again, as new invocations.
    #[command(visible_alias = "restart-as-new")]
    Restart {
        #[command(flatten)]
        chosen: Chosen,
        /// Take over the journal up to this entry; without it, only the input.
        #[arg(long, value_name = "ENTRY")]
        from: Option<u32>,
        /// With which code: `keep`, `latest`, or a version.
        #[arg(long, value_name = "WHICH")]
        deployment: Option<String>,
    },
    /// Give scheduled ones another time.
    Reschedule {
        #[command(flatten)]
        chosen: Chosen,
        #[command(flatten)]
        when: When,
    },
    /// Wait for the result of one and print it.
    Attach {
        /// Its id.
        id: String,
        /// Wait at most so long; without it, as long as it takes.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Print the result of one, if there is one by now.
    Output {
        /// Its id.
        id: String,
    },
}

/// A new time.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct When {
    /// At this time, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// So long from now, such as 10m.
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::List { selection, page } => list(context, &selection, &page),
        Command::Describe { id } => {
            let invocation = context.admin.get(&Path::of(["invocations", &id]))?;
            let ahead = if context.output.is_json() { Vec::new() } else { ahead_of(context, &invocation)? };
            context.output.result(&invocation, |style| describe::render(&invocation, &ahead, style))
        }
        Command::Cancel(chosen) => orders::run(context, &chosen, &Order::new(Verb::Cancel)),
        Command::Kill(chosen) => orders::run(context, &chosen, &Order::new(Verb::Kill)),
        Command::Pause(chosen) => orders::run(context, &chosen, &Order::new(Verb::Pause)),
        Command::Resume { chosen, deployment } => {
            orders::run(context, &chosen, &Order::new(Verb::Resume).with("deployment", deployment))
        }
        Command::Purge(chosen) => orders::run(context, &chosen, &Order::new(Verb::Purge)),
        Command::PurgeJournal(chosen) => orders::run(context, &chosen, &Order::new(Verb::PurgeJournal)),
        Command::Restart { chosen, from, deployment } => {
            let order = Order::new(Verb::Restart).with("from", from.map(|from| from.to_string()));
            orders::run(context, &chosen, &order.with("deployment", deployment))
        }
        Command::Reschedule { chosen, when } => {
            let order = Order::new(Verb::Reschedule).with("at", when.at).with("delay", when.delay);
            orders::run(context, &chosen, &order)
        }
        Command::Attach { id, timeout } => results::attach(context, &id, timeout),
        Command::Output { id } => results::output(context, &id),
    }
}

/// Most invocations that are named as having the key of another.
const AHEAD_MAX: u32 = 3;

/// Those that have the key that `invocation` waits for.
fn ahead_of(context: &Context, invocation: &Value) -> Result<Vec<Value>, CliError> {
    let Some(filter) = filter::ahead_of(invocation) else { return Ok(Vec::new()) };
    let path = Path::of(["invocations"]).with("filter", Some(filter)).with("limit", Some(AHEAD_MAX));
    Ok(context.admin.get(&path)?["invocations"].as_array().cloned().unwrap_or_default())
}

fn list(context: &Context, selection: &Selection, page: &Page) -> Result<(), CliError> {
    let filter = selection.compose();
    let fetch = || context.admin.get(&page.of(Path::of(["invocations"]).with("filter", filter.as_deref())));
    context.output.watch(page.watch.watch, fetch, list::render)
}
