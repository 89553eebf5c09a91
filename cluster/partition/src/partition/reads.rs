//! Reads that have to see everything that was acknowledged before they began.
//!
//! The leader asks a quorum whether it still leads, and the read waits until the commit index of that moment is applied
//! (ReadIndex). Leases are not used: they count ticks, and a stopped process does not tick (row B.10).

use std::collections::BTreeMap;

use abide_storage::StateStore;
use raft::{GetEntriesContext, ReadState};

use super::Partition;
use crate::Output;

#[derive(Default)]
pub(super) struct Reads {
    /// Confirmed reads by the index that has to be applied; several may wait for one. Answers of the library come in any
    /// order (row B.11), so each read has a name.
    confirmed: BTreeMap<u64, Vec<u64>>,
    /// For whom entries are read from disk.
    pub(super) fetching: Option<GetEntriesContext>,
}

impl Reads {
    /// Forgets all reads: their names are never heard of again.
    pub(super) fn clear(&mut self) {
        self.confirmed.clear();
    }
}

impl<S: StateStore> Partition<S> {
    /// Row B.6: a leader without a committed entry of its term drops reads without a word, so the shell asks again after
    /// [`Output::Leading`].
    pub(super) fn read(&mut self, context: u64) {
        if self.leadership.as_ref().is_some_and(|leadership| !leadership.started) {
            return;
        }
        self.raft.read_index(context.to_be_bytes().to_vec());
    }

    pub(super) fn note_reads(&mut self, states: Vec<ReadState>) {
        for state in states {
            if let Ok(name) = state.request_ctx.as_slice().try_into() {
                self.reads.confirmed.entry(state.index).or_default().push(u64::from_be_bytes(name));
            }
        }
    }

    pub(super) fn release_reads(&mut self) {
        while let Some(first) = self.reads.confirmed.first_entry()
            && *first.key() <= self.applied.index
        {
            for context in first.remove() {
                self.outputs.push_back(Output::ReadReady { context });
            }
        }
    }
}
