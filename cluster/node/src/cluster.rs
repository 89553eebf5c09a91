//! What this node knows of the others: who they are, who leads which partition, and how far each replica is.
//!
//! Two sources: the tables of the meta group, of which every node has a replica (who belongs to the cluster, and what is
//! wanted), and what nodes tell each other a few times a second (what is). The driver writes, everybody reads.

pub(crate) mod controller;
pub(crate) mod join;
pub(crate) mod loan;
pub(crate) mod transfer;
pub(crate) mod transport;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use abide_model::id::{Millis, NodeId, PartitionId, ReplicaId};
use abide_model::table::NodeState;
use abide_peer::Peers;
use abide_placement::Wanted;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::shutdown::Stop;
use wire::{NodeAddress, NodeStatus};

/// After this long without a word a node is taken for dead.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(2);

/// How long a node that starts waits for news of all leaders.
const KNOWN_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const KNOWN_PAUSE: Duration = Duration::from_millis(5);

/// The way to other nodes.
pub(crate) trait Post: Send + Sync {
    /// Hands a frame over, to be sent in order; may lose it, never waits.
    fn send(&self, to: NodeId, frame: Bytes);
}

/// Why another node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskFailed {
    /// The request never got there.
    #[error("node not reached: {0}")]
    NotSent(String),
    /// It may have got there, and may have been carried out.
    #[error("no answer: {0}")]
    Unknown(String),
}

/// Asks other nodes.
pub(crate) trait Asker: Send + Sync {
    /// Asks a node, and waits for its answer for at most `patience`.
    fn ask(
        &self,
        to: NodeId,
        request: wire::Request,
        patience: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<wire::Told, AskFailed>> + Send + '_>>;
}

/// Where requests for a partition go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// This node leads.
    Here,
    /// That node leads, as far as is known.
    There(NodeId),
    /// Nobody leads, as far as is known.
    Nobody,
}

/// Shared knowledge of a node. Clones share it.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    node: NodeId,
    leaders: RwLock<BTreeMap<PartitionId, Leader>>,
    /// Highest index of each partition that is known to be applied somewhere.
    applied: Mutex<BTreeMap<PartitionId, u64>>,
    wanted: RwLock<Arc<Wanted>>,
    saved: Mutex<BTreeMap<PartitionId, Saved>>,
    told: Mutex<BTreeMap<NodeId, Told>>,
    /// Groups of which this node has a replica.
    hosted: RwLock<BTreeSet<PartitionId>>,
    /// The other nodes that this one talks to.
    contacts: RwLock<BTreeSet<NodeId>>,
    /// The last replica of each group that was on this node and is gone for ever.
    buried: Mutex<BTreeMap<PartitionId, u64>>,
    changes: watch::Sender<u64>,
}

/// Who leads a partition, as of a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leader {
    term: u64,
    node: Option<NodeId>,
}

/// The newest snapshot of a partition outside of the nodes, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The last index that it covers.
    pub(crate) index: u64,
    /// When it was made.
    pub(crate) created_at: Millis,
    /// Stored bytes of its parts.
    pub(crate) bytes: u64,
}

/// The last that a node said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) status: Arc<NodeStatus>,
    /// Whether its connection still is there: otherwise it is away, however short a time ago it said this.
    pub(crate) connected: bool,
}

impl Told {
    /// For how long nothing was heard of the node.
    pub(crate) fn silent(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }

    /// Whether the node is there to be counted on.
    pub(crate) fn is_alive(&self, now: Instant) -> bool {
        self.connected && self.silent(now) < SILENCE_MAX
    }
}

impl Cluster {
    pub(crate) fn new(node: NodeId) -> Self {
        Self(Arc::new(Inner {
            node,
            leaders: RwLock::default(),
            applied: Mutex::default(),
            wanted: RwLock::default(),
            saved: Mutex::default(),
            told: Mutex::default(),
            hosted: RwLock::default(),
            contacts: RwLock::default(),
            buried: Mutex::default(),
            changes: watch::Sender::new(0),
        }))
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.0.node
    }

    /// Whether this node is the only one, as far as it knows. One that knows nothing yet has joined others.
    pub(crate) fn is_alone(&self) -> bool {
        self.wanted().nodes.keys().eq([&self.0.node])
    }

    pub(crate) fn route(&self, partition: PartitionId) -> Route {
        let leaders = self.0.leaders.read().unwrap_or_else(PoisonError::into_inner);
        match leaders.get(&partition).and_then(|leader| leader.node) {
            Some(node) if node == self.0.node => Route::Here,
            Some(node) => Route::There(node),
            None => Route::Nobody,
        }
    }

    /// Takes note of who leads. What is known of a later term stays.
    pub(crate) fn leads(&self, partition: PartitionId, term: u64, node: Option<NodeId>) {
        let changed = {
            let mut leaders = self.0.leaders.write().unwrap_or_else(PoisonError::into_inner);
            let known = leaders.entry(partition).or_default();
            let news = Leader { term, node };
            // Within a term there is one leader: that it is not known here is no news.
            let better = term > known.term || (term == known.term && node.is_some());
            if better && *known != news {
                *known = news;
                true
            } else {
                false
            }
        };
        if changed {
            self.changed();
        }
    }

    /// The node that was thought to lead does not (any more), as it says itself.
    pub(crate) fn leads_not(&self, partition: PartitionId, node: NodeId) {
        let mut leaders = self.0.leaders.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = leaders.get_mut(&partition).filter(|known| known.node == Some(node)) {
            known.node = None;
        }
    }

    /// A change of something, for those who wait for one.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Whether this node has a replica of the group.
    pub(crate) fn hosts(&self, partition: PartitionId) -> bool {
        self.0.hosted.read().unwrap_or_else(PoisonError::into_inner).contains(&partition)
    }

    /// Takes note of whether this node has a replica of the group.
    pub(crate) fn set_hosted(&self, partition: PartitionId, hosted: bool) {
        let mut all = self.0.hosted.write().unwrap_or_else(PoisonError::into_inner);
        if hosted {
            all.insert(partition)
        } else {
            all.remove(&partition)
        };
    }

    /// The other nodes that this one talks to: those of the meta group's tables, and before it has these, those who took
    /// it in.
    pub(crate) fn contacts(&self) -> BTreeSet<NodeId> {
        self.0.contacts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_contacts(&self, nodes: BTreeSet<NodeId>) {
        *self.0.contacts.write().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// A replica of this node is gone for ever.
    pub(crate) fn buried(&self, partition: PartitionId, replica: u64) {
        self.0.buried.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, replica);
    }

    /// Replicas that are wanted on this node, and are gone for ever.
    pub(crate) fn missing(&self) -> Vec<(PartitionId, ReplicaId)> {
        let buried = self.0.buried.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = self.wanted();
        let is_wanted = |(partition, replica): &(PartitionId, ReplicaId)| {
            wanted.placements.get(partition).is_some_and(|row| row.on(self.0.node) == Some(*replica))
        };
        buried.into_iter().map(|(id, replica)| (id, ReplicaId::from_u64(replica))).filter(is_wanted).collect()
    }

    /// An index that is applied at least: what is asked for now is not in the log up to there.
    pub(crate) fn applied(&self, partition: PartitionId) -> u64 {
        self.indexes().get(&partition).copied().unwrap_or(0)
    }

    pub(crate) fn note_applied(&self, partition: PartitionId, index: u64) {
        let mut indexes = self.indexes();
        let known = indexes.entry(partition).or_default();
        *known = (*known).max(index);
    }

    fn indexes(&self) -> MutexGuard<'_, BTreeMap<PartitionId, u64>> {
        self.0.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest snapshot of a partition outside of the nodes.
    pub(crate) fn saved(&self, partition: PartitionId) -> Option<Saved> {
        self.all_saved().get(&partition).copied()
    }

    /// Takes note of a snapshot. A later one that is known stays.
    pub(crate) fn note_saved(&self, partition: PartitionId, saved: Saved) {
        let mut all = self.all_saved();
        let known = all.entry(partition).or_insert(saved);
        if saved.created_at > known.created_at {
            *known = saved;
        }
    }

    fn all_saved(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Saved>> {
        self.0.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the tables of the meta group say.
    pub(crate) fn wanted(&self) -> Arc<Wanted> {
        Arc::clone(&self.0.wanted.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_wanted(&self, wanted: Wanted) {
        *self.0.wanted.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(wanted);
        self.changed();
    }

    /// A node told something of itself.
    pub(crate) fn told(&self, node: NodeId, status: NodeStatus) {
        for replica in &status.replicas {
            let partition = PartitionId(replica.partition);
            if replica.leads {
                self.leads(partition, replica.term, Some(node));
            }
            if node != self.0.node {
                self.note_applied(partition, replica.applied);
                if let Some(saved) = replica.saved {
                    self.note_saved(partition, saved.into());
                }
            }
        }
        let told = Told { at: Instant::now(), status: Arc::new(status), connected: true };
        self.all_told().insert(node, told);
    }

    /// What every node last said of itself.
    pub(crate) fn statuses(&self) -> BTreeMap<NodeId, Told> {
        self.all_told().clone()
    }

    /// A node is not connected any more, so nothing may count on it. What it said, and when, is still known.
    pub(crate) fn silent(&self, node: NodeId) {
        if let Some(told) = self.all_told().get_mut(&node) {
            told.connected = false;
        }
    }

    fn all_told(&self) -> MutexGuard<'_, BTreeMap<NodeId, Told>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the transport connected to all who belong to the cluster, until the node stops. `seeds` are those who took this
/// node in, which stand for all until its meta replica knows better.
pub(crate) async fn roster(cluster: Cluster, peers: Peers, seeds: Vec<NodeAddress>, stop: Stop) {
    let mut changes = cluster.changes();
    let mut connected = BTreeMap::new();
    loop {
        let wanted = cluster.wanted();
        let mut addresses: BTreeMap<u32, String> = BTreeMap::new();
        for (node, row) in &wanted.nodes {
            if row.state() == NodeState::Removed {
                peers.ban(node.0);
            } else {
                addresses.insert(node.0, row.address().to_owned());
            }
        }
        if addresses.is_empty() {
            addresses.extend(seeds.iter().map(|seed| (seed.node, seed.address.clone())));
        }
        if !addresses.is_empty() && addresses != connected {
            let others = addresses.keys().copied().map(NodeId).filter(|node| *node != cluster.node());
            cluster.set_contacts(others.collect());
            peers.set_peers(addresses.clone());
            connected = addresses;
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = stop.requested() => return,
        }
    }
}

/// Waits until this node knows where each partition is led and how far it is, so that the first requests at it wait for
/// nobody; for a time only: a partition without a leader does not keep the others from being served.
pub(crate) async fn until_known(cluster: &Cluster, partitions: u32) {
    let known = |partition| cluster.route(partition) != Route::Nobody && cluster.applied(partition) > 0;
    let until = Instant::now() + KNOWN_PATIENCE;
    while Instant::now() < until && !(0..partitions).map(PartitionId).all(known) {
        // Most is told by the statuses of other nodes, of which each is no news.
        tokio::time::sleep(KNOWN_PAUSE).await;
    }
}

/// The node on which a replica is.
pub(crate) fn node_of(replica: u64) -> NodeId {
    ReplicaId::from_u64(replica).node
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ReplicaStatus;

    #[test]
    fn a_later_term_is_believed() {
        let cluster = Cluster::new(NodeId(1));
        let route = || cluster.route(PartitionId(0));
        assert_eq!(route(), Route::Nobody);
        cluster.leads(PartitionId(0), 3, Some(NodeId(2)));
        assert_eq!(route(), Route::There(NodeId(2)));
        cluster.leads(PartitionId(0), 2, Some(NodeId(3)));
        cluster.leads(PartitionId(0), 3, None);
        assert_eq!(route(), Route::There(NodeId(2)));
        cluster.leads(PartitionId(0), 4, None);
        assert_eq!(route(), Route::Nobody);
        cluster.leads(PartitionId(0), 4, Some(NodeId(1)));
        assert_eq!(route(), Route::Here);
        cluster.leads_not(PartitionId(0), NodeId(2));
        assert_eq!(route(), Route::Here);
        cluster.leads_not(PartitionId(0), NodeId(1));
        assert_eq!(route(), Route::Nobody);
    }

    #[test]
    fn what_others_saved_is_known() {
        let (cluster, p1) = (Cluster::new(NodeId(1)), PartitionId(1));
        let saved = |index, created_at| Saved { index, created_at: Millis(created_at), bytes: 9 };
        cluster.note_saved(p1, saved(7, 100));
        let replica = ReplicaStatus { partition: 1, saved: Some(saved(8, 200).into()), ..ReplicaStatus::default() };
        cluster.told(NodeId(2), NodeStatus { replicas: vec![replica], ..NodeStatus::default() });
        cluster.note_saved(p1, saved(7, 150));
        assert_eq!(cluster.saved(p1), Some(saved(8, 200)));
        assert_eq!(cluster.saved(PartitionId(0)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_starts_waits_for_all_leaders_but_not_for_ever() {
        let (cluster, begun) = (Cluster::new(NodeId(1)), Instant::now());
        let leads =
            |partition| ReplicaStatus { partition, term: 1, leads: true, applied: 5, ..ReplicaStatus::default() };
        let told = |replicas| NodeStatus { replicas, ..NodeStatus::default() };
        cluster.told(NodeId(2), told(vec![leads(0)]));
        until_known(&cluster, 1).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // Another one is led, but how far it is was not told.
        cluster.leads(PartitionId(1), 1, Some(NodeId(2)));
        let speaker = cluster.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            speaker.told(NodeId(2), told(vec![leads(1)]));
        });
        until_known(&cluster, 2).await;
        assert!((50..60).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        until_known(&cluster, 3).await;
        assert!(begun.elapsed() > KNOWN_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_connected_is_away_since_it_was_last_heard() {
        let (cluster, n2) = (Cluster::new(NodeId(1)), NodeId(2));
        cluster.silent(n2);
        assert!(!cluster.statuses().contains_key(&n2), "nothing was ever heard of it");
        cluster.told(n2, NodeStatus { boot: 7, ..NodeStatus::default() });
        tokio::time::advance(Duration::from_millis(300)).await;
        assert!(cluster.statuses()[&n2].is_alive(Instant::now()));
        cluster.silent(n2);
        tokio::time::advance(Duration::from_millis(200)).await;
        let told = cluster.statuses()[&n2].clone();
        assert!(!told.is_alive(Instant::now()), "at once");
        assert_eq!((told.silent(Instant::now()), told.status.boot), (Duration::from_millis(500), 7));
        cluster.told(n2, NodeStatus { boot: 8, ..NodeStatus::default() });
        assert!(cluster.statuses()[&n2].is_alive(Instant::now()));
        tokio::time::advance(SILENCE_MAX).await;
        assert!(!cluster.statuses()[&n2].is_alive(Instant::now()), "a connection that says nothing is none");
    }

    #[test]
    fn indexes_only_grow() {
        let cluster = Cluster::new(NodeId(1));
        cluster.note_applied(PartitionId(1), 7);
        cluster.note_applied(PartitionId(1), 5);
        assert_eq!((cluster.applied(PartitionId(1)), cluster.applied(PartitionId(0))), (7, 0));
    }
}
