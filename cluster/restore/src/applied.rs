//! How far a partition's log is applied, and who decides in it: the row that a restored partition begins with.

use abide_model::id::{NodeId, PartitionId, ReplicaId};
use abide_model::table::{Applied, AppliedRow, Table};
use abide_model::view::View;
use abide_snapshot::{Manifest, SnapshotError};
use abide_storage::{HardState, LogPosition, LogReset, LogWrite, Overlay, Owner, StateStore, load_rows};

use crate::{RestoreError, error};

/// The one replica of a restored partition: the first one of the founding node.
pub(crate) fn founder() -> u64 {
    ReplicaId::first(NodeId(1)).to_u64()
}

/// The row among rows that were loaded, if it is the one that the manifest speaks of.
pub(crate) fn read<S: StateStore>(view: &Overlay<S>, manifest: &Manifest) -> Result<AppliedRow, RestoreError> {
    let partition = manifest.meta.partition;
    let row = view.get::<Applied>(&()).map_err(error::rows(partition))?.unwrap_or_default();
    let meta = &manifest.meta;
    if (row.index, row.term, row.log_time, row.state_hash) == (meta.index, meta.term, meta.log_time.0, meta.state_hash)
    {
        return Ok(row);
    }
    let reason = format!("its rows are those of index {}, its manifest says {}", row.index, meta.index);
    Err(SnapshotError::Damaged { object: manifest.id().to_string(), reason }.into())
}

/// The row for a group of one: the founding node decides alone until others join.
pub(crate) fn alone(row: AppliedRow, position: LogPosition) -> AppliedRow {
    AppliedRow {
        index: position.index,
        term: position.term,
        voters: vec![founder()],
        learners: Vec::new(),
        voters_outgoing: Vec::new(),
        learners_next: Vec::new(),
        auto_leave: false,
        ..row
    }
}

/// Replaces the row.
pub(crate) fn write<S: StateStore>(store: &S, partition: PartitionId, row: &AppliedRow) -> Result<(), RestoreError> {
    let row = (Applied::encode_key(&()).into_vec().into(), Applied::encode_value(row));
    Ok(load_rows(store, partition.0, 0, [row])?)
}

/// A log that begins behind `start`, of the founding node's replica.
pub(crate) fn log(partition: PartitionId, start: LogPosition) -> LogWrite {
    LogWrite {
        partition: partition.0,
        reset: Some(LogReset { start, generation: 0 }),
        owner: Some(Owner { replica: founder(), removed: false }),
        hard_state: Some(HardState { term: start.term, vote: 0, commit: start.index }),
        ..LogWrite::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decided_before_decides_no_more() {
        let row = AppliedRow {
            index: 70,
            term: 4,
            log_time: 9,
            leader_term: 4,
            state_hash: 5,
            voters: vec![1, 2, 3],
            learners: vec![4],
            lives: 6,
            forgotten_version: 7,
            voters_outgoing: vec![2, 3, 5],
            learners_next: vec![5],
            auto_leave: true,
        };
        let alone = alone(row.clone(), LogPosition { index: 90, term: 5 });
        assert_eq!((alone.index, alone.term, alone.voters.as_slice()), (90, 5, [1].as_slice()));
        assert!(alone.learners.is_empty() && alone.voters_outgoing.is_empty() && alone.learners_next.is_empty());
        assert!(!alone.auto_leave);
        let kept = |row: &AppliedRow| (row.log_time, row.leader_term, row.state_hash, row.lives, row.forgotten_version);
        assert_eq!(kept(&alone), kept(&row));
    }
}
