//! The cluster as a resource: `/cluster`, its nodes, partitions, settings and hashes.
//!
//! Any node answers, with what it knows: the tables of its own replica of meta, and what the others last told it. Orders
//! go to whoever leads meta, or the partition. A node that has just joined may know less than the others.

mod hashes;
mod leaders;
mod nodes;
mod orders;
mod picture;
mod problems;
mod remove;
mod render;
mod settings;

use std::sync::Arc;

use abide_model::command::{Body as Order, MetaAction, MetaOrder};
use abide_model::effect::Answer;
use abide_model::id::{NodeId, PartitionId};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use serde_json::json;

use self::picture::Picture;
use super::answer;
use crate::cluster::controller::send_wish;
use crate::cluster::transport::Transport;
use crate::cluster::wire::Wish;
use crate::cluster::{Cluster, controller};
use crate::engine::{Engine, EngineError};

/// What the pages about the cluster need of the node.
pub(super) trait Helm: Clone + Send + Sync + 'static {
    /// What this node knows.
    fn cluster(&self) -> &Cluster;
    /// Gives an order to the meta group.
    fn order(&self, action: MetaAction) -> impl Future<Output = Result<Answer, EngineError>> + Send;
    /// Tells a leader what to do to its group. May be lost.
    fn wish(&self, leader: NodeId, wish: Wish);
}

/// The helm of a running node.
#[derive(Clone)]
pub(super) struct NodeHelm {
    pub(super) engine: Engine,
    pub(super) transport: Transport,
}

impl Helm for NodeHelm {
    fn cluster(&self) -> &Cluster {
        self.engine.cluster()
    }

    fn order(&self, action: MetaAction) -> impl Future<Output = Result<Answer, EngineError>> + Send {
        self.engine.order_in(PartitionId::META, Order::Meta(MetaOrder::new(action)))
    }

    fn wish(&self, leader: NodeId, wish: Wish) {
        send_wish(&self.engine, &self.transport, leader, wish);
    }
}

type Shared<H> = State<Arc<H>>;

/// The routes.
pub(super) fn router<H: Helm>(helm: H) -> Router {
    Router::new()
        .route("/cluster", get(all::<H>))
        .route("/cluster/nodes", get(nodes::list::<H>))
        .route("/cluster/nodes/{id}", get(nodes::describe::<H>))
        .route("/cluster/nodes/{id}/drain", post(nodes::drain::<H>))
        .route("/cluster/nodes/{id}/activate", post(nodes::activate::<H>))
        .route("/cluster/nodes/{id}/remove", post(remove::remove::<H>))
        .route("/cluster/nodes/{id}/replace", post(remove::replace::<H>))
        .route("/cluster/partitions", get(partitions::<H>))
        .route("/cluster/partitions/{id}/leader", post(leaders::transfer::<H>))
        .route("/cluster/partitions/{id}/pin", put(leaders::pin::<H>).delete(leaders::unpin::<H>))
        .route("/cluster/leaders/balance", post(leaders::balance::<H>))
        .route("/cluster/settings", get(settings::list::<H>))
        .route("/cluster/settings/{name}", get(settings::one::<H>).put(settings::set::<H>).delete(settings::unset::<H>))
        .route("/cluster/hashes", get(hashes::show::<H>))
        .route("/cluster/hashes/check", post(hashes::check::<H>))
        .with_state(Arc::new(helm))
}

async fn all<H: Helm>(State(helm): Shared<H>) -> Response {
    let picture = Picture::of(helm.cluster());
    let cluster = &picture.wanted.cluster;
    answer::json(&json!({
        "cluster_id": (!cluster.cluster_id.is_empty()).then_some(&cluster.cluster_id),
        "asked": picture.asked.to_string(),
        "features": cluster.features,
        "settings": settings::values(&picture.wanted),
        "nodes": render::nodes(&picture),
        "partitions": render::partitions(&picture),
        "problems": problems::all(&picture),
    }))
}

async fn partitions<H: Helm>(State(helm): Shared<H>) -> Response {
    answer::json(&json!({ "partitions": render::partitions(&Picture::of(helm.cluster())) }))
}

#[cfg(test)]
mod tests;
