//! How nodes come to belong to a cluster: the first founds it, others ask a member, and each says at every start where it
//! is.

use std::time::Duration;

use abide_host::Refusal;
use abide_model::codec;
use abide_model::command::{AnnounceNode, Body, FoundCluster, JoinNode, MetaAction, MetaOrder, NodeInfo, SetSetting};
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use abide_model::protocol::Failure;
use abide_model::setting::REPLICATION_FACTOR;
use abide_peer::Peers;

use super::transport::{failed, read_reply};
use super::wire::{Ask, Join, Joined, NodeAddress, Request, Told};
use crate::engine::{Engine, EngineError};

/// How long an answer to a joining node may take.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a node tries to join before it gives up.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// Why a node could not join a cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The cluster does not take it.
    #[error("the cluster refused this node: {0}")]
    Refused(String),
    /// No node that it was told of answered.
    #[error("no node of `cluster.join` took this node in: {0}")]
    Nobody(String),
}

/// Asks members until one takes this node in.
pub(crate) async fn join(peers: &Peers, addresses: &[String], join: &Join) -> Result<Joined, JoinError> {
    let request = codec::encode(&Request { ask: Some(Ask::Join(join.clone())) });
    let until = tokio::time::Instant::now() + JOIN_TIME;
    let mut last = String::from("it was told of none");
    let mut said = String::new();
    loop {
        for address in addresses {
            let asked = peers.ask_addr(address, request.clone(), JOIN_PATIENCE).await;
            match asked.map_err(failed).and_then(|reply| read_reply(&reply)) {
                Ok(Told::Joined(joined)) => return Ok(joined),
                Ok(Told::Refused(refusal)) => match refusal.read() {
                    Refusal::Invalid(failure) => return Err(JoinError::Refused(failure.message)),
                    refusal => last = format!("{address}: {refusal}"),
                },
                Ok(_) => last = format!("{address}: the answer is of another kind"),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        if tokio::time::Instant::now() > until {
            return Err(JoinError::Nobody(last));
        }
        // Whoever waits for this node learns why it does not come, once for each reason.
        if said != last {
            tracing::warn!(reason = last, "no node of `cluster.join` takes this node in yet; they are asked again");
            said.clone_from(&last);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes a node in: it gets its id from the meta group, and learns who the others are.
pub(crate) async fn welcome(engine: &Engine, join: Join) -> Result<Joined, Refusal> {
    let info = NodeInfo {
        store_uuid: join.store_uuid,
        address: join.address,
        zone: join.zone,
        build: join.build,
        features: join.features,
        ..NodeInfo::default()
    };
    let order = JoinNode { info: Some(info), partitions: 0 };
    let node = match meta(engine, MetaAction::Join(order)).await.map_err(refusal_of)? {
        Answer::Node(node) => node,
        Answer::Refused(failure) => return Err(Refusal::Invalid(failure)),
        _ => return Err(Refusal::OutcomeUnknown),
    };
    let wanted = engine.cluster().wanted();
    let cluster = &wanted.cluster;
    if cluster.cluster_id.is_empty() {
        return Err(Refusal::NotLeader);
    }
    let others = wanted.nodes.iter().filter(|(other, _)| **other != node);
    Ok(Joined {
        cluster_id: cluster.cluster_id.clone(),
        node: node.0,
        partitions: cluster.partitions,
        nodes: others.map(|(other, row)| NodeAddress { node: other.0, address: row.address().to_owned() }).collect(),
    })
}

fn refusal_of(error: EngineError) -> Refusal {
    match error {
        EngineError::Refused(refusal) => refusal,
        other => Refusal::Invalid(Failure::new(u32::from(other.code().0), other.to_string())),
    }
}

/// Gives an order to the meta group.
pub(crate) async fn meta(engine: &Engine, action: MetaAction) -> Result<Answer, EngineError> {
    engine.order_in(PartitionId::META, Body::Meta(MetaOrder::new(action))).await
}

/// Makes the cluster of a founding node known to its meta group; nothing happens when it is.
pub(crate) async fn found(
    engine: &Engine,
    cluster_id: &str,
    partitions: u32,
    info: NodeInfo,
    replication_factor: u32,
) -> Result<(), EngineError> {
    let known = !engine.cluster().wanted().nodes.is_empty();
    let order = FoundCluster { cluster_id: cluster_id.to_owned(), partitions, node: 1, info: Some(info) };
    let answer = meta(engine, MetaAction::Found(order)).await?;
    tracing::info!(?answer, "the cluster is founded");
    let default = REPLICATION_FACTOR.default.parse::<u32>().unwrap_or(3);
    if !known && replication_factor != default {
        let (name, value) = (REPLICATION_FACTOR.name.to_owned(), Some(replication_factor.to_string()));
        meta(engine, MetaAction::SetSetting(SetSetting { name, value })).await?;
    }
    Ok(())
}

/// Says where this node is, until the meta group has taken note of it.
pub(crate) async fn announce(engine: Engine, node: NodeId, info: NodeInfo) {
    loop {
        let order = AnnounceNode { node: node.0, info: Some(info.clone()) };
        match meta(&engine, MetaAction::Announce(order)).await {
            Ok(Answer::Refused(failure)) => {
                tracing::error!(reason = failure.message, "the cluster does not know this node");
                return;
            }
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "the node is not announced yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
