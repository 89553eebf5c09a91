//! `abide cluster nodes`: what nodes there are, and the orders about them.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::Value;
use ureq::http::Method;

use super::{items, words};
use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, count, field, show};

/// How often it is looked whether a node is empty.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The orders.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Empty one: its leaders and replicas go to others; it serves all the while.
    Drain {
        /// Its name, such as n2.
        node: String,
        #[command(flatten)]
        until: Until,
    },
    /// Use one again that was to be emptied.
    Activate {
        /// Its name.
        node: String,
    },
    /// Remove one that is empty, for ever.
    Remove {
        /// Its name.
        node: String,
        /// Also when it is dead and had replicas: they are given up.
        #[arg(long)]
        force: bool,
    },
    /// Have others take over from a dead one at once, and remove it when they have.
    Replace {
        /// Its name.
        node: String,
        #[command(flatten)]
        until: Until,
    },
}

/// Whether the end is waited for.
#[derive(Args)]
pub(crate) struct Until {
    /// Wait until it is done.
    #[arg(long)]
    wait: bool,
    /// Wait at most so long; then the exit code is 4.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Runs one of them.
///
/// # Errors
/// As the server answers; [`CliError::NotYet`] when waiting takes too long.
pub(super) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Drain { node, until } => {
            let mut answer = order(context, &path(&node, "drain"))?;
            if until.wait {
                let look = || context.admin.get(&Path::of(["cluster", "nodes", &node]));
                answer = wait(context, &until, answer, is_empty, look)?;
            }
            context.output.result(&answer, |style| drained(&answer, style))
        }
        Command::Activate { node } => {
            let answer = order(context, &path(&node, "activate"))?;
            context.output.result(&answer, |_| format!("{node} is active\n"))
        }
        Command::Remove { node, force } => {
            let what = if force { ", and give up the replicas it had" } else { "" };
            context.output.confirm(&format!("Remove {node} for ever{what}? Its data folder cannot be used again."))?;
            let answer = order(context, &path(&node, "remove").with("force", force.then_some("true")))?;
            context.output.result(&answer, |_| format!("{node} is removed\n"))
        }
        Command::Replace { node, until } => {
            let question = format!("Have others take over from {node} and remove it for ever?");
            context.output.confirm(&format!("{question} Its data folder cannot be used again."))?;
            let replace = || order(context, &path(&node, "replace"));
            let mut answer = replace()?;
            if until.wait {
                answer = wait(context, &until, answer, is_removed, replace)?;
            }
            context.output.result(&answer, |style| replaced(&answer, style))
        }
    }
}

fn path(node: &str, verb: &str) -> Path {
    Path::of(["cluster", "nodes", node, verb])
}

fn order(context: &Context, path: &Path) -> Result<Value, CliError> {
    context.admin.json(&Method::POST, path, None)
}

fn is_removed(node: &Value) -> bool {
    node["state"] == "removed"
}

fn is_empty(node: &Value) -> bool {
    is_removed(node) || (node["empty"] == true && node["leaders"].as_u64().unwrap_or(0) == 0)
}

/// Looks until an order is carried out, and tells what is left.
fn wait(
    context: &Context,
    until: &Until,
    mut node: Value,
    done: fn(&Value) -> bool,
    look: impl Fn() -> Result<Value, CliError>,
) -> Result<Value, CliError> {
    let begun = Instant::now();
    let mut told = String::new();
    loop {
        if done(&node) {
            return Ok(node);
        }
        if node["state"] == "active" {
            let text = format!("{} is active again: somebody has taken the order back", show(&node["id"]));
            return Err(CliError::NotYet(text));
        }
        let progress = left(&node);
        if progress != told {
            context.output.note(&progress);
            told = progress;
        }
        if until.timeout.is_some_and(|timeout| begun.elapsed() >= timeout) {
            return Err(CliError::NotYet(format!("not done in time, and goes on: {told}")));
        }
        std::thread::sleep(LOOK_EVERY);
        node = match look() {
            Ok(node) => node,
            // Nodes may be away for a moment while others take over.
            Err(CliError::Unreachable { .. } | CliError::Answered { status: 503 | 504, .. })
                if until.timeout.is_none_or(|timeout| begun.elapsed() < timeout) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
    }
}

/// What is left on a node, on one line.
fn left(node: &Value) -> String {
    let left = words(node, "left");
    let partitions = count(left.len() as u64, "partition");
    let leaders = count(node["leaders"].as_u64().unwrap_or(0), "leader");
    let note = field(node, "note").map_or_else(String::new, |note| format!(". {note}"));
    format!("{}: {partitions} and {leaders} left{note}", show(&node["id"]))
}

fn drained(node: &Value, style: &Style) -> String {
    let id = show(&node["id"]);
    match node["state"].as_str() {
        Some("draining") if is_empty(node) => {
            let how = format!("Stop it, and remove it with `abide cluster nodes remove {id}`.");
            format!("{id} is empty\n{}\n", style.paint(Tone::Faint, &how))
        }
        _ => format!("{id} is being emptied\n{}\n", style.paint(Tone::Faint, &left(node))),
    }
}

fn replaced(node: &Value, style: &Style) -> String {
    let id = show(&node["id"]);
    if node["state"] == "removed" {
        return format!("{id} is removed\n");
    }
    let how = format!("{}\nIt is removed once that is done: repeat this command, or give it --wait.", left(node));
    format!("{id} is being replaced\n{}\n", style.paint(Tone::Faint, &how))
}

const COLUMNS: &[Column] = &[
    Column::new("NODE"),
    Column::new("STATE"),
    Column::new("ALIVE"),
    Column::new("LEADERS").right(),
    Column::new("REPLICAS").right(),
    Column::new("ZONE").optional(3).shrinks(8),
    Column::new("PEER").optional(2),
    Column::new("ADMIN").optional(4),
    Column::new("INGRESS").optional(6),
    Column::new("BUILD").optional(5),
    Column::new("JOINED").optional(7),
    Column::new("LEADS").optional(1).shrinks(12),
];

/// The table of nodes.
pub(super) fn list(document: &Value, style: &Style) -> String {
    let rows: Vec<_> = items(document, "nodes").iter().map(|node| row(node, style)).collect();
    if rows.is_empty() {
        return "No nodes are known.\n".to_owned();
    }
    table::render(COLUMNS, &rows, style)
}

fn row(node: &Value, style: &Style) -> Vec<Field> {
    let removed = node["state"] == "removed";
    let state = field(node, "state").unwrap_or_else(|| "unknown".to_owned());
    let tone = match state.as_str() {
        "active" => Tone::Good,
        "removed" => Tone::Faint,
        _ => Tone::Warning,
    };
    let alive = match node["alive"].as_bool() {
        // A removed node may still run, which is of no interest.
        _ if removed => Field::default(),
        Some(true) if node["stopping"] == true => Field::toned("stopping".to_owned(), Tone::Warning),
        Some(true) if node["slow_disk_ms"].as_u64().is_some() => Field::toned("slow disk".to_owned(), Tone::Warning),
        Some(true) => Field::toned("yes".to_owned(), Tone::Good),
        _ => {
            let silent = node["silent_ms"].as_u64().map(|ms| crate::text::span(Duration::from_millis(ms)));
            let text = silent.map_or_else(|| "no".to_owned(), |silent| format!("no, for {silent}"));
            Field::toned(text, Tone::Bad)
        }
    };
    let number = |name: &str| if removed { None } else { field(node, name) };
    vec![
        field(node, "id").into(),
        Field::toned(state, tone),
        alive,
        number("leaders").into(),
        number("replicas").into(),
        field(node, "zone").into(),
        field(node, "address").into(),
        field(node, "admin").into(),
        field(node, "ingress").into(),
        field(node, "build").into(),
        style.time_of(node, "joined_at").into(),
        words(node, "leads").join(" ").into(),
    ]
}
