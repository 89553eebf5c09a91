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
    /// Voters of a group that has no log yet.
    pub bootstrap_voters: Vec<u64>,
    /// Length of a tick in ms.
    pub tick_ms: u64,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Most bytes of applied entries that are kept in memory for slow followers.
    pub entry_cache_bytes: usize,
}

impl PartitionSettings {
    /// A partition with one voter.
    #[must_use]
    pub fn single(partition: PartitionId, partitions: u32) -> Self {
        Self {
            partition,
            partitions,
            replica: 1,
            bootstrap_voters: vec![1],
            tick_ms: 100,
            election_ticks: 10,
            entry_cache_bytes: 256 << 10,
        }
    }

    /// The raft settings. Every default that is not wanted is set, see `durability.md` B.2: one entry a message,
    /// unlimited sizes, no pre-vote and no quorum check are what the library does by itself.
    pub(crate) fn raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.replica,
            election_tick: self.election_ticks,
            heartbeat_tick: 2,
            // Fixed, so that the library's own random timeout has no choice: the shell varies `election_ticks`.
            min_election_tick: self.election_ticks,
            max_election_tick: self.election_ticks + 1,
            applied,
            max_size_per_msg: 256 << 10,
            max_inflight_msgs: 256,
            check_quorum: true,
            pre_vote: true,
            // Leases count ticks, and a stopped process does not tick: reads go through the quorum.
            read_only_option: raft::ReadOnlyOption::Safe,
            max_uncommitted_size: 64 << 20,
            max_committed_size_per_ready: 4 << 20,
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
        assert_eq!(config.max_election_tick - config.min_election_tick, 1);
    }
}
