//! The reference model: a naive interpreter of the committed log, in maps, sharing no code with the machine.
//!
//! It says what the tables have to hold after each entry, and what has ended how. It is slow, keeps everything and
//! knows nothing of effects; every difference between it and the product is a bug in one of them.

mod append;
mod compare;
mod edit;
mod end;
mod keep;
mod letter;
mod order;
mod promise;
mod restart;
mod schedule;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use abide_model::command::{
    Access, Attach, Body, Command, Deliver, Entry, Form, Holder, Invoke, Outcome, Parcel, ParcelBody, Response, Sink,
    Target,
};
use abide_model::id::{InvocationId, ObjectId, PartitionId, ScheduleId};
use abide_model::protocol::{Code, Failure, Input, Notification, NotificationId, NotificationResult, Value, Void};
use abide_model::table::{FailedAttempt, LetterRow};
use bytes::Bytes;
use prost::Message as _;

use crate::violation::{Check, Invariant, check};
pub(crate) use compare::compare;
use promise::Promise;
pub(crate) use schedule::Sched;

/// A timer: due, kind (1 start, 2 wake, 3 retry, 5 schedule), invocation or schedule, completion.
type Timer = (u64, u8, InvocationId, u32);
/// An entry of a journal.
type Note = (Code, Bytes);

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
    /// The last number given to an invocation or a schedule.
    lives: u64,
    pub(crate) invocations: BTreeMap<InvocationId, Inv>,
    pub(crate) objects: BTreeMap<ObjectId, Obj>,
    /// Every state that ever was, by its name.
    states: BTreeMap<(ObjectId, (u64, u64)), BTreeMap<String, Bytes>>,
    /// The highest version of a state that was forgotten.
    highest: u64,
    /// A version that was taken for two states.
    misnamed: Option<String>,
    kept: BTreeMap<InvocationId, Kept>,
    promises: BTreeMap<(ObjectId, String), Promise>,
    pub(crate) letters: BTreeMap<(String, u64), LetterRow>,
    /// Of each service: the number of the next letter, how many were dropped.
    letter_counts: BTreeMap<String, (u64, u64)>,
    pub(crate) schedules: BTreeMap<ScheduleId, Sched>,
    timers: BTreeSet<Timer>,
    sent: BTreeMap<u32, u64>,
    outbox: BTreeMap<(u32, u64), Parcel>,
    taken: BTreeMap<u32, u64>,
    /// Every message ever sent.
    history: BTreeMap<(u32, u64), Parcel>,
    local: VecDeque<Parcel>,
    /// Everything that was ever accepted, and its ends in order.
    pub(crate) ends: BTreeMap<InvocationId, Vec<Outcome>>,
    /// How often an operator has had a result forgotten.
    pub(crate) purges: BTreeMap<InvocationId, u64>,
    /// Accepted attempts of an invocation that were fenced off, for the report.
    pub(crate) fenced: u64,
    /// What was forgotten, for the report.
    pub(crate) forgotten: u64,
    /// Letters that were ever left, for the report.
    pub(crate) lettered: u64,
    /// Promises that were ever completed, for the report.
    pub(crate) promised: u64,
    /// Calls that were answered as deadlocks, for the report.
    pub(crate) deadlocks: u64,
    /// Edits that were carried out, for the report.
    pub(crate) edits: u64,
    /// Invocations that were repeated by an order, for the report.
    pub(crate) repeated: u64,
}

/// What its caller wants of an invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// How long the result is kept.
    retention: u64,
    /// How long the journal is kept.
    journal: u64,
    /// How long the state is kept that it changes.
    ttl: u64,
    one_way: bool,
    schedule: String,
    repeats: Bytes,
    idempotency: Option<String>,
    by: Bytes,
}

impl Terms {
    fn of(invoke: &Invoke) -> Self {
        Self {
            retention: invoke.retention_ms,
            journal: invoke.journal_retention_ms,
            ttl: invoke.state_ttl_ms,
            one_way: invoke.one_way,
            schedule: invoke.schedule.clone(),
            repeats: invoke.restarted_from.clone(),
            idempotency: invoke.idempotency_key.clone(),
            by: invoke.invoked_by.clone(),
        }
    }
}

/// An invocation under way.
#[derive(Clone, Debug)]
pub(crate) struct Inv {
    pub(crate) target: Target,
    pub(crate) status: Status,
    attempt: u32,
    journal: Vec<Note>,
    sinks: Vec<Sink>,
    chain: Vec<Holder>,
    terms: Terms,
    created_at: u64,
    failures: u32,
    last_failure: Option<Failure>,
    /// The last failed attempts, and how many there were.
    history: (Vec<FailedAttempt>, u32),
    seq: Option<u64>,
    pub(crate) life: u64,
    version: Option<String>,
}

/// A completed invocation that is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    target: Target,
    outcome: Outcome,
    created_at: u64,
    ended_at: u64,
    until: u64,
    journal: Vec<Note>,
    /// When the journal goes, if before the result; otherwise 0.
    journal_until: u64,
    attempt: u32,
    version: String,
    terms: Terms,
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
    pub(crate) version: (u64, u64),
    pub(crate) fields: BTreeMap<String, Bytes>,
    queue: VecDeque<InvocationId>,
    next_seq: u64,
    /// How long the state is kept, and until when; 0 is for ever.
    ttl: u64,
    expires: u64,
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
            check(part.misnamed.is_none(), Invariant::I2Linearizable, || part.misnamed.clone().unwrap_or_default())?;
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
        self.kept.get(&id).map(|kept| (&kept.outcome, kept.until))
    }

    /// Number of entries of the journal that is kept of the completed invocation `id`.
    pub(crate) fn kept_journal(&self, id: InvocationId) -> usize {
        self.kept.get(&id).map_or(0, |kept| kept.journal.len())
    }

    /// Whether nothing is under way, and nothing will begin by itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.invocations.is_empty() && self.schedules.is_empty()
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
            Some(Body::Turn(turn)) => return self.turn(turn),
            Some(Body::Append(append)) => return self.append(append),
            Some(Body::AttemptFailed(failed)) => self.failed(failed),
            Some(Body::Signal(signal)) => self.signal(&signal),
            Some(Body::Control(control)) => self.control(&control),
            Some(Body::FireTimers(_)) => self.fire(),
            Some(Body::Deliver(delivery)) => self.deliver(delivery),
            Some(Body::OutboxAck(ack)) => self.outbox.retain(|(to, seq), _| *to != ack.by || *seq > ack.up_to),
            Some(Body::Letter(order)) => self.letter_order(&order),
            Some(Body::Schedule(order)) => return self.schedule_order(order),
            Some(Body::Meta(_)) | None => {}
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

    fn respond(&mut self, callee: InvocationId, sink: &Sink, outcome: Option<Outcome>) {
        let callee = binary(callee);
        self.send(ParcelBody::Response(Response { sink: Some(sink.clone()), outcome, callee }));
    }

    /// Whether `invoke` was accepted before; whoever waits is then answered from that.
    fn known(&mut self, id: InvocationId, invoke: &Invoke) -> bool {
        let there = self.invocations.contains_key(&id) || self.kept.contains_key(&id);
        let run = invoke.target.as_ref().is_some_and(is_run);
        let Some(sink) = invoke.sink.as_ref().filter(|_| there) else { return there };
        if run && !invoke.one_way {
            let failure = Failure::new(409, "the workflow method was already invoked");
            self.respond(id, sink, Some(Outcome::failure(failure)));
        } else if let Some(inv) = self.invocations.get_mut(&id) {
            inv.sinks.push(sink.clone());
        } else if let Some(outcome) = self.kept.get(&id).map(|kept| kept.outcome.clone()) {
            self.respond(id, sink, Some(outcome));
        }
        true
    }

    fn accept(&mut self, invoke: &Invoke) {
        let (Some(id), Some(target)) = (invoke.id(), invoke.target.clone()) else { return };
        if self.known(id, invoke) {
            return;
        }
        self.record(id, invoke, target);
        if invoke.execute_at > self.log_time {
            self.set(id, Status::Scheduled(invoke.execute_at));
            self.timers.insert((invoke.execute_at, 1, id, 0));
        } else {
            self.admit(id);
        }
    }

    fn record(&mut self, id: InvocationId, invoke: &Invoke, target: Target) {
        self.ends.entry(id).or_default();
        self.lives += 1;
        let input = Input {
            headers: invoke.headers.clone(),
            name: String::new(),
            value: Some(Value { content: invoke.input.clone() }),
        };
        let inv = Inv {
            target,
            status: Status::Queued,
            attempt: 0,
            journal: vec![(Code::INPUT, input.encode_to_vec().into())],
            sinks: invoke.sink.iter().cloned().collect(),
            chain: invoke.chain.clone(),
            terms: Terms::of(invoke),
            created_at: self.log_time,
            failures: 0,
            last_failure: None,
            history: (Vec::new(), 0),
            seq: None,
            life: self.lives,
            version: None,
        };
        self.invocations.insert(id, inv);
    }

    /// Lets an accepted invocation take its turn.
    fn admit(&mut self, id: InvocationId) {
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        let form = inv.target.form();
        let Some(object) = inv.target.exclusive_object() else {
            return if form == Form::Edit { self.edit_now(id) } else { self.start(id) };
        };
        let obj = self.objects.entry(object).or_default();
        if form == Form::Edit && obj.queue.is_empty() {
            return self.edit_now(id);
        }
        inv.status = Status::Queued;
        inv.seq = Some(obj.next_seq);
        obj.next_seq += 1;
        obj.queue.push_back(id);
        if form == Form::Flow && obj.queue.len() == 1 {
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

    fn note(&mut self, id: InvocationId, code: Code, note: &Notification) {
        let Some(inv) = self.invocations.get_mut(&id) else { return };
        let repeated_sleep = inv.status == Status::Queued && code == Code::SLEEP_DONE;
        if matches!(inv.status, Status::Scheduled(_) | Status::Queued) && !repeated_sleep {
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
        if sink.code == u32::from(Code::SCHEDULED_RUN_DONE.0) {
            return self.run_ended(id, sink.life, &response.callee, response.outcome.unwrap_or_default());
        }
        if self.invocations.get(&id).is_none_or(|inv| inv.life != sink.life) {
            return;
        }
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
            Some(_) => self.respond(target, &sink, None),
            None => {
                let not_found = || Outcome::failure(Failure::new(404, "not found"));
                let outcome = self.kept.get(&target).map_or_else(not_found, |kept| kept.outcome.clone());
                self.respond(target, &sink, Some(outcome));
            }
        }
    }
}

impl Inv {
    /// The argument.
    fn input(&self) -> Bytes {
        let input = self.journal.first().and_then(|(_, input)| Input::decode(input.clone()).ok());
        input.and_then(|input| input.value).unwrap_or_default().content
    }
}

/// Whether this is the one handler of a workflow that runs once per key.
fn is_run(target: &Target) -> bool {
    target.access() == Access::Workflow && target.form() != Form::Edit
}

fn binary(id: InvocationId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}
