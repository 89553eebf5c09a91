//! A node has started: what it says of itself is taken over.
//!
//! | case | answer |
//! |---|---|
//! | a node of the cluster, with its data directory | done; the row says what it said |
//! | another data directory than the one that joined | 409 |
//! | a removed node | 410 |
//! | an unknown node | 404 |
//! | its build lacks features that are in force | 409, [`BUILD_TOO_OLD`](abide_model::error::BUILD_TOO_OLD) |
//! | malformed | 400 |

use abide_model::command::AnnounceNode;
use abide_model::effect::Answer;
use abide_model::id::NodeId;
use abide_model::table::{ClusterRow, NodeRow, Nodes};
use abide_model::view::{ReadError, View};

use super::{info, join, member};
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(
    txn: &mut Txn<'_, V>,
    cluster: &ClusterRow,
    order: AnnounceNode,
) -> Result<Answer, ReadError> {
    let (node, info) = (NodeId(order.node), order.info.unwrap_or_default());
    let row = match member(txn, node)? {
        Ok(row) => row,
        Err(answer) => return Ok(answer),
    };
    if let Some(fault) = info::fault(&info) {
        return Ok(refusal::invalid(fault));
    }
    if row.info.as_ref().is_none_or(|before| before.store_uuid != info.store_uuid) {
        let text =
            format!("{node} joined with another data folder: start this one with `--join`, it gets an id of its own");
        return Ok(refusal::conflict(text));
    }
    if let Some(answer) = join::too_old(cluster, &info) {
        return Ok(answer);
    }
    if row.info.as_ref() != Some(&info) {
        txn.put::<Nodes>(&node, &NodeRow { info: Some(info), ..row });
    }
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use abide_model::command::{MetaAction, NodeInfo};
    use abide_model::table::NodeState;

    use super::*;
    use crate::command::meta::words::*;

    fn order(node: u32, info: NodeInfo) -> MetaAction {
        MetaAction::Announce(AnnounceNode { node, info: Some(info) })
    }

    #[test]
    fn what_a_node_says_is_taken_over() {
        let mut world = cluster(2);
        assert_eq!(unchanged(&mut world, order(1, info(1))), Answer::Done);
        let newer = NodeInfo { build: "2".into(), features: 4, address: "b:1".into(), zone: "z".into(), ..info(1) };
        assert_eq!(ask(&mut world, order(1, newer.clone())), Answer::Done);
        assert_eq!(node(&world, 1).info, Some(newer));
    }

    #[test]
    fn who_is_not_a_node_of_the_cluster_is_told() {
        let mut world = cluster(2);
        ask(&mut world, join(2));
        for (node, info, expected) in [
            (3, info(3), 404),
            (0, info(3), 404),
            (2, info(1), 419),
            (2, NodeInfo { features: 2, ..info(2) }, 481),
            (2, NodeInfo { address: String::new(), ..info(2) }, 400),
        ] {
            assert_eq!(code(unchanged(&mut world, order(node, info))), expected);
        }
        ask(&mut world, state(2, NodeState::Removed));
        assert_eq!(code(unchanged(&mut world, order(2, info(2)))), 480);
    }
}
