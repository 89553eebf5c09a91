//! What partitions ask of the shell.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use abide_model::command::{Body, Command, Deliver, Form};
use abide_model::effect::{Effect, Work};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::Input as InputMessage;
use abide_model::table::key::KeyWriter;
use abide_model::table::{Invocations, JournalRow, Journals, Mailboxes, Objects, States, Status, Table};
use abide_model::view::{ReadError, View};
use abide_partition::{Input, Output};
use abide_storage::LogStore as _;

use super::{Node, World, failed};
use crate::app::Fields;
use crate::config::Canary;
use crate::host::{HostMsg, Snapshot, Start};
use crate::ingress::note_leader;
use crate::machine::machine_of;
use crate::violation::{Check, Invariant, Violation, check};
use crate::world::Step;

/// Code of an attempt that broke the protocol.
const PROTOCOL_VIOLATION: u32 = 571;

impl World {
    pub(super) fn output(&mut self, node: &mut Node, p: u32, output: Output) -> Check {
        let n = node.number + 1;
        self.tap(node, p)?;
        match output {
            Output::Persist { write, sync } => node.queue.push((write, sync)),
            Output::Leading { term } => {
                self.trace.line(format_args!("n{n} p{p} leads in term {term}"));
                self.counts.led += 1;
                self.leave_office(node, p)?;
                note_leader(node, p, (term, node.number));
                let replica = node.slots.get(&p).map_or(0, |slot| slot.partition.replica());
                self.leads(p, term, replica)?;
            }
            Output::Following { term, leader } => {
                self.trace.line(format_args!("n{n} p{p} follows {leader:?} in term {term}"));
                self.leave_office(node, p)?;
                if let Some(leader) = leader {
                    note_leader(node, p, (term, machine_of(leader)));
                }
            }
            Output::Effect(effect) => self.effect(node, p, effect)?,
            Output::Deliver { to, delivery } => self.deliver(node, to, delivery),
            Output::Acknowledge { to, ack } => self.ship(node, to, Command::new(Body::OutboxAck(ack))),
            Output::Applied { index, commands } => self.applied(node, p, index, commands)?,
            Output::Send(message) => self.send_raft(node, p, *message)?,
            Output::SendSnapshot(message) => self.send_snapshot(node, p, *message)?,
            Output::SnapshotWanted => {
                if let Some(slot) = node.slots.get_mut(&p) {
                    slot.snapshot_wanted = true;
                }
                self.offer_if_wanted(node, p)?;
            }
            Output::Fetch { low, high, max_bytes } => {
                let delay = self.rng.disk.range(0, 10);
                self.soon(node, delay, Step::Fetch(p, low, high, max_bytes));
            }
            Output::ReadReady { context } => self.confirmed(node, p, context)?,
            Output::MembersChanged(_) => self.members_changed(node, p),
            // The controller removes it.
            Output::Removed => self.trace.line(format_args!("n{n} p{p} is out")),
            Output::Restored { index, discard } => self.restored(node, p, index, discard)?,
            Output::Discard { generation } => self.discarded(node, p, generation)?,
            Output::Dropped(dropped) => {
                self.trace.line(format_args!("n{n} p{p} drops a message: {}", dropped.label()));
                self.counts.unsound += 1;
            }
        }
        Ok(())
    }

    fn applied(&mut self, node: &mut Node, p: u32, index: u64, commands: usize) -> Check {
        self.counts.commands += commands as u64;
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.entries_since_checkpoint += 1;
        let stats = slot.partition.stats();
        let n = node.number + 1;
        self.trace.line(format_args!("n{n} p{p} applied {index} ({commands}) {:016x}", stats.state_hash));
        if stats.applied == index {
            self.check_hash(p, &slot.partition)?;
        }
        self.checkpoint_if_due(node, p);
        Ok(())
    }

    /// Entries that a follower needs are read from disk.
    pub(crate) fn fetch(&mut self, node: &mut Node, p: u32, low: u64, high: u64, max_bytes: u64) -> Check {
        let entries = self.machines[node.number].log.entries(p, low, high, max_bytes).unwrap_or_default();
        let now = Millis(self.wall(node.number));
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.partition.handle(Input::Fetched { low, entries }, now).map_err(|error| failed(&error))?;
        self.counts.fetches += 1;
        self.turn_of(node);
        Ok(())
    }

    /// What was held for a leadership is void: hosts, loads, whoever waits.
    pub(super) fn leave_office(&mut self, node: &mut Node, p: u32) -> Check {
        let partitions = self.config.partitions;
        let leads = node.slots.get(&p).is_some_and(|slot| slot.partition.leading().is_some());
        if leads || self.config.canary != Some(Canary::IgnoreTerm) {
            node.host.forget(p, partitions);
        }
        if let Some(inbox) = node.host_inbox.get_mut(&p) {
            inbox.clear();
        }
        node.loads.retain(|(object, _)| PartitionId::of(PartitionKey::of(&object.key), partitions).0 != p);
        self.serve_no_more(node, p)
    }

    fn deliver(&mut self, node: &mut Node, to: PartitionId, mut delivery: Deliver) {
        if self.config.canary == Some(Canary::RepeatMessages) && self.rng.fault.chance(1_000) {
            let mut again = delivery.clone();
            again.first += again.messages.len() as u64;
            self.ship(node, to, Command::new(Body::Deliver(again)));
        }
        if delivery.messages.len() > 1 && self.rng.net.chance(2_000) {
            let rest = delivery.messages.split_off(1);
            let later = Deliver { first: delivery.first + 1, messages: rest, ..delivery };
            self.ship(node, to, Command::new(Body::Deliver(later)));
        }
        self.ship(node, to, Command::new(Body::Deliver(delivery)));
    }

    fn effect(&mut self, node: &mut Node, p: u32, effect: Effect) -> Check {
        match effect {
            Effect::Accepted { request, invocation, .. } => return self.accepted(node, p, request, invocation),
            Effect::Completed { invocation, outcome, target, .. } => {
                self.completed(invocation, &outcome)?;
                return self.serve_completed(node, p, invocation, &outcome, &target);
            }
            Effect::Answered { request, answer } => return self.serve_answered(node, p, request, &answer),
            Effect::TimerFired { due, at } => {
                self.counts.timers += 1;
                check(due <= at && due.0 <= self.latest_wall, Invariant::I13Timers, || {
                    format!("p{p}: a timer due {due} fired at log time {at}, clock {}", self.latest_wall)
                })?;
            }
            Effect::Enqueued { object, work } => {
                self.tell(node, p, HostMsg::Enqueued { object, work: Box::new(work) });
            }
            Effect::Start { invocation } => {
                let Some(slot) = node.slots.get(&p) else { return Ok(()) };
                let term = slot.partition.leading().unwrap_or(0);
                let found = attempt(slot.partition.view(), invocation, term);
                if let Some(start) = found.map_err(|error| unreadable(&error))? {
                    self.tell(node, p, HostMsg::Start(Box::new(start)));
                }
            }
            Effect::Notify { invocation, attempt, index, entry } => {
                self.tell(node, p, HostMsg::Notify { id: invocation, attempt, index, entry });
            }
            Effect::Appended { invocation, attempt } => {
                self.tell(node, p, HostMsg::Appended { id: invocation, attempt });
            }
            Effect::Abort { invocation, object } => {
                self.tell(node, p, HostMsg::Abort { id: invocation, object });
            }
            Effect::TurnRejected { object, activation } => {
                self.counts.rejected += 1;
                self.tell(node, p, HostMsg::Rejected { object, activation: activation.0 });
            }
            Effect::StateChanged { object } => self.tell(node, p, HostMsg::StateChanged { object }),
            Effect::Rested { invocation } => {
                let Some(slot) = node.slots.get(&p) else { return Ok(()) };
                let row = slot.partition.view().get::<Invocations>(&invocation);
                let failure = row.ok().flatten().and_then(|row| row.last_failure);
                check(
                    failure.as_ref().is_none_or(|failure| failure.code != PROTOCOL_VIOLATION),
                    Invariant::I5JournalAppendOnly,
                    || format!("{invocation} broke the protocol: {failure:?}"),
                )?;
            }
            Effect::ScheduleDue { schedule, row } => self.schedule_due(node, p, schedule, &row),
            // Kept by the partition itself.
            Effect::Ship { .. } | Effect::Acknowledge { .. } | Effect::TimerSet { .. } => {}
        }
        Ok(())
    }

    /// The leader says that a request took its place.
    pub(super) fn accepted(&mut self, node: &mut Node, p: u32, request: u64, id: InvocationId) -> Check {
        check(self.model.knows(id), Invariant::I1NoLostWork, || {
            format!("{id} was acknowledged, but no committed entry accepts it")
        })?;
        self.serve_accepted(node, p, request)
    }

    /// Loads the objects that the host asked for, once everything that it proposed before is applied.
    pub(super) fn answer_loads(&mut self, node: &mut Node) -> Check {
        for (object, ticket) in std::mem::take(&mut node.loads) {
            let p = PartitionId::of(PartitionKey::of(&object.key), self.config.partitions).0;
            let Some(slot) = node.slots.get(&p) else { continue };
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

pub(crate) fn unreadable(error: &ReadError) -> Violation {
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

pub(crate) fn fields<V: View>(view: &V, object: &ObjectId) -> Result<Fields, ReadError> {
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
