//! The reference model: a naive interpreter of the committed log, in maps, sharing no code with the machine.
//!
//! It says what the tables have to hold after each entry, and what has ended how. It is slow, keeps everything and
//! knows nothing of effects; every difference between it and the product is a bug in one of them.

mod append;
mod compare;
mod order;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use abide_model::command::{
    Attach, AttemptFailed, Body, Command, Deliver, Entry, Form, Invoke, Next, Outcome, Parcel, ParcelBody, Response,
    Sink, Target, Turn,
};
use abide_model::id::{InvocationId, ObjectId, PartitionId};
use abide_model::protocol::{Code, Failure, Input, Notification, NotificationId, NotificationResult, Value, Void};
use bytes::Bytes;
use prost::Message as _;

use crate::violation::{Check, Invariant, check};
pub(crate) use compare::compare;

/// A timer: due, kind (1 start, 2 wake, 3 retry, 4 expire), invocation, completion.
type Timer = (u64, u8, InvocationId, u32);

/// The whole cluster.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) parts: Vec<Part>,
}

/// A partition.
#[derive(Debug, Default)]
pub(crate) struct Part {
    number: u32,
    count: u32,
    pub(crate) log_time: u64,
    term: u64,
    pub(crate) invocations: BTreeMap<InvocationId, Inv>,
    pub(crate) objects: BTreeMap<ObjectId, Obj>,
    /// Retained results with their expiry.
    kept: BTreeMap<InvocationId, (Outcome, u64)>,
    timers: BTreeSet<Timer>,
    sent: BTreeMap<u32, u64>,
    outbox: BTreeMap<(u32, u64), Parcel>,
    taken: BTreeMap<u32, u64>,
    /// Every message ever sent.
    history: BTreeMap<(u32, u64), Parcel>,
    local: VecDeque<Parcel>,
    /// Everything that was ever accepted, and its ends in order.
    pub(crate) ends: BTreeMap<InvocationId, Vec<Outcome>>,
    /// Accepted attempts of an invocation that were fenced off, for the report.
    pub(crate) fenced: u64,
}

/// An invocation under way.
#[derive(Clone, Debug)]
pub(crate) struct Inv {
    pub(crate) target: Target,
    pub(crate) status: Status,
    attempt: u32,
    journal: Vec<(Code, Bytes)>,
    sinks: Vec<Sink>,
    retention: u64,
    created_at: u64,
    failures: u32,
    seq: Option<u64>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Status {
    Scheduled(u64),
    Queued,
    Running,
    BackingOff(u64),
    Suspended(Vec<NotificationId>),
    Paused,
}

/// An object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obj {
    version: (u64, u64),
    pub(crate) fields: BTreeMap<String, Bytes>,
    queue: VecDeque<InvocationId>,
    next_seq: u64,
    /// Successful turns by handler.
    pub(crate) turns: BTreeMap<String, u64>,
}

impl Model {
    pub(crate) fn new(count: u32) -> Self {
        Self { parts: (0..count).map(|number| Part { number, count, ..Part::default() }).collect() }
    }

    /// Applies the next entry of a partition's log.
    pub(crate) fn apply(&mut self, partition: u32, entry: Entry) -> Check {
        let part = &mut self.parts[partition as usize];
        part.log_time = part.log_time.max(entry.proposed_at);
        for command in entry.commands {
            if let Some(Body::Deliver(delivery)) = &command.body {
                self.was_sent(partition, delivery)?;
            }
            let part = &mut self.parts[partition as usize];
            part.command(command)?;
            while let Some(parcel) = part.local.pop_front() {
                part.take(parcel);
            }
        }
        Ok(())
    }

    /// Everything that a partition is handed was sent to it under that number (I16).
    fn was_sent(&self, to: u32, delivery: &Deliver) -> Check {
        let sender = &self.parts[delivery.from as usize];
        for (seq, parcel) in (delivery.first..).zip(&delivery.messages) {
            check(sender.history.get(&(to, seq)) == Some(parcel), Invariant::I16Exchange, || {
                format!("p{to} is handed message {seq} of p{}, which is another: {parcel:?}", delivery.from)
            })?;
        }
        Ok(())
    }

    pub(crate) fn part(&self, id: InvocationId) -> &Part {
        &self.parts[PartitionId::of(id.partition_key, u32::try_from(self.parts.len()).unwrap_or(1)).0 as usize]
    }

    /// Whether the log has accepted `id`.
    pub(crate) fn knows(&self, id: InvocationId) -> bool {
        self.part(id).ends.contains_key(&id)
    }

    pub(crate) fn object(&self, object: &ObjectId) -> Option<&Obj> {
        self.parts.iter().find_map(|part| part.objects.get(object))
    }
}

impl Part {
    /// The retained result of `id`, and the log time at which it is forgotten.
    pub(crate) fn kept_until(&self, id: InvocationId) -> Option<(&Outcome, u64)> {
        self.kept.get(&id).map(|(outcome, until)| (outcome, *until))
    }

    /// Whether all messages to other partitions were taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_empty()
    }

    fn command(&mut self, command: Command) -> Check {
        match command.body {
            Some(Body::LeaderStart(start)) => {
                self.term = self.term.max(start.term);
                for inv in self.invocations.values_mut().filter(|inv| inv.status == Status::Running) {
                    inv.attempt += 1;
                }
            }
            Some(Body::Invoke(invoke)) => self.accept(&invoke),
            Some(Body::Turn(turn)) => self.turn(turn),
            Some(Body::Append(append)) => return self.append(append),
            Some(Body::AttemptFailed(failed)) => self.failed(failed),
            Some(Body::Signal(signal)) => self.signal(&signal),
            Some(Body::Control(control)) => self.control(&control),
            Some(Body::FireTimers(_)) => self.fire(),
            Some(Body::Deliver(delivery)) => self.deliver(delivery),
            Some(Body::OutboxAck(ack)) => self.outbox.retain(|(to, seq), _| *to != ack.by || *seq > ack.up_to),
            None => {}
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: Deliver) {
        for (seq, parcel) in (delivery.first..).zip(delivery.messages) {
            let taken = self.taken.entry(delivery.from).or_default();
            if seq == *taken + 1 {
                *taken = seq;
                self.take(parcel);
            }
        }
        self.taken.retain(|_, taken| *taken > 0);
    }

    fn take(&mut self, parcel: Parcel) {
        match parcel.body {
            Some(ParcelBody::Invoke(invoke)) => self.accept(&invoke),
            Some(ParcelBody::Response(response)) => self.response(response),
            Some(ParcelBody::Signal(signal)) => self.signal(&signal),
            Some(ParcelBody::Control(control)) => self.control(&control),
            Some(ParcelBody::Attach(attach)) => self.attach(attach, true),
            Some(ParcelBody::Peek(attach)) => self.attach(attach, false),
            None => {}
        }
    }

    fn send(&mut self, body: ParcelBody) {
        let parcel = Parcel::new(body);
        let Some(key) = parcel.partition_key() else { return };
        let to = PartitionId::of(key, self.count).0;
        if to == self.number {
            return self.local.push_back(parcel);
        }
        let seq = self.sent.entry(to).or_default();
        *seq += 1;
        self.history.insert((to, *seq), parcel.clone());
        self.outbox.insert((to, *seq), parcel);
    }

    fn respond(&mut self, sink: &Sink, outcome: Option<Outcome>) {
        self.send(ParcelBody::Response(Response { sink: Some(sink.clone()), outcome }));
    }

    fn known(&mut self, id: InvocationId, sink: Option<&Sink>) -> bool {
        if let Some((outcome, _)) = self.kept.get(&id).cloned() {
            if let Some(sink) = sink {
                self.respond(sink, Some(outcome));
            }
            return true;
        }
        let Some(inv) = self.invocations.get_mut(&id) else { return false };
        inv.sinks.extend(sink.cloned());
        true
    }

    fn accept(&mut self, invoke: &Invoke) {
        let (Some(id), Some(target)) = (invoke.id(), invoke.target.clone()) else { return };
        if self.known(id, invoke.sink.as_ref()) {
            return;
        }
        self.record(id, invoke, &target);
        if invoke.execute_at > self.log_time {
            self.set(id, Status::Scheduled(invoke.execute_at));
            self.timers.insert((invoke.execute_at, 1, id, 0));
        } else {
            self.admit(id);
        }
    }

    fn record(&mut self, id: InvocationId, invoke: &Invoke, target: &Target) {
        self.ends.entry(id).or_default();
        let input = Input {
            headers: invoke.headers.clone(),
            name: String::new(),
            value: Some(Value { content: invoke.input.clone() }),
        };
        let inv = Inv {
            target: target.clone(),
            status: Status::Queued,
            attempt: 0,
            journal: vec![(Code::INPUT, input.encode_to_vec().into())],
            sinks: invoke.sink.iter().cloned().collect(),
            retention: invoke.retention_ms,
            created_at: self.log_time,
            failures: 0,
            seq: None,
        };
        self.invocations.insert(id, inv);
    }

    fn admit(&mut self, id: InvocationId) {
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        let Some(object) = inv.target.exclusive_object() else { return self.start(id) };
        let flow = inv.target.form() == Form::Flow;
        let obj = self.objects.entry(object).or_default();
        inv.status = Status::Queued;
        inv.seq = Some(obj.next_seq);
        obj.next_seq += 1;
        obj.queue.push_back(id);
        if flow && obj.queue.len() == 1 {
            self.start(id);
        }
    }

    fn start(&mut self, id: InvocationId) {
        if let Some(inv) = self.invocations.get_mut(&id) {
            inv.attempt += 1;
            inv.status = Status::Running;
        }
    }

    fn set(&mut self, id: InvocationId, status: Status) {
        if let Some(inv) = self.invocations.get_mut(&id) {
            inv.status = status;
        }
    }

    fn turn(&mut self, turn: Turn) {
        let Some(id) = InvocationId::from_bytes(&turn.id) else { return };
        let base = turn.base.map(|base| (base.version, base.writer));
        let outcome = turn.outcome.clone().unwrap_or_default();
        if let Some(invoke) = turn.accept.clone() {
            if self.known(id, invoke.sink.as_ref()) {
                return;
            }
            let Some(target) = invoke.target.clone() else { return };
            if let Some(object) = target.exclusive_object() {
                let (version, idle) =
                    self.objects.get(&object).map_or(((0, 0), true), |obj| (obj.version, obj.queue.is_empty()));
                if !idle || base != Some(version) {
                    return self.accept(&invoke);
                }
            }
            self.commit(id, &target, &turn);
            self.ends.entry(id).or_default().push(outcome.clone());
            self.keep(id, invoke.retention_ms, &outcome);
            if let Some(sink) = &invoke.sink {
                self.respond(sink, Some(outcome));
            }
            return;
        }
        let Some(inv) = self.invocations.get(&id) else { return };
        let target = inv.target.clone();
        if !matches!(inv.status, Status::Running | Status::Queued) {
            return;
        }
        if let Some(object) = target.exclusive_object() {
            let Some(obj) = self.objects.get(&object) else { return };
            if obj.queue.front() != Some(&id) || base != Some(obj.version) {
                return;
            }
        }
        self.commit(id, &target, &turn);
        self.complete(id, &outcome, true);
    }

    fn commit(&mut self, id: InvocationId, target: &Target, turn: &Turn) {
        if let Some(object) = target.exclusive_object() {
            let obj = self.objects.entry(object).or_default();
            *obj.turns.entry(target.handler.clone()).or_default() += 1;
            for change in &turn.changes {
                match &change.value {
                    Some(value) => obj.fields.insert(change.field.clone(), value.clone()),
                    None => obj.fields.remove(&change.field),
                };
            }
            if !turn.changes.is_empty() {
                obj.version = (obj.version.0 + 1, turn.activation);
            }
        }
        for send in &turn.sends {
            let invoked_by = Bytes::copy_from_slice(&id.to_bytes());
            self.send(ParcelBody::Invoke(Invoke { invoked_by, ..send.clone() }));
        }
    }

    fn keep(&mut self, id: InvocationId, retention: u64, outcome: &Outcome) {
        if retention > 0 {
            let expires = self.log_time + retention;
            self.kept.insert(id, (outcome.clone(), expires));
            self.timers.insert((expires, 4, id, 0));
        }
    }

    /// Ends an invocation; `keep` says whether its result is remembered.
    fn complete(&mut self, id: InvocationId, outcome: &Outcome, keep: bool) {
        let Some(inv) = self.invocations.remove(&id) else { return };
        self.timers.retain(|(_, kind, owner, _)| *owner != id || *kind == 4);
        self.ends.entry(id).or_default().push(outcome.clone());
        if keep {
            self.keep(id, inv.retention, outcome);
        }
        for sink in &inv.sinks {
            self.respond(sink, Some(outcome.clone()));
        }
        let Some(obj) = inv.target.exclusive_object().and_then(|object| self.objects.get_mut(&object)) else { return };
        let was_first = obj.queue.front() == Some(&id);
        obj.queue.retain(|queued| *queued != id);
        let next = obj.queue.front().copied().filter(|_| was_first);
        if let Some(next) = next
            && self.invocations.get(&next).is_some_and(|inv| inv.target.form() == Form::Flow)
        {
            self.start(next);
        }
    }

    fn failed(&mut self, failed: AttemptFailed) {
        let Some(id) = InvocationId::from_bytes(&failed.id) else { return };
        let mut here = false;
        if let Some(invoke) = &failed.accept {
            if self.known(id, invoke.sink.as_ref()) {
                return;
            }
            here = true;
            self.accept(invoke);
        }
        let Some(inv) = self.invocations.get(&id) else { return };
        let first = match inv.target.exclusive_object().and_then(|object| self.objects.get(&object)) {
            Some(obj) => obj.queue.front() == Some(&id),
            None => false,
        };
        let current = match inv.status {
            Status::Running if here => true,
            Status::Running => inv.attempt == failed.attempt && failed.term == self.term,
            Status::Queued => inv.target.form() == Form::Turn && first,
            _ => false,
        };
        if !current {
            self.fenced += 1;
            return;
        }
        if let Some(inv) = self.invocations.get_mut(&id) {
            inv.failures += 1;
        }
        match failed.next {
            Some(Next::RetryAfter(ms)) => {
                let due = self.log_time + ms.max(1);
                self.set(id, Status::BackingOff(due));
                self.timers.insert((due, 3, id, 0));
            }
            Some(Next::Fail(_)) => {
                self.complete(id, &Outcome::failure(failed.failure.unwrap_or_default()), true);
            }
            Some(Next::Pause(_)) | None => self.set(id, Status::Paused),
        }
    }

    fn note(&mut self, id: InvocationId, code: Code, note: &Notification) {
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        if matches!(inv.status, Status::Scheduled(_) | Status::Queued) {
            return;
        }
        inv.journal.push((code, note.encode_to_vec().into()));
        if let (Status::Suspended(ids), Some(id_of_note)) = (&inv.status, &note.id)
            && ids.contains(id_of_note)
        {
            self.start(id);
        }
    }

    fn response(&mut self, response: Response) {
        let Some(sink) = response.sink else { return };
        let Some(id) = InvocationId::from_bytes(&sink.caller) else { return };
        let result = match response.outcome.and_then(|outcome| outcome.kind) {
            Some(abide_model::command::OutcomeKind::Success(content)) => NotificationResult::Value(Value { content }),
            Some(abide_model::command::OutcomeKind::Failure(failure)) => NotificationResult::Failure(failure),
            None => NotificationResult::Void(Void {}),
        };
        let note = Notification { id: Some(NotificationId::Completion(sink.completion)), result: Some(result) };
        self.note(id, Code(u16::try_from(sink.code).unwrap_or(0)), &note);
    }

    fn attach(&mut self, attach: Attach, waits: bool) {
        let (Some(target), Some(sink)) = (InvocationId::from_bytes(&attach.target), attach.sink) else { return };
        match self.invocations.get_mut(&target) {
            Some(inv) if waits => inv.sinks.push(sink),
            Some(_) => self.respond(&sink, None),
            None => {
                let not_found = || Outcome::failure(Failure::new(404, "not found"));
                let outcome = self.kept.get(&target).map_or_else(not_found, |(outcome, _)| outcome.clone());
                self.respond(&sink, Some(outcome));
            }
        }
    }
}
