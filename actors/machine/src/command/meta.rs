//! Orders about the cluster: which nodes there are, where partitions are wanted, settings. They are for the partition of
//! meta alone, and it takes no others.
//!
//! | order | in meta | elsewhere |
//! |---|---|---|
//! | about the cluster | carried out; before the cluster is founded 409, but for its founding | 400 |
//! | of a kind that this build does not know | an error: replicas would part ways | the same |
//! | a leader begins | as everywhere | as everywhere |
//! | anything else | 400 to whoever asked; nothing changes | as everywhere |

mod announce;
mod features;
mod found;
mod info;
mod join;
mod node_state;
mod pin;
mod place;
mod setting;

use abide_model::command::{MetaAction, MetaOrder};
use abide_model::effect::{Answer, Effect};
use abide_model::id::{NodeId, PartitionId};
use abide_model::table::{Cluster, NodeRow, NodeState, Nodes, Placements, Table};
use abide_model::view::{ReadError, View};

use crate::rule::refusal;
use crate::txn::{Rows, Txn};

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>, request: u64, order: MetaOrder) -> Result<(), ReadError> {
    let action = order.action.ok_or_else(newer)?;
    let answer = if txn.partition() == PartitionId::META {
        carry_out(txn, action)?
    } else {
        refusal::invalid("orders about the cluster are for `meta` only")
    };
    txn.emit(Effect::Answered { request, answer });
    Ok(())
}

/// Refuses what is not about the cluster.
pub(super) fn refuse_other<V: View>(txn: &mut Txn<'_, V>, request: u64) {
    if request != 0 {
        txn.emit(Effect::Answered { request, answer: refusal::invalid("`meta` takes orders about the cluster only") });
    }
}

fn carry_out<V: View>(txn: &mut Txn<'_, V>, action: MetaAction) -> Result<Answer, ReadError> {
    match (txn.get::<Cluster>(&())?, action) {
        (known, MetaAction::Found(order)) => found::carry_out(txn, known, order),
        (None, _) => Ok(refusal::conflict("the cluster is not founded yet: wait for its first node")),
        (Some(cluster), MetaAction::Join(order)) => join::carry_out(txn, cluster, order),
        (Some(cluster), MetaAction::Announce(order)) => announce::carry_out(txn, &cluster, order),
        (Some(_), MetaAction::SetNodeState(order)) => node_state::carry_out(txn, order),
        (Some(_), MetaAction::Place(order)) => place::carry_out(txn, &order),
        (Some(_), MetaAction::Pin(order)) => pin::carry_out(txn, order),
        (Some(_), MetaAction::SetSetting(order)) => setting::carry_out(txn, order),
        (Some(cluster), MetaAction::RaiseFeatures(order)) => features::carry_out(txn, cluster, order),
    }
}

fn newer() -> ReadError {
    ReadError("an order about the cluster is of a kind this build does not know: start the newer build".into())
}

/// All nodes as they were before this command.
fn nodes<V: View>(txn: &Txn<'_, V>) -> Result<Rows<Nodes>, ReadError> {
    let (from, to) = Nodes::whole();
    txn.scan_before::<Nodes>(&from, &to, usize::MAX)
}

/// All placements as they were before this command.
fn placements<V: View>(txn: &Txn<'_, V>) -> Result<Rows<Placements>, ReadError> {
    let (from, to) = Placements::whole();
    txn.scan_before::<Placements>(&from, &to, usize::MAX)
}

/// The row of a node that belongs to the cluster.
fn member<V: View>(txn: &Txn<'_, V>, node: NodeId) -> Result<Result<NodeRow, Answer>, ReadError> {
    Ok(match txn.get::<Nodes>(&node)? {
        Some(row) if row.state() == NodeState::Removed => Err(gone(node)),
        Some(row) => Ok(row),
        None => Err(refusal::not_found(format!("there is no node {node}"))),
    })
}

fn gone(node: NodeId) -> Answer {
    refusal::node_removed(format!(
        "{node} was removed: start it with an empty data folder and `--join` to use it again"
    ))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod words;
