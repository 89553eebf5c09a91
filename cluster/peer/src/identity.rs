//! Who a node is to other nodes.

/// Number of a node within its cluster.
pub type NodeId = u32;

/// The versions of the nodes' protocol that a build speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolRange {
    /// The oldest one.
    pub min: u32,
    /// The newest one, not below `min`.
    pub max: u32,
}

impl ProtocolRange {
    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// Who a node is. Sent at the beginning of every connection, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster; `None` while a node joins and does not know it. Such a node can only ask and be asked.
    pub cluster_id: Option<String>,
    /// The node; `None` while it joins.
    pub node: Option<NodeId>,
    /// Grows with every start of the node: a connection with a smaller one than was seen is of a process that is gone.
    pub boot_id: u64,
    /// Versions of the protocol.
    pub protocol: ProtocolRange,
    /// Version of the program, for people.
    pub build: String,
}

impl Identity {
    /// Whether the node belongs to a cluster: only then it exchanges frames.
    pub(crate) fn is_member(&self) -> bool {
        self.cluster_id.is_some() && self.node.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_version_is_the_newest_of_both() {
        let range = |min, max| ProtocolRange { min, max };
        for (ours, theirs, common) in [
            (range(1, 3), range(2, 5), Some(3)),
            (range(2, 5), range(1, 3), Some(3)),
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 2), range(3, 4), None),
            (range(3, 4), range(1, 2), None),
        ] {
            assert_eq!(ours.common(theirs), common);
        }
    }
}
