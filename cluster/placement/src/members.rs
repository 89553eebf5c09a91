//! The next step from the members that a group has to those that are wanted.
//!
//! | members | step |
//! |---|---|
//! | no majority answers | none |
//! | somebody wanted is missing, its node answers, and no other replica of the group is there | it joins without a vote |
//! | somebody who is to vote has not caught up | wait; who follows and is not wanted goes |
//! | all who are to vote have caught up, and the leader is one of them | one change to what is wanted |
//! | the same, but the leader is to lose its vote | another voter leads first; if there is none, the others vote beside the leader |
//! | other replicas are on the nodes of those that are wanted | they keep their votes, and when all else is done one of them goes, if the others can do without; then its successor joins |

use std::collections::BTreeSet;

use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::PlacementRow;

use crate::GroupSeen;
use crate::context::{Context, odd};
use crate::spread::in_zone;

/// Most voters of meta.
const META_VOTERS_MAX: usize = 5;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the members are those that are wanted.
    Settled,
    /// Nothing now.
    Wait,
    /// Somebody joins without a vote.
    Join { voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId> },
    /// Members change.
    Change { voters: BTreeSet<ReplicaId>, learners: BTreeSet<ReplicaId> },
    /// One of these leads first.
    HandOver { heirs: BTreeSet<ReplicaId> },
}

pub(crate) fn step(
    cx: &Context<'_>,
    partition: PartitionId,
    row: &PlacementRow,
    (group, leader): (&GroupSeen, ReplicaId),
) -> Step {
    if !cx.has_quorum(group, &group.voters) {
        return Step::Wait;
    }
    let wanted: BTreeSet<ReplicaId> = row.wanted().collect();
    let missing: BTreeSet<ReplicaId> = wanted.iter().copied().filter(|replica| !group.contains(*replica)).collect();
    let followers: BTreeSet<ReplicaId> = group.learners.intersection(&wanted).copied().collect();
    let free = |replica: &&ReplicaId| cx.is_alive(replica.node) && group.on(replica.node).is_none();
    let joining: Vec<ReplicaId> = missing.iter().filter(free).copied().collect();
    if !joining.is_empty() {
        let learners = followers.into_iter().chain(joining).collect();
        return Step::Join { voters: group.voters.clone(), learners };
    }

    let waits = |node: NodeId| missing.iter().any(|replica| replica.node == node) && group.on(node).is_some();
    let mut goal = goal(cx, partition, &wanted, (group, leader), waits);
    let in_place: BTreeSet<ReplicaId> = group.voters.iter().copied().filter(|voter| waits(voter.node)).collect();
    if !in_place.is_empty() && (goal == group.voters || (goal.len() == 1 && goal.is_subset(&in_place))) {
        // Nothing else is left to do, or that one would be alone with a vote that has to go: the others do without one of
        // those, also others that are not wanted. Not for a node that is away: its next replica could not join.
        let here = in_place.iter().filter(|voter| cx.is_alive(voter.node));
        let goes = here.min_by_key(|voter| (**voter == leader, **voter));
        goal = group.voters.iter().copied().filter(|voter| Some(voter) != goes).collect();
    }
    let ready = |replica: &ReplicaId| group.voters.contains(replica) || cx.is_caught_up(group, *replica);
    if goal.is_empty() || !goal.iter().all(ready) || !cx.has_quorum(group, &goal) {
        if followers != group.learners {
            return Step::Change { voters: group.voters.clone(), learners: followers };
        }
        return Step::Wait;
    }
    let rest: BTreeSet<ReplicaId> =
        wanted.iter().copied().filter(|replica| group.contains(*replica) && !goal.contains(replica)).collect();
    if goal == group.voters && rest == group.learners {
        return if missing.is_empty() { Step::Settled } else { Step::Wait };
    }
    if goal.contains(&leader) {
        return Step::Change { voters: goal, learners: rest };
    }
    let heirs: BTreeSet<ReplicaId> = goal
        .iter()
        .copied()
        .filter(|replica| group.voters.contains(replica) && cx.is_caught_up(group, *replica))
        .collect();
    if !heirs.is_empty() {
        return Step::HandOver { heirs };
    }
    let mut beside = goal;
    beside.insert(leader);
    let learners = rest.into_iter().filter(|replica| *replica != leader).collect();
    if beside == group.voters { Step::Wait } else { Step::Change { voters: beside, learners } }
}

/// Who is to vote next: for who waits until another replica on its node has gone, that one.
fn goal(
    cx: &Context<'_>,
    partition: PartitionId,
    wanted: &BTreeSet<ReplicaId>,
    (group, leader): (&GroupSeen, ReplicaId),
    waits: impl Fn(NodeId) -> bool,
) -> BTreeSet<ReplicaId> {
    let chosen = voters(cx, partition, wanted, (group, leader));
    let next = chosen.into_iter().filter_map(|replica| match group.on(replica.node) {
        Some(other) if waits(replica.node) => Some(other).filter(|other| group.voters.contains(other)),
        _ => Some(replica),
    });
    next.collect()
}

/// Who is to vote: those on usable nodes first, and who does already; so nobody loses a vote for being away for a while.
fn voters(
    cx: &Context<'_>,
    partition: PartitionId,
    wanted: &BTreeSet<ReplicaId>,
    (group, leader): (&GroupSeen, ReplicaId),
) -> BTreeSet<ReplicaId> {
    let most = if partition == PartitionId::META { META_VOTERS_MAX } else { cx.factor };
    let most = odd(most.min(wanted.len()));
    let votes = |replica: &ReplicaId| group.voters.contains(replica);
    let can = |replica: &&ReplicaId| votes(replica) || (cx.is_usable(replica.node) && cx.is_alive(replica.node));
    // Never fewer than now because somebody who is to take over is away.
    let number = most.min(odd(wanted.iter().filter(can).count()).max(group.voters.len() | 1));
    let mut chosen: BTreeSet<ReplicaId> = BTreeSet::new();
    while chosen.len() < number {
        let nodes: Vec<NodeId> = chosen.iter().map(|replica| replica.node).collect();
        let best = wanted.iter().filter(|replica| !chosen.contains(replica)).min_by_key(|replica| {
            let crowd = in_zone(cx, &nodes, replica.node);
            let ready = cx.is_caught_up(group, **replica);
            (!cx.is_usable(replica.node), !votes(replica), !ready, **replica != leader, crowd, **replica)
        });
        let Some(best) = best else { break };
        chosen.insert(*best);
    }
    chosen
}

/// Whether somebody who joined is on its way to having everything.
pub(crate) fn is_joining(cx: &Context<'_>, row: &PlacementRow, group: &GroupSeen) -> bool {
    let behind = |replica: &ReplicaId| cx.is_alive(replica.node) && !cx.is_caught_up(group, *replica);
    row.wanted().any(|replica| group.learners.contains(&replica) && behind(&replica))
}

/// Whether somebody who is wanted and answers is still to join.
pub(crate) fn lacks_members(cx: &Context<'_>, row: &PlacementRow, group: &GroupSeen) -> bool {
    row.wanted().any(|replica| !group.contains(replica) && cx.is_alive(replica.node))
}
