//! The pages about the cluster as clients see them, with what a node knows made up here.

mod changes;
mod looks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use abide_model::command::{MetaAction, NodeInfo};
use abide_model::error::{self, ErrorCode};
use abide_model::protocol::Failure;
use abide_model::table::{ClusterRow, NodeRow, NodeState, PlacementRow};
use abide_partition::Members;
use abide_placement::Wanted;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::cluster::wire::{FollowerStatus, HashPoint, NodeStatus, ReplicaStatus};

/// A node of a cluster that is made up: orders change its tables as the machine does, as far as these tests go.
#[derive(Clone)]
struct Fake {
    cluster: Cluster,
    orders: Arc<Mutex<Vec<MetaAction>>>,
    wishes: Arc<Mutex<Vec<(NodeId, Wish)>>>,
    /// What the next order is answered instead.
    refusal: Arc<Mutex<Option<Failure>>>,
}

impl Helm for Fake {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    async fn order(&self, action: MetaAction) -> Result<Answer, EngineError> {
        if let Some(failure) = self.refusal.lock().unwrap().take() {
            return Ok(Answer::Refused(failure));
        }
        let mut wanted = Wanted::clone(&self.cluster.wanted());
        match &action {
            MetaAction::SetNodeState(order) => {
                let Some(row) = wanted.nodes.get_mut(&NodeId(order.node)) else {
                    return Ok(Answer::Refused(Failure::coded(404, error::NOT_FOUND, "there is no such node")));
                };
                row.state = order.state;
            }
            MetaAction::Place(order) => {
                let row = wanted.placements.get_mut(&PartitionId(order.partition)).unwrap();
                assert_eq!(row.version, order.version);
                row.replicas.clone_from(&order.replicas);
                row.version += 1;
            }
            MetaAction::Pin(order) => {
                wanted.placements.get_mut(&PartitionId(order.partition)).unwrap().pinned = order.node;
            }
            MetaAction::SetSetting(order) => {
                match order.value.clone() {
                    Some(value) => wanted.settings.insert(order.name.clone(), value),
                    None => wanted.settings.remove(&order.name),
                };
            }
            other => panic!("{other:?}"),
        }
        self.cluster.set_wanted(wanted);
        self.orders.lock().unwrap().push(action);
        Ok(Answer::Done)
    }

    /// Leaders do as they are told at once, and say so.
    fn wish(&self, leader: NodeId, wish: Wish) {
        let (partition, to) = (PartitionId(wish.partition), wish.transfer_to);
        self.wishes.lock().unwrap().push((leader, wish));
        let statuses = self.cluster.statuses();
        let term = statuses[&leader].status.replicas.iter().find(|of| of.partition == partition.0).unwrap().term + 1;
        for (node, told) in statuses {
            let mut status = NodeStatus::clone(&told.status);
            for replica in status.replicas.iter_mut().filter(|of| of.partition == partition.0) {
                *replica = replica_status(partition.0, replica.replica, to, term);
            }
            self.cluster.told(node, status);
        }
    }
}

fn replica_status(partition: u32, replica: u64, leader: u64, term: u64) -> ReplicaStatus {
    let leads = replica == leader;
    let follower = |of: u64| FollowerStatus { replica: of, matched: 100, active: true, snapshot: false };
    ReplicaStatus {
        partition,
        replica,
        term,
        leads,
        first: 1,
        last: 100,
        committed: 100,
        applied: if leads { 100 } else { 98 },
        durable: 90,
        members: leads.then(|| Members::of([1, 2, 3])),
        progress: if leads { [1, 2, 3].into_iter().map(follower).collect() } else { Vec::new() },
        hashes: vec![HashPoint { index: 64, hash: 7 }],
        leads_for_ms: 60_000,
        saved: None,
    }
}

fn node_row(node: u32) -> NodeRow {
    let info = NodeInfo {
        address: format!("10.0.0.{node}:5122"),
        ingress: format!("10.0.0.{node}:8080"),
        admin: format!("10.0.0.{node}:9070"),
        zone: format!("z{node}"),
        build: "0.1.0".into(),
        features: 1,
        ..NodeInfo::default()
    };
    NodeRow { info: Some(info), joined_at: 1_795_416_432_191, ..NodeRow::default() }
}

/// Three nodes with three partitions, each led by another one, and meta by the first.
fn three() -> Fake {
    let cluster = Cluster::new(NodeId(1));
    let partitions = || (0..3).map(PartitionId).chain([PartitionId::META]);
    let placement = PlacementRow { replicas: vec![1, 2, 3], version: 1, ..PlacementRow::default() };
    cluster.set_wanted(Wanted {
        cluster: ClusterRow { cluster_id: "cl_1".into(), partitions: 3, features: 1, ..ClusterRow::default() },
        nodes: (1..=3).map(|node| (NodeId(node), node_row(node))).collect(),
        placements: partitions().map(|partition| (partition, placement.clone())).collect(),
        settings: BTreeMap::new(),
    });
    for node in 1..=3_u32 {
        let leader = |partition: u32| u64::from(partition % 3) + 1;
        let replicas = partitions().map(|of| replica_status(of.0, u64::from(node), leader(of.0), 5)).collect();
        cluster.told(NodeId(node), NodeStatus { boot: 9, replicas, ..NodeStatus::default() });
    }
    Fake { cluster, orders: Arc::default(), wishes: Arc::default(), refusal: Arc::default() }
}

impl Fake {
    async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let response = router(self.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        self.ask(Method::POST, path, "").await
    }

    /// Changes what a node tells.
    fn tell(&self, node: u32, change: impl Fn(&mut NodeStatus)) {
        let mut status = NodeStatus::clone(&self.cluster.statuses()[&NodeId(node)].status);
        change(&mut status);
        self.cluster.told(NodeId(node), status);
    }

    /// Changes what is wanted.
    fn want(&self, change: impl Fn(&mut Wanted)) {
        let mut wanted = Wanted::clone(&self.cluster.wanted());
        change(&mut wanted);
        self.cluster.set_wanted(wanted);
    }

    /// A node dies, and those that are left elect another leader for what it led.
    fn die(&self, node: u32) {
        self.cluster.silent(NodeId(node));
        for other in (1..=3).filter(|other| *other != node) {
            let heir = u64::from(if node == 1 { 2_u32 } else { 1 });
            self.tell(other, |status| {
                for replica in status.replicas.iter_mut().filter(|of| of.partition % 3 + 1 == node) {
                    *replica = replica_status(replica.partition, replica.replica, heir, 6);
                }
            });
        }
    }
}

fn code(answer: &Value) -> &str {
    answer["abide_code"].as_str().unwrap_or_default()
}
