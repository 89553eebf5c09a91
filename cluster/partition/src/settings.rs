//! Settings of a partition's replica.

use abide_model::id::PartitionId;

/// What a replica is and how its group behaves. Values are the same on all nodes of a cluster.
#[derive(Clone, Debug)]
pub struct PartitionSettings {
    /// Which partition.
    pub partition: PartitionId,
    /// How many there are; fixed when the data directory is created.
    pub partitions: u32,
    /// Raft id of this replica, at least 1.
    pub replica: u64,
    /// Voters of the group before the first entry of its log, the same on every replica: one that joins later may be sent
    /// the log from its beginning.
    pub bootstrap_voters: Vec<u64>,
    /// Fewest and most ticks without a leader before this replica stands for election. The library draws from the range;
    /// who needs the same run twice gives it no choice.
    pub election_ticks: (usize, usize),
    /// Entries that stay in the log of a group of several replicas behind a checkpoint, for those who lag.
    pub tail_entries: u64,
    /// Entries beyond which an active follower that lags gets a snapshot instead.
    pub tail_entries_max: u64,
    /// Most bytes of applied entries that are kept in memory for slow followers.
    pub entry_cache_bytes: usize,
}

impl PartitionSettings {
    /// A partition with one voter, this one.
    #[must_use]
    pub fn single(partition: PartitionId, partitions: u32) -> Self {
        Self {
            partition,
            partitions,
            replica: 1,
            bootstrap_voters: vec![1],
            election_ticks: (8, 14),
            tail_entries: 256,
            tail_entries_max: 16_384,
            entry_cache_bytes: 256 << 10,
        }
    }

    /// The raft settings. Every default that is not wanted is set, see `durability.md` B.2: one entry a message,
    /// unlimited sizes, no pre-vote and no quorum check are what the library does by itself.
    pub(crate) fn raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.replica,
            election_tick: self.election_ticks.0,
            heartbeat_tick: 2,
            min_election_tick: self.election_ticks.0,
            max_election_tick: self.election_ticks.1.max(self.election_ticks.0) + 1,
            applied,
            max_size_per_msg: 256 << 10,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            // Leases count ticks, and a stopped process does not tick: reads go through the quorum.
            read_only_option: raft::ReadOnlyOption::Safe,
            max_uncommitted_size: 64 << 20,
            max_committed_size_per_ready: 4 << 20,
            // Entries that are proposed at once travel in one message.
            batch_append: true,
            ..raft::Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row B.2: the library's defaults are none of these.
    #[test]
    fn every_dangerous_default_is_set() {
        let config = PartitionSettings::single(PartitionId(0), 8).raft(0);
        config.validate().unwrap();
        assert!(config.check_quorum && config.pre_vote);
        assert_eq!(config.read_only_option, raft::ReadOnlyOption::Safe);
        assert!(config.max_size_per_msg > 0);
        assert!(config.max_uncommitted_size < u64::MAX && config.max_committed_size_per_ready < u64::MAX);
        let drawn = PartitionSettings { election_ticks: (9, 9), ..PartitionSettings::single(PartitionId(0), 8) };
        let config = drawn.raft(0);
        assert_eq!((config.min_election_tick, config.max_election_tick), (9, 10), "no choice is left");
    }
}
