//! Nodes and partitions as JSON.

use std::collections::BTreeSet;

use abide_model::id::{Millis, NodeId, PartitionId, ReplicaId};
use abide_model::table::PlacementRow;
use serde_json::{Value, json};

use super::picture::Picture;
use crate::cluster::wire::{ReplicaStatus, SavedStatus};
use crate::date::rfc3339;

/// All nodes, those that are gone included.
pub(super) fn nodes(picture: &Picture) -> Vec<Value> {
    picture.nodes().into_iter().map(|node| self::node(picture, node)).collect()
}

/// One node. What only the tables of meta say is null while they are not there.
pub(super) fn node(picture: &Picture, node: NodeId) -> Value {
    let row = picture.wanted.nodes.get(&node);
    let info = row.and_then(|row| row.info.as_ref());
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let alive = picture.is_alive(node);
    let told = picture.told.get(&node);
    let led: Vec<_> = picture.led_by(node).map(|partition| partition.to_string()).collect();
    json!({
        "id": node.to_string(),
        "address": info.and_then(|info| text(&info.address)),
        "ingress": info.and_then(|info| text(&info.ingress)),
        "admin": info.and_then(|info| text(&info.admin)),
        "zone": info.and_then(|info| text(&info.zone)),
        "state": picture.state(node).map(|state| state.word()),
        "alive": alive,
        "silent_ms": if alive { None } else { picture.silent(node).map(Millis::of) },
        "stopping": picture.is_stopping(node),
        "slow_disk_ms": picture.disk_delay_ms(node),
        "build": info.and_then(|info| text(&info.build)),
        "features": info.map(|info| info.features),
        "boot": told.map(|told| told.status.boot),
        "joined_at": row.map(|row| rfc3339(Millis(row.joined_at))),
        "leaders": led.len(),
        "leads": led,
        "replicas": picture.on(node).count(),
        "empty": picture.is_empty(node),
    })
}

/// All partitions, that of meta last.
pub(super) fn partitions(picture: &Picture) -> Vec<Value> {
    picture.partitions().into_iter().map(|partition| self::partition(picture, partition)).collect()
}

/// One partition.
pub(super) fn partition(picture: &Picture, partition: PartitionId) -> Value {
    let group = picture.group(partition);
    let row = picture.wanted.placements.get(&partition);
    let members = picture.leader_status(partition).and_then(|leader| leader.members.as_ref());
    let names = |numbers: Option<&Vec<u64>>| -> Vec<String> {
        numbers.into_iter().flatten().map(|number| ReplicaId::from_u64(*number).to_string()).collect()
    };
    json!({
        "id": partition.to_string(),
        "leader": group.and_then(|group| group.leader).map(|leader| leader.node.to_string()),
        "leads_for_ms": group.map(|group| group.leader_since_ms),
        "term": term(picture, partition),
        "pinned": row.and_then(PlacementRow::pinned_node).map(|node| node.to_string()),
        "members": {
            "voters": names(members.map(|members| &members.voters)),
            "learners": names(members.map(|members| &members.learners)),
            "outgoing": names(members.map(|members| &members.voters_outgoing)),
        },
        "wanted": row.map(|row| row.wanted().map(|replica| replica.to_string()).collect::<Vec<_>>()),
        "replicas": replicas(picture, partition),
        "size": {
            "log_entries": picture.leader_status(partition).map(|leader| (leader.last + 1).saturating_sub(leader.first)),
            "snapshot_bytes": last_snapshot(picture, partition).map(|saved| saved.bytes),
        },
        "last_snapshot": last_snapshot(picture, partition).map(|saved| rfc3339(Millis(saved.created_at))),
    })
}

/// The newest snapshot outside of the nodes that anybody tells of.
fn last_snapshot(picture: &Picture, partition: PartitionId) -> Option<SavedStatus> {
    let told = picture.told.values().flat_map(|told| &told.status.replicas);
    let told = told.filter(|replica| replica.partition == partition.0).filter_map(|replica| replica.saved);
    told.max_by_key(|saved| saved.created_at)
}

/// The latest term that anybody tells.
fn term(picture: &Picture, partition: PartitionId) -> Option<u64> {
    let told = picture.told.values().flat_map(|told| &told.status.replicas);
    told.filter(|replica| replica.partition == partition.0).map(|replica| replica.term).max()
}

fn replicas(picture: &Picture, partition: PartitionId) -> Vec<Value> {
    let all: BTreeSet<ReplicaId> = picture.replicas(partition);
    let told = |replica: &ReplicaId| picture.status(partition, *replica);
    let leader = picture.leader_status(partition);
    // Nobody may lead: then the furthest one is what the others are compared with.
    let furthest = all.iter().filter_map(told).map(|status| status.committed).max();
    let committed = leader.map(|leader| leader.committed).or(furthest);
    let replica = |replica: &ReplicaId| {
        let status = told(replica);
        let number = |of: fn(&ReplicaStatus) -> u64| status.map(of);
        let sending = leader.and_then(|leader| leader.progress.iter().find(|of| of.replica == replica.to_u64()));
        json!({
            "node": replica.node.to_string(),
            "replica": replica.to_string(),
            "leads": status.is_some_and(|status| status.leads),
            "term": number(|status| status.term),
            "first": number(|status| status.first),
            "last": number(|status| status.last),
            "committed": number(|status| status.committed),
            "applied": number(|status| status.applied),
            "durable": number(|status| status.durable),
            "lag": lag(committed, status),
            "alive": picture.is_alive(replica.node),
            "snapshot_in_progress": sending.is_some_and(|of| of.snapshot),
        })
    };
    all.iter().map(replica).collect()
}

/// How many committed entries a replica has not applied.
pub(super) fn lag(committed: Option<u64>, status: Option<&ReplicaStatus>) -> Option<u64> {
    Some(committed?.saturating_sub(status?.applied))
}
