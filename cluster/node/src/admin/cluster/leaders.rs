//! Who leads: transfers, pins, and their balance.

use std::time::Duration;

use abide_model::command::{MetaAction, PinLeader};
use abide_model::error::CONFLICT;
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::NodeState;
use abide_placement::{Action, Limits, plan};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::super::answer::{self, AdminError};
use super::picture::Picture;
use super::{Helm, Shared, orders, render};
use crate::cluster::wire::Wish;

/// How long a transfer may take, with the moment until this node hears of it.
const TRANSFER_TIME: Duration = Duration::from_secs(3);
/// After this long it is asked for again: a wish may be lost.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    node: String,
}

/// Has another node lead, now.
pub(super) async fn transfer<H: Helm>(
    State(helm): Shared<H>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, AdminError> {
    let partition = orders::partition(&id)?;
    let to = orders::node(&orders::body::<Named>(body).await?.node)?;
    let picture = Picture::of(helm.cluster());
    let (from, heir) = heir(&picture, partition, to)?;
    let leads = || Picture::of(helm.cluster()).group(partition).and_then(|group| group.leader) == Some(heir);
    let wish = Wish { partition: partition.0, transfer_to: heir.to_u64(), ..Wish::default() };
    let (mut done, mut waited) = (from == to, Duration::ZERO);
    while !done && waited < TRANSFER_TIME {
        let leader = Picture::of(helm.cluster()).group(partition).and_then(|group| group.leader);
        helm.wish(leader.map_or(from, |leader| leader.node), wish.clone());
        done = orders::shown(helm.cluster(), |_| leads(), AGAIN).await;
        waited += AGAIN;
    }
    if !done {
        return Err(conflict(format!(
            "{from} was asked to hand {partition} over to {to}, and has not within {TRANSFER_TIME:?}; look again, then ask \
             again"
        )));
    }
    let mut out = render::partition(&Picture::of(helm.cluster()), partition);
    out["from"] = from.to_string().into();
    Ok(answer::json(&out))
}

/// Who leads, and the replica on `to` that can take over; or why there is none.
fn heir(picture: &Picture, partition: PartitionId, to: NodeId) -> Result<(NodeId, ReplicaId), AdminError> {
    let placement = picture.placement(partition)?;
    let state = picture.row(to)?.state();
    let refuse = |why: &str| Err(conflict(format!("{to} cannot lead {partition}: {why}")));
    if state != NodeState::Active {
        return refuse(&format!("it is {}, and leaders leave such nodes at once", state.word()));
    }
    if let Some(pinned) = placement.pinned_node().filter(|pinned| *pinned != to) {
        return refuse(&format!("its leader is pinned to {pinned} and would go back there; unpin it first"));
    }
    let Some((group, leader)) = picture.group(partition).and_then(|group| Some((group, group.leader?))) else {
        return refuse("nobody leads it who could hand over; an election may be under way, or a majority is missing");
    };
    let Some(replica) = group.voters.iter().copied().find(|voter| voter.node == to) else {
        let follows = group.learners.iter().any(|learner| learner.node == to);
        return refuse(if follows { "its replica there has no vote yet" } else { "it has no replica there" });
    };
    if !picture.is_alive(to) {
        return refuse("that node does not answer");
    }
    if !picture.can_lead(group, replica) {
        return refuse("its replica there has not caught up");
    }
    Ok((leader.node, replica))
}

/// Has a node lead as long as it can.
pub(super) async fn pin<H: Helm>(
    State(helm): Shared<H>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, AdminError> {
    let partition = orders::partition(&id)?;
    let node = orders::node(&orders::body::<Named>(body).await?.node)?;
    set_pin(&*helm, partition, Some(node)).await
}

/// Takes a pin away.
pub(super) async fn unpin<H: Helm>(State(helm): Shared<H>, Path(id): Path<String>) -> Result<Response, AdminError> {
    set_pin(&*helm, orders::partition(&id)?, None).await
}

async fn set_pin<H: Helm>(helm: &H, partition: PartitionId, node: Option<NodeId>) -> Result<Response, AdminError> {
    let order = PinLeader { partition: partition.0, node: node.map_or(0, |node| node.0) };
    let shows = |wanted: &abide_placement::Wanted| {
        wanted.placements.get(&partition).is_some_and(|row| row.pinned_node() == node)
    };
    orders::carry_out(helm, MetaAction::Pin(order), shows).await?;
    Ok(answer::json(&render::partition(&Picture::of(helm.cluster()), partition)))
}

/// Spreads leaders at once, which otherwise happens little by little.
pub(super) async fn balance<H: Helm>(State(helm): Shared<H>) -> Response {
    let picture = Picture::of(helm.cluster());
    let limits = Limits { settle_ms: 0, transfers_max: usize::MAX, ..Limits::default() };
    let mut transfers = Vec::new();
    for action in plan(&picture.wanted, &picture.seen, &limits) {
        if let Action::Transfer { partition, leader, to } = action {
            helm.wish(leader, Wish { partition: partition.0, transfer_to: to.to_u64(), ..Wish::default() });
            transfers.push(json!({
                "partition": partition.to_string(), "from": leader.to_string(), "to": to.node.to_string(),
            }));
        }
    }
    answer::json(&json!({ "transfers": transfers }))
}

fn conflict(text: String) -> AdminError {
    AdminError::new(StatusCode::CONFLICT, CONFLICT, text)
}
