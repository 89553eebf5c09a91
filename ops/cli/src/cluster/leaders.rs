//! `abide cluster leader`: which node leads a partition.

use clap::Subcommand;
use serde_json::{Value, json};
use ureq::http::Method;

use super::items;
use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::text::{Style, Tone, field, show};

/// The orders.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Have another node lead, now; it may be moved again when leaders are spread.
    Transfer {
        /// The partition, such as p0.
        partition: String,
        /// The node, such as n2.
        node: String,
    },
    /// Spread leaders over nodes, now.
    Balance,
    /// Have a node lead whenever it can.
    Pin {
        /// The partition.
        partition: String,
        /// The node.
        node: String,
    },
    /// Have any node lead.
    Unpin {
        /// The partition.
        partition: String,
    },
}

/// Runs one of them.
///
/// # Errors
/// As the server answers.
pub(super) fn run(context: &Context, command: &Command) -> Result<(), CliError> {
    let path = |partition: &str, what: &str| Path::of(["cluster", "partitions", partition, what]);
    let ask = |method: Method, path: &Path, node: Option<&String>| {
        let body = node.map(|node| json!({ "node": node }));
        context.admin.json(&method, path, body.as_ref())
    };
    match command {
        Command::Transfer { partition, node } => {
            let answer = ask(Method::POST, &path(partition, "leader"), Some(node))?;
            context.output.result(&answer, |style| transferred(&answer, style))
        }
        Command::Balance => {
            let answer = ask(Method::POST, &Path::of(["cluster", "leaders", "balance"]), None)?;
            context.output.result(&answer, |_| balanced(&answer))
        }
        Command::Pin { partition, node } => {
            let answer = ask(Method::PUT, &path(partition, "pin"), Some(node))?;
            context.output.result(&answer, |style| pinned(&answer, style))
        }
        Command::Unpin { partition } => {
            let answer = ask(Method::DELETE, &path(partition, "pin"), None)?;
            context.output.result(&answer, |_| format!("{partition} may be led by any node\n"))
        }
    }
}

fn transferred(partition: &Value, style: &Style) -> String {
    let (id, leader) = (show(&partition["id"]), show(&partition["leader"]));
    if partition["from"] == partition["leader"] {
        return format!("{id} is led by {leader} already\n");
    }
    let mut out = format!("{id} is led by {leader}, no longer by {}\n", show(&partition["from"]));
    if field(partition, "pinned").is_none() && id != "meta" {
        let how = format!(
            "When leaders are uneven it may be moved again; `abide cluster leader pin {id} {leader}` keeps it."
        );
        out.push_str(&format!("{}\n", style.paint(Tone::Faint, &how)));
    }
    out
}

fn pinned(partition: &Value, style: &Style) -> String {
    let (id, node) = (show(&partition["id"]), show(&partition["pinned"]));
    let mut out = format!("{id} is pinned to {node}\n");
    if partition["leader"] != partition["pinned"] {
        let leader = field(partition, "leader").unwrap_or_else(|| "Nobody".to_owned());
        let how = format!("{leader} leads it now; {node} takes over when it has a replica that can.");
        out.push_str(&format!("{}\n", style.paint(Tone::Faint, &how)));
    }
    out
}

fn balanced(answer: &Value) -> String {
    let transfers = items(answer, "transfers");
    if transfers.is_empty() {
        return "Leaders are as even as they can be.\n".to_owned();
    }
    let line =
        |of: &Value| format!("{} goes from {} to {}\n", show(&of["partition"]), show(&of["from"]), show(&of["to"]));
    transfers.iter().map(line).collect()
}
