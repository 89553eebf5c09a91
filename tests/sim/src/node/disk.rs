//! What becomes of disks and process: the log tap, checkpoints, crashes.

use abide_model::codec;
use abide_model::command::{Body, Entry};
use abide_model::id::Millis;
use abide_partition::Input;
use abide_storage::{CommitOutcome, EntryKind, LogBatch, LogEntry, LogStore, LogWrite, StateStore, StorageError};

use super::{Node, World, failed, stopped};
use crate::config::Canary;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::{Event, Step};

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
                format!("p{p}: entry {} was {known:?} and is {entry:?}", entry.index)
            });
        }
        check(tap.len() + 1 == at, Invariant::I10LogAgreement, || {
            format!("p{p}: entry {at} is committed after entry {}", tap.len())
        })?;
        tap.push(entry.clone());
        self.counts.entries += 1;
        if entry.data.is_empty() || entry.kind != EntryKind::Normal {
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

    /// The tap takes what a replica has applied, from its log: it is committed.
    pub(super) fn tap(&mut self, node: &mut Node, p: u32) -> Check {
        let Some(slot) = node.slots.get(&p) else { return Ok(()) };
        // What a snapshot covers is not in the log.
        let from = slot.tapped.max(slot.partition.log_start()) + 1;
        let applied = slot.partition.applied_index();
        for index in from..=applied {
            let log = &self.machines[node.number].log;
            let entry = log.entries(p, index, index + 1, u64::MAX).map_err(|error| stopped(&error))?;
            // It is not in the log although it is applied: whoever is told of it finds out.
            let Some(entry) = entry.first() else { return Ok(()) };
            self.committed(p, entry)?;
            if let Some(slot) = node.slots.get_mut(&p) {
                slot.tapped = index;
            }
        }
        Ok(())
    }

    /// Begins a checkpoint of a partition that has applied enough since the last.
    pub(super) fn checkpoint_if_due(&mut self, node: &mut Node, p: u32) {
        let Some(slot) = node.slots.get_mut(&p) else { return };
        if slot.checkpoint.is_some() || slot.entries_since_checkpoint < self.config.checkpoint_entries {
            return;
        }
        slot.entries_since_checkpoint = 0;
        slot.checkpoint = slot.partition.begin_checkpoint();
        if slot.checkpoint.is_some() {
            let delay = self.rng.disk.range(0, 40);
            self.soon(node, delay, Step::Checkpoint(p));
        }
    }

    /// The frozen writes of a partition reach the state store.
    pub(crate) fn checkpoint(&mut self, node: &mut Node, p: u32) -> Check {
        let store = self.store(node.number);
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        let Some((checkpoint, index)) = slot.checkpoint.take() else { return Ok(()) };
        if self.rng.fault.chance(self.faults.state_error) {
            let present = self.rng.fault.chance(5_000);
            store.disk.fail_next_commit(if present { CommitOutcome::Present } else { CommitOutcome::Absent });
        }
        match store.write(checkpoint.writes()) {
            Ok(()) => {}
            Err(StorageError::Indeterminate { .. }) => {
                self.exits = true;
                return Ok(());
            }
            Err(error) => return Err(stopped(&error)),
        }
        slot.partition.end_checkpoint();
        slot.written = index;
        self.counts.checkpoints += 1;
        let rows = checkpoint.rows();
        self.trace.line(format_args!("n{} p{p} checkpoint at {index}, {rows} rows", node.number + 1));
        if self.rng.disk.chance(6_000) {
            let delay = self.rng.disk.range(0, 60);
            self.soon(node, delay, Step::StateSync);
        }
        if self.config.canary == Some(Canary::TrimUndurable) {
            return self.trim(node);
        }
        self.offer_if_wanted(node, p)
    }

    /// Makes all checkpoints durable; the logs may be cut behind them.
    pub(crate) fn state_sync(&mut self, node: &mut Node) -> Check {
        self.machines[node.number].state.sync().map_err(|error| stopped(&error))?;
        if self.config.canary == Some(Canary::CutLog) {
            self.cut_logs(node)?;
        }
        self.trim(node)
    }

    fn trim(&mut self, node: &mut Node) -> Check {
        let now = Millis(self.wall(node.number));
        for slot in node.slots.values_mut() {
            let through = slot.written;
            slot.partition.handle(Input::Trim { through }, now).map_err(|error| failed(&error))?;
        }
        self.turn(node)
    }

    /// A canary: entries leave the disk, whoever may need them.
    fn cut_logs(&mut self, node: &mut Node) -> Check {
        for (p, slot) in &node.slots {
            let write = LogWrite { partition: *p, trim_below: Some(slot.written + 1), ..LogWrite::default() };
            let batch = LogBatch { writes: vec![write], sync: false };
            self.machines[node.number].log.commit(&batch).map_err(|error| stopped(&error))?;
        }
        Ok(())
    }

    /// A canary: the leader acknowledges what it alone has.
    pub(super) fn acknowledge_early(&mut self, node: &mut Node, write: &LogWrite) -> Check {
        let p = write.partition;
        if node.slots.get(&p).is_none_or(|slot| slot.partition.is_alone() || slot.partition.leading().is_none()) {
            return Ok(());
        }
        for entry in &write.entries {
            let entry: Entry = codec::decode("a log entry", &entry.data).unwrap_or_default();
            for command in entry.commands {
                if let Some(Body::Invoke(invoke)) = &command.body
                    && let Some(id) = invoke.id()
                {
                    self.accepted(node, p, command.request, id)?;
                }
            }
        }
        Ok(())
    }

    /// A process dies.
    pub(crate) fn crash(&mut self, number: usize, how: Crash) -> Check {
        let Some(node) = self.machines[number].process.take() else { return Ok(()) };
        self.counts.crashes += 1;
        let machine = &mut self.machines[number];
        if let Some(batch) = node.flight
            && self.rng.fault.chance(5_000)
        {
            // The write was on its way to the disk. Whether it gets there is decided below.
            let batch = LogBatch { sync: false, ..batch };
            machine.log.commit(&batch).map_err(|error| stopped(&error))?;
        }
        let (log, state) = match how {
            Crash::Power => {
                let log = self.rng.fault.below(machine.log.unsynced() as u64 + 1);
                let state = self.rng.fault.below(machine.state.unsynced() as u64 + 1);
                (usize::try_from(log).unwrap_or(0), usize::try_from(state).unwrap_or(0))
            }
            Crash::Kill => (usize::MAX, usize::MAX),
        };
        machine.log.crash(log);
        machine.state.crash(state);
        let name = number + 1;
        self.trace.line(format_args!("n{name} crash {how:?}, keeps {log} of the log, {state} of the state"));
        self.restart_later(number)
    }

    /// A process ended itself.
    pub(super) fn exited(&mut self, number: usize) -> Check {
        self.counts.exits += 1;
        self.trace.line(format_args!("n{} the process exits", number + 1));
        self.machines[number].log.restart();
        self.machines[number].state.restart();
        self.restart_later(number)
    }

    /// A machine loses its disks. What was promised on them is lost, so its replicas never speak again: others come in
    /// their place.
    pub(crate) fn wipe(&mut self, number: usize) -> Check {
        self.counts.wipes += 1;
        self.trace.line(format_args!("n{} loses its disks", number + 1));
        self.crash(number, Crash::Power)?;
        let canary = self.config.canary;
        let machine = &mut self.machines[number];
        machine.replace_disks(canary);
        machine.dirty.clear();
        for (p, replica) in &machine.replicas {
            self.lost.insert((*p, *replica), self.boots);
        }
        if canary != Some(Canary::AmnesiacVote) {
            machine.replicas.clear();
        }
        Ok(())
    }

    fn restart_later(&mut self, number: usize) -> Check {
        self.boots += 1;
        self.machines[number].epoch = self.boots;
        self.machines[number].paused = None;
        let longest = if self.config.nodes > 1 && self.rng.fault.chance(2_000) { 5_000 } else { 500 };
        let delay = self.rng.fault.range(1, longest);
        self.after(delay, Event::Boot(number));
        self.disconnected(number)
    }
}
