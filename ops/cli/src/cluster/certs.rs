//! `abide cluster certs`: an authority and certificates of nodes, for clusters without a public key infrastructure.

use std::path::{Path, PathBuf};
use std::time::Duration;

use abide_peer::certs::{Options, create_ca, create_node};
use abide_peer::{PeerError, TlsFiles};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::Output;
use crate::text::{Style, Tone, field, show};

/// The orders.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make certificates of nodes, and an authority for them if there is none in the folder.
    Create(Create),
}

/// What is made.
#[derive(Args)]
pub(crate) struct Create {
    /// Folder of the authority; each node gets one in it, to be copied to its machine.
    #[arg(long)]
    dir: PathBuf,
    /// The node that a certificate is for, such as n2; can be given again. Without it, one for any node.
    #[arg(long = "node", value_name = "NODE", value_parser = node)]
    nodes: Vec<u32>,
    /// A name or address to add, for other programs; nodes do not look at it. Can be given again.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// How long the certificates of nodes are valid; a year unless said otherwise.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    valid_for: Option<Duration>,
    /// Replace certificates of nodes that are there. The authority is never replaced.
    #[arg(long)]
    force: bool,
}

/// `n2`, or its number.
fn node(text: &str) -> Result<u32, String> {
    let number = text.strip_prefix('n').unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a node such as n2".to_owned())
}

/// Makes them.
///
/// # Errors
/// Files that are there already, or cannot be written.
pub(super) fn run(output: &Output, command: &Command) -> Result<(), CliError> {
    let Command::Create(order) = command;
    let made = create(order)?;
    output.result(&made, |style| render(&made, style))
}

fn create(order: &Create) -> Result<Value, CliError> {
    let authority = order.dir.join("ca.pem");
    // What is there is used: to replace it would make every certificate of before worthless.
    let created = !authority.exists();
    if created {
        create_ca(&order.dir, Options::for_ca()).map_err(told)?;
    }
    let default = Options::for_node();
    let options = Options { validity: order.valid_for.unwrap_or(default.validity), force: order.force };
    let one = |node: Option<u32>| {
        let dir = order.dir.join(node.map_or_else(|| "node".to_owned(), |node| format!("n{node}")));
        let files = create_node(&dir, &order.dir, node, &order.hosts, options).map_err(told)?;
        Ok::<_, CliError>(document(node, &dir, &files))
    };
    let nodes = if order.nodes.is_empty() {
        vec![one(None)?]
    } else {
        order.nodes.iter().map(|node| one(Some(*node))).collect::<Result<_, _>>()?
    };
    let key = order.dir.join("ca-key.pem");
    Ok(json!({
        "authority": { "certificate": text(&authority), "key": text(&key), "created": created },
        "nodes": nodes,
    }))
}

fn told(error: PeerError) -> CliError {
    let code = error.code();
    match error {
        PeerError::Exists { path } => CliError::Local(format!(
            "`{}` is there already [{code}]; --force replaces certificates of nodes, and nothing else does",
            path.display()
        )),
        error => CliError::Local(format!("{error} [{code}]")),
    }
}

fn document(node: Option<u32>, dir: &Path, files: &TlsFiles) -> Value {
    json!({
        "node": node.map(|node| format!("n{node}")),
        "dir": text(dir),
        "authority": text(&files.ca),
        "certificate": text(&files.certificate),
        "key": text(&files.key),
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn render(made: &Value, style: &Style) -> String {
    let authority = &made["authority"];
    let mut out = if authority["created"] == true {
        let warning = style.paint(Tone::Warning, "its key makes nodes, and belongs on none of them");
        format!("authority made: {}\n  key {}: {warning}\n", show(&authority["certificate"]), show(&authority["key"]))
    } else {
        format!("authority used: {}\n", show(&authority["certificate"]))
    };
    for node in super::items(made, "nodes") {
        let who = field(node, "node").unwrap_or_else(|| "any node".to_owned());
        let dir = show(&node["dir"]);
        out.push_str(&format!("certificate of {who} made in {dir}\n"));
    }
    let how = "On each machine: copy the node's folder there, and set `peer.tls = \"require\"` and `peer.certs` to it.";
    out.push_str(&format!("{}\n", style.paint(Tone::Faint, how)));
    out
}
