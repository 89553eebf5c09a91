//! A model of the consensus side: one log, applied when the test says so or at once, with the rules of the machine for
//! turns, mailboxes and attempts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use abide_model::command::{
    Access, Append, AttemptFailed, Body, Form, Invoke, Next, Outcome, OutcomeKind, StateVersion, Target, Turn,
};
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::{
    Call, Code, Failure, Input, Notification, NotificationId, NotificationResult, Output, OutputResult, PlainCommand,
    ProposeRunCompletion, RawMessage, RunResult, SetState, StateKeyCommand, Suspension, Value, Void,
};
use abide_model::table::JournalRow;
use bytes::Bytes;

use super::PARTITIONS;
use crate::event::{Fields, HostEvent, Queued, StartAttempt};
use crate::host::HostHandle;
use crate::port::{Completion, Order, Port, Refusal, Refused, Responder, Waiter};

/// The current leader's term.
const TERM: u64 = 3;

/// The model. Tests look at it directly.
#[derive(Default)]
pub(crate) struct World {
    /// Orders that were taken and not carried out.
    pub(crate) log: VecDeque<Order>,
    /// How many of the next orders are refused as overloaded.
    pub(crate) refuse: usize,
    pub(crate) objects: HashMap<ObjectId, Object>,
    pub(crate) invocations: HashMap<InvocationId, Row>,
    /// Results, also of ids without retention: tests look at them.
    pub(crate) completed: HashMap<InvocationId, Outcome>,
    /// Ids with an idempotency key that are known.
    pub(crate) known: HashSet<InvocationId>,
    /// What the last suspension said that its attempt had seen.
    pub(crate) suspended_having_seen: u32,
    /// Commands applied, by kind.
    pub(crate) applied: BTreeMap<&'static str, usize>,
    /// Versions that invocations are pinned to.
    pinned: HashMap<InvocationId, String>,
    /// Not delivered yet.
    events: Vec<HostEvent>,
    activations: u64,
    host: Option<HostHandle>,
}

#[derive(Default)]
pub(crate) struct Object {
    pub(crate) version: StateVersion,
    pub(crate) fields: Fields,
    pub(crate) mailbox: VecDeque<InvocationId>,
    activation: ActivationId,
    void: bool,
}

pub(crate) struct Row {
    pub(crate) work: Work,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) journal: Vec<JournalRow>,
    /// Why the last attempt failed.
    pub(crate) failure: Option<Failure>,
    responders: Vec<Responder>,
    sink: Option<(InvocationId, u32)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Status {
    Queued,
    Running,
    Resting,
    Suspended(Suspension),
}

#[derive(Clone)]
pub(crate) struct WorldPort(Arc<Mutex<World>>);

impl WorldPort {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics with the lock")
    }

    /// From now on orders are carried out as they are submitted, and the events go to `host`.
    pub(crate) fn connect(&self, host: HostHandle) {
        self.world().host = Some(host);
    }

    /// Does something to the world and delivers what follows.
    pub(crate) fn act(&self, act: impl FnOnce(&mut World)) {
        let mut world = self.world();
        act(&mut world);
        world.deliver();
    }
}

impl Port for WorldPort {
    fn submit(&self, order: Order) -> Result<(), Box<Refused>> {
        let mut world = self.world();
        if world.refuse > 0 {
            world.refuse -= 1;
            return Err(Box::new(Refused { order, refusal: Refusal::Overloaded }));
        }
        world.log.push_back(order);
        if world.host.is_some() {
            world.apply_all();
            world.deliver();
        }
        Ok(())
    }
}

impl World {
    fn deliver(&mut self) {
        let Some(host) = self.host.clone() else { return };
        for event in self.events.drain(..) {
            let shard = host.shard_of(key_of(&event));
            host.deliver(shard, vec![event]);
        }
    }

    /// Carries out everything that was submitted and returns what the host is to be told.
    pub(crate) fn apply_all(&mut self) {
        while self.apply_one() {}
    }

    /// Carries out the oldest order.
    pub(crate) fn apply_one(&mut self) -> bool {
        let Some(order) = self.log.pop_front() else { return false };
        match order {
            Order::Propose { body, waiter, .. } => self.propose(body, waiter),
            Order::Answer { activation, outcome, call, .. } => {
                self.count("answer");
                let object = call.invoke.target.as_ref().and_then(Target::object);
                let void = object.is_some_and(|object| {
                    let object = &self.objects[&object];
                    object.activation != activation || object.void
                });
                if void {
                    self.events.push(HostEvent::Again(Box::new(call)));
                } else {
                    let invocation = call.invoke.id().expect("well-formed");
                    let _ = call.responder.send(Ok(Completion { invocation, outcome, expires_at: None }));
                }
            }
            Order::Activate { object, .. } => self.activate(object),
        }
        true
    }

    /// What the host is to be told.
    pub(crate) fn take_events(&mut self) -> Vec<HostEvent> {
        std::mem::take(&mut self.events)
    }

    /// An invocation from elsewhere.
    pub(crate) fn accept_from_elsewhere(&mut self, invoke: Invoke) {
        self.accept(invoke, None);
    }

    /// Another writer changes an object's state.
    pub(crate) fn change(&mut self, object: &ObjectId, field: &str, value: &'static str) {
        let row = self.objects.entry(object.clone()).or_default();
        row.fields.insert(field.into(), Bytes::from_static(value.as_bytes()));
        row.version = row.version.next(ActivationId(0));
        self.events.push(HostEvent::StateChanged { object: object.clone() });
    }

    /// The retry timer of a resting invocation fires.
    /// Lets an invocation that is not accepted yet be one that started on this version of its code.
    pub(crate) fn pin(&mut self, id: InvocationId, version: &str) {
        self.pinned.insert(id, version.to_owned());
    }

    pub(crate) fn retry(&mut self, id: InvocationId) {
        let row = self.invocations.get(&id).expect("not completed");
        assert_eq!(row.status, Status::Resting);
        self.start(id);
    }

    /// An operator ends an invocation.
    pub(crate) fn kill(&mut self, id: InvocationId) {
        let outcome = Outcome::failure(abide_model::protocol::Failure::new(409, "killed"));
        self.complete(id, outcome, false);
    }

    /// A sleep ends, or a signal arrives.
    pub(crate) fn notify(&mut self, id: InvocationId, code: Code, notification: &Notification) {
        let Some(row) = self.invocations.get_mut(&id) else { return };
        let index = u32::try_from(row.journal.len()).expect("short");
        let entry = JournalRow::new(RawMessage::new(code, notification), Millis(0));
        row.journal.push(entry.clone());
        let awaited = match (&row.status, &notification.id) {
            (Status::Suspended(set), Some(NotificationId::Completion(id))) => set.waiting_completions.contains(id),
            (Status::Suspended(set), Some(NotificationId::SignalIndex(id))) => set.waiting_signals.contains(id),
            _ => false,
        };
        if awaited {
            self.start(id);
        } else if row.status == Status::Running {
            let attempt = row.attempt;
            self.events.push(HostEvent::Notify { invocation: id, attempt, index, entry });
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.applied.entry(kind).or_default() += 1;
    }

    fn activate(&mut self, id: ObjectId) {
        self.count("activate");
        self.activations += 1;
        let object = self.objects.entry(id.clone()).or_default();
        object.activation = ActivationId(self.activations);
        object.void = false;
        let queue = object.mailbox.iter().map(|queued| {
            let row = &self.invocations[queued];
            let held = row.work.target.form() == Form::Flow || matches!(row.status, Status::Resting | Status::Running);
            Queued { work: row.work.clone(), held }
        });
        self.events.push(HostEvent::Activated {
            activation: object.activation,
            version: object.version,
            fields: object.fields.clone(),
            queue: queue.take(4).collect(),
            more: object.mailbox.len() > 4,
            object: id,
        });
    }

    fn propose(&mut self, body: Body, waiter: Option<Waiter>) {
        match body {
            Body::Invoke(invoke) => {
                self.count("invoke");
                self.accept(invoke, waiter.map(|waiter| waiter.responder));
            }
            Body::Turn(turn) => {
                self.count("turn");
                self.turn(turn, waiter.map(|waiter| waiter.responder));
            }
            Body::AttemptFailed(failed) => {
                self.count("attempt_failed");
                self.attempt_failed(failed, waiter.map(|waiter| waiter.responder));
            }
            Body::Append(append) => {
                self.count("append");
                self.append(append);
            }
            other => panic!("the host never proposes {other:?}"),
        }
    }

    fn answer_if_known(&mut self, invoke: &Invoke, responder: &mut Option<Responder>) -> bool {
        let id = invoke.id().expect("well-formed");
        if invoke.idempotency_key.is_none() || !self.known.contains(&id) {
            return false;
        }
        if let Some(outcome) = self.completed.get(&id).cloned() {
            if let Some(responder) = responder.take() {
                let _ = responder.send(Ok(Completion { invocation: id, outcome, expires_at: Some(Millis(1)) }));
            }
        } else if let Some(row) = self.invocations.get_mut(&id) {
            row.responders.extend(responder.take());
        }
        true
    }

    fn accept(&mut self, invoke: Invoke, mut responder: Option<Responder>) {
        if self.answer_if_known(&invoke, &mut responder) {
            return;
        }
        let id = invoke.id().expect("well-formed");
        let target = invoke.target.clone().expect("well-formed");
        if invoke.idempotency_key.is_some() {
            self.known.insert(id);
        }
        let input = Input {
            headers: invoke.headers.clone(),
            name: String::new(),
            value: Some(Value { content: invoke.input.clone() }),
        };
        let work = Work { id, target, input: invoke.input, headers: invoke.headers, failures: 0, life: 1 };
        let exclusive = work.target.exclusive_object();
        let form = work.target.form();
        let sink =
            invoke.sink.map(|sink| (InvocationId::from_bytes(&sink.caller).expect("well-formed"), sink.completion));
        let row = Row {
            work: work.clone(),
            status: Status::Queued,
            attempt: 0,
            journal: vec![JournalRow::new(RawMessage::new(Code::INPUT, &input), Millis(0))],
            failure: None,
            responders: responder.into_iter().collect(),
            sink,
        };
        self.invocations.insert(id, row);
        let Some(object) = exclusive else { return self.start(id) };
        let mailbox = &mut self.objects.entry(object.clone()).or_default().mailbox;
        let rank = |id: &InvocationId| self.invocations[id].work.target.class().rank();
        let ahead = mailbox.iter().skip(1).take_while(|other| rank(other) <= rank(&id)).count();
        mailbox.insert(mailbox.len().min(1 + ahead), id);
        let first = mailbox.len() == 1;
        self.events.push(HostEvent::Enqueued { object, work });
        if first && form == Form::Flow {
            self.start(id);
        }
    }

    fn start(&mut self, id: InvocationId) {
        let row = self.invocations.get_mut(&id).expect("not completed");
        row.attempt += 1;
        row.status = Status::Running;
        let object = row.work.target.object();
        let fields = object.as_ref().and_then(|object| self.objects.get(object)).map(|object| object.fields.clone());
        self.events.push(HostEvent::Start(Box::new(StartAttempt {
            partition: PartitionId::of(id.partition_key, PARTITIONS),
            work: row.work.clone(),
            object,
            term: TERM,
            attempt: row.attempt,
            version: self.pinned.get(&id).cloned(),
            failures: row.work.failures,
            journal: row.journal.clone(),
            fields: fields.unwrap_or_default(),
        })));
    }

    fn reject(&mut self, object: Option<ObjectId>, activation: u64) {
        let Some(object) = object else { return };
        if let Some(row) = self.objects.get_mut(&object)
            && row.activation.0 == activation
        {
            row.void = true;
        }
        self.events.push(HostEvent::Rejected { object, activation: ActivationId(activation) });
    }

    fn turn(&mut self, turn: Turn, mut responder: Option<Responder>) {
        let id = InvocationId::from_bytes(&turn.id).expect("well-formed");
        if let Some(invoke) = turn.accept.clone() {
            let object = invoke.target.as_ref().and_then(Target::exclusive_object);
            if self.answer_if_known(&invoke, &mut responder) {
                return self.reject(object, turn.activation);
            }
            if let Some(object) = &object {
                let row = self.objects.entry(object.clone()).or_default();
                if !row.mailbox.is_empty() || turn.base != Some(row.version) {
                    self.reject(Some(object.clone()), turn.activation);
                    return self.accept(invoke, responder);
                }
            }
            if invoke.idempotency_key.is_some() {
                self.known.insert(id);
            }
            let outcome = self.commit(object.as_ref(), turn);
            self.completed.insert(id, outcome.clone());
            if let Some(responder) = responder {
                let _ = responder.send(Ok(Completion { invocation: id, outcome, expires_at: None }));
            }
            return;
        }
        let Some(row) = self.invocations.get(&id) else { return };
        let object = row.work.target.exclusive_object();
        let runs = matches!(row.status, Status::Queued | Status::Running);
        let current = object.as_ref().is_none_or(|object| {
            let object = &self.objects[object];
            object.mailbox.front() == Some(&id) && turn.base == Some(object.version)
        });
        if !runs || !current {
            return self.reject(object, turn.activation);
        }
        let outcome = self.commit(object.as_ref(), turn);
        self.complete(id, outcome, true);
    }

    fn commit(&mut self, object: Option<&ObjectId>, turn: Turn) -> Outcome {
        if let Some(object) = object.filter(|_| !turn.changes.is_empty()) {
            let row = self.objects.get_mut(object).expect("made when the turn was checked");
            for change in turn.changes {
                match change.value {
                    Some(value) => row.fields.insert(change.field, value),
                    None => row.fields.remove(&change.field),
                };
            }
            row.version = row.version.next(ActivationId(turn.activation));
        }
        for send in turn.sends {
            self.accept(send, None);
        }
        turn.outcome.expect("turns have outcomes")
    }

    fn complete(&mut self, id: InvocationId, outcome: Outcome, by_turn: bool) {
        let Some(row) = self.invocations.remove(&id) else { return };
        self.completed.insert(id, outcome.clone());
        for responder in row.responders {
            let outcome = outcome.clone();
            let _ = responder.send(Ok(Completion { invocation: id, outcome, expires_at: None }));
        }
        if let Some((caller, completion)) = row.sink {
            let result = match outcome.kind.expect("an outcome") {
                OutcomeKind::Success(content) => NotificationResult::Value(Value { content }),
                OutcomeKind::Failure(failure) => NotificationResult::Failure(failure),
            };
            let id = Some(NotificationId::Completion(completion));
            self.notify(caller, Code::CALL_DONE, &Notification { id, result: Some(result) });
        }
        let object = row.work.target.exclusive_object();
        if !by_turn {
            self.events.push(HostEvent::Abort { invocation: id, object: object.clone() });
        }
        let Some(object) = object else { return };
        let mailbox = &mut self.objects.get_mut(&object).expect("it was queued there").mailbox;
        let was_head = mailbox.front() == Some(&id);
        mailbox.retain(|queued| *queued != id);
        let Some(next) = mailbox.front().copied().filter(|_| was_head) else { return };
        let work = self.invocations[&next].work.clone();
        match work.target.form() {
            Form::Flow => self.start(next),
            Form::Turn if !by_turn => self.events.push(HostEvent::Enqueued { object, work }),
            Form::Turn | Form::Edit => {}
        }
    }

    fn attempt_failed(&mut self, failed: AttemptFailed, mut responder: Option<Responder>) {
        let id = InvocationId::from_bytes(&failed.id).expect("well-formed");
        let brought = failed.accept.is_some();
        if let Some(invoke) = failed.accept {
            if self.answer_if_known(&invoke, &mut responder) {
                return;
            }
            self.accept(invoke, responder);
        }
        let Some(row) = self.invocations.get_mut(&id) else { return };
        let current = match row.status {
            Status::Running => brought || (failed.attempt == row.attempt && failed.term == TERM),
            Status::Queued => {
                let object = row.work.target.exclusive_object().expect("others start at once");
                self.objects[&object].mailbox.front() == Some(&id)
            }
            Status::Resting | Status::Suspended(_) => false,
        };
        if !current {
            let work = row.work.clone();
            let object = work.target.exclusive_object().filter(|_| row.status == Status::Queued);
            let Some(object) = object else { return };
            let holder = self.objects[&object].mailbox.front().map(|id| self.invocations[id].work.target.class());
            if holder.is_some_and(|class| class != work.target.class()) {
                self.events.push(HostEvent::Abort { invocation: id, object: Some(object.clone()) });
                self.events.push(HostEvent::Enqueued { object, work });
            }
            return;
        }
        row.work.failures += u32::from(!failed.uncounted);
        row.failure.clone_from(&failed.failure);
        match failed.next.expect("the host always decides") {
            Next::RetryAfter(_) | Next::Pause(_) => row.status = Status::Resting,
            Next::Fail(_) => {
                let outcome = Outcome::failure(failed.failure.expect("the host always says why"));
                self.complete(id, outcome, false);
            }
        }
    }

    fn append(&mut self, append: Append) {
        let id = InvocationId::from_bytes(&append.id).expect("well-formed");
        let Some(row) = self.invocations.get(&id) else { return };
        if row.attempt != append.attempt || append.term != TERM || row.status != Status::Running {
            return;
        }
        let object = row.work.target.object();
        let exclusive = row.work.target.access() == Access::Exclusive;
        let mut notifications = Vec::new();
        for message in append.messages {
            let raw = message.raw();
            let row = self.invocations.get_mut(&id).expect("checked above");
            match raw.code {
                Code::END => {
                    let output = row.journal.iter().rev().find(|entry| entry.message().code == Code::OUTPUT);
                    let output: Output = output.expect("an output").message().decode().expect("well-formed");
                    let outcome = match output.result.expect("a result") {
                        OutputResult::Value(value) => Outcome::success(value.content),
                        OutputResult::Failure(failure) => Outcome::failure(failure),
                    };
                    return self.complete(id, outcome, false);
                }
                Code::SUSPENSION => {
                    row.status = Status::Suspended(raw.decode().expect("well-formed"));
                    self.suspended_having_seen = append.seen;
                    return;
                }
                Code::PROPOSE_RUN_COMPLETION => {
                    let proposed: ProposeRunCompletion = raw.decode().expect("well-formed");
                    let result = match proposed.result.expect("a result") {
                        RunResult::Value(content) => NotificationResult::Value(Value { content }),
                        RunResult::Failure(failure) => NotificationResult::Failure(failure),
                    };
                    let id = Some(NotificationId::Completion(proposed.result_completion_id));
                    let done = Notification { id, result: Some(result) };
                    row.journal.push(JournalRow::new(RawMessage::new(Code::RUN_DONE, &done), Millis(0)));
                    continue;
                }
                _ => row.journal.push(JournalRow::new(raw.clone(), Millis(0))),
            }
            row.work.failures = 0;
            match raw.code {
                Code::RUN => {
                    let _: PlainCommand = raw.decode().expect("well-formed");
                }
                Code::SET_STATE | Code::CLEAR_STATE if exclusive => {
                    let object = object.clone().expect("exclusive handlers have an object");
                    let state = self.objects.entry(object.clone()).or_default();
                    if raw.code == Code::SET_STATE {
                        let set: SetState = raw.decode().expect("well-formed");
                        let field = String::from_utf8(set.key.into()).expect("text");
                        state.fields.insert(field, set.value.expect("a value").content);
                    } else {
                        let clear: StateKeyCommand = raw.decode().expect("well-formed");
                        state.fields.remove(std::str::from_utf8(&clear.key).expect("text"));
                    }
                    state.version = state.version.next(ActivationId(0));
                    self.events.push(HostEvent::StateChanged { object });
                }
                Code::CALL => {
                    let call: Call = raw.decode().expect("well-formed");
                    let callee = message.callee.expect("the host resolves calls");
                    let created = callee.id().expect("well-formed").to_string();
                    let told = NotificationResult::InvocationId(created);
                    notifications.push((call.invocation_id_notification_idx, Code::CALL_INVOCATION_ID, told));
                    let sink = abide_model::command::Sink::new(id, 1, call.result_completion_id, Code::CALL_DONE);
                    self.accept(Invoke { sink: Some(sink), ..callee }, None);
                }
                Code::ONE_WAY_CALL => {
                    self.accept(message.callee.expect("the host resolves calls"), None);
                }
                _ => {}
            }
        }
        self.events.push(HostEvent::Appended { invocation: id, attempt: append.attempt });
        for (completion, code, result) in notifications {
            let completion = Some(NotificationId::Completion(completion));
            self.notify(id, code, &Notification { id: completion, result: Some(result) });
        }
    }

    /// Ends the sleep with this completion id.
    pub(crate) fn wake(&mut self, id: InvocationId, completion: u32) {
        let completion = Some(NotificationId::Completion(completion));
        let slept = Notification { id: completion, result: Some(NotificationResult::Void(Void {})) };
        self.notify(id, Code::SLEEP_DONE, &slept);
    }
}

fn key_of(event: &HostEvent) -> PartitionKey {
    match event {
        HostEvent::Activated { object, .. }
        | HostEvent::Enqueued { object, .. }
        | HostEvent::Rejected { object, .. }
        | HostEvent::NotLeading { object }
        | HostEvent::StateChanged { object } => PartitionKey::of(&object.key),
        HostEvent::Start(start) => start.work.id.partition_key,
        HostEvent::Notify { invocation, .. }
        | HostEvent::Appended { invocation, .. }
        | HostEvent::Abort { invocation, .. } => invocation.partition_key,
        HostEvent::Again(call) | HostEvent::Read { call, .. } => call.invoke.id().expect("well-formed").partition_key,
        HostEvent::Drain | HostEvent::Lost { .. } => unreachable!("tests deliver it themselves"),
    }
}
