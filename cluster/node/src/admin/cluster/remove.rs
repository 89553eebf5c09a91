//! The end of a node.
//!
//! | it is | remove | remove with `force` | replace |
//! |---|---|---|---|
//! | removed | done | done | done |
//! | empty | removed | removed | removed, if it is dead; else 409 |
//! | alive, not empty | 409: drain it first | 409 | 409: drain it |
//! | dead, not empty | 409 | removed: its groups go on with the replicas they have left | drained; 202 while something is left |
//!
//! A group that has lost its leader with the node keeps it from being removed: what only that node knew would be gone.
//! The last say is that of the meta group, which keeps the last active node.

use abide_model::command::{MetaAction, PlaceReplicas};
use abide_model::error::CONFLICT;
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::{NodeState, PlacementRow};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::super::answer::{self, AdminError};
use super::super::request::Parameters;
use super::nodes::{ordered, set_state};
use super::picture::Picture;
use super::{Helm, Shared, orders};

/// How often placements are taken from a dead node, while whoever leads meta may change them too.
const ATTEMPTS: usize = 5;
/// Partitions that a text names at most.
const NAMED_MAX: usize = 8;

pub(super) async fn remove<H: Helm>(
    State(helm): Shared<H>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let node = orders::node(&id)?;
    let force = match Parameters(query).get("force").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(AdminError::invalid(format!("`force` is true or false, not '{other}'"))),
    };
    let picture = Picture::of(helm.cluster());
    let gone = picture.row(node)?.state() == NodeState::Removed;
    if !gone && !picture.is_empty(node) {
        may_be_forced(&picture, node, force)?;
        abandon(&*helm, node).await?;
    }
    set_state(&*helm, node, NodeState::Removed).await?;
    Ok(answer::json(&ordered(&Picture::of(helm.cluster()), node)))
}

/// Has others take over from a dead node at once, and removes it when they have. Ask until it is removed: nothing goes on
/// asking by itself.
pub(super) async fn replace<H: Helm>(State(helm): Shared<H>, Path(id): Path<String>) -> Result<Response, AdminError> {
    let node = orders::node(&id)?;
    let picture = Picture::of(helm.cluster());
    let state = picture.row(node)?.state();
    if state != NodeState::Removed && picture.is_alive(node) {
        return Err(conflict(format!(
            "{node} is alive; only a dead node is replaced. To take it out of service, drain it, and remove it when it is \
             empty"
        )));
    }
    let empty = state != NodeState::Removed && picture.is_empty(node);
    match state {
        NodeState::Removed => {}
        _ if empty => set_state(&*helm, node, NodeState::Removed).await?,
        NodeState::Active => set_state(&*helm, node, NodeState::Draining).await?,
        NodeState::Draining => {}
    }
    let picture = Picture::of(helm.cluster());
    let done = empty || state == NodeState::Removed;
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(answer::json_with(status, &ordered(&picture, node)))
}

/// Whether a node that is not empty may be removed, or why not.
fn may_be_forced(picture: &Picture, node: NodeId, force: bool) -> Result<(), AdminError> {
    let left = picture.left_on(node);
    if picture.is_alive(node) {
        let text = if picture.state(node) == Some(NodeState::Draining) {
            let why = picture.stuck(node).map_or_else(String::new, |why| format!(": {why}"));
            format!("{node} is not empty yet: {} left{why}", named(&left))
        } else {
            format!("{node} is alive and has {}; drain it first, and remove it when it is empty", named(&left))
        };
        return Err(conflict(text));
    }
    if !force {
        return Err(conflict(format!(
            "{node} is dead and had {}. Start it again; or `replace` it, which has others take over first; or repeat with \
             `force=true`: its replicas are given up, and their groups go on with those they have left",
            named(&left)
        )));
    }
    let leaderless: Vec<_> = left.iter().copied().filter(|partition| picture.group(*partition).is_none()).collect();
    if !leaderless.is_empty() {
        return Err(conflict(format!(
            "{node} cannot be removed: {} without a leader. What only {node} knows would be lost; start it again, or \
             restore the cluster from a snapshot",
            named(&leaderless)
        )));
    }
    Ok(())
}

/// Takes a dead node out of all placements.
async fn abandon<H: Helm>(helm: &H, node: NodeId) -> Result<(), AdminError> {
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let wanted = helm.cluster().wanted();
        let on_it = |(partition, row): &(&PartitionId, &PlacementRow)| {
            **partition != PartitionId::META && row.on(node).is_some()
        };
        let held: Vec<_> = wanted.placements.iter().filter(on_it).collect();
        if held.is_empty() {
            return Ok(());
        }
        for (partition, row) in held {
            let version = row.version;
            let replicas: Vec<u64> =
                row.wanted().filter(|replica| replica.node != node).map(|replica| replica.to_u64()).collect();
            if replicas.is_empty() {
                return Err(conflict(format!("{node} cannot be removed: it has the only replica of {partition}")));
            }
            let order = MetaAction::Place(PlaceReplicas { partition: partition.0, replicas, version });
            let shows = |wanted: &abide_placement::Wanted| {
                wanted.placements.get(partition).is_some_and(|row| row.version > version)
            };
            match orders::carry_out(helm, order, shows).await {
                Ok(()) => {}
                // Somebody else has changed it meanwhile.
                Err(error) if error.status == StatusCode::CONFLICT => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
    }
    Err(refused.unwrap_or_else(|| conflict(format!("replicas come back to {node}; ask again"))))
}

/// `p0, p1 and 3 more partitions`.
pub(super) fn named(partitions: &[PartitionId]) -> String {
    let names: Vec<_> = partitions.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match partitions.len() {
        0 => "no partitions".to_owned(),
        1 => format!("partition {}", names[0]),
        all if all <= NAMED_MAX => format!("{all} partitions ({})", names.join(", ")),
        all => format!("{all} partitions ({} and {} more)", names.join(", "), all - NAMED_MAX),
    }
}

fn conflict(text: String) -> AdminError {
    AdminError::new(StatusCode::CONFLICT, CONFLICT, text)
}
