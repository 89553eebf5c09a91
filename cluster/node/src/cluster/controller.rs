//! The controller: the node that leads the meta group looks, every half second, at what is wanted and what is, and takes
//! the next steps ([`abide_placement`]). It remembers nothing, so that any other node can go on.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::command::{Body, MetaAction, MetaOrder, PlaceReplicas, RaiseFeatures};
use abide_model::id::{Millis, NodeId, PartitionId, ReplicaId};
use abide_model::table::NodeState;
use abide_placement::{Action, GroupSeen, Limits, Liveness, Progress, Seen, Wanted, plan};
use tokio::time::Instant;

use super::transport::Transport;
use super::wire::{Frame, ReplicaStatus, Wish};
use super::{Cluster, Post, Route, Told};
use crate::driver::PeerInput;
use crate::engine::Engine;
use crate::shutdown::Stop;
use abide_model::codec;

/// How often.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks and acts until the node stops.
pub(crate) async fn run(engine: Engine, transport: Transport, stop: Stop) {
    let mut witness = Witness::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.requested() => return,
        }
        renew(&engine).await;
        let cluster = engine.cluster();
        let seen = witness.look(cluster, Instant::now());
        if cluster.route(PartitionId::META) != Route::Here {
            continue;
        }
        let wanted = cluster.wanted();
        for action in plan(&wanted, &seen, &Limits::default()) {
            tracing::debug!(?action, "a step");
            carry_out(&engine, &transport, action).await;
        }
        raise_features(&engine, &wanted, &seen).await;
    }
}

/// Asks for other replicas in place of those of this node that are gone for ever: the group removes the old one, and
/// takes the new one in.
async fn renew(engine: &Engine) {
    let wanted = engine.cluster().wanted();
    for (partition, gone) in engine.cluster().missing() {
        let Some(row) = wanted.placements.get(&partition) else { continue };
        let Some(next) = row.next_on(gone.node) else { continue };
        let replicas = row.wanted().map(|replica| if replica == gone { next } else { replica });
        let replicas = replicas.map(ReplicaId::to_u64).collect();
        let order = PlaceReplicas { partition: partition.0, replicas, version: row.version };
        tracing::info!(%partition, %gone, %next, "a replica is to be rebuilt");
        let order = Body::Meta(MetaOrder::new(MetaAction::Place(order)));
        if let Err(error) = engine.order_in(PartitionId::META, order).await {
            tracing::debug!(%error, "the new replica is not placed yet");
        }
    }
}

async fn carry_out(engine: &Engine, transport: &Transport, action: Action) {
    match action {
        Action::Meta(order) => {
            // What is refused or lost is planned again.
            if let Err(error) = engine.order_in(PartitionId::META, Body::Meta(order)).await {
                tracing::debug!(%error, "a step was not taken");
            }
        }
        Action::ChangeMembers { partition, leader, voters, learners } => {
            let wish = Wish { partition: partition.0, voters, learners, transfer_to: 0 };
            send_wish(engine, transport, leader, wish);
        }
        Action::Transfer { partition, leader, to } => {
            let wish = Wish { partition: partition.0, transfer_to: to.to_u64(), ..Wish::default() };
            send_wish(engine, transport, leader, wish);
        }
    }
}

/// Tells the leader of a group, wherever it is. A wish that is lost is made again.
pub(crate) fn send_wish(engine: &Engine, transport: &Transport, leader: NodeId, wish: Wish) {
    if leader == engine.cluster().node() {
        engine.driver().mail(PeerInput::Wish(wish));
    } else {
        transport.send(leader, codec::encode(&Frame { wishes: vec![wish], ..Frame::default() }));
    }
}

/// What every node can do is put in force, once all of them say that they can, and are there to be believed.
async fn raise_features(engine: &Engine, wanted: &Wanted, seen: &Seen) {
    let nodes = || wanted.nodes.iter().filter(|(_, row)| row.state() != NodeState::Removed);
    let Some(level) = nodes().map(|(_, row)| row.features()).min() else { return };
    let all_alive = nodes().all(|(node, _)| seen.alive.get(node).is_some_and(|of| of.alive));
    if level > wanted.cluster.features && all_alive {
        let order = MetaOrder::new(MetaAction::RaiseFeatures(RaiseFeatures { level }));
        if let Err(error) = engine.order_in(PartitionId::META, Body::Meta(order)).await {
            tracing::debug!(%error, level, "features are not raised yet");
        }
    }
}

/// For how long nodes have been silent, as far as this one has listened.
#[derive(Default)]
pub(crate) struct Witness {
    heard: BTreeMap<NodeId, Instant>,
}

impl Witness {
    /// What is seen now.
    pub(crate) fn look(&mut self, cluster: &Cluster, now: Instant) -> Seen {
        let told = cluster.statuses();
        let mut seen = Seen::default();
        for node in cluster.wanted().nodes.keys() {
            let heard = self.heard.entry(*node).or_insert(now);
            if let Some(told) = told.get(node) {
                *heard = (*heard).max(told.at);
            }
            let silent = now.duration_since(*heard);
            let alive = told.get(node).is_some_and(|told| told.is_alive(now));
            let slow = told.get(node).is_some_and(|told| told.status.disk_delay_ms > 0);
            seen.alive.insert(*node, Liveness { alive, silent_ms: if alive { 0 } else { Millis::of(silent) }, slow });
        }
        for (node, told) in &told {
            if seen.alive.get(node).is_some_and(|of| of.alive) {
                groups(told, &mut seen);
            }
        }
        seen
    }
}

/// Takes in what a node tells of the groups that it leads; of several, the one of the latest term.
pub(crate) fn groups(told: &Told, seen: &mut Seen) {
    for replica in told.status.replicas.iter().filter(|replica| replica.leads) {
        let known = seen.groups.entry(PartitionId(replica.partition)).or_default();
        if replica.term >= known.term {
            *known = group(replica);
        }
    }
}

fn group(told: &ReplicaStatus) -> GroupSeen {
    let members = told.members.clone().unwrap_or_default();
    let ids = |numbers: &[u64]| numbers.iter().map(|number| ReplicaId::from_u64(*number)).collect();
    let progress = told.progress.iter().map(|of| {
        let progress = Progress { matched: of.matched, active: of.active };
        (ReplicaId::from_u64(of.replica), progress)
    });
    GroupSeen {
        leader: Some(ReplicaId::from_u64(told.replica)),
        leader_since_ms: told.leads_for_ms,
        term: told.term,
        voters: ids(&members.voters),
        learners: ids(&members.learners),
        joint: members.is_joint(),
        last_index: told.last,
        progress: progress.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::SILENCE_MAX;
    use crate::cluster::wire::NodeStatus;
    use abide_model::table::NodeRow;

    fn status(partition: u32, term: u64, node: u32) -> NodeStatus {
        let members = Some(abide_partition::Members::of([1, 2, 3]));
        let replica = ReplicaStatus {
            partition,
            replica: u64::from(node),
            term,
            leads: true,
            members,
            ..ReplicaStatus::default()
        };
        NodeStatus { replicas: vec![replica], ..NodeStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_leader_of_those_who_are_heard_is_seen() {
        let cluster = Cluster::new(NodeId(1));
        let nodes = [1, 2, 3].map(|node| (NodeId(node), NodeRow::default())).into();
        cluster.set_wanted(Wanted { nodes, ..Wanted::default() });
        let mut witness = Witness::default();
        cluster.told(NodeId(1), status(0, 3, 1));
        cluster.told(NodeId(2), status(0, 4, 2));
        let seen = witness.look(&cluster, Instant::now());
        assert_eq!(seen.groups[&PartitionId(0)].leader, Some(ReplicaId::first(NodeId(2))));
        assert!(seen.alive[&NodeId(1)].alive && !seen.alive[&NodeId(3)].alive);
        tokio::time::advance(SILENCE_MAX).await;
        cluster.told(NodeId(1), status(0, 3, 1));
        let seen = witness.look(&cluster, Instant::now());
        assert_eq!(seen.groups[&PartitionId(0)].leader, Some(ReplicaId::first(NodeId(1))));
        assert_eq!(seen.alive[&NodeId(2)], Liveness { silent_ms: 2_000, ..Liveness::default() });
    }
}
