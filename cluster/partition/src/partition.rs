//! The replica.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use abide_machine::Machine;
use abide_model::codec;
use abide_model::command::{Body, Command, Entry as CommandEntry, FireTimers, LeaderStart};
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_model::limits::{COMMANDS_PER_ENTRY_MAX, ENTRY_BYTES_SOFT_MAX};
use abide_model::table::{Applied, AppliedRow, Outbox, Table};
use abide_model::view::{View, Write, WriteOp};
use abide_storage::{Checkpoint, LogWrite, Overlay, RecoveredLog, StateStore};
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry};
use raft::{RawNode, Ready, StateRole};
use xxhash_rust::xxh3::Xxh3;

use crate::raft_log::{self, RaftLog};
use crate::shipping::Shipping;
use crate::{Input, Output, PartitionError, PartitionSettings, Stats, recover};

/// One replica of a partition. See the crate's documentation for how it is driven.
pub struct Partition<S> {
    settings: PartitionSettings,
    raft: RawNode<RaftLog>,
    machine: Machine,
    overlay: Overlay<S>,
    applied: AppliedRow,
    /// Exists exactly while this replica leads.
    leadership: Option<Leadership>,
    pending: VecDeque<Command>,
    /// Own proposals that are not applied yet, by index, so that they need not be decoded again.
    proposed: VecDeque<(u64, CommandEntry)>,
    in_flight: Option<InFlight>,
    trim_through: Option<u64>,
    shipping: Shipping,
    outputs: VecDeque<Output>,
    /// Commands that were ever given to this leadership, and how many of them are applied.
    queued: u64,
    applied_commands: u64,
    now: Millis,
}

/// The write that the shell has under way.
enum InFlight {
    /// Of this Ready, which goes on when the write is durable (rule P1).
    Ready(Box<Ready>),
    /// Of a trim alone.
    Trim,
}

/// Proof of leadership, with what only a leader knows.
#[derive(Debug)]
struct Leadership {
    term: u64,
    /// Earliest timer that is not being fired yet.
    next_timer: Option<Millis>,
}

impl<S: StateStore> Partition<S> {
    /// Opens the replica from what the log and the state store hold.
    ///
    /// # Errors
    /// [`PartitionError`] when the two do not fit together; nothing was changed.
    pub fn open(settings: PartitionSettings, log: RecoveredLog, overlay: Overlay<S>) -> Result<Self, PartitionError> {
        let partition = settings.partition;
        let applied = overlay
            .get::<Applied>(&())
            .map_err(|source| PartitionError::State { partition, source })?
            .unwrap_or_else(|| AppliedRow { voters: settings.bootstrap_voters.clone(), ..AppliedRow::default() });
        let hard_state = recover::clamp(partition, &log, &applied)?;
        let conf_state = ConfState::from((applied.voters.clone(), applied.learners.clone()));
        let log_time = applied.log_time;
        let config = settings.raft(applied.index);
        let raft_log = RaftLog::new(log, hard_state, conf_state);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, raft_log, &logger)
            .map_err(|error| PartitionError::Consensus { partition, reason: error.to_string() })?;
        Ok(Self {
            machine: Machine::new(partition, settings.partitions, &applied),
            settings,
            raft,
            overlay,
            applied,
            leadership: None,
            pending: VecDeque::new(),
            proposed: VecDeque::new(),
            in_flight: None,
            trim_through: None,
            shipping: Shipping::default(),
            outputs: VecDeque::new(),
            queued: 0,
            applied_commands: 0,
            now: Millis(log_time),
        })
    }

    /// Takes note of something that happened at `now`, the shell's clock.
    ///
    /// # Errors
    /// [`PartitionError`]: the process has to stop.
    pub fn handle(&mut self, input: Input, now: Millis) -> Result<(), PartitionError> {
        self.now = self.now.max(now);
        match input {
            Input::Campaign => self.raft.campaign().map_err(|error| self.consensus(&error))?,
            Input::Tick => {
                self.raft.tick();
                self.ship_again()?;
            }
            Input::Propose(command) => {
                self.pending.push_back(command);
                self.queued += 1;
                return Ok(());
            }
            Input::Persisted => self.persisted()?,
            Input::Wake => {}
            Input::Trim { through } => self.trim_through = self.trim_through.max(Some(through)),
        }
        Ok(())
    }

    /// The next thing to do, if any. Makes entries of what waits, unless a write is under way.
    ///
    /// # Errors
    /// [`PartitionError`]: the process has to stop.
    pub fn poll_output(&mut self) -> Result<Option<Output>, PartitionError> {
        if self.outputs.is_empty() {
            self.advance()?;
        }
        Ok(self.outputs.pop_front())
    }

    /// The next output that is there already, without making new entries.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// A number for everything proposed so far: it is applied once [`Partition::applied_ticket`] has reached it.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.queued
    }

    /// See [`Partition::ticket`].
    #[must_use]
    pub fn applied_ticket(&self) -> u64 {
        self.applied_commands
    }

    /// The last index that was cut from the log.
    #[must_use]
    pub fn log_start(&self) -> u64 {
        self.raft.store().start().index
    }

    /// When [`Input::Wake`] is due at the latest: the earliest timer, while leading.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.leadership.as_ref().and_then(|leadership| leadership.next_timer)
    }

    /// The tables as they are now.
    #[must_use]
    pub fn view(&self) -> &Overlay<S> {
        &self.overlay
    }

    /// The term in which this replica leads.
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        self.leadership.as_ref().map(|leadership| leadership.term)
    }

    /// Freezes the overlay for a checkpoint: its writes, and the index they reach. `None` while one is under way or when
    /// nothing was written.
    pub fn begin_checkpoint(&mut self) -> Option<(Checkpoint, u64)> {
        let index = self.applied.index;
        self.overlay.freeze().map(|checkpoint| (checkpoint, index))
    }

    /// The frozen writes are in the state store; forgets them here.
    pub fn end_checkpoint(&mut self) {
        self.overlay.checkpointed();
    }

    /// Figures for metrics and operators.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let log = &self.raft.raft.raft_log;
        Stats {
            term: self.raft.raft.term,
            leading: self.leadership.is_some(),
            last: log.last_index(),
            committed: log.committed,
            applied: self.applied.index,
            state_hash: self.applied.state_hash,
            log_time: self.machine.log_time(),
            timers_from: self.machine.timers_from(),
            overlay_bytes: self.overlay.bytes(),
            pending: self.pending.len(),
            unacknowledged: self.shipping.unacknowledged(),
        }
    }

    fn advance(&mut self) -> Result<(), PartitionError> {
        while self.outputs.is_empty() && self.in_flight.is_none() {
            self.fire_timers();
            self.propose_pending()?;
            if !self.raft.has_ready() {
                self.write_trim();
                return Ok(());
            }
            self.process_ready()?;
        }
        Ok(())
    }

    /// Puts a FireTimers command behind the waiting ones once the earliest timer is due.
    fn fire_timers(&mut self) {
        let Some(leadership) = &mut self.leadership else { return };
        if leadership.next_timer.is_some_and(|due| due <= self.now) {
            leadership.next_timer = None;
            self.pending.push_back(Command::new(Body::FireTimers(FireTimers {})));
            self.queued += 1;
        }
    }

    /// Makes entries of everything that waits. A follower's proposals would be forwarded by the library, and answered
    /// `Ok` without a trace, so only a leader proposes (row B.7).
    fn propose_pending(&mut self) -> Result<(), PartitionError> {
        while self.leadership.is_some() && self.raft.raft.state == StateRole::Leader && !self.pending.is_empty() {
            let mut entry = CommandEntry { proposed_at: self.now.0, commands: Vec::new() };
            let mut bytes = 0;
            while entry.commands.len() < COMMANDS_PER_ENTRY_MAX && bytes < ENTRY_BYTES_SOFT_MAX {
                let Some(command) = self.pending.pop_front() else { break };
                bytes += command.encoded_len();
                entry.commands.push(command);
            }
            let data = codec::encode(&entry).into();
            match self.raft.propose(Vec::new(), data) {
                Ok(()) => self.proposed.push_back((self.raft.raft.raft_log.last_index(), entry)),
                // A transfer is under way or too much is uncommitted: the commands keep their place.
                Err(raft::Error::ProposalDropped) => {
                    for command in entry.commands.into_iter().rev() {
                        self.pending.push_front(command);
                    }
                    return Ok(());
                }
                Err(error) => return Err(self.consensus(&error)),
            }
        }
        Ok(())
    }

    fn process_ready(&mut self) -> Result<(), PartitionError> {
        let mut ready = self.raft.ready();
        if let Some(state) = ready.ss() {
            let role = state.raft_state;
            self.change_role(role);
        }
        let sync = ready.must_sync();
        let entries = ready.take_entries();
        if let Some(hard_state) = ready.hs() {
            let hard_state = raft_log::from_raft_hard_state(hard_state);
            self.raft.mut_store().set_hard_state(hard_state);
        }
        self.raft.mut_store().append(&entries);
        let committed = ready.take_committed_entries();
        if sync || !entries.is_empty() {
            let write = LogWrite {
                partition: self.settings.partition.0,
                entries: entries.iter().map(raft_log::from_raft).collect(),
                hard_state: Some(self.raft.store().hard_state()),
                trim_below: self.take_trim(),
            };
            self.in_flight = Some(InFlight::Ready(Box::new(ready)));
            self.outputs.push_back(Output::Persist { write, sync });
            self.apply(committed)
        } else {
            // Only a commit index moved: it travels with the next write, see P4 and P5 for why that is enough.
            self.apply(committed)?;
            self.finish(ready)
        }
    }

    fn persisted(&mut self) -> Result<(), PartitionError> {
        match self.in_flight.take() {
            Some(InFlight::Ready(ready)) => self.finish(*ready),
            Some(InFlight::Trim) | None => Ok(()),
        }
    }

    fn finish(&mut self, ready: Ready) -> Result<(), PartitionError> {
        let mut light = self.raft.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            let mut hard_state = self.raft.store().hard_state();
            hard_state.commit = commit;
            self.raft.mut_store().set_hard_state(hard_state);
        }
        let committed = light.take_committed_entries();
        self.apply(committed)?;
        self.raft.advance_apply_to(self.applied.index);
        Ok(())
    }

    fn change_role(&mut self, role: StateRole) {
        let term = self.raft.raft.term;
        self.proposed.clear();
        if role == StateRole::Leader {
            self.leadership = Some(Leadership { term, next_timer: None });
            self.shipping.reset();
            self.pending.push_front(Command::new(Body::LeaderStart(LeaderStart { term })));
            self.queued = self.pending.len() as u64;
            self.applied_commands = 0;
            self.outputs.push_back(Output::Leading { term });
        } else {
            self.leadership = None;
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Result<(), PartitionError> {
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
    fn ship_again(&mut self) -> Result<(), PartitionError> {
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
        let entry = self.commands_of(raft_entry, leads)?;
        self.machine.advance_time(Millis(entry.proposed_at));
        let mut hash = Xxh3::with_seed(self.applied.state_hash);
        hash.update(&raft_entry.index.to_be_bytes());
        let commands = entry.commands.len();
        for command in entry.commands {
            if let Some(Body::OutboxAck(ack)) = &command.body {
                self.shipping.acknowledged(PartitionId(ack.by), ack.up_to);
            }
            let transition = self
                .machine
                .apply(&self.overlay, command)
                .map_err(|source| PartitionError::State { partition, source })?;
            for write in &transition.writes {
                hash_write(&mut hash, write);
            }
            self.overlay.apply(transition.writes);
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
        self.outputs.push_back(Output::Applied { index: raft_entry.index, commands });
        Ok(())
    }

    /// The commands in an entry: as proposed here, or decoded.
    fn commands_of(&mut self, raft_entry: &Entry, leads: bool) -> Result<CommandEntry, PartitionError> {
        let malformed = |reason: String| PartitionError::Entry {
            partition: self.settings.partition,
            index: raft_entry.index,
            reason,
        };
        if raft_entry.get_entry_type() != raft::eraftpb::EntryType::EntryNormal {
            return Err(malformed("this build does not change the members of a group".into()));
        }
        if raft_entry.data.is_empty() {
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

    /// The next write may drop entries below this index (rule P6).
    fn take_trim(&mut self) -> Option<u64> {
        let through = self.trim_through.take()?.min(self.applied.index);
        if through <= self.raft.store().start().index {
            return None;
        }
        self.raft.mut_store().trim(through);
        Some(through + 1)
    }

    /// Trims although nothing else is to be written.
    fn write_trim(&mut self) {
        if let Some(trim_below) = self.take_trim() {
            let write = LogWrite {
                partition: self.settings.partition.0,
                entries: Vec::new(),
                hard_state: None,
                trim_below: Some(trim_below),
            };
            self.in_flight = Some(InFlight::Trim);
            self.outputs.push_back(Output::Persist { write, sync: false });
        }
    }

    fn consensus(&self, error: &raft::Error) -> PartitionError {
        PartitionError::Consensus { partition: self.settings.partition, reason: error.to_string() }
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

#[cfg(test)]
mod tests;
