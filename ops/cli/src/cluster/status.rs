//! The cluster on one screen.

use serde_json::Value;

use super::{items, nodes};
use crate::text::{Style, Tone, count, field, show};

/// The screen.
pub(super) fn render(document: &Value, style: &Style) -> String {
    let name = field(document, "cluster_id").unwrap_or_else(|| "unknown cluster".to_owned());
    let mut out = format!("{}\n", style.paint(Tone::Strong, &name));
    let asked = [field(document, "address"), field(document, "asked")];
    let asked = asked.into_iter().flatten().reduce(|address, node| format!("{address} ({node})"));
    let settings = document["settings"].as_object().into_iter().flatten();
    let settings: Vec<_> =
        settings.filter(|(_, value)| !value.is_null()).map(|(name, value)| format!("{name} {}", show(value))).collect();
    for (label, value) in [
        ("asked", asked),
        ("nodes", Some(count_nodes(items(document, "nodes")))),
        ("partitions", Some(count_partitions(items(document, "partitions")))),
        ("features", field(document, "features").map(|level| format!("level {level}"))),
        ("settings", Some(settings.join(", "))),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<12}{value}\n"));
        }
    }
    out.push_str(&format!("\n{}\n{}", nodes::list(document, style), problems(document, style)));
    out
}

/// `3 nodes, 1 not alive`.
fn count_nodes(nodes: &[Value]) -> String {
    let there: Vec<_> = nodes.iter().filter(|node| node["state"] != "removed").collect();
    let dead = there.iter().filter(|node| node["alive"] == false).count();
    let all = count(there.len() as u64, "node");
    if dead > 0 { format!("{all}, {dead} not alive") } else { all }
}

/// `8 partitions, 1 without a leader`.
fn count_partitions(partitions: &[Value]) -> String {
    let led = partitions.iter().filter(|partition| !partition["leader"].is_null()).count();
    let (own, meta) = partitions.iter().partition::<Vec<_>, _>(|partition| partition["id"] != "meta");
    let mut out = count(own.len() as u64, "partition");
    if let Some(leader) = meta.first().and_then(|meta| field(meta, "leader")) {
        out.push_str(&format!(" and meta, which {leader} leads"));
    }
    let missing = partitions.len() - led;
    if missing > 0 { format!("{out}; {missing} without a leader") } else { out }
}

fn problems(document: &Value, style: &Style) -> String {
    let problems = items(document, "problems");
    if problems.is_empty() {
        return format!("{}\n", style.paint(Tone::Good, "All is as it should be."));
    }
    let mut out = String::new();
    for problem in problems {
        let (mark, tone) = match problem["severity"].as_str() {
            Some("bad") => ("!", Tone::Bad),
            Some("warning") => ("!", Tone::Warning),
            _ => ("-", Tone::Calm),
        };
        out.push_str(&format!("{} {}\n", style.paint(tone, mark), show(&problem["text"])));
    }
    out
}
