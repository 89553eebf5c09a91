//! What becomes of disks and process: the log tap, checkpoints, crashes.

use abide_model::codec;
use abide_model::command::Entry;
use abide_partition::Input;
use abide_storage::{CommitOutcome, LogBatch, LogEntry, LogStore, StateStore, StorageError};

use abide_model::id::Millis;

use super::{Fate, Node, World, failed, stopped};
use crate::store::SimState;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::Event;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The machine: what was not synced may be gone.
    Power,
    /// The process alone: the operating system has everything that was written.
    Kill,
}

impl World {
    /// The tap: an entry is committed. It never changes again, and the model takes it once.
    pub(super) fn committed(&mut self, p: u32, entry: &LogEntry) -> Check {
        let tap = &mut self.tap[p as usize];
        let at = usize::try_from(entry.index).unwrap_or(usize::MAX);
        if let Some(known) = tap.get(at.wrapping_sub(1)) {
            return check(known == entry, Invariant::I10LogAgreement, || {
                format!("p{p}: entry {} of term {} was another before", entry.index, entry.term)
            });
        }
        check(tap.len() + 1 == at, Invariant::I10LogAgreement, || {
            format!("p{p}: entry {at} is committed after entry {}", tap.len())
        })?;
        tap.push(entry.clone());
        self.counts.entries += 1;
        if entry.data.is_empty() {
            return Ok(());
        }
        let commands: Entry = codec::decode("a log entry", &entry.data)
            .map_err(|error| Violation { invariant: Invariant::Stopped, text: error.to_string() })?;
        if self.trace.is_verbose() {
            for command in &commands.commands {
                self.trace.note(format_args!("  p{p} i{at} {command:?}"));
            }
        }
        self.model.apply(p, commands)
    }

    /// Begins a checkpoint of a partition that has applied enough since the last.
    pub(super) fn checkpoint_if_due(&mut self, node: &mut Node, p: usize) {
        let slot = &mut node.slots[p];
        if slot.checkpoint.is_some() || slot.entries_since_checkpoint < self.config.checkpoint_entries {
            return;
        }
        slot.entries_since_checkpoint = 0;
        slot.checkpoint = slot.partition.begin_checkpoint();
        if slot.checkpoint.is_some() {
            let delay = self.rng.disk.range(0, 40);
            self.after(delay, Event::Checkpoint(self.epoch, u32::try_from(p).unwrap_or(0)));
        }
    }

    /// The frozen writes of a partition reach the state store.
    pub(crate) fn checkpoint(&mut self, node: &mut Node, p: u32) -> Check<Fate> {
        let slot = &mut node.slots[p as usize];
        let Some((checkpoint, index)) = slot.checkpoint.take() else { return Ok(Fate::Lives) };
        if self.rng.fault.chance(self.faults.state_error) {
            let present = self.rng.fault.chance(5_000);
            self.state_disk.fail_next_commit(if present { CommitOutcome::Present } else { CommitOutcome::Absent });
        }
        let store = SimState { disk: self.state_disk.clone(), canary: self.config.canary };
        match store.write(checkpoint.writes()) {
            Ok(()) => {}
            Err(StorageError::Indeterminate { .. }) => return Ok(Fate::Exits),
            Err(error) => return Err(stopped(&error)),
        }
        slot.partition.end_checkpoint();
        slot.written = index;
        self.counts.checkpoints += 1;
        self.trace.line(format_args!("p{p} checkpoint at {index}, {} rows", checkpoint.rows()));
        if self.rng.disk.chance(6_000) {
            let delay = self.rng.disk.range(0, 60);
            self.after(delay, Event::StateSync(self.epoch));
        }
        Ok(Fate::Lives)
    }

    /// Makes all checkpoints durable; the logs may be cut behind them.
    pub(crate) fn state_sync(&mut self, node: &mut Node) -> Check<Fate> {
        self.state_disk.sync().map_err(|error| stopped(&error))?;
        let now = Millis(self.wall());
        for slot in &mut node.slots {
            let through = slot.written;
            slot.partition.handle(Input::Trim { through }, now).map_err(|error| failed(&error))?;
        }
        self.turn(node)
    }

    /// The node dies.
    pub(crate) fn crash(&mut self, how: Crash) -> Check {
        let Some(node) = self.node.take() else { return Ok(()) };
        self.counts.crashes += 1;
        if let Some(batch) = node.flight
            && self.rng.fault.chance(5_000)
        {
            // The write was on its way to the disk. Whether it gets there is decided below.
            let batch = LogBatch { sync: false, ..batch };
            self.log_disk.commit(&batch).map_err(|error| stopped(&error))?;
        }
        let (log, state) = match how {
            Crash::Power => {
                let log = self.rng.fault.below(self.log_disk.unsynced() as u64 + 1);
                let state = self.rng.fault.below(self.state_disk.unsynced() as u64 + 1);
                (usize::try_from(log).unwrap_or(0), usize::try_from(state).unwrap_or(0))
            }
            Crash::Kill => (usize::MAX, usize::MAX),
        };
        self.trace.line(format_args!("crash {how:?}, keeps {log} of the log, {state} of the state"));
        self.log_disk.crash(log);
        self.state_disk.crash(state);
        self.restart_later()
    }

    /// The process ended itself.
    pub(super) fn exited(&mut self) -> Check {
        self.counts.exits += 1;
        self.trace.line(format_args!("the process exits"));
        self.log_disk.restart();
        self.state_disk.restart();
        self.restart_later()
    }

    fn restart_later(&mut self) -> Check {
        self.epoch += 1;
        let delay = self.rng.fault.range(1, 500);
        self.after(delay, Event::Boot);
        self.disconnected()
    }
}
