//! A cluster without logs: the real rules of meta, groups that do as they are told a little later, nodes that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};

use abide_machine::Machine;
use abide_model::command::{
    Body, Command, FoundCluster, JoinNode, MetaAction, MetaOrder, NodeInfo, PinLeader, PlaceReplicas, SetNodeState,
    SetSetting,
};
use abide_model::effect::{Answer, Effect};
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::{AppliedRow, NodeState, PlacementRow};
use abide_model::view::{RawView, ReadError, WriteOp};
use bytes::Bytes;

use crate::{Action, GroupSeen, Limits, Liveness, Progress, Seen, Wanted, plan};

/// How long a round takes, in ms.
pub(crate) const ROUND_MS: u64 = 2_500;
/// Entries that a follower takes in one round.
const ENTRIES_PER_ROUND: u64 = 2_500;

#[derive(Default)]
pub(crate) struct Rows(BTreeMap<Box<[u8]>, Bytes>);

impl RawView for Rows {
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let range = self.0.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let _ = range.into_iter().try_for_each(|(key, value)| visit(key, value));
        Ok(())
    }
}

/// A group as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) leads_ms: u64,
    pub(crate) voters: BTreeSet<ReplicaId>,
    pub(crate) learners: BTreeSet<ReplicaId>,
    /// The voters before, while members are changing.
    pub(crate) outgoing: BTreeSet<ReplicaId>,
    /// Whether the second step of the change follows in the next round.
    half: bool,
    pub(crate) matched: BTreeMap<ReplicaId, u64>,
    pub(crate) last: u64,
}

impl Group {
    pub(crate) fn nodes(&self) -> BTreeSet<u32> {
        self.voters.iter().chain(&self.learners).map(|replica| replica.node.0).collect()
    }
}

pub(crate) struct World {
    machine: Machine,
    rows: Rows,
    pub(crate) groups: BTreeMap<PartitionId, Group>,
    /// For how long each node is silent; 0 answers.
    pub(crate) silent: BTreeMap<NodeId, u64>,
    /// Nodes whose disks are slow.
    pub(crate) slow: BTreeSet<NodeId>,
    pub(crate) limits: Limits,
    /// Replicas that joined since the beginning.
    pub(crate) joined: Vec<(PartitionId, ReplicaId)>,
    /// Leaders that were handed over since the beginning.
    pub(crate) transfers: usize,
}

impl World {
    /// A cluster of one node.
    pub(crate) fn new(partitions: u32) -> Self {
        let machine = Machine::new(PartitionId::META, partitions, &AppliedRow::default());
        let (silent, joined) = (BTreeMap::from([(NodeId(1), 0)]), Vec::new());
        let (rows, groups, limits) = (Rows::default(), BTreeMap::new(), Limits::default());
        let mut world = Self { machine, rows, groups, silent, slow: BTreeSet::new(), limits, joined, transfers: 0 };
        let found = FoundCluster { cluster_id: "c".into(), partitions, node: 1, info: Some(info(1, "")) };
        assert_eq!(world.order(MetaAction::Found(found)), Answer::Done);
        let first = ReplicaId::first(NodeId(1));
        for partition in (0..partitions).map(PartitionId).chain([PartitionId::META]) {
            let group = Group {
                leader: Some(first),
                leads_ms: 60_000,
                voters: BTreeSet::from([first]),
                matched: BTreeMap::from([(first, 5_000)]),
                last: 5_000,
                ..Group::default()
            };
            world.groups.insert(partition, group);
        }
        world
    }

    /// A settled cluster of several nodes, each in a zone of its own.
    pub(crate) fn settled(partitions: u32, nodes: u32) -> Self {
        let mut world = Self::new(partitions);
        for n in 2..=nodes {
            world.join(n, "");
        }
        world.settle();
        world
    }

    pub(crate) fn order(&mut self, action: MetaAction) -> Answer {
        let command = Command { request: 1, body: Some(Body::Meta(MetaOrder::new(action))) };
        let transition = self.machine.apply(&self.rows, command).unwrap();
        for write in transition.writes {
            match write.op {
                WriteOp::Put(value) | WriteOp::Insert(value) => drop(self.rows.0.insert(write.key, value)),
                WriteOp::Delete => drop(self.rows.0.remove(&write.key)),
            }
        }
        match transition.effects.into_iter().next() {
            Some(Effect::Answered { answer, .. }) => answer,
            other => panic!("an answer, not {other:?}"),
        }
    }

    pub(crate) fn join(&mut self, n: u32, zone: &str) {
        let order = JoinNode { info: Some(info(n, zone)), partitions: 0 };
        assert_eq!(self.order(MetaAction::Join(order)), Answer::Node(NodeId(n)));
        self.silent.insert(NodeId(n), 0);
    }

    pub(crate) fn set_state(&mut self, node: u32, state: NodeState) -> Answer {
        self.order(MetaAction::SetNodeState(SetNodeState { node, state: state as i32 }))
    }

    pub(crate) fn set(&mut self, name: &str, value: u64) {
        let order = SetSetting { name: name.into(), value: Some(value.to_string()) };
        assert_eq!(self.order(MetaAction::SetSetting(order)), Answer::Done);
    }

    pub(crate) fn pin(&mut self, partition: PartitionId, node: u32) {
        assert_eq!(self.order(MetaAction::Pin(PinLeader { partition: partition.0, node })), Answer::Done);
    }

    pub(crate) fn place(&mut self, partition: PartitionId, replicas: Vec<u64>) -> Answer {
        let version = self.row(partition).version;
        self.order(MetaAction::Place(PlaceReplicas { partition: partition.0, replicas, version }))
    }

    pub(crate) fn wanted(&self) -> Wanted {
        Wanted::read(&self.rows).unwrap().expect("the cluster is founded")
    }

    pub(crate) fn row(&self, partition: PartitionId) -> PlacementRow {
        self.wanted().placements[&partition].clone()
    }

    pub(crate) fn group(&self, partition: u32) -> &Group {
        &self.groups[&PartitionId(partition)]
    }

    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.silent.get(&node) == Some(&0)
    }

    pub(crate) fn kill(&mut self, node: u32) {
        self.silent.insert(NodeId(node), 1);
    }

    pub(crate) fn revive(&mut self, node: u32) {
        self.silent.insert(NodeId(node), 0);
    }

    pub(crate) fn has_quorum(&self, voters: &BTreeSet<ReplicaId>) -> bool {
        voters.iter().filter(|voter| self.is_alive(voter.node)).count() > voters.len() / 2
    }

    /// Whether the group can do something: of both sets of voters while they change.
    pub(crate) fn works(&self, group: &Group) -> bool {
        self.has_quorum(&group.voters) && (group.outgoing.is_empty() || self.has_quorum(&group.outgoing))
    }

    pub(crate) fn seen(&self) -> Seen {
        let liveness = |(node, silent): (&NodeId, &u64)| {
            let slow = self.slow.contains(node);
            (*node, Liveness { alive: *silent == 0, silent_ms: *silent, slow })
        };
        let groups = self.groups.iter().map(|(partition, group)| {
            let replicas = group.voters.iter().chain(&group.learners).filter(|replica| Some(**replica) != group.leader);
            let progress = replicas.map(|replica| {
                let matched = group.matched.get(replica).copied().unwrap_or_default();
                (*replica, Progress { matched, active: self.is_alive(replica.node) })
            });
            let seen = GroupSeen {
                leader: group.leader,
                leader_since_ms: group.leads_ms,
                term: 1,
                voters: group.voters.clone(),
                learners: group.learners.clone(),
                joint: !group.outgoing.is_empty(),
                last_index: group.last,
                progress: progress.collect(),
            };
            (*partition, seen)
        });
        Seen { alive: self.silent.iter().map(liveness).collect(), groups: groups.collect() }
    }

    pub(crate) fn plan(&self) -> Vec<Action> {
        plan(&self.wanted(), &self.seen(), &self.limits)
    }

    /// Time passes: nodes stay silent, followers catch up, members change for good, leaders are found.
    pub(crate) fn pass(&mut self) {
        for silent in self.silent.values_mut().filter(|silent| **silent > 0) {
            *silent += ROUND_MS;
        }
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.values_mut() {
            group.leads_ms += ROUND_MS;
            if group.leader.is_some_and(|leader| !self.is_alive(leader.node)) {
                group.leader = None;
            }
            if !self.works(group) {
                group.leader = None;
                continue;
            }
            let full = |replica: &ReplicaId| group.matched.get(replica) == Some(&group.last);
            if group.leader.is_none() {
                let next = group.voters.iter().copied().find(|voter| self.is_alive(voter.node) && full(voter));
                (group.leader, group.leads_ms) = (next, 0);
            }
            if group.leader.is_none() {
                continue;
            }
            for replica in group.voters.iter().chain(&group.learners).filter(|replica| self.is_alive(replica.node)) {
                let matched = group.matched.entry(*replica).or_default();
                *matched = matched.saturating_add(ENTRIES_PER_ROUND).min(group.last);
            }
            // Plans see the change between its steps.
            group.half = !group.half && !group.outgoing.is_empty();
            if !group.half {
                group.outgoing.clear();
            }
        }
        self.groups = groups;
    }

    /// Carries out a plan; steps that must never be planned are found out.
    pub(crate) fn carry_out(&mut self, actions: &[Action]) {
        let mut touched = BTreeSet::new();
        for action in actions {
            match action {
                Action::Meta(order) => {
                    let action = order.action.clone().expect("an order orders something");
                    let MetaAction::Place(place) = &action else { panic!("only placements are planned: {action:?}") };
                    assert!(touched.insert(PartitionId(place.partition)), "two actions for one partition: {actions:?}");
                    assert_eq!(self.order(action.clone()), Answer::Done, "{action:?}");
                }
                Action::ChangeMembers { partition, leader, voters, learners } => {
                    assert!(touched.insert(*partition), "two actions for one partition: {actions:?}");
                    self.change(*partition, *leader, voters, learners);
                }
                Action::Transfer { partition, leader, to } => {
                    assert!(touched.insert(*partition), "two actions for one partition: {actions:?}");
                    let group = self.groups.get_mut(partition).expect("a group that is there");
                    assert_eq!(group.leader.map(|leader| leader.node), Some(*leader));
                    assert!(group.outgoing.is_empty() && group.voters.contains(to) && group.leader != Some(*to));
                    assert!(self.silent[&to.node] == 0, "{partition} is handed over to {to}, which is silent");
                    (group.leader, group.leads_ms) = (Some(*to), 0);
                    self.transfers += 1;
                }
            }
        }
    }

    fn change(&mut self, partition: PartitionId, leader: NodeId, voters: &[u64], learners: &[u64]) {
        let before = self.groups[&partition].clone();
        let of = |numbers: &[u64]| numbers.iter().map(|number| ReplicaId::from_u64(*number)).collect::<BTreeSet<_>>();
        let (voters, learners) = (of(voters), of(learners));
        let what = format!("{partition}: {before:?} to {voters:?} and {learners:?}");
        assert!(before.outgoing.is_empty() && self.works(&before), "members of a group that cannot change: {what}");
        assert!(before.leader.is_some_and(|now| now.node == leader && voters.contains(&now)), "the leader: {what}");
        assert!(voters != before.voters || learners != before.learners, "nothing changes: {what}");
        assert!(voters.is_disjoint(&learners) && self.has_quorum(&voters), "no majority: {what}");
        let given = self.row(partition);
        for replica in voters.union(&learners) {
            let known = before.voters.contains(replica) || before.learners.contains(replica);
            let beside = before.voters.iter().chain(&before.learners).any(|other| other.node == replica.node);
            assert!(known || (!beside && learners.contains(replica)), "{replica} joins: {what}");
            assert!(known || given.wanted().any(|wanted| wanted == *replica), "{replica} is not wanted: {what}");
            if !known {
                self.joined.push((partition, *replica));
            }
        }
        // New votes are of those who have nearly everything.
        for voter in voters.difference(&before.voters) {
            assert!(before.matched.get(voter).copied().unwrap_or_default() + 1_000 >= before.last, "{voter}: {what}");
        }
        let group = self.groups.get_mut(&partition).expect("looked at above");
        if voters != group.voters {
            group.outgoing = std::mem::replace(&mut group.voters, voters);
        }
        group.learners = learners;
        let (voters, learners) = (&group.voters, &group.learners);
        group.matched.retain(|replica, _| voters.contains(replica) || learners.contains(replica));
    }

    /// One round.
    pub(crate) fn round(&mut self) -> Vec<Action> {
        let worked: BTreeSet<_> =
            self.groups.iter().filter(|(_, group)| self.works(group)).map(|(partition, _)| *partition).collect();
        let actions = self.plan();
        self.carry_out(&actions);
        for partition in worked {
            assert!(self.works(&self.groups[&partition]), "{partition} lost its majority: {actions:?}");
        }
        self.pass();
        actions
    }

    /// Whether somebody who answers still gets entries, after which there may be something to do.
    fn is_catching_up(&self) -> bool {
        self.groups.values().filter(|group| group.leader.is_some()).any(|group| {
            let behind = |replica: &&ReplicaId| group.matched.get(*replica) != Some(&group.last);
            group
                .voters
                .iter()
                .chain(&group.learners)
                .filter(|replica| self.is_alive(replica.node))
                .any(|of| behind(&of))
        })
    }

    /// Rounds until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..1_000 {
            quiet = if self.round().is_empty() && !self.is_catching_up() { quiet + 1 } else { 0 };
            // Longer than leaders are left alone.
            if quiet == 8 {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.plan());
    }
}

pub(crate) fn info(n: u32, zone: &str) -> NodeInfo {
    NodeInfo {
        store_uuid: format!("store-{n}"),
        address: format!("host{n}:9000"),
        zone: zone.into(),
        ..NodeInfo::default()
    }
}
