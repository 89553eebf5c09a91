//! Snapshots: the state as of a point of the log, instead of the entries before it (rule P7).
//!
//! The sender's shell holds an export of the tables and offers it. The receiver's shell loads the rows into a generation
//! that nobody reads, syncs them, and hands in the message. One synced write to the log then begins it anew and names
//! the generation; before that write the replica is what it was, behind it the snapshot is all there is.

use abide_machine::Machine;
use abide_model::id::Millis;
use abide_model::table::Applied;
use abide_model::view::View;
use abide_storage::{LogPosition, LogReset, LogWrite, StateStore};
use raft::{Ready, SnapshotStatus};

use super::{InFlight, Partition};
use crate::wire::{Kind, Message, SnapshotPoint};
use crate::{Output, PartitionError};

impl<S: StateStore> Partition<S> {
    /// The point that an export of the tables taken now has.
    #[must_use]
    pub fn snapshot_point(&self) -> SnapshotPoint {
        SnapshotPoint { index: self.applied.index, term: self.applied.term, members: Some(self.members()) }
    }

    pub(super) fn snapshot_sent(&mut self, replica: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raft.report_snapshot(replica, status);
    }

    /// Hands a snapshot to the library, which decides whether it is of use.
    pub(super) fn restore(&mut self, message: Message, generation: u8) {
        let point = message.snapshot.clone().unwrap_or_default();
        let sound = message.kind() == Kind::Snapshot
            && message.to == self.settings.replica
            && message.from != 0
            && message.term > 0
            && generation != self.generation
            && point.index > 0
            // The library installs whatever is ahead of the commit index; a state that is not ahead of the tables is of
            // no use, and would take them back.
            && point.index > self.applied.index
            && point.members.is_some_and(|members| members.contains(self.settings.replica));
        if let (true, Some(message)) = (sound, message.into_raft()) {
            // Its refusals leave nothing pending.
            drop(self.raft.step(message));
        }
        if self.raft.snap().is_some() {
            self.restoring = Some(generation);
        } else {
            self.outputs.push_back(Output::Discard { generation });
        }
    }

    /// The library takes the snapshot: its log begins anew.
    pub(super) fn begin_install(&mut self, ready: Ready) -> Result<(), PartitionError> {
        let metadata = ready.snapshot().get_metadata();
        let start = LogPosition { index: metadata.index, term: metadata.term };
        let generation = self.restoring.take().ok_or_else(|| PartitionError::Consensus {
            partition: self.settings.partition,
            reason: "a snapshot without rows is to be installed".into(),
        })?;
        let mut hard_state = self.raft.store().hard_state();
        hard_state.commit = hard_state.commit.max(start.index);
        let store = self.raft.mut_store();
        store.reset(start);
        store.set_hard_state(hard_state);
        store.offer(None);
        self.trim_through = None;
        let write = LogWrite {
            partition: self.settings.partition.0,
            reset: Some(LogReset { start, generation }),
            owner: self.take_owner(),
            hard_state: Some(hard_state),
            ..LogWrite::default()
        };
        self.in_flight = Some(InFlight::Snapshot { ready: Box::new(ready), generation });
        self.outputs.push_back(Output::Persist { write, sync: true });
        Ok(())
    }

    /// The log has begun anew: the tables follow.
    pub(super) fn installed(&mut self, ready: Ready, generation: u8) -> Result<(), PartitionError> {
        let partition = self.settings.partition;
        let discard = std::mem::replace(&mut self.generation, generation);
        self.overlay.reopen(partition.0, generation);
        let row = self.overlay.get::<Applied>(&()).map_err(|source| PartitionError::State { partition, source })?;
        let start = self.start_of_log();
        let applied = row.filter(|row| (row.index, row.term) == (start.index, start.term)).ok_or_else(|| {
            PartitionError::Consensus {
                partition,
                reason: format!("the rows of a snapshot are not those of {start:?}"),
            }
        })?;
        self.machine = Machine::new(partition, self.settings.partitions, &applied);
        self.now = self.now.max(Millis(applied.log_time));
        self.applied = applied;
        self.hashes.clear();
        if self.recent.take().is_some() {
            self.remember();
        }
        self.remember_results();
        let members = self.members();
        self.raft.mut_store().set_conf_state(members.to_raft());
        self.outputs.push_back(Output::Restored { index: start.index, discard });
        self.outputs.push_back(Output::MembersChanged(members));
        self.finish(ready)
    }
}
