//! Why a replica cannot go on.

use abide_model::id::PartitionId;
use abide_model::view::ReadError;

/// A replica cannot go on. Always fatal for the process (rule P12): its state in memory is no longer the log's.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The state store failed or holds what does not decode.
    #[error("{partition}: {source}")]
    State {
        /// Which partition.
        partition: PartitionId,
        /// What failed.
        source: ReadError,
    },
    /// The log holds less than the state says was applied: acknowledged work was lost from the log.
    #[error(
        "{partition}: the state is applied up to index {applied} of term {applied_term}, but the log ends at {last} \
         (term there: {found:?}); the log has lost entries: restore this node from a backup, do not delete anything"
    )]
    LogBehindState {
        /// Which partition.
        partition: PartitionId,
        /// Index in the state.
        applied: u64,
        /// Term in the state.
        applied_term: u64,
        /// Last index in the log.
        last: u64,
        /// Term of the log at `applied`, if it is there.
        found: Option<u64>,
    },
    /// The log was trimmed beyond what the state holds: state was lost.
    #[error(
        "{partition}: the log begins after index {start}, but the state is applied only up to {applied}; the state \
         database has lost data: restore this node from a backup"
    )]
    StateBehindLog {
        /// Which partition.
        partition: PartitionId,
        /// The last trimmed index.
        start: u64,
        /// Index in the state.
        applied: u64,
    },
    /// An entry of the log is of a newer build or does not decode.
    #[error("{partition}: entry {index} of the log cannot be applied: {reason}")]
    Entry {
        /// Which partition.
        partition: PartitionId,
        /// Which entry.
        index: u64,
        /// Why.
        reason: String,
    },
    /// The consensus library refused an operation that must succeed.
    #[error("{partition}: consensus failed: {reason}")]
    Consensus {
        /// Which partition.
        partition: PartitionId,
        /// What it said.
        reason: String,
    },
}
