//! What a restart makes of log and state (rules P4, P5).
//!
//! The state may have been made durable before the log's newest commit index, so `applied > commit` is legal when the
//! log holds the applied entry. A log that does not hold it has lost data: the replica must not guess.

use abide_model::id::PartitionId;
use abide_model::table::AppliedRow;
use abide_storage::{HardState, RecoveredLog};

use crate::PartitionError;

/// The hard state to begin with: its commit index covers everything applied.
pub(crate) fn clamp(
    partition: PartitionId,
    log: &RecoveredLog,
    applied: &AppliedRow,
) -> Result<HardState, PartitionError> {
    if applied.index < log.start.index {
        return Err(PartitionError::StateBehindLog { partition, start: log.start.index, applied: applied.index });
    }
    let found = if applied.index == log.start.index {
        Some(log.start.term)
    } else {
        log.entries
            .get(usize::try_from(applied.index - log.start.index - 1).unwrap_or(usize::MAX))
            .map(|entry| entry.term)
    };
    if found != Some(applied.term) {
        return Err(PartitionError::LogBehindState {
            partition,
            applied: applied.index,
            applied_term: applied.term,
            last: log.last().index,
            found,
        });
    }
    let last = log.last();
    let mut hard_state = log.hard_state;
    // A commit index beyond the log can only come from a batch whose entries were lost: raft would panic on it.
    if hard_state.commit > last.index {
        return Err(PartitionError::LogBehindState {
            partition,
            applied: hard_state.commit,
            applied_term: hard_state.term,
            last: last.index,
            found: None,
        });
    }
    hard_state.commit = hard_state.commit.max(applied.index);
    hard_state.term = hard_state.term.max(last.term);
    Ok(hard_state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_storage::{EntryKind, LogEntry, LogPosition};
    use bytes::Bytes;

    fn log(start: u64, terms: &[u64], commit: u64) -> RecoveredLog {
        let entries = (start + 1..)
            .zip(terms)
            .map(|(index, term)| LogEntry { index, term: *term, kind: EntryKind::Normal, data: Bytes::new() })
            .collect();
        RecoveredLog {
            start: LogPosition { index: start, term: u64::from(start > 0) },
            hard_state: HardState { term: 2, vote: 1, commit },
            entries,
            generation: 0,
            owner: None,
        }
    }

    fn applied(index: u64, term: u64) -> AppliedRow {
        AppliedRow { index, term, ..AppliedRow::default() }
    }

    /// Row B.1: raft-rs 0.7.0 panics on `applied > commit`.
    #[test]
    fn commit_is_raised_to_what_is_applied() {
        let found = clamp(PartitionId(0), &log(0, &[1, 1, 2], 1), &applied(3, 2)).unwrap();
        assert_eq!(found, HardState { term: 2, vote: 1, commit: 3 });
        assert_eq!(clamp(PartitionId(0), &log(5, &[], 5), &applied(5, 1)).unwrap().commit, 5);
    }

    #[test]
    fn a_log_that_lost_applied_entries_is_refused() {
        let lost = clamp(PartitionId(0), &log(0, &[1, 1], 1), &applied(3, 2));
        assert!(matches!(lost, Err(PartitionError::LogBehindState { applied: 3, last: 2, found: None, .. })));
        let other = clamp(PartitionId(0), &log(0, &[1, 1, 1], 1), &applied(3, 2));
        assert!(matches!(other, Err(PartitionError::LogBehindState { found: Some(1), .. })));
        let commit = clamp(PartitionId(0), &log(0, &[1], 4), &applied(1, 1));
        assert!(matches!(commit, Err(PartitionError::LogBehindState { .. })));
    }

    #[test]
    fn a_state_older_than_the_log_is_refused() {
        let lost = clamp(PartitionId(0), &log(5, &[1], 6), &applied(3, 1));
        assert!(matches!(lost, Err(PartitionError::StateBehindLog { start: 5, applied: 3, .. })));
    }
}
