//! What is to be done next so that partitions are where they are wanted.
//!
//! *Problem.* Nodes come, are emptied, die and go, while every group of replicas keeps its data and its say. Whoever
//! changes members has to do it in steps, a few at a time, and may be replaced by another one between any two of them.
//!
//! *Idea.* Nothing is remembered. The node that leads meta looks, every half second, at what is [`Wanted`] (the tables of
//! meta) and at what is [`Seen`] (what leaders tell of their groups), and [`plan`] says the next steps. They are carried
//! out by the groups' leaders or not at all; the next look shows it. A cluster that is as it should be has an empty plan.
//!
//! *Steps.* For each partition, one at a time:
//!
//! 1. Where is it wanted? If that is somewhere else than the tables say, they are told ([`Action::Meta`]).
//! 2. Who is missing joins without a vote, at most [`Limits::joining_max`] partitions at once, that of meta before all.
//! 3. Once everyone who is to vote has caught up, one change makes the members what they are to be.
//! 4. Leaders leave nodes that are being emptied at once, go where they are pinned, and are spread evenly.
//! 5. When all of that is done and every node is there, replicas are moved one by one until they are spread evenly.
//!
//! # Where a partition is wanted
//!
//! | nodes | replica |
//! |---|---|
//! | active, and not silent for longer than `replace_after` | as many as the replication factor says; those that have one keep it, others are chosen by zone, then by number of replicas |
//! | draining, or silent for longer | leaves, unless the group would have fewer votes than it has |
//! | removed | none |
//!
//! Meta is wanted on every node that is not removed. The largest odd number of wanted replicas votes, at most as many as
//! the replication factor says, of meta at most five. So two nodes are a voter and one that follows.
//!
//! # What never happens
//!
//! Nothing is done to a group without a known leader, to one whose members are changing, or to one without a majority
//! that answers. No change leaves the group without a majority that answers, or takes away the vote of its leader. A
//! replica never joins while another one of the group is on its node.
//!
//! No clock here: how long something lasts is told.

mod context;
mod leaders;
mod members;
mod plan;
mod seen;
mod spread;
mod target;
mod wanted;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use plan::{Action, Limits, is_empty, plan};
pub use seen::{GroupSeen, Liveness, Progress, Seen};
pub use wanted::Wanted;
