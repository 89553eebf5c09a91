//! The replica.

mod apply;
mod members;
mod reads;
mod snapshot;

use std::collections::VecDeque;

use abide_machine::Machine;
use abide_model::codec;
use abide_model::command::{Body, Command, Entry as CommandEntry, FireTimers, LeaderStart};
use abide_model::id::{InvocationId, Millis};
use abide_model::limits::{COMMANDS_PER_ENTRY_MAX, ENTRY_BYTES_SOFT_MAX};
use abide_model::table::{Applied, AppliedRow};
use abide_model::view::View;
use abide_storage::{Checkpoint, LogPosition, LogWrite, Overlay, Owner, RecoveredLog, StateStore};
use prost::Message as _;
use raft::{RawNode, Ready, StateRole};

use crate::guard::{self, Dropped, Receiver};
use crate::raft_log::{self, RaftLog};
use crate::recent::{Recent, RecentResults};
use crate::shipping::Shipping;
use crate::wire::{self, Kind, Message};
use crate::{Input, Output, PartitionError, PartitionSettings, Progress, Stats, recover};
use reads::Reads;

/// Ticks between two replicas that stand for election because their leader is gone: longer than an election takes.
const STAND_APART_TICKS: u32 = 3;
/// Most inputs that wait while a write is under way; further messages are dropped, which their senders repair.
const WAITING_MAX: usize = 4096;

/// One replica of a partition. See the crate's documentation for how it is driven.
pub struct Partition<S> {
    settings: PartitionSettings,
    raft: RawNode<RaftLog>,
    machine: Machine,
    overlay: Overlay<S>,
    generation: u8,
    /// This replica, until its log says so.
    unowned: Option<u64>,
    applied: AppliedRow,
    /// Exists exactly while this replica leads.
    leadership: Option<Leadership>,
    /// Who leads, as far as was told.
    leader: Option<u64>,
    /// What the library may not hear before the write under way is durable.
    waiting: VecDeque<Input>,
    pending: VecDeque<Command>,
    /// Own proposals that are not applied yet, by index, so that they need not be decoded again.
    proposed: VecDeque<(u64, CommandEntry)>,
    in_flight: Option<InFlight>,
    trim_through: Option<u64>,
    /// Members changed: that this is committed has to be durable.
    members_unsaved: bool,
    /// How long the disk takes is asked.
    probed: bool,
    /// All others stand for election before this replica does.
    yields: bool,
    shipping: Shipping,
    /// How entries are written.
    entry_version: u8,
    reads: Reads,
    /// Absent in a group of one: there nobody takes over.
    recent: Option<RecentResults>,
    hashes: VecDeque<(u64, u64)>,
    /// Ticks until this replica stands for election, because the leader is gone.
    stands_in: Option<u32>,
    /// Where the rows of the snapshot are that the library is about to install.
    restoring: Option<u8>,
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
    /// Of this Ready, which installs a snapshot whose rows are in a generation.
    Snapshot { ready: Box<Ready>, generation: u8 },
    /// Of what no Ready goes with.
    Rest,
}

/// Proof of leadership, with what only a leader knows.
#[derive(Debug)]
struct Leadership {
    term: u64,
    /// Whether its first command is applied: the tables hold everything that any earlier leader committed.
    started: bool,
    /// Earliest timer that is not being fired yet.
    next_timer: Option<Millis>,
}

impl<S: StateStore> Partition<S> {
    /// Opens the replica from what the log and the state store hold. `overlay` is that of the log's generation.
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
        let conf_state = members::of(&applied).to_raft();
        let log_time = applied.log_time;
        let config = settings.raft(applied.index);
        let generation = log.generation;
        let unowned = log.owner.is_none_or(|owner| owner.removed).then_some(settings.replica);
        let raft_log = RaftLog::new(log, hard_state, conf_state);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, raft_log, &logger)
            .map_err(|error| PartitionError::Consensus { partition, reason: error.to_string() })?;
        let mut opened = Self {
            machine: Machine::new(partition, settings.partitions, &applied),
            settings,
            raft,
            overlay,
            generation,
            unowned,
            applied,
            leadership: None,
            leader: None,
            waiting: VecDeque::new(),
            pending: VecDeque::new(),
            proposed: VecDeque::new(),
            in_flight: None,
            trim_through: None,
            members_unsaved: false,
            probed: false,
            yields: false,
            shipping: Shipping::default(),
            entry_version: codec::VERSION,
            reads: Reads::default(),
            recent: None,
            hashes: VecDeque::new(),
            stands_in: None,
            restoring: None,
            outputs: VecDeque::new(),
            queued: 0,
            applied_commands: 0,
            now: Millis(log_time),
        };
        opened.remember_results();
        Ok(opened)
    }

    /// Takes note of something that happened at `now`, the shell's clock.
    ///
    /// # Errors
    /// [`PartitionError`]: the process has to stop.
    pub fn handle(&mut self, input: Input, now: Millis) -> Result<(), PartitionError> {
        self.now = self.now.max(now);
        match input {
            Input::Propose(command) => {
                if self.leadership.is_some() {
                    self.pending.push_back(command);
                    self.queued += 1;
                }
            }
            Input::Persisted => self.persisted()?,
            Input::Wake => {}
            Input::Trim { through } => self.trim_through = self.trim_through.max(Some(through)),
            Input::Features(level) => self.entry_version = codec::entry_version(level),
            Input::Offer(point) => self.raft.mut_store().offer(Some(point)),
            Input::Withdraw => self.raft.mut_store().offer(None),
            Input::Yield(yields) => self.yields = yields,
            Input::Probe => self.probed = true,
            Input::Transfer { replica } if self.in_flight.is_some() => self.urge(replica),
            Input::Receive(message) => self.receive(message),
            other => self.waiting.push_back(other),
        }
        Ok(())
    }

    fn receive(&mut self, message: Box<Message>) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Input::Receive(message));
        } else {
            self.outputs.push_back(Output::Dropped(Dropped::Full));
        }
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

    /// The term in which this replica leads, once its tables are complete ([`Output::Leading`]).
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        self.leadership.as_ref().filter(|leadership| leadership.started).map(|leadership| leadership.term)
    }

    /// Who leads, as far as this replica knows.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// This replica.
    #[must_use]
    pub fn replica(&self) -> u64 {
        self.settings.replica
    }

    /// Index up to which the tables are.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied.index
    }

    /// Which generation of rows the tables are.
    #[must_use]
    pub fn generation(&self) -> u8 {
        self.generation
    }

    /// Whether no election could make this replica the leader: it is no voter as far as it knows.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.applied.voters.contains(&self.settings.replica)
    }

    /// Whether a write is under way: until it is durable, everything waits that could change what was written.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether this replica is the only one that decides: what it has is what is there.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.applied.voters_outgoing.is_empty() && self.applied.voters == [self.settings.replica]
    }

    /// What became of a request that was first made when the log was applied at least up to `index`, as far as this
    /// replica remembers.
    #[must_use]
    pub fn recent(&self, id: InvocationId, index: u64) -> Recent {
        self.recent.as_ref().map_or(Recent::Unknown, |recent| recent.find(id, index))
    }

    /// The last few points at which replicas can be compared, as index and state hash: those of all replicas of a group
    /// are equal (invariant I9).
    #[must_use]
    pub fn hash_points(&self) -> &VecDeque<(u64, u64)> {
        &self.hashes
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
        let raft = &self.raft.raft;
        let log = &raft.raft_log;
        let progress = if raft.state == StateRole::Leader { self.progress() } else { Vec::new() };
        Stats {
            term: raft.term,
            leading: self.leading().is_some(),
            leader: self.leader,
            first: self.raft.store().start().index + 1,
            last: log.last_index(),
            committed: log.committed,
            applied: self.applied.index,
            state_hash: self.applied.state_hash,
            log_time: self.machine.log_time(),
            timers_from: self.machine.timers_from(),
            overlay_bytes: self.overlay.bytes(),
            pending: self.pending.len(),
            unacknowledged: self.shipping.unacknowledged(),
            members: self.members(),
            progress,
        }
    }

    /// Messages shipped to other partitions and not yet acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> u64 {
        self.shipping.unacknowledged()
    }

    /// Log time.
    #[must_use]
    pub fn log_time(&self) -> Millis {
        self.machine.log_time()
    }

    fn progress(&self) -> Vec<Progress> {
        let mut all: Vec<Progress> = self
            .raft
            .raft
            .prs()
            .iter()
            .filter(|(replica, _)| **replica != self.settings.replica)
            .map(|(replica, progress)| Progress {
                replica: *replica,
                matched: progress.matched,
                active: progress.recent_active,
                snapshot: progress.state == raft::ProgressState::Snapshot,
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.replica);
        all
    }

    fn advance(&mut self) -> Result<(), PartitionError> {
        while self.outputs.is_empty() && self.in_flight.is_none() {
            self.take_waiting()?;
            self.fire_timers();
            self.propose_pending()?;
            self.ask_shell();
            if !self.raft.has_ready() {
                self.write_rest();
                return Ok(());
            }
            self.process_ready()?;
        }
        Ok(())
    }

    /// Tells the library what waited. A snapshot has a Ready of its own.
    fn take_waiting(&mut self) -> Result<(), PartitionError> {
        while let Some(input) = self.waiting.pop_front() {
            match input {
                Input::Campaign => self.raft.campaign().map_err(|error| self.consensus(&error))?,
                Input::Tick => {
                    self.raft.tick();
                    self.stand_early()?;
                    self.finish_change()?;
                    self.ship_again()?;
                }
                Input::Receive(message) => self.step(*message),
                Input::Unreachable { replica } => self.raft.report_unreachable(replica),
                Input::LeaderGone { replica } => self.leader_gone(replica)?,
                Input::Read { context } => self.read(context),
                Input::Fetched { entries, .. } => self.fetched(entries),
                Input::SnapshotSent { replica, arrived } => self.snapshot_sent(replica, arrived),
                Input::ChangeMembers { voters, learners } => self.change_members(&voters, &learners)?,
                Input::Transfer { replica } => self.raft.transfer_leader(replica),
                Input::Restore { message, generation } => {
                    self.restore(*message, generation);
                    break;
                }
                Input::Propose(_)
                | Input::Persisted
                | Input::Wake
                | Input::Trim { .. }
                | Input::Offer(_)
                | Input::Features(_)
                | Input::Yield(_)
                | Input::Probe
                | Input::Withdraw => unreachable!("these do not wait"),
            }
        }
        Ok(())
    }

    /// Hands a message to the library if it is sound. The library's refusals (an unknown peer) need no answer.
    fn step(&mut self, message: Message) {
        let log = &self.raft.raft.raft_log;
        let receiver = Receiver { replica: self.settings.replica, last: log.last_index(), committed: log.committed };
        let sound = guard::check(&message, receiver, |index| term_at(log, index));
        let message = sound.and_then(|()| message.into_raft().ok_or(Dropped::Kind));
        match message {
            Ok(message) => drop(self.raft.step(message)),
            Err(dropped) => self.outputs.push_back(Output::Dropped(dropped)),
        }
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
            let data = codec::encode_as(self.entry_version, &entry).into();
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
            let (role, leader) = (state.raft_state, state.leader_id);
            self.change_role(role, leader);
        }
        self.note_reads(ready.take_read_states());
        // Only a leader has some here, and they may overtake its own write (rule P1).
        let messages = ready.take_messages();
        self.send(messages);
        let sync = ready.must_sync();
        let entries = ready.take_entries();
        if let Some(hard_state) = ready.hs() {
            let hard_state = raft_log::from_raft_hard_state(hard_state);
            self.raft.mut_store().set_hard_state(hard_state);
        }
        if ready.snapshot().get_metadata().index > 0 {
            return self.begin_install(ready);
        }
        self.raft.mut_store().append(&entries);
        let committed = ready.take_committed_entries();
        if sync || !entries.is_empty() {
            let write = LogWrite {
                partition: self.settings.partition.0,
                reset: None,
                owner: self.take_owner(),
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
            Some(InFlight::Snapshot { ready, generation }) => self.installed(*ready, generation),
            Some(InFlight::Rest) | None => Ok(()),
        }
    }

    fn finish(&mut self, mut ready: Ready) -> Result<(), PartitionError> {
        let messages = ready.take_persisted_messages();
        self.send(messages);
        let mut light = self.raft.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            let mut hard_state = self.raft.store().hard_state();
            hard_state.commit = commit;
            self.raft.mut_store().set_hard_state(hard_state);
        }
        let messages = light.take_messages();
        self.send(messages);
        let committed = light.take_committed_entries();
        self.apply(committed)?;
        self.raft.advance_apply_to(self.applied.index);
        self.release_reads();
        Ok(())
    }

    fn send(&mut self, messages: Vec<raft::eraftpb::Message>) {
        for mut message in messages {
            let log = &self.raft.raft.raft_log;
            wire::straighten(&mut message, |index| if index == 0 { Some(0) } else { term_at(log, index) });
            let Some(message) = Message::from_raft(message) else { continue };
            let message = Box::new(message);
            let output = if message.snapshot.is_some() { Output::SendSnapshot(message) } else { Output::Send(message) };
            self.outputs.push_back(output);
        }
    }

    /// Tells another voter to stand for election at once. The library may not hear of it before the write under way is
    /// durable, and need not: a voter may stand at any time, and this replica follows when it hears of the new term. Nothing
    /// is said of what is not synced.
    fn urge(&mut self, replica: u64) {
        let own = self.settings.replica;
        if let Some(leadership) = self.leadership.as_ref().filter(|leadership| leadership.started)
            && replica != own
            && self.applied.voters.contains(&replica)
        {
            let kind = Kind::TimeoutNow as i32;
            let message = Message { kind, to: replica, from: own, term: leadership.term, ..Message::default() };
            self.outputs.push_back(Output::Send(Box::new(message)));
        }
    }

    /// The leader's node is not connected any more. Followers forget the leader, so that they may vote for another one at
    /// once, and stand in the order of their numbers, so that they do not split the votes.
    fn leader_gone(&mut self, replica: u64) -> Result<(), PartitionError> {
        let raft = &mut self.raft.raft;
        if raft.state != StateRole::Follower || raft.leader_id != replica || !self.applied.voters.contains(&replica) {
            return Ok(());
        }
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        let own = self.settings.replica;
        let voters = &self.applied.voters;
        let before = voters.iter().filter(|voter| **voter < own && **voter != replica).count();
        let before = if self.yields { voters.len() } else { before };
        self.stands_in = self.is_voter().then(|| u32::try_from(before).unwrap_or(u32::MAX) * STAND_APART_TICKS);
        if before == 0 { self.stand_early() } else { Ok(()) }
    }

    /// Counts down to the election that was brought forward, unless there is a leader meanwhile.
    fn stand_early(&mut self) -> Result<(), PartitionError> {
        let Some(left) = self.stands_in else { return Ok(()) };
        if self.raft.raft.leader_id != raft::INVALID_ID || self.raft.raft.state != StateRole::Follower {
            self.stands_in = None;
        } else if left > 0 {
            self.stands_in = Some(left - 1);
        } else {
            self.stands_in = None;
            self.raft.campaign().map_err(|error| self.consensus(&error))?;
        }
        Ok(())
    }

    /// Passes on what the library could not read.
    fn ask_shell(&mut self) {
        let asked = self.raft.store().take_asked();
        if asked.snapshot {
            self.outputs.push_back(Output::SnapshotWanted);
        }
        if let Some(fetch) = asked.entries {
            self.reads.fetching = Some(fetch.context);
            self.outputs.push_back(Output::Fetch { low: fetch.low, high: fetch.high, max_bytes: fetch.max_bytes });
        }
    }

    fn fetched(&mut self, entries: Vec<abide_storage::LogEntry>) {
        let Some(context) = self.reads.fetching.take() else { return };
        self.raft.mut_store().set_page(entries);
        self.raft.on_entries_fetched(context);
        self.raft.mut_store().set_page(Vec::new());
    }

    fn change_role(&mut self, role: StateRole, leader: u64) {
        let term = self.raft.raft.term;
        let led = self.leadership.is_some();
        self.leader = (leader != 0).then_some(leader);
        if role == StateRole::Leader {
            if self.leadership.as_ref().is_some_and(|leadership| leadership.term == term) {
                return;
            }
            self.leave_office();
            if led {
                // Another one may have led in between.
                self.outputs.push_back(Output::Following { term, leader: None });
            }
            self.leadership = Some(Leadership { term, started: false, next_timer: None });
            self.pending.push_front(Command::new(Body::LeaderStart(LeaderStart { term })));
            self.queued = self.pending.len() as u64;
            self.applied_commands = 0;
        } else {
            if led {
                self.leave_office();
            }
            self.outputs.push_back(Output::Following { term, leader: self.leader });
        }
    }

    /// Forgets what only an earlier leadership knew.
    fn leave_office(&mut self) {
        self.leadership = None;
        self.pending.clear();
        self.proposed.clear();
        self.shipping.reset();
        self.reads.clear();
        self.queued = 0;
        self.applied_commands = 0;
    }

    /// The next write may drop entries below this index (rule P6).
    fn take_trim(&mut self) -> Option<u64> {
        let wished = self.trim_through.take()?;
        let through = wished.min(self.applied.index).min(self.needed_by_others());
        if through < wished {
            // The rest may go later.
            self.trim_through = Some(wished);
        }
        if through <= self.raft.store().start().index {
            return None;
        }
        self.raft.mut_store().trim(through);
        Some(through + 1)
    }

    /// The last index that no other replica asks for soon: what active followers have, but no more than a bounded number
    /// of entries is kept for them, and some for those who come back or follow another leader.
    fn needed_by_others(&self) -> u64 {
        if self.is_alone() && self.applied.learners.is_empty() {
            return u64::MAX;
        }
        let last = self.raft.raft.raft_log.last_index();
        let tail = last.saturating_sub(self.settings.tail_entries);
        let most = last.saturating_sub(self.settings.tail_entries_max);
        let active = self.progress().into_iter().filter(|progress| progress.active);
        let slowest = active.map(|progress| progress.matched).min().unwrap_or(u64::MAX);
        let offered = self.raft.store().offered().map_or(u64::MAX, |point| point.index);
        tail.min(slowest).min(offered).max(most)
    }

    /// Trims, saves that members changed, and answers a probe, although nothing else is to be written.
    ///
    /// A commit index otherwise travels with the next entry. But a replica that restarts goes by the members as of what
    /// it knows to be committed, and may wait for the votes of those who left.
    fn write_rest(&mut self) {
        let trim_below = self.take_trim();
        let sync = std::mem::take(&mut self.members_unsaved) | std::mem::take(&mut self.probed);
        if sync || trim_below.is_some() {
            let hard_state = sync.then(|| self.raft.store().hard_state());
            let partition = self.settings.partition.0;
            let write = LogWrite { partition, hard_state, trim_below, ..LogWrite::default() };
            self.in_flight = Some(InFlight::Rest);
            self.outputs.push_back(Output::Persist { write, sync });
        }
    }

    fn consensus(&self, error: &raft::Error) -> PartitionError {
        PartitionError::Consensus { partition: self.settings.partition, reason: error.to_string() }
    }

    /// The first write says whose the log is.
    fn take_owner(&mut self) -> Option<Owner> {
        self.unowned.take().map(|replica| Owner { replica, removed: false })
    }

    /// Where the log begins.
    fn start_of_log(&self) -> LogPosition {
        self.raft.store().start()
    }
}

/// The term of an entry of the log. The library says 0 of those that it does not have any more.
fn term_at(log: &raft::RaftLog<RaftLog>, index: u64) -> Option<u64> {
    log.term(index).ok().filter(|term| *term > 0)
}

#[cfg(test)]
mod tests;
