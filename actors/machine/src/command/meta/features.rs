//! What all nodes can do is in force from now on. From then on no node without it can join or start.
//!
//! | level | answer |
//! |---|---|
//! | the one in force | done; nothing changes |
//! | a lower one | 409: what is in use stays |
//! | a higher one that every node has | in force |
//! | one that some node lacks | 409, [`BUILD_TOO_OLD`](abide_model::error::BUILD_TOO_OLD) |
//!
//! Removed nodes do not count.

use abide_model::command::RaiseFeatures;
use abide_model::effect::Answer;
use abide_model::table::{Cluster, ClusterRow, NodeState};
use abide_model::view::{ReadError, View};

use super::nodes;
use crate::rule::refusal;
use crate::txn::Txn;

pub(super) fn carry_out<V: View>(
    txn: &mut Txn<'_, V>,
    cluster: ClusterRow,
    order: RaiseFeatures,
) -> Result<Answer, ReadError> {
    let level = order.level;
    if level == cluster.features {
        return Ok(Answer::Done);
    }
    if level < cluster.features {
        let text = format!("level {} of features is in force and stays so", cluster.features);
        return Ok(refusal::conflict(text));
    }
    let nodes = nodes(txn)?;
    let lacks = nodes.iter().find(|(_, row)| row.state() != NodeState::Removed && row.features() < level);
    if let Some((node, row)) = lacks {
        let text =
            format!("{node} has features up to level {}, not {level}: start a newer build there", row.features());
        return Ok(refusal::build_too_old(text));
    }
    txn.put::<Cluster>(&(), &ClusterRow { features: level, ..cluster });
    Ok(Answer::Done)
}

#[cfg(test)]
mod tests {
    use abide_model::command::{AnnounceNode, JoinNode, MetaAction, NodeInfo};

    use super::*;
    use crate::command::meta::words::*;

    fn raise(level: u32) -> MetaAction {
        MetaAction::RaiseFeatures(RaiseFeatures { level })
    }

    #[test]
    fn features_come_when_every_node_has_them() {
        let mut world = cluster(2);
        assert_eq!(unchanged(&mut world, raise(3)), Answer::Done);
        assert_eq!(code(unchanged(&mut world, raise(2))), 419);
        assert_eq!(code(unchanged(&mut world, raise(4))), 481);
        let newer = |n| Some(NodeInfo { features: 5, ..info(n) });
        ask(&mut world, join(2));
        ask(&mut world, MetaAction::Announce(AnnounceNode { node: 1, info: newer(1) }));
        assert_eq!(code(unchanged(&mut world, raise(4))), 481, "n2 is as it was");
        ask(&mut world, state(2, NodeState::Removed));
        assert_eq!(ask(&mut world, raise(4)), Answer::Done);
        assert_eq!(world.rows.all::<Cluster>()[0].1.features, 4);
        assert_eq!(code(unchanged(&mut world, join(3))), 481);
        let order = MetaAction::Join(JoinNode { info: newer(3), partitions: 0 });
        assert_eq!(ask(&mut world, order), Answer::Node(abide_model::id::NodeId(3)));
    }
}
