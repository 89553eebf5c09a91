//! Orders to the meta group, and the wait until this node shows what they did.

use std::time::Duration;

use abide_host::Refusal;
use abide_model::command::MetaAction;
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_placement::Wanted;
use axum::body::{Body, to_bytes};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use super::super::answer::AdminError;
use super::super::request;
use super::Helm;
use crate::cluster::Cluster;
use crate::engine::EngineError;

/// How long an order's effect is waited for on this node, which may hear of it later than the leader.
const SHOWN_TIME: Duration = Duration::from_secs(2);
/// How often an order is given whose outcome is not known. All of them can be repeated.
const ATTEMPTS: usize = 3;
/// Largest body.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Gives an order, and waits until the tables of this node show it, so that whoever looks next finds it done.
pub(super) async fn carry_out<H: Helm>(
    helm: &H,
    action: MetaAction,
    shows: impl Fn(&Wanted) -> bool,
) -> Result<(), AdminError> {
    give(helm, action).await?;
    shown(helm.cluster(), |cluster| shows(&cluster.wanted()), SHOWN_TIME).await;
    Ok(())
}

async fn give<H: Helm>(helm: &H, action: MetaAction) -> Result<(), AdminError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match helm.order(action.clone()).await {
            Ok(Answer::Refused(failure)) => return Err(AdminError::refused(&failure)),
            Ok(_) => return Ok(()),
            Err(EngineError::Refused(Refusal::OutcomeUnknown | Refusal::Interrupted)) if left > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until something can be seen, for at most `patience`. Whether it can.
pub(super) async fn shown(cluster: &Cluster, is: impl Fn(&Cluster) -> bool, patience: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(50);
    let until = Instant::now() + patience;
    let mut changes = cluster.changes();
    while !is(cluster) {
        if Instant::now() >= until {
            return false;
        }
        // Not everything that can be seen is told as a change.
        let pause = (Instant::now() + PAUSE).min(until);
        if let Ok(Err(_)) = timeout_at(pause, changes.changed()).await {
            return is(cluster);
        }
    }
    true
}

/// The node that a path or a body names.
pub(super) fn node(text: &str) -> Result<NodeId, AdminError> {
    text.parse().map_err(|error| AdminError::invalid(format!("{error}: nodes are named n1, n2 and so on")))
}

/// The partition that a path names.
pub(super) fn partition(text: &str) -> Result<PartitionId, AdminError> {
    text.parse()
        .map_err(|error| AdminError::invalid(format!("{error}: partitions are named p0, p1 and so on, or meta")))
}

/// A JSON body.
pub(super) async fn body<T: DeserializeOwned>(body: Body) -> Result<T, AdminError> {
    let bytes = to_bytes(body, BODY_BYTES_MAX).await;
    let text = format!("the body was cut off, or is larger than {BODY_BYTES_MAX} bytes");
    request::json(&bytes.map_err(|_| AdminError::invalid(text))?)
}
