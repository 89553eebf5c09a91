//! `abide cluster snapshots` asks a node; `abide snapshot` does without one where it can.

use std::path::PathBuf;

use abide_model::codec::FEATURES;
use abide_model::id::{Millis, PartitionId};
use abide_restore::{CopyOrder, copy, open_cluster};
use abide_snapshot::{Location, Manifest, Repository, SnapshotId};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::api::Path;
use crate::error::CliError;
use crate::store::{location, now, open, wait_for};
use crate::table::{self, Column, Field};
use crate::text::{Style, Tone, field, size};
use crate::{Context, restore};

/// What a node is asked for.
#[derive(Subcommand)]
pub(crate) enum Online {
    /// Save the state now: each node saves the partitions that it leads.
    Create {
        /// Only this partition, `p0`, or `meta`.
        #[arg(long, value_name = "P")]
        partition: Option<String>,
    },
    /// What is in the store, newest first.
    List {
        /// Only of this partition, `p0`, or `meta`.
        #[arg(long, value_name = "P")]
        partition: Option<String>,
        /// Of each partition, show at most so many.
        #[arg(long, default_value_t = 3, value_name = "N")]
        limit: u32,
    },
    /// Check one: that all of it is there, and with --deep that all of it is what it was.
    Verify {
        /// Which one, as `list` shows it.
        id: SnapshotId,
        /// Read all of it.
        #[arg(long)]
        deep: bool,
    },
}

/// Saved state, also where no node runs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Save the state: of the running node, or with --data of the folder of one that is stopped.
    Create {
        /// The folder of a node that does not run.
        #[arg(long, value_name = "DIR", requires = "to")]
        data: Option<PathBuf>,
        /// Where to: a folder, or s3://bucket/prefix?region=…; a running node knows it.
        #[arg(long, value_name = "URL", requires = "data", value_parser = location)]
        to: Option<Location>,
        /// Of a node that was killed, copy what is in its tables, without what is only in its log.
        #[arg(long, requires = "data")]
        allow_incomplete: bool,
    },
    /// What was saved, newest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Of each partition, show at most so many.
        #[arg(long, default_value_t = 3, value_name = "N")]
        limit: u32,
    },
    /// Check one: that all of it is there, and with --deep that all of it is what it was.
    Verify {
        /// Which one, as `list` shows it.
        id: SnapshotId,
        /// Read all of it.
        #[arg(long)]
        deep: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Make a data folder of it. The same as `abide cluster restore`.
    Restore(restore::Args),
}

/// Where snapshots are, when no node is to be asked.
#[derive(Args)]
pub(crate) struct Place {
    /// Look there instead of asking a node: a folder, or s3://bucket/prefix?region=…
    #[arg(long, value_name = "URL", value_parser = location)]
    from: Option<Location>,
    /// The cluster, where there are several.
    #[arg(long, value_name = "ID", requires = "from")]
    cluster: Option<String>,
}

/// Runs one of them.
///
/// # Errors
/// As the server or the store answers.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Create { data: Some(data), to: Some(to), allow_incomplete } => {
            let order = CopyOrder { data, allow_incomplete, now: now(), features: FEATURES };
            create_offline(context, &to, &order)
        }
        Command::Create { .. } => online(context, Online::Create { partition: None }),
        Command::List { place: Place { from: None, .. }, limit } => {
            online(context, Online::List { partition: None, limit })
        }
        Command::List { place: Place { from: Some(from), cluster }, limit } => {
            let document = wait_for(async {
                list_offline(&open_cluster(open(&from).await?, cluster.as_deref()).await?, limit).await
            })?;
            context.output.result(&document, |style| list(&document, style))
        }
        Command::Verify { id, deep, place: Place { from: None, .. } } => online(context, Online::Verify { id, deep }),
        Command::Verify { id, deep, place: Place { from: Some(from), cluster } } => {
            let document = wait_for(async {
                verify_offline(&open_cluster(open(&from).await?, cluster.as_deref()).await?, id, deep).await
            })?;
            verified(context, &document)
        }
        Command::Restore(args) => restore::run(context, &args),
    }
}

/// Asks a node.
///
/// # Errors
/// As the server answers.
pub(crate) fn online(context: &Context, command: Online) -> Result<(), CliError> {
    // What goes to a store takes its time.
    let patient = context.admin.patient()?;
    let path = || Path::of(["cluster", "snapshots"]);
    match command {
        Online::Create { partition } => {
            let document = patient.json(&Method::POST, &path(), Some(&json!({ "partition": partition })))?;
            created(context, &document)
        }
        Online::List { partition, limit } => {
            let document = patient.get(&path().with("partition", partition).with("limit", Some(limit)))?;
            context.output.result(&document, |style| list(&document, style))
        }
        Online::Verify { id, deep } => {
            let path = Path::of(["cluster", "snapshots", "verify"]);
            let body = json!({ "id": id.to_string(), "deep": deep });
            let document = patient.json(&Method::POST, &path, Some(&body))?;
            verified(context, &document)
        }
    }
}

fn create_offline(context: &Context, to: &Location, order: &CopyOrder) -> Result<(), CliError> {
    let copied = wait_for(async { Ok(copy(open(to).await?, order).await?) })?;
    let missing: u64 = copied.iter().map(|copied| copied.missing).sum();
    let snapshots: Vec<Value> = copied
        .iter()
        .map(|copied| {
            let mut document = render(copied.created.id, &copied.created.manifest);
            document["uploaded_bytes"] = copied.created.uploaded_bytes.into();
            document["reused_parts"] = copied.created.reused_parts.into();
            document["missing_entries"] = copied.missing.into();
            document
        })
        .collect();
    if missing > 0 {
        context.output.note(&format!("{missing} entries of the logs are not in the copy"));
    }
    created(context, &json!({ "snapshots": snapshots, "failed": [] }))
}

fn created(context: &Context, document: &Value) -> Result<(), CliError> {
    context.output.result(document, |style| list(document, style))?;
    let failed = document["failed"].as_array().map(Vec::as_slice).unwrap_or_default();
    for failure in failed {
        let (partition, reason) = (field(failure, "partition"), field(failure, "error"));
        context.output.note(&format!("{}: {}", partition.unwrap_or_default(), reason.unwrap_or_default()));
    }
    let made = document["snapshots"].as_array().map_or(0, Vec::len);
    if failed.is_empty() { Ok(()) } else { Err(CliError::Partly { failed: failed.len(), total: failed.len() + made }) }
}

async fn list_offline(repository: &Repository, limit: u32) -> Result<Value, CliError> {
    let mut snapshots = Vec::new();
    for id in groups(repository) {
        for listed in repository.list(id).await?.into_iter().take(limit as usize) {
            snapshots.push(match repository.manifest(listed.id).await {
                Ok(manifest) => render(listed.id, &manifest),
                Err(error) if error.is_about_snapshot() => json!({
                    "id": listed.id.to_string(), "partition": id.to_string(), "index": listed.id.index,
                    "fault": { "code": error.code(), "message": error.to_string() },
                }),
                Err(error) => return Err(error.into()),
            });
        }
    }
    Ok(json!({
        "cluster_id": repository.cluster().cluster_id, "place": repository.describe(), "snapshots": snapshots,
    }))
}

fn groups(repository: &Repository) -> impl Iterator<Item = PartitionId> {
    (0..repository.cluster().partitions).map(PartitionId).chain([PartitionId::META])
}

async fn verify_offline(repository: &Repository, id: SnapshotId, deep: bool) -> Result<Value, CliError> {
    let verified = repository.verify(id, deep).await?;
    let faults: Vec<Value> =
        verified.faults.iter().map(|fault| json!({ "code": fault.code(), "message": fault.to_string() })).collect();
    Ok(json!({
        "id": id.to_string(), "deep": deep, "sound": faults.is_empty(), "faults": faults,
        "snapshot": render(id, &verified.manifest),
    }))
}

fn verified(context: &Context, document: &Value) -> Result<(), CliError> {
    let faults = document["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
    context.output.result(document, |style| {
        let id = field(document, "id").unwrap_or_default();
        if faults.is_empty() {
            return format!("{id} is {}\n", style.paint(Tone::Good, "sound"));
        }
        let mut out = format!("{id} is {}\n", style.paint(Tone::Bad, "damaged"));
        for fault in faults {
            let (code, message) = (field(fault, "code"), field(fault, "message"));
            out.push_str(&format!("  {} [{}]\n", message.unwrap_or_default(), code.unwrap_or_default()));
        }
        out
    })?;
    if faults.is_empty() { Ok(()) } else { Err(CliError::Partly { failed: 1, total: 1 }) }
}

/// As the admin API shows one.
fn render(id: SnapshotId, manifest: &Manifest) -> Value {
    let meta = &manifest.meta;
    json!({
        "id": id.to_string(),
        "partition": id.partition.to_string(),
        "index": meta.index,
        "term": meta.term,
        "created_at": rfc3339(meta.created_at),
        "log_time": rfc3339(meta.log_time),
        "node": format!("n{}", meta.node_id),
        "rows": manifest.rows(),
        "parts": manifest.parts.len(),
        "bytes": manifest.stored_bytes(),
        "state_bytes": manifest.raw_bytes(),
    })
}

/// A time as documents have it.
pub(crate) fn rfc3339(at: Millis) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(at.0.min(253_402_300_799_999)));
    humantime::format_rfc3339_millis(time.unwrap_or(std::time::UNIX_EPOCH)).to_string()
}

const COLUMNS: &[Column] = &[
    Column::new("PARTITION"),
    Column::new("SNAPSHOT"),
    Column::new("MADE"),
    Column::new("NODE").optional(3),
    Column::new("ROWS").optional(2).right(),
    Column::new("PARTS").optional(4).right(),
    Column::new("SIZE").right(),
    Column::new("SENT").optional(2).right(),
    Column::new("FAULT").shrinks(12),
];

fn list(document: &Value, style: &Style) -> String {
    let snapshots = document["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
    if snapshots.is_empty() {
        return "There are no snapshots.\n".to_owned();
    }
    let rows: Vec<_> = snapshots.iter().map(|snapshot| row(snapshot, style)).collect();
    table::render(COLUMNS, &rows, style)
}

fn row(snapshot: &Value, style: &Style) -> Vec<Field> {
    let fault = field(&snapshot["fault"], "message").map(|text| Field::toned(text, Tone::Bad));
    vec![
        field(snapshot, "partition").into(),
        field(snapshot, "id").into(),
        style.time_of(snapshot, "created_at").into(),
        field(snapshot, "node").into(),
        field(snapshot, "rows").into(),
        field(snapshot, "parts").into(),
        snapshot["bytes"].as_u64().map(size).into(),
        snapshot["uploaded_bytes"].as_u64().map(size).into(),
        fault.unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_what_is_damaged() {
        let style = Style {
            width: None,
            colors: false,
            absolute: false,
            now: humantime::parse_rfc3339("2026-05-01T12:00:00Z").unwrap(),
        };
        let document = json!({ "snapshots": [
            { "id": "snap_p0_000000000012_00000001", "partition": "p0", "created_at": "2026-05-01T11:50:00Z", "node": "n1",
              "rows": 7, "parts": 1, "bytes": 2048 },
            { "id": "snap_p0_000000000011_00000002", "partition": "p0",
              "fault": { "code": "SN016", "message": "it is damaged" } },
        ]});
        assert_eq!(
            list(&document, &style),
            "PARTITION  SNAPSHOT                       MADE     NODE  ROWS  PARTS     SIZE  FAULT\n\
             p0         snap_p0_000000000012_00000001  10m ago  n1       7      1  2.0 KiB\n\
             p0         snap_p0_000000000011_00000002                                       it is damaged\n"
        );
        assert_eq!(list(&json!({}), &style), "There are no snapshots.\n");
    }
}
