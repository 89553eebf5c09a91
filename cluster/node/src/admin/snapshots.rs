//! Snapshots of partitions outside of the nodes: `/cluster/snapshots`.

use abide_model::error;
use abide_model::id::{Millis, PartitionId};
use abide_snapshot::{Listed, Manifest, Repository, SnapshotError, SnapshotId};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, AdminError};
use super::request::{self, Parameters};
use crate::archive::Archive;
use crate::cluster::wire::SavedPartition;
use crate::date::rfc3339;
use crate::engine::Engine;

/// Snapshots of a partition that are listed when nothing is said.
const LIMIT_DEFAULT: u32 = 10;

/// The routes.
pub(super) fn router(engine: Engine) -> Router {
    Router::new()
        .route("/cluster/snapshots", get(list).merge(post(create)))
        .route("/cluster/snapshots/verify", post(verify))
        .with_state(engine)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CreateBody {
    partition: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    id: String,
    #[serde(default)]
    deep: bool,
}

/// Saves a partition, or all; answers when that is done. Each node saves what it leads.
async fn create(State(engine): State<Engine>, body: Bytes) -> Result<Response, AdminError> {
    let body: CreateBody = if body.is_empty() { CreateBody::default() } else { request::json(&body)? };
    let partitions = chosen(archive(&engine)?, body.partition.as_deref())?;
    let saved = engine.save(&partitions).await;
    let (made, failed): (Vec<_>, Vec<_>) = saved.into_iter().partition(|saved| saved.failure.is_empty());
    let failed: Vec<Value> = failed
        .into_iter()
        .map(|saved| json!({ "partition": PartitionId(saved.partition).to_string(), "error": saved.failure }))
        .collect();
    Ok(answer::json(&json!({ "snapshots": made.iter().map(render_saved).collect::<Vec<_>>(), "failed": failed })))
}

/// What is in the store, the newest first.
async fn list(State(engine): State<Engine>, RawQuery(query): RawQuery) -> Result<Response, AdminError> {
    let parameters = Parameters(query);
    let limit = parameters.number("limit")?.unwrap_or(LIMIT_DEFAULT) as usize;
    let archive = archive(&engine)?;
    let partitions = chosen(archive, parameters.get("partition").as_deref())?;
    let repository = archive.repository().await.map_err(refuse)?;
    let mut snapshots = Vec::new();
    for id in partitions {
        for listed in repository.list(id).await.map_err(refuse)?.into_iter().take(limit) {
            snapshots.push(render_listed(repository, listed).await?);
        }
    }
    Ok(answer::json(&json!({
        "cluster_id": repository.cluster().cluster_id,
        "place": repository.describe(),
        "snapshots": snapshots,
    })))
}

/// Checks one. What is wrong with it is the answer, not an error.
async fn verify(State(engine): State<Engine>, body: Bytes) -> Result<Response, AdminError> {
    let VerifyBody { id, deep } = request::json(&body)?;
    let id: SnapshotId = id.parse().map_err(|error| AdminError::invalid(format!("{error}")))?;
    let repository = archive(&engine)?.repository().await.map_err(refuse)?;
    let (manifest, faults) = match repository.verify(id, deep).await {
        Ok(verified) => (Some(verified.manifest), verified.faults),
        Err(SnapshotError::Store(abide_snapshot::StoreError::NotFound { .. })) => {
            return Err(AdminError::not_found(format!("there is no snapshot `{id}`")));
        }
        Err(error) if error.is_about_snapshot() => (None, vec![error]),
        Err(error) => return Err(refuse(error)),
    };
    let faults: Vec<Value> = faults.iter().map(fault).collect();
    let mut document = json!({ "id": id.to_string(), "deep": deep, "sound": faults.is_empty(), "faults": faults });
    if let Some(manifest) = manifest {
        document["snapshot"] = render(id, &manifest);
    }
    Ok(answer::json(&document))
}

fn archive(engine: &Engine) -> Result<&Archive, AdminError> {
    engine.archive().ok_or_else(|| {
        let message = "`snapshot.to` is not set on this node: nothing is saved, and nothing is known of what was";
        AdminError::new(StatusCode::CONFLICT, error::CONFLICT, message)
    })
}

/// The partition that is named, or all.
fn chosen(archive: &Archive, named: Option<&str>) -> Result<Vec<PartitionId>, AdminError> {
    let Some(named) = named else { return Ok(archive.groups().collect()) };
    let id = named.parse().ok().filter(|id| archive.groups().any(|known| known == *id));
    id.map(|id| vec![id]).ok_or_else(|| AdminError::not_found(format!("there is no partition `{named}`")))
}

fn refuse(error: SnapshotError) -> AdminError {
    let status = if error.is_retryable() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_GATEWAY };
    AdminError::new(status, error::SNAPSHOT_STORE, format!("{error} ({})", error.code()))
}

fn fault(error: &SnapshotError) -> Value {
    json!({ "code": error.code(), "message": error.to_string() })
}

async fn render_listed(repository: &Repository, listed: Listed) -> Result<Value, AdminError> {
    match repository.manifest(listed.id).await {
        Ok(manifest) => Ok(render(listed.id, &manifest)),
        Err(error) if error.is_about_snapshot() => Ok(json!({
            "id": listed.id.to_string(),
            "partition": listed.id.partition.to_string(),
            "index": listed.id.index,
            "fault": fault(&error),
        })),
        Err(error) => Err(refuse(error)),
    }
}

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

fn render_saved(saved: &SavedPartition) -> Value {
    json!({
        "id": saved.id,
        "partition": PartitionId(saved.partition).to_string(),
        "index": saved.index,
        "created_at": rfc3339(Millis(saved.created_at)),
        "node": format!("n{}", saved.node),
        "rows": saved.rows,
        "parts": saved.uploaded_parts + saved.reused_parts,
        "bytes": saved.bytes,
        "uploaded_parts": saved.uploaded_parts,
        "uploaded_bytes": saved.uploaded_bytes,
        "reused_parts": saved.reused_parts,
    })
}
