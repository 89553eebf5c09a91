//! What holds of the tables of meta between any two commands.

use std::collections::BTreeSet;

use abide_model::id::PartitionId;
use abide_model::setting::Setting;
use abide_model::table::{Cluster, NodeState, Nodes, Placements, Settings};

use super::Rows;

pub(super) fn structure(rows: &Rows) {
    let (nodes, placements) = (rows.all::<Nodes>(), rows.all::<Placements>());
    let Some((_, cluster)) = rows.all::<Cluster>().pop() else {
        assert!(nodes.is_empty() && placements.is_empty(), "nodes or placements without a cluster");
        return;
    };
    assert!(nodes.iter().map(|(node, _)| node.0).eq(1..=cluster.last_node), "ids of nodes have gaps");
    let stores: BTreeSet<_> = nodes.iter().map(|(_, row)| row.info.as_ref().unwrap().store_uuid.as_str()).collect();
    assert_eq!(stores.len(), nodes.len(), "two nodes with one data directory");
    let members: BTreeSet<_> =
        nodes.iter().filter(|(_, row)| row.state() != NodeState::Removed).map(|(node, _)| *node).collect();
    assert!(nodes.iter().filter(|(node, _)| members.contains(node)).all(|(_, row)| row.features() >= cluster.features));

    let expected = (0..cluster.partitions).map(PartitionId).chain([PartitionId::META]);
    assert!(placements.iter().map(|(partition, _)| *partition).eq(expected), "a partition without its placement");
    for (partition, row) in &placements {
        let wanted: Vec<_> = row.wanted().map(|replica| replica.node).collect();
        assert!(!wanted.is_empty(), "{partition} is wanted nowhere");
        assert!(wanted.is_sorted_by(|a, b| a < b), "{partition} is wanted twice on a node, or out of order");
        assert!(wanted.iter().all(|node| members.contains(node)), "{partition} is wanted on a removed node");
        assert!(*partition != PartitionId::META || wanted.len() == members.len(), "a node without meta");
        assert!(
            row.pinned_node().is_none_or(|node| members.contains(&node)),
            "{partition} is pinned to a removed node"
        );
        assert!(row.incarnations.is_sorted_by(|a, b| a.node < b.node));
        for replica in row.wanted() {
            let given = row.incarnations.iter().find(|given| given.node == replica.node.0);
            assert_eq!(given.map(|given| given.last), Some(replica.incarnation), "{replica} of {partition}");
        }
    }
    for (name, row) in rows.all::<Settings>() {
        assert_eq!(Setting::named(&name).and_then(|setting| setting.fault(&row.value)), None);
    }
}
