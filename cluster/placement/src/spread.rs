//! Replicas over zones and nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use abide_model::id::{NodeId, PartitionId};

use crate::context::Context;

/// How many partitions are wanted on each node; meta, which is everywhere, does not count.
pub(crate) struct Loads(BTreeMap<NodeId, usize>);

impl Loads {
    pub(crate) fn of(cx: &Context<'_>) -> Self {
        let mut loads = BTreeMap::new();
        for (partition, row) in &cx.wanted.placements {
            if *partition != PartitionId::META {
                for replica in row.wanted() {
                    *loads.entry(replica.node).or_default() += 1;
                }
            }
        }
        Self(loads)
    }

    pub(crate) fn on(&self, node: NodeId) -> usize {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// A partition is wanted on other nodes than before.
    pub(crate) fn moved(&mut self, before: &BTreeSet<NodeId>, after: &BTreeSet<NodeId>) {
        for node in before.difference(after) {
            let load = self.0.entry(*node).or_default();
            *load = load.saturating_sub(1);
        }
        for node in after.difference(before) {
            *self.0.entry(*node).or_default() += 1;
        }
    }
}

/// How many of `nodes` are in the zone of `node`.
pub(crate) fn in_zone<'n>(cx: &Context<'_>, nodes: impl IntoIterator<Item = &'n NodeId>, node: NodeId) -> usize {
    let zone = cx.zone(node);
    nodes.into_iter().filter(|other| cx.zone(**other) == zone).count()
}

/// Moves of a replica to another node that spread replicas better, at most [`crate::Limits::joining_max`]: over zones
/// first, then over nodes. Each makes the whole more even, so they come to an end.
pub(crate) fn improvements(cx: &Context<'_>) -> Vec<(PartitionId, BTreeSet<NodeId>)> {
    let open: Vec<NodeId> = cx.wanted.nodes.keys().copied().filter(|node| cx.is_open(*node)).collect();
    let mut loads = Loads::of(cx);
    let mut moves: Vec<(PartitionId, BTreeSet<NodeId>)> = Vec::new();
    let one_zone = open.windows(2).all(|pair| cx.zone(pair[0]) == cx.zone(pair[1]));
    let least = open.iter().map(|node| loads.on(*node)).min().unwrap_or_default();
    if one_zone && loads.0.values().all(|load| *load < least + 2) {
        return moves;
    }
    while moves.len() < cx.limits.joining_max {
        let movable = cx.wanted.placements.iter().filter(|(partition, _)| {
            **partition != PartitionId::META && moves.iter().all(|(moved, _)| moved != *partition)
        });
        let mut best = None;
        for (partition, row) in movable {
            let holders: BTreeSet<NodeId> = row.wanted().map(|replica| replica.node).collect();
            let leader = cx.led(*partition).map(|(_, leader)| leader.node);
            for from in &holders {
                for to in open.iter().filter(|node| !holders.contains(node)) {
                    // How much less crowded its zone is. Within a zone the mover itself does not count.
                    let others = holders.iter().filter(|node| *node != from);
                    let (here, there) = (in_zone(cx, others.clone(), *from), in_zone(cx, others, *to));
                    let zone_gain = here.saturating_sub(there);
                    let load_gain = loads.on(*from).saturating_sub(loads.on(*to));
                    if there > here || (zone_gain == 0 && load_gain < 2) {
                        continue;
                    }
                    let gain = (zone_gain, load_gain, leader != Some(*from), Reverse((*partition, *from, *to)));
                    best = best.max(Some(gain));
                }
            }
        }
        let Some((_, _, _, Reverse((partition, from, to)))) = best else { break };
        let before: BTreeSet<NodeId> =
            cx.wanted.placements.get(&partition).into_iter().flat_map(|row| row.wanted()).map(|r| r.node).collect();
        let mut after = before.clone();
        after.remove(&from);
        after.insert(to);
        loads.moved(&before, &after);
        moves.push((partition, after));
    }
    moves
}
