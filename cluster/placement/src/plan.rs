//! The next steps of the whole cluster.

use std::collections::BTreeSet;

use abide_model::command::{MetaAction, MetaOrder};
use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::{NodeState, PlacementRow};

use crate::context::Context;
use crate::leaders::{self, Leads};
use crate::members::{self, Step};
use crate::spread::{self, Loads};
use crate::{Seen, Wanted, target};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Propose this in meta.
    Meta(MetaOrder),
    /// Have the leader of a group change its members.
    ChangeMembers {
        /// Which group.
        partition: PartitionId,
        /// The node of its leader.
        leader: NodeId,
        /// Who is to decide, [`ReplicaId::to_u64`]. The leader is among them.
        voters: Vec<u64>,
        /// Who is to follow without a vote.
        learners: Vec<u64>,
    },
    /// Have the leader of a group hand over.
    Transfer {
        /// Which group.
        partition: PartitionId,
        /// The node of its leader.
        leader: NodeId,
        /// Who is to lead.
        to: ReplicaId,
    },
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most partitions in which somebody is joining.
    pub joining_max: usize,
    /// A replica has caught up when it lacks at most this many entries.
    pub caught_up_entries: u64,
    /// Most transfers of leaders in one plan that are not urgent.
    pub transfers_max: usize,
    /// How long a leader is left alone, in ms.
    pub settle_ms: u64,
    /// Most placements that change in one plan.
    pub places_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { joining_max: 2, caught_up_entries: 1_000, transfers_max: 2, settle_ms: 10_000, places_max: 64 }
    }
}

/// The next steps. Called again and again by whoever leads meta; empty when all is as it should be, or nothing can be done.
#[must_use]
pub fn plan(wanted: &Wanted, seen: &Seen, limits: &Limits) -> Vec<Action> {
    let cx = Context::new(wanted, seen, limits);
    let (mut busy, mut leads) = (BTreeSet::new(), Leads::of(&cx));
    let mut actions = leaders::urgent(&cx, &mut busy, &mut leads);
    actions.extend(place(&cx, &mut busy));
    let settled = change_members(&cx, &mut busy, &mut leads, &mut actions);
    actions.extend(leaders::transfers(&cx, &busy, &mut leads));
    let all_there = || wanted.nodes.keys().all(|node| cx.state(*node) != NodeState::Active || cx.is_alive(*node));
    if actions.is_empty() && settled && all_there() {
        for (partition, nodes) in spread::improvements(&cx) {
            actions.push(placed(partition, &wanted.placements[&partition], &nodes));
        }
    }
    actions
}

/// Whether `node` has nothing any more but its replica of meta: it can be removed without loss. Not while the members of
/// some group are unknown or changing.
#[must_use]
pub fn is_empty(wanted: &Wanted, seen: &Seen, node: NodeId) -> bool {
    wanted.placements.iter().filter(|(partition, _)| **partition != PartitionId::META).all(|(partition, row)| {
        let known = seen.groups.get(partition).filter(|group| group.leader.is_some() && !group.joint);
        row.on(node).is_none() && known.is_some_and(|group| group.on(node).is_none())
    })
}

/// Meta first, then the others in their order.
fn in_order<'a>(cx: &Context<'a>) -> impl Iterator<Item = (PartitionId, &'a PlacementRow)> + use<'a> {
    let placements = &cx.wanted.placements;
    let meta = placements.get_key_value(&PartitionId::META);
    let others = placements.iter().filter(|(partition, _)| **partition != PartitionId::META);
    meta.into_iter().chain(others).map(|(partition, row)| (*partition, row))
}

fn placed(partition: PartitionId, row: &PlacementRow, nodes: &BTreeSet<NodeId>) -> Action {
    Action::Meta(MetaOrder::new(MetaAction::Place(target::order(partition, row, nodes))))
}

/// Orders partitions to where they are to be. Those whose placement is not yet what it should be are busy.
fn place(cx: &Context<'_>, busy: &mut BTreeSet<PartitionId>) -> Vec<Action> {
    let mut loads = Loads::of(cx);
    let mut actions = Vec::new();
    for (partition, row) in in_order(cx) {
        let Some(led) = cx.led(partition).filter(|_| !busy.contains(&partition)) else { continue };
        let before: BTreeSet<NodeId> = row.wanted().map(|replica| replica.node).collect();
        let nodes = target::nodes(cx, partition, row, led, &loads);
        if nodes == before || nodes.is_empty() {
            continue;
        }
        if partition != PartitionId::META {
            loads.moved(&before, &nodes);
        }
        busy.insert(partition);
        if actions.len() < cx.limits.places_max {
            actions.push(placed(partition, row, &nodes));
        }
    }
    actions
}

/// Brings members closer to what is wanted; those that something is done to are busy. Whether all are as they should be.
fn change_members(
    cx: &Context<'_>,
    busy: &mut BTreeSet<PartitionId>,
    leads: &mut Leads,
    actions: &mut Vec<Action>,
) -> bool {
    let mut settled = true;
    let joining = |(partition, row): &(PartitionId, &PlacementRow)| {
        let group = cx.seen.groups.get(partition);
        *partition != PartitionId::META && group.is_some_and(|group| members::is_joining(cx, row, group))
    };
    let mut joining = in_order(cx).filter(joining).count();
    // Every node needs meta before all else: it is how the node knows of the others.
    let meta = cx.wanted.placements.get(&PartitionId::META).zip(cx.seen.groups.get(&PartitionId::META));
    let meta_is_everywhere = meta
        .is_some_and(|(row, group)| !members::lacks_members(cx, row, group) && !members::is_joining(cx, row, group));
    for (partition, row) in in_order(cx) {
        let Some((group, leader)) = cx.led(partition).filter(|_| !busy.contains(&partition)) else {
            settled = false;
            continue;
        };
        let step = members::step(cx, partition, row, (group, leader));
        settled &= step == Step::Settled;
        let (voters, learners) = match step {
            Step::Settled | Step::Wait => continue,
            Step::Join { voters, learners } => {
                if partition != PartitionId::META {
                    let counted = members::is_joining(cx, row, group);
                    if !meta_is_everywhere || (!counted && joining >= cx.limits.joining_max) {
                        continue;
                    }
                    joining += usize::from(!counted);
                }
                (voters, learners)
            }
            Step::Change { voters, learners } => (voters, learners),
            Step::HandOver { heirs } => {
                actions.extend(leads.hand_over(cx, partition, leader, heirs));
                busy.insert(partition);
                continue;
            }
        };
        let numbers = |replicas: BTreeSet<ReplicaId>| replicas.into_iter().map(ReplicaId::to_u64).collect();
        let (voters, learners) = (numbers(voters), numbers(learners));
        actions.push(Action::ChangeMembers { partition, leader: leader.node, voters, learners });
        busy.insert(partition);
    }
    settled
}
