//! Which replica is to lead.
//!
//! | leader | goes |
//! |---|---|
//! | on a node that is not active | at once, to the pinned replica, or where the fewest lead |
//! | not where it is pinned, and the pinned replica can lead | there, when it has led for a while |
//! | of a partition, not pinned, on a node where two more lead than on that of another voter | there, when it has led for a while |
//! | otherwise | stays |
//!
//! Only a voter that answers and has caught up, on an active node, is led to. One whose disk is slow is led to only from a
//! node that is not active, and only when there is no other; leaders that are on such a node hand over by themselves.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::NodeState;

use crate::context::Context;
use crate::{Action, GroupSeen};

/// How many partitions are led on each open node; that of meta does not count.
pub(crate) struct Leads(BTreeMap<NodeId, usize>);

impl Leads {
    pub(crate) fn of(cx: &Context<'_>) -> Self {
        let open = cx.wanted.nodes.keys().copied().filter(|node| cx.is_open(*node));
        let mut leads: BTreeMap<NodeId, usize> = open.map(|node| (node, 0)).collect();
        for (partition, group) in &cx.seen.groups {
            if let Some(leader) = group.leader.filter(|_| *partition != PartitionId::META)
                && let Some(count) = leads.get_mut(&leader.node)
            {
                *count += 1;
            }
        }
        Self(leads)
    }

    fn on(&self, node: NodeId) -> usize {
        self.0.get(&node).copied().unwrap_or_default()
    }

    fn moved(&mut self, partition: PartitionId, from: NodeId, to: NodeId) {
        if partition == PartitionId::META {
            return;
        }
        if let Some(count) = self.0.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.0.get_mut(&to) {
            *count += 1;
        }
    }

    /// Hands `partition` over to the best of `heirs`.
    pub(crate) fn hand_over(
        &mut self,
        cx: &Context<'_>,
        partition: PartitionId,
        leader: ReplicaId,
        heirs: impl IntoIterator<Item = ReplicaId>,
    ) -> Option<Action> {
        let pinned = cx.wanted.placements.get(&partition).and_then(|row| row.pinned_node());
        let to = heirs.into_iter().min_by_key(|heir| {
            let (open, slow) = (cx.is_open(heir.node), cx.is_slow(heir.node));
            (!open, slow, Some(heir.node) != pinned, self.on(heir.node), *heir)
        })?;
        self.moved(partition, leader.node, to.node);
        Some(Action::Transfer { partition, leader: leader.node, to })
    }
}

/// Groups to which steps may be taken, but for those that something else is done to.
fn free<'a>(cx: &Context<'a>, busy: &BTreeSet<PartitionId>) -> BTreeMap<PartitionId, (&'a GroupSeen, ReplicaId)> {
    let free = cx.wanted.placements.keys().filter(|partition| !busy.contains(partition));
    free.filter_map(|partition| Some((*partition, cx.led(*partition)?))).collect()
}

/// Transfers away from nodes that are not active, before anything else is done to a group. Those groups are busy.
pub(crate) fn urgent(cx: &Context<'_>, busy: &mut BTreeSet<PartitionId>, leads: &mut Leads) -> Vec<Action> {
    let mut actions = Vec::new();
    for (partition, (group, leader)) in free(cx, busy) {
        if cx.state(leader.node) != NodeState::Active
            && let Some(action) = leads.hand_over(cx, partition, leader, heirs(cx, partition, group, leader))
        {
            actions.push(action);
            busy.insert(partition);
        }
    }
    actions
}

/// Transfers to where leaders are wanted, a few at a time, of groups that nothing else is done to (`busy` has the others)
/// and whose leader has not just begun.
pub(crate) fn transfers(cx: &Context<'_>, busy: &BTreeSet<PartitionId>, leads: &mut Leads) -> Vec<Action> {
    let mut free = free(cx, busy);
    let mut actions = Vec::new();
    free.retain(|_, (group, _)| group.leader_since_ms >= cx.limits.settle_ms);
    let mut left = cx.limits.transfers_max;
    free.retain(|partition, (group, leader)| {
        let row = cx.wanted.placements.get(partition);
        let Some(pinned) = row.and_then(|row| row.pinned_node()) else { return true };
        if leader.node == pinned {
            return false;
        }
        let Some(to) = quick_heirs(cx, *partition, group, *leader).into_iter().find(|heir| heir.node == pinned) else {
            return true;
        };
        if left > 0 {
            left -= 1;
            actions.extend(leads.hand_over(cx, *partition, *leader, [to]));
        }
        false
    });
    free.remove(&PartitionId::META);
    balance(cx, free, leads, left, &mut actions);
    actions
}

/// Those who could lead instead, on nodes where they are to stay.
fn heirs(cx: &Context<'_>, partition: PartitionId, group: &GroupSeen, leader: ReplicaId) -> Vec<ReplicaId> {
    let wanted = cx.wanted.placements.get(&partition).into_iter().flat_map(|row| row.wanted());
    wanted.filter(|replica| *replica != leader && cx.can_lead(group, *replica)).collect()
}

/// Those of them whose disks are not slow.
fn quick_heirs(cx: &Context<'_>, partition: PartitionId, group: &GroupSeen, leader: ReplicaId) -> Vec<ReplicaId> {
    let mut heirs = heirs(cx, partition, group, leader);
    heirs.retain(|heir| !cx.is_slow(heir.node));
    heirs
}

/// Moves leaders until on no node two more lead than on another one, at most `left` of them. Where there is no voter to
/// move to directly, one makes room for another.
fn balance(
    cx: &Context<'_>,
    free: BTreeMap<PartitionId, (&GroupSeen, ReplicaId)>,
    leads: &mut Leads,
    mut left: usize,
    actions: &mut Vec<Action>,
) {
    // Who leads what, and who could.
    let mut moves: BTreeMap<PartitionId, (ReplicaId, Vec<ReplicaId>)> = free
        .into_iter()
        .map(|(partition, (group, leader))| (partition, (leader, quick_heirs(cx, partition, group, leader))))
        .collect();
    while left > 0 {
        let chain = direct(&moves, leads).or_else(|| if left >= 2 { by_way_of_another(&moves, leads) } else { None });
        let Some(chain) = chain else { break };
        for (partition, to) in chain {
            if let Some((leader, _)) = moves.remove(&partition) {
                actions.extend(leads.hand_over(cx, partition, leader, [to]));
                left = left.saturating_sub(1);
            }
        }
    }
}

type Moves = BTreeMap<PartitionId, (ReplicaId, Vec<ReplicaId>)>;

/// The move of one leader that evens out most.
fn direct(moves: &Moves, leads: &Leads) -> Option<Vec<(PartitionId, ReplicaId)>> {
    let mut best: Option<(usize, PartitionId, ReplicaId)> = None;
    for (partition, (leader, heirs)) in moves {
        for heir in heirs {
            let gain = leads.on(leader.node).saturating_sub(leads.on(heir.node));
            if gain >= 2 && best.is_none_or(|(most, ..)| gain > most) {
                best = Some((gain, *partition, *heir));
            }
        }
    }
    best.map(|(_, partition, heir)| vec![(partition, heir)])
}

/// The moves of two leaders, one to where the other comes from.
fn by_way_of_another(moves: &Moves, leads: &Leads) -> Option<Vec<(PartitionId, ReplicaId)>> {
    let (least, most) = (leads.0.values().min()?, leads.0.values().max()?);
    if most - least < 2 {
        return None;
    }
    let mut by_node: BTreeMap<NodeId, Vec<PartitionId>> = BTreeMap::new();
    for (partition, (leader, _)) in moves {
        by_node.entry(leader.node).or_default().push(*partition);
    }
    for (first, (leader, heirs)) in moves {
        for between in heirs {
            for second in by_node.get(&between.node).into_iter().flatten() {
                let (_, heirs) = &moves[second];
                let even = |heir: &&ReplicaId| leads.on(leader.node) >= leads.on(heir.node) + 2;
                if let Some(heir) = heirs.iter().find(even) {
                    return Some(vec![(*first, *between), (*second, *heir)]);
                }
            }
        }
    }
    None
}
