//! What partitions ask of the shell.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use abide_model::command::{Body, Command, Form};
use abide_model::effect::{Effect, Work};
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::Input as InputMessage;
use abide_model::table::key::KeyWriter;
use abide_model::table::{Invocations, JournalRow, Journals, Mailboxes, Objects, States, Status, Table};
use abide_model::view::{ReadError, View};
use abide_partition::Output;

use super::{Node, World};
use crate::app::Fields;
use crate::config::Canary;
use crate::host::{HostMsg, Snapshot, Start};
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::Event;

/// Code of an attempt that broke the protocol.
const PROTOCOL_VIOLATION: u32 = 571;

impl World {
    pub(super) fn output(&mut self, node: &mut Node, p: usize, output: Output) -> Check {
        let number = u32::try_from(p).unwrap_or(0);
        match output {
            Output::Persist { write, sync } => node.queue.push((write, sync)),
            Output::Leading { term } => self.trace.line(format_args!("p{p} leads in term {term}")),
            Output::Effect(effect) => self.effect(node, p, effect)?,
            Output::Deliver { to, mut delivery } => {
                if self.config.canary == Some(Canary::RepeatMessages) && self.rng.fault.chance(1_000) {
                    let mut again = delivery.clone();
                    again.first += again.messages.len() as u64;
                    self.ship(to, Command::new(Body::Deliver(again)));
                }
                if delivery.messages.len() > 1 && self.rng.net.chance(2_000) {
                    let rest = delivery.messages.split_off(1);
                    let later = abide_model::command::Deliver { first: delivery.first + 1, messages: rest, ..delivery };
                    self.ship(to, Command::new(Body::Deliver(later)));
                }
                self.ship(to, Command::new(Body::Deliver(delivery)));
            }
            Output::Acknowledge { to, ack } => self.ship(to, Command::new(Body::OutboxAck(ack))),
            Output::Applied { index, commands } => {
                let stats = node.slots[p].partition.stats();
                self.counts.commands += commands as u64;
                if stats.applied == index {
                    self.check_hash(number, &node.slots[p].partition)?;
                }
                self.trace.line(format_args!("p{p} applied {index} ({commands}) {:016x}", stats.state_hash));
                node.slots[p].entries_since_checkpoint += 1;
                self.checkpoint_if_due(node, p);
            }
            Output::Following { term, leader } => {
                self.trace.line(format_args!("p{p} follows {leader:?} in term {term}"));
            }
            // Of groups of several replicas.
            other => return Err(Violation { invariant: Invariant::Stopped, text: format!("p{p}: {other:?}") }),
        }
        Ok(())
    }

    /// A message to another partition, which may be lost, late or doubled.
    fn ship(&mut self, to: PartitionId, command: Command) {
        if self.rng.net.chance(self.faults.drop) {
            self.trace.line(format_args!("net: a message to {to} is lost"));
            return;
        }
        let copies = 1 + u64::from(self.rng.net.chance(self.faults.duplicate));
        for _ in 0..copies {
            let delay = self.rng.net.range(0, self.config.delay_ms * 3);
            self.after(delay, Event::Propose(self.epoch, to.0, Box::new(command.clone())));
        }
    }

    fn effect(&mut self, node: &mut Node, p: usize, effect: Effect) -> Check {
        let number = u32::try_from(p).unwrap_or(0);
        match effect {
            Effect::Accepted { request, invocation, .. } => return self.accepted(request, invocation),
            Effect::Completed { invocation, outcome, target, .. } => {
                return self.completed(invocation, &outcome, &target);
            }
            Effect::Answered { request, answer } => self.answered(request, &answer),
            Effect::TimerFired { due, at } => {
                self.counts.timers += 1;
                check(due <= at && due.0 <= self.latest_wall, Invariant::I13Timers, || {
                    format!("p{p}: a timer due {due} fired at log time {at}, clock {}", self.latest_wall)
                })?;
            }
            Effect::Enqueued { object, work } => {
                self.tell(node, number, HostMsg::Enqueued { object, work: Box::new(work) })
            }
            Effect::Start { invocation } => {
                let slot = &node.slots[p];
                let term = slot.partition.leading().unwrap_or(0);
                let found = attempt(slot.partition.view(), invocation, term);
                if let Some(start) = found.map_err(|error| unreadable(&error))? {
                    self.tell(node, number, HostMsg::Start(Box::new(start)));
                }
            }
            Effect::Notify { invocation, attempt, index, entry } => {
                self.tell(node, number, HostMsg::Notify { id: invocation, attempt, index, entry });
            }
            Effect::Appended { invocation, attempt } => {
                self.tell(node, number, HostMsg::Appended { id: invocation, attempt });
            }
            Effect::Abort { invocation, object } => {
                self.tell(node, number, HostMsg::Abort { id: invocation, object });
            }
            Effect::TurnRejected { object, activation } => {
                self.counts.rejected += 1;
                self.tell(node, number, HostMsg::Rejected { object, activation: activation.0 });
            }
            Effect::StateChanged { object } => self.tell(node, number, HostMsg::StateChanged { object }),
            Effect::Rested { invocation } => {
                let row = node.slots[p].partition.view().get::<Invocations>(&invocation);
                let failure = row.ok().flatten().and_then(|row| row.last_failure);
                check(
                    failure.as_ref().is_none_or(|failure| failure.code != PROTOCOL_VIOLATION),
                    Invariant::I5JournalAppendOnly,
                    || format!("{invocation} broke the protocol: {failure:?}"),
                )?;
            }
            Effect::ScheduleDue { schedule, row } => self.schedule_due(schedule, &row),
            // Kept by the partition itself.
            Effect::Ship { .. } | Effect::Acknowledge { .. } | Effect::TimerSet { .. } => {}
        }
        Ok(())
    }

    /// Loads the objects that the host asked for, once everything that it proposed before is applied.
    pub(super) fn answer_loads(&mut self, node: &mut Node) -> Check {
        for (object, ticket) in std::mem::take(&mut node.loads) {
            let p = PartitionId::of(PartitionKey::of(&object.key), self.config.partitions).0;
            let slot = &node.slots[p as usize];
            let ticket = ticket.unwrap_or_else(|| slot.partition.ticket());
            // The tables are not complete before the leader's first entry is applied: nobody may read.
            if slot.partition.applied_ticket() < ticket.max(1) {
                node.loads.push((object, Some(ticket)));
                continue;
            }
            node.activations += 1;
            let activation = (slot.partition.leading().unwrap_or(0) << 32) | node.activations;
            let snapshot = load(slot.partition.view(), object, activation).map_err(|error| unreadable(&error))?;
            self.tell(node, p, HostMsg::Activated(Box::new(snapshot)));
        }
        Ok(())
    }
}

fn unreadable(error: &ReadError) -> Violation {
    Violation { invariant: Invariant::Stopped, text: error.to_string() }
}

fn load<V: View>(view: &V, object: ObjectId, activation: u64) -> Result<Snapshot, ReadError> {
    let row = view.get::<Objects>(&object)?.unwrap_or_default();
    let from = Mailboxes::encode_key(&(object.clone(), row.head));
    let to = Mailboxes::encode_key(&(object.clone(), row.tail));
    let mut ids = Vec::new();
    view.scan_bytes::<Mailboxes>(&from, &to, &mut |_, slot| {
        ids.extend(InvocationId::from_bytes(&slot.invocation));
        ControlFlow::Continue(())
    })?;
    let mut queue = Vec::new();
    for id in ids {
        let row = view
            .get::<Invocations>(&id)?
            .ok_or_else(|| ReadError(format!("{id} is in the mailbox of {object} but has no row")))?;
        let held = !matches!(row.status, Some(Status::Queued(_)));
        let journal = journal(view, id, 1)?;
        queue.push((work(id, &row, &journal)?, held));
    }
    let fields = fields(view, &object)?;
    Ok(Snapshot { object, activation, version: row.version(), fields, queue })
}

fn attempt<V: View>(view: &V, id: InvocationId, term: u64) -> Result<Option<Start>, ReadError> {
    let Some(row) = view.get::<Invocations>(&id)? else { return Ok(None) };
    if !matches!(row.status, Some(Status::Running(_))) {
        return Ok(None);
    }
    let target = row.target.clone().unwrap_or_default();
    let journal = journal(view, id, row.journal_len)?;
    let fields = match target.object().filter(|_| target.form() == Form::Flow) {
        Some(object) => fields(view, &object)?,
        None => BTreeMap::new(),
    };
    let work = work(id, &row, &journal)?;
    Ok(Some(Start { work, term, attempt: row.attempt, journal, fields }))
}

fn journal<V: View>(view: &V, id: InvocationId, len: u32) -> Result<Vec<JournalRow>, ReadError> {
    let entry = |index| {
        view.get::<Journals>(&(id, index))?
            .ok_or_else(|| ReadError(format!("entry {index} is missing in the journal of {id}")))
    };
    (0..len).map(entry).collect()
}

fn fields<V: View>(view: &V, object: &ObjectId) -> Result<Fields, ReadError> {
    let mut prefix = KeyWriter::new(States::TAG);
    prefix.text(&object.service);
    prefix.text(&object.key);
    let (from, to) = prefix.prefix_bounds();
    let mut fields = Fields::new();
    view.scan_bytes::<States>(&from, &to, &mut |(_, field), row| {
        fields.insert(field, row.value);
        ControlFlow::Continue(())
    })?;
    Ok(fields)
}

fn work(id: InvocationId, row: &abide_model::table::InvocationRow, journal: &[JournalRow]) -> Result<Work, ReadError> {
    let input: InputMessage = match journal.first() {
        Some(entry) => entry.message().decode()?,
        None => return Err(ReadError(format!("{id} has no Input entry"))),
    };
    Ok(Work {
        id,
        target: row.target.clone().unwrap_or_default(),
        input: input.value.map(|value| value.content).unwrap_or_default(),
        headers: input.headers,
        failures: row.failures,
        life: row.life,
    })
}
