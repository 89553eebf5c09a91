//! Whether the replicas of each partition have the same state.
//!
//! Every replica keeps a running hash of what it wrote and notes it every 64 entries; nodes tell the last few of these
//! points. Replicas are compared at the points that several of them tell: one that is far behind, or has just begun, has
//! none in common with the others yet, and a partition in which less happened has none at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use abide_model::id::{PartitionId, ReplicaId};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer;
use super::picture::Picture;
use super::{Helm, Shared, orders};

/// How long a check waits for points in common.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All members are the same.
    Equal,
    /// Somebody differs.
    Different,
    /// Some members, or all, have no point in common with the others yet.
    Waiting,
    /// There is one member only.
    Alone,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Waiting => "waiting",
            Self::Alone => "alone",
        }
    }
}

/// The comparison of a partition's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) verdict: Verdict,
    /// The last point at which several were compared.
    pub(super) index: Option<u64>,
    /// Those that were.
    pub(super) compared: BTreeSet<ReplicaId>,
    /// Those that are not as most of the others are; all of them when there is no majority.
    pub(super) different: BTreeSet<ReplicaId>,
    /// Members that could not be compared.
    pub(super) waiting: BTreeSet<ReplicaId>,
}

pub(super) async fn show<H: Helm>(State(helm): Shared<H>) -> Response {
    answer::json(&render(&Picture::of(helm.cluster())))
}

/// As a look, but waits a moment for what is not comparable yet.
pub(super) async fn check<H: Helm>(State(helm): Shared<H>) -> Response {
    let complete = |cluster: &crate::cluster::Cluster| {
        let picture = Picture::of(cluster);
        picture.partitions().iter().all(|partition| compare(&picture, *partition).verdict != Verdict::Waiting)
    };
    orders::shown(helm.cluster(), complete, CHECK_TIME).await;
    answer::json(&render(&Picture::of(helm.cluster())))
}

/// Compares the replicas of a partition.
pub(super) fn compare(picture: &Picture, partition: PartitionId) -> Comparison {
    let members: BTreeSet<ReplicaId> =
        picture.group(partition).map_or_else(|| picture.replicas(partition), |group| group.members().collect());
    let mut points: BTreeMap<u64, BTreeMap<ReplicaId, u64>> = BTreeMap::new();
    for replica in &members {
        for point in picture.status(partition, *replica).into_iter().flat_map(|status| &status.hashes) {
            points.entry(point.index).or_default().insert(*replica, point.hash);
        }
    }
    points.retain(|_, told| told.len() > 1);
    let compared: BTreeSet<ReplicaId> = points.values().flat_map(BTreeMap::keys).copied().collect();
    let different: BTreeSet<ReplicaId> = points.values().flat_map(odd_ones).collect();
    let waiting: BTreeSet<ReplicaId> = members.difference(&compared).copied().collect();
    let verdict = match () {
        () if !different.is_empty() => Verdict::Different,
        () if members.len() == 1 => Verdict::Alone,
        () if members.is_empty() || !waiting.is_empty() => Verdict::Waiting,
        () => Verdict::Equal,
    };
    let waiting = if verdict == Verdict::Alone { BTreeSet::new() } else { waiting };
    Comparison { verdict, index: points.keys().next_back().copied(), compared, different, waiting }
}

/// Those that are not as most are.
fn odd_ones(told: &BTreeMap<ReplicaId, u64>) -> Vec<ReplicaId> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for hash in told.values() {
        *counts.entry(*hash).or_default() += 1;
    }
    if counts.len() < 2 {
        return Vec::new();
    }
    let right = counts.iter().find(|(_, count)| **count * 2 > told.len()).map(|(hash, _)| *hash);
    told.iter().filter(|(_, hash)| Some(**hash) != right).map(|(replica, _)| *replica).collect()
}

fn render(picture: &Picture) -> Value {
    let partitions: Vec<_> =
        picture.partitions().into_iter().map(|partition| (partition, compare(picture, partition))).collect();
    let any = |verdict| partitions.iter().any(|(_, of)| of.verdict == verdict);
    // The worst of all.
    let all = [Verdict::Different, Verdict::Waiting, Verdict::Equal].into_iter().find(|verdict| any(*verdict));
    let partitions: Vec<_> =
        partitions.iter().map(|(partition, of)| self::partition(picture, *partition, of)).collect();
    json!({ "verdict": all.unwrap_or(Verdict::Alone).word(), "partitions": partitions })
}

fn partition(picture: &Picture, partition: PartitionId, of: &Comparison) -> Value {
    let names = |replicas: &BTreeSet<ReplicaId>| replicas.iter().map(ToString::to_string).collect::<Vec<_>>();
    let replicas: Vec<_> = picture
        .replicas(partition)
        .into_iter()
        .map(|replica| {
            let points = picture.status(partition, replica).into_iter().flat_map(|status| &status.hashes);
            // A number of 64 bits is not safe in every reader of JSON.
            let points: Vec<_> =
                points.map(|point| json!({ "index": point.index, "hash": format!("{:016x}", point.hash) })).collect();
            json!({ "node": replica.node.to_string(), "replica": replica.to_string(), "points": points })
        })
        .collect();
    json!({
        "partition": partition.to_string(),
        "verdict": of.verdict.word(),
        "index": of.index,
        "compared": names(&of.compared),
        "different": names(&of.different),
        "waiting": names(&of.waiting),
        "replicas": replicas,
    })
}
