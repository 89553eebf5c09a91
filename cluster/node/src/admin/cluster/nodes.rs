//! Nodes: looked at, emptied, and used again.

use abide_model::command::{MetaAction, SetNodeState};
use abide_model::id::NodeId;
use abide_model::table::NodeState;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer::{self, AdminError};
use super::picture::Picture;
use super::{Helm, Shared, orders, render};

pub(super) async fn list<H: Helm>(State(helm): Shared<H>) -> Response {
    answer::json(&json!({ "nodes": render::nodes(&Picture::of(helm.cluster())) }))
}

pub(super) async fn describe<H: Helm>(State(helm): Shared<H>, Path(id): Path<String>) -> Result<Response, AdminError> {
    let (node, picture) = (orders::node(&id)?, Picture::of(helm.cluster()));
    picture.row(node)?;
    Ok(answer::json(&ordered(&picture, node)))
}

/// Leaders leave it at once, and replicas as others take over. It serves requests all the while.
pub(super) async fn drain<H: Helm>(State(helm): Shared<H>, Path(id): Path<String>) -> Result<Response, AdminError> {
    let node = orders::node(&id)?;
    set_state(&*helm, node, NodeState::Draining).await?;
    Ok(answer::json(&ordered(&Picture::of(helm.cluster()), node)))
}

/// Takes a drain back.
pub(super) async fn activate<H: Helm>(State(helm): Shared<H>, Path(id): Path<String>) -> Result<Response, AdminError> {
    let node = orders::node(&id)?;
    set_state(&*helm, node, NodeState::Active).await?;
    Ok(answer::json(&ordered(&Picture::of(helm.cluster()), node)))
}

/// Changes what is wanted of a node.
pub(super) async fn set_state<H: Helm>(helm: &H, node: NodeId, state: NodeState) -> Result<(), AdminError> {
    let action = MetaAction::SetNodeState(SetNodeState { node: node.0, state: state as i32 });
    orders::carry_out(helm, action, |wanted| wanted.nodes.get(&node).is_some_and(|row| row.state() == state)).await
}

/// A node with what is left on it, and what keeps it from being empty.
pub(super) fn ordered(picture: &Picture, node: NodeId) -> Value {
    let mut out = render::node(picture, node);
    let leaving = matches!(picture.state(node), Some(NodeState::Draining));
    let left: Vec<_> = picture.left_on(node).iter().map(ToString::to_string).collect();
    out["left"] = if leaving { left.into() } else { Value::Null };
    out["note"] = if leaving { picture.stuck(node).into() } else { Value::Null };
    out
}
