//! Applying what is committed.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use abide_model::codec;
use abide_model::command::{Body, Entry as CommandEntry};
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_model::table::{Applied, Outbox, Table};
use abide_model::view::{View, Write, WriteOp};
use abide_storage::StateStore;
use raft::eraftpb::{Entry, EntryType};
use xxhash_rust::xxh3::Xxh3;

use super::Partition;
use crate::recent::RecentResults;
use crate::{Output, PartitionError};

/// Every how many entries the state hash is noted for comparison.
const HASH_EVERY: u64 = 64;
/// How many of these points are kept.
const HASH_POINTS: usize = 64;

impl<S: StateStore> Partition<S> {
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), PartitionError> {
        for entry in entries {
            self.apply_entry(&entry)?;
        }
        self.flush_shipping();
        let keep = self.settings.entry_cache_bytes;
        let applied = self.applied.index;
        self.raft.mut_store().evict(applied, keep);
        Ok(())
    }

    /// Ships messages again that were not acknowledged for a while: the way to another partition may lose them, and the
    /// target takes no message before it has the one before.
    pub(super) fn ship_again(&mut self) -> Result<(), PartitionError> {
        if self.leadership.is_none() {
            return Ok(());
        }
        let partition = self.settings.partition;
        for (to, first, last) in self.shipping.tick() {
            let shipping = &mut self.shipping;
            self.overlay
                .scan::<Outbox>(&(to, first), &(to, last.saturating_add(1)), &mut |(to, seq), parcel| {
                    shipping.ship(to, seq, parcel);
                    ControlFlow::Continue(())
                })
                .map_err(|source| PartitionError::State { partition, source })?;
        }
        self.flush_shipping();
        Ok(())
    }

    fn flush_shipping(&mut self) {
        let outputs = &mut self.outputs;
        self.shipping.flush(self.settings.partition, |output| outputs.push_back(output));
    }

    fn apply_entry(&mut self, raft_entry: &Entry) -> Result<(), PartitionError> {
        let partition = self.settings.partition;
        let leads = self.leadership.as_ref().is_some_and(|leadership| leadership.term == raft_entry.term);
        if raft_entry.get_entry_type() != EntryType::EntryNormal {
            self.apply_change(raft_entry)?;
        }
        let entry = self.commands_of(raft_entry, leads)?;
        self.machine.advance_time(Millis(entry.proposed_at));
        let mut hash = Xxh3::with_seed(self.applied.state_hash);
        hash.update(&raft_entry.index.to_be_bytes());
        let commands = entry.commands.len();
        for command in entry.commands {
            match &command.body {
                Some(Body::OutboxAck(ack)) => self.shipping.acknowledged(PartitionId(ack.by), ack.up_to),
                Some(Body::LeaderStart(start)) if leads => self.started(start.term),
                _ => {}
            }
            let transition = self
                .machine
                .apply(&self.overlay, command)
                .map_err(|source| PartitionError::State { partition, source })?;
            for write in &transition.writes {
                hash_write(&mut hash, write);
            }
            self.overlay.apply(transition.writes);
            if let Some(recent) = &mut self.recent {
                remember(recent, raft_entry.index, &transition.effects);
            }
            if leads {
                for effect in transition.effects {
                    self.emit(effect);
                }
            }
        }
        if leads {
            self.applied_commands += commands as u64;
        }
        self.applied.index = raft_entry.index;
        self.applied.term = raft_entry.term;
        self.applied.log_time = self.machine.log_time().0;
        self.applied.leader_term = self.machine.leader_term();
        self.applied.lives = self.machine.lives();
        self.applied.forgotten_version = self.machine.forgotten_version();
        self.applied.state_hash = hash.digest();
        self.overlay.apply(vec![Write {
            key: Applied::encode_key(&()),
            op: WriteOp::Put(Applied::encode_value(&self.applied)),
        }]);
        if raft_entry.index.is_multiple_of(HASH_EVERY) {
            note(&mut self.hashes, raft_entry.index, self.applied.state_hash);
        }
        self.outputs.push_back(Output::Applied { index: raft_entry.index, commands });
        Ok(())
    }

    /// The tables are complete: from here on this leader answers.
    fn started(&mut self, term: u64) {
        if let Some(leadership) = &mut self.leadership
            && leadership.term == term
        {
            leadership.started = true;
            self.outputs.push_back(Output::Leading { term });
        }
    }

    /// The commands in an entry: as proposed here, or decoded.
    fn commands_of(&mut self, raft_entry: &Entry, leads: bool) -> Result<CommandEntry, PartitionError> {
        let malformed = |reason: String| PartitionError::Entry {
            partition: self.settings.partition,
            index: raft_entry.index,
            reason,
        };
        if raft_entry.get_entry_type() != EntryType::EntryNormal || raft_entry.data.is_empty() {
            return Ok(CommandEntry::default());
        }
        // What this leadership proposed at an index is what is there: a different entry would have another term.
        if leads && let Some((_, entry)) = self.proposed.pop_front_if(|(index, _)| *index == raft_entry.index) {
            return Ok(entry);
        }
        codec::decode("a log entry", &raft_entry.data).map_err(|error| malformed(error.to_string()))
    }

    /// Keeps what the replica itself carries out, and passes the rest on.
    fn emit(&mut self, effect: Effect) {
        match effect {
            Effect::Ship { to, seq, parcel } => self.shipping.ship(to, seq, parcel),
            Effect::Acknowledge { to, up_to } => self.shipping.acknowledge(to, up_to),
            Effect::TimerSet { due } => {
                if let Some(leadership) = &mut self.leadership {
                    leadership.next_timer = Some(leadership.next_timer.map_or(due, |next| next.min(due)));
                }
            }
            other => self.outputs.push_back(Output::Effect(other)),
        }
    }
}

/// Remembers the results that no table keeps.
fn remember(recent: &mut RecentResults, index: u64, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Completed { invocation, outcome, expires_at: None, .. } = effect {
            recent.record(index, *invocation, outcome);
        }
    }
}

fn note(hashes: &mut VecDeque<(u64, u64)>, index: u64, hash: u64) {
    hashes.push_back((index, hash));
    if hashes.len() > HASH_POINTS {
        hashes.pop_front();
    }
}

fn hash_write(hash: &mut Xxh3, write: &Write) {
    hash.update(&(write.key.len() as u64).to_be_bytes());
    hash.update(&write.key);
    match &write.op {
        WriteOp::Put(value) | WriteOp::Insert(value) => {
            hash.update(&(value.len() as u64 + 1).to_be_bytes());
            hash.update(value);
        }
        WriteOp::Delete => hash.update(&[0; 8]),
    }
}
