//! `abide cluster partitions`: who leads them, on which nodes they are, and how far their replicas are.

use serde_json::{Value, json};

use super::{items, words};
use crate::Context;
use crate::api::Path;
use crate::error::CliError;
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, field, show};

/// Committed entries that a replica may lack without being shown as one that is behind.
const LAG_SHOWN: u64 = 1_000;

/// All partitions, or those with one of `ids`.
///
/// # Errors
/// As the server answers; 404 when there is none of a name.
pub(super) fn fetch(context: &Context, ids: &[String]) -> Result<Value, CliError> {
    let document = context.admin.get(&Path::of(["cluster", "partitions"]))?;
    if ids.is_empty() {
        return Ok(document);
    }
    let all = items(&document, "partitions");
    let find = |id: &String| {
        let found = all.iter().find(|partition| partition["id"] == id.as_str());
        let message = format!("there is no partition `{id}`; they are named p0, p1 and so on, and meta");
        found.cloned().ok_or(CliError::Answered { status: 404, message, code: None })
    };
    Ok(json!({ "partitions": ids.iter().map(find).collect::<Result<Vec<_>, _>>()? }))
}

const COLUMNS: &[Column] = &[
    Column::new("PARTITION"),
    Column::new("LEADER"),
    Column::new("VOTERS"),
    Column::new("OTHERS"),
    Column::new("PINNED").optional(1),
    Column::new("LAG").right(),
    Column::new("COMMITTED").optional(2).right(),
    Column::new("APPLIED").optional(4).right(),
    Column::new("DURABLE").optional(5).right(),
    Column::new("FIRST").optional(6).right(),
    Column::new("TERM").optional(3).right(),
    Column::new("LOG").optional(8).right(),
    Column::new("SAVED").optional(8).right(),
    Column::new("LEADS FOR").optional(7),
    Column::new("SNAPSHOT").optional(8),
];

/// A table of partitions; with `details` each with a table of its replicas.
pub(super) fn render(document: &Value, details: bool, style: &Style) -> String {
    let partitions = items(document, "partitions");
    if partitions.is_empty() {
        return "No partitions are known.\n".to_owned();
    }
    if details {
        let parts: Vec<_> = partitions.iter().map(|partition| describe(partition, style)).collect();
        return parts.join("\n");
    }
    let rows: Vec<_> = partitions.iter().map(|partition| row(partition, style)).collect();
    table::render(COLUMNS, &rows, style)
}

fn row(partition: &Value, style: &Style) -> Vec<Field> {
    let leader = field(partition, "leader");
    let replicas = items(partition, "replicas");
    let of_leader = |name: &str| {
        let led = leader.as_deref().and_then(|leader| replicas.iter().find(|replica| replica["node"] == leader));
        led.and_then(|replica| field(replica, name))
    };
    vec![
        field(partition, "id").into(),
        leader_field(partition),
        words(&partition["members"], "voters").join(" ").into(),
        others(partition).into(),
        field(partition, "pinned").into(),
        worst(replicas),
        of_leader("committed").into(),
        of_leader("applied").into(),
        of_leader("durable").into(),
        of_leader("first").into(),
        field(partition, "term").into(),
        field(&partition["size"], "log_entries").into(),
        saved(partition).into(),
        leads_for(partition).into(),
        style.time_of(partition, "last_snapshot").into(),
    ]
}

fn leader_field(partition: &Value) -> Field {
    let none = || Field::toned("none".to_owned(), Tone::Bad);
    field(partition, "leader").map_or_else(none, Field::from)
}

fn leads_for(partition: &Value) -> Option<String> {
    partition["leads_for_ms"].as_u64().map(|ms| crate::text::span(std::time::Duration::from_millis(ms)))
}

/// Bytes of the newest snapshot outside of the nodes.
fn saved(partition: &Value) -> Option<String> {
    partition["size"]["snapshot_bytes"].as_u64().map(crate::text::size)
}

/// Who follows without a vote, comes, or goes.
fn others(partition: &Value) -> String {
    let members = &partition["members"];
    let voters = words(members, "voters");
    let learners = words(members, "learners");
    let outgoing = words(members, "outgoing");
    let coming = words(partition, "wanted");
    let mut out: Vec<String> = learners.iter().map(|learner| format!("{learner} follows")).collect();
    let going = outgoing.iter().filter(|replica| !voters.contains(replica));
    out.extend(going.map(|replica| format!("{replica} goes")));
    let coming = coming.iter().filter(|replica| !voters.contains(replica) && !learners.contains(replica));
    out.extend(coming.map(|replica| format!("{replica} comes")));
    out.join(", ")
}

/// The lag of the replica that is furthest behind, of those that are heard of.
fn worst(replicas: &[Value]) -> Field {
    let lags = replicas.iter().filter(|replica| replica["alive"] == true);
    let lags = lags.filter_map(|replica| Some((replica["lag"].as_u64()?, show(&replica["replica"]))));
    let Some((lag, replica)) = lags.max() else { return Field::default() };
    if lag > LAG_SHOWN { Field::toned(format!("{lag} ({replica})"), Tone::Warning) } else { lag.to_string().into() }
}

const REPLICAS: &[Column] = &[
    Column::new("REPLICA"),
    Column::new("ROLE"),
    Column::new("ALIVE"),
    Column::new("LAG").right(),
    Column::new("APPLIED").right(),
    Column::new("COMMITTED").right(),
    Column::new("LAST").optional(1).right(),
    Column::new("DURABLE").optional(2).right(),
    Column::new("FIRST").optional(3).right(),
    Column::new("TERM").optional(4).right(),
    Column::new("NOW").optional(5),
];

fn describe(partition: &Value, style: &Style) -> String {
    let mut out = format!("partition {}\n", style.paint(Tone::Strong, &show(&partition["id"])));
    let leader = field(partition, "leader")
        .map(|leader| leads_for(partition).map_or_else(|| leader.clone(), |time| format!("{leader}, for {time}")));
    for (label, value) in [
        ("leader", Some(leader.unwrap_or_else(|| style.paint(Tone::Bad, "none")))),
        ("pinned to", field(partition, "pinned")),
        ("term", field(partition, "term")),
        ("wanted", Some(words(partition, "wanted").join(" "))),
        ("changing", Some(others(partition))),
        ("log", field(&partition["size"], "log_entries").map(|entries| format!("{entries} entries"))),
        ("saved", saved(partition)),
        ("last snapshot", style.time_of(partition, "last_snapshot")),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {label:<14}{value}\n"));
        }
    }
    let replicas = items(partition, "replicas");
    let rows: Vec<_> = replicas.iter().map(|replica| replica_row(partition, replica)).collect();
    out.push_str(&table::render(REPLICAS, &rows, style));
    out
}

fn replica_row(partition: &Value, replica: &Value) -> Vec<Field> {
    let name = show(&replica["replica"]);
    let is = |role: &str| words(&partition["members"], role).contains(&name);
    let role = match () {
        () if replica["leads"] == true && is("voters") => "leader",
        () if is("voters") => "voter",
        () if is("learners") => "learner",
        () if is("outgoing") => "goes",
        () => "no member",
    };
    let alive = if replica["alive"] == true {
        Field::toned("yes".to_owned(), Tone::Good)
    } else {
        Field::toned("no".to_owned(), Tone::Bad)
    };
    let now = (replica["snapshot_in_progress"] == true).then(|| "gets a snapshot".to_owned());
    vec![
        name.clone().into(),
        role.to_owned().into(),
        alive,
        field(replica, "lag").into(),
        field(replica, "applied").into(),
        field(replica, "committed").into(),
        field(replica, "last").into(),
        field(replica, "durable").into(),
        field(replica, "first").into(),
        field(replica, "term").into(),
        now.into(),
    ]
}
