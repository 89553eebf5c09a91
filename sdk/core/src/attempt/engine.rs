//! The state of an attempt that its operations share: the rest of the journal to replay, what was issued, what is
//! waited for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use abide_model::command::Next;
use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::protocol::{
    Code, EagerStateResult, End, Failure, GetEagerState, GetEagerStateKeys, Header, Input, Notification,
    NotificationId, NotificationResult, Output, OutputResult, PlainCommand, ProposeRunCompletion, RawMessage,
    RunResult, SIGNAL_CANCEL, SendSignal, SetState, SignalId, SignalResult, StateKeyCommand, StateKeys, Value, Void,
};
use abide_model::table::{Awaiting, JournalRow};
use bytes::Bytes;

use super::{AttemptError, AttemptStart, Clock, compare};
use crate::random::Random;
use crate::service::{Fields, HandlerResult};

/// Number of an operation, in the order in which the code began them.
pub(crate) type OpId = u64;

/// What an operation came to: a notification's result, or the failure in it.
pub(crate) type OpResult = Result<NotificationResult, Failure>;

/// Something that user code may wait for.
struct Op {
    on: NotificationId,
    kind: OpKind,
    /// Place of its command among everything staged; 0 for signals, which no command of this flow brings about.
    staged_at: u64,
    /// Its result and the place of that in the order of reveals.
    result: Option<(u64, OpResult)>,
    /// Polled, and not ready then: cancellation interrupts it.
    awaited: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpKind {
    Step,
    /// Id of an invocation; kept for the whole attempt, as anybody may ask for it.
    InvocationId,
    Other,
}

/// A result to be revealed, in journal order.
struct Event {
    on: NotificationId,
    code: Code,
    result: OpResult,
}

/// A step that this attempt ran, its result not revealed yet.
struct LocalStep {
    op: OpId,
    staged_at: u64,
    /// Number of the flush that carries it.
    flush: Option<u64>,
    event: Event,
}

pub(crate) struct Engine {
    pub(crate) id: InvocationId,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<Header>,
    pub(crate) random: Random,
    shared: bool,
    clock: Rc<dyn Clock>,
    failures: u32,

    initial: Fields,
    seen: Fields,
    /// Fields whose first value is in the journal; for shared flows everything is, once `introduced`.
    recorded: BTreeSet<String>,
    introduced: bool,

    /// Commands of the journal that the code has not issued yet.
    replay: VecDeque<(u32, RawMessage)>,
    events: VecDeque<Event>,
    local: VecDeque<LocalStep>,
    ops: BTreeMap<OpId, Op>,
    /// Operations without a result, by what completes them.
    waiting_for: BTreeMap<NotificationId, VecDeque<OpId>>,
    /// Operations without a result that are not steps.
    outstanding: usize,
    /// Calls without a result: the completion of the result, and the operation that tells the callee's id.
    children: BTreeMap<u32, OpId>,
    next_op: OpId,
    next_completion: u32,
    next_signal: u32,
    reveals: u64,
    /// A step waits for its start.
    step_blocked: bool,
    /// Steps may start in this poll.
    starting: bool,
    steps_running: usize,

    staged: Vec<RawMessage>,
    staged_count: u64,
    out: Vec<RawMessage>,
    flushed: u64,
    committed: u64,
    failure: Option<(Failure, Option<Next>)>,
    top: Option<Waker>,
}

impl Engine {
    /// The engine and the handler's input.
    pub(super) fn new(start: AttemptStart) -> Result<(Self, Bytes), AttemptError> {
        let malformed = |reason: String| AttemptError::Journal { id: start.id, reason };
        let mut rows = start.journal.iter().map(JournalRow::message).zip(0u32..);
        let first = rows.next().ok_or_else(|| malformed("it is empty".to_owned()))?.0;
        if first.code != Code::INPUT {
            return Err(malformed(format!("entry 0 is {}, not Input", first.code)));
        }
        let input: Input = first.decode().map_err(|error| malformed(error.to_string()))?;
        let mut replay = VecDeque::new();
        let mut events = VecDeque::new();
        for (message, index) in rows {
            if message.code.is_notification() {
                events.push_back(Event::decode(&message).map_err(malformed)?);
            } else {
                replay.push_back((index, message));
            }
        }
        let mut engine = Self {
            id: start.id,
            key: start.key,
            headers: input.headers,
            random: Random::new(start.id.seed()),
            shared: start.shared,
            clock: start.clock,
            failures: start.failures,
            initial: start.fields,
            seen: Fields::new(),
            recorded: BTreeSet::new(),
            introduced: false,
            replay,
            events,
            local: VecDeque::new(),
            ops: BTreeMap::new(),
            waiting_for: BTreeMap::new(),
            outstanding: 0,
            children: BTreeMap::new(),
            next_op: 0,
            next_completion: 1,
            next_signal: AwakeableId::FIRST_SIGNAL,
            reveals: 0,
            step_blocked: false,
            starting: false,
            steps_running: 0,
            staged: Vec::new(),
            staged_count: 0,
            out: Vec::new(),
            flushed: 0,
            committed: 0,
            failure: None,
            top: None,
        };
        engine.restore_state().map_err(|reason| AttemptError::Journal { id: engine.id, reason })?;
        Ok((engine, input.value.map(|value| value.content).unwrap_or_default()))
    }

    // ---- state ----

    /// The state that the flow saw when it first began.
    pub(super) fn initial_state(&self) -> &Fields {
        &self.initial
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.key.is_some() && !self.shared
    }

    /// What the state looks like before the handler runs: only differences from it are changes.
    pub(super) fn saw_state(&mut self, fields: Fields) {
        self.seen = fields;
    }

    fn restore_state(&mut self) -> Result<(), String> {
        let introduction = self.replay.front().is_some_and(|(_, first)| first.code == Code::GET_EAGER_STATE_KEYS);
        if self.shared && introduction {
            self.initial.clear();
            self.introduced = true;
            self.replay.pop_front();
        }
        for (_, message) in &self.replay {
            if message.code != Code::GET_EAGER_STATE {
                continue;
            }
            let read: GetEagerState = message.decode().map_err(|error| error.to_string())?;
            let field = String::from_utf8_lossy(&read.key).into_owned();
            match read.result {
                Some(EagerStateResult::Value(value)) => self.initial.insert(field, value.content),
                Some(EagerStateResult::Void(_)) | None => self.initial.remove(&field),
            };
        }
        if self.introduced {
            self.replay.retain(|(_, message)| message.code != Code::GET_EAGER_STATE);
        }
        Ok(())
    }

    /// Stages the changes from the state last seen to `fields`, before everything that is staged.
    pub(crate) fn stage_state(&mut self, fields: Fields) {
        let mut changes = Vec::new();
        let gone = self.seen.keys().filter(|field| !fields.contains_key(*field));
        let set = fields.iter().filter(|(field, value)| self.seen.get(*field) != Some(value)).map(|(field, _)| field);
        let changed: BTreeSet<String> = gone.chain(set).cloned().collect();
        for field in changed {
            let key = Bytes::from(field.clone().into_bytes());
            let value = fields.get(&field).cloned();
            if self.recorded.insert(field) {
                changes.push(eager_state(&key, &self.initial));
            }
            changes.push(match value {
                Some(content) => RawMessage::new(
                    Code::SET_STATE,
                    &SetState { key, value: Some(Value { content }), name: String::new() },
                ),
                None => RawMessage::new(Code::CLEAR_STATE, &StateKeyCommand { key, ..StateKeyCommand::default() }),
            });
        }
        self.seen = fields;
        self.staged.splice(0..0, changes);
    }

    /// A shared flow that journals anything first journals all it may read.
    fn introduce(&mut self) {
        if self.introduced || !self.shared || self.key.is_none() {
            return;
        }
        self.introduced = true;
        let keys = self.initial.keys().map(|field| Bytes::from(field.clone().into_bytes())).collect::<Vec<_>>();
        let values: Vec<_> = keys.iter().map(|key| eager_state(key, &self.initial)).collect();
        let listing = GetEagerStateKeys { name: String::new(), value: Some(StateKeys { keys }) };
        self.out.push(RawMessage::new(Code::GET_EAGER_STATE_KEYS, &listing));
        self.out.extend(values);
    }

    // ---- commands ----

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// The next completion id.
    pub(crate) fn allocate_completion(&mut self) -> u32 {
        let id = self.next_completion;
        self.next_completion += 1;
        id
    }

    /// The next signal number.
    pub(crate) fn allocate_signal(&mut self) -> u32 {
        let index = self.next_signal;
        self.next_signal += 1;
        index
    }

    /// Issues a command: it is compared or emitted at the next [`Engine::settle`].
    pub(crate) fn stage(&mut self, message: RawMessage) {
        self.staged_count += 1;
        self.staged.push(message);
    }

    /// Compares what was staged with the journal, as far as that goes, and emits the rest.
    pub(crate) fn settle(&mut self) {
        for message in std::mem::take(&mut self.staged) {
            if self.failure.is_some() {
                return;
            }
            let Some((index, recorded)) = self.replay.pop_front() else {
                if message.code != Code::OUTPUT {
                    self.introduce();
                }
                self.out.push(message);
                continue;
            };
            if let Some(failure) = compare::difference(index, &recorded, &message) {
                self.fail(failure, None);
            }
        }
    }

    /// Takes what is to be proposed now.
    pub(super) fn flush(&mut self) -> Vec<RawMessage> {
        let messages = std::mem::take(&mut self.out);
        if !messages.is_empty() {
            self.flushed += 1;
            for step in &mut self.local {
                step.flush.get_or_insert(self.flushed);
            }
        }
        messages
    }

    /// The oldest uncommitted flush is durable: results of its steps now have their place among the events.
    pub(super) fn committed(&mut self) {
        self.committed = (self.committed + 1).min(self.flushed);
        self.failures = 0;
        while self.local.front().is_some_and(|step| step.flush.is_some_and(|flush| flush <= self.committed)) {
            let Some(step) = self.local.pop_front() else { return };
            let later = |event: &Event| self.staged_at(&event.on).is_some_and(|at| at > step.staged_at);
            let place = self.events.iter().position(later).unwrap_or(self.events.len());
            self.events.insert(place, step.event);
        }
    }

    /// Ends the journal.
    pub(super) fn end(&mut self, result: HandlerResult) {
        let result = match result {
            Ok(content) => OutputResult::Value(Value { content }),
            Err(failure) => OutputResult::Failure(failure),
        };
        self.stage(RawMessage::new(Code::OUTPUT, &Output { name: String::new(), result: Some(result) }));
        self.settle();
        if self.failure.is_some() {
            return;
        }
        if let Some((index, recorded)) = self.replay.front() {
            let failure = compare::ended_early(*index, recorded);
            self.fail(failure, None);
            return;
        }
        self.out.push(RawMessage::new(Code::END, &End {}));
    }

    // ---- failures ----

    /// Ends the attempt after the current poll; the first failure counts.
    pub(crate) fn fail(&mut self, failure: Failure, next: Option<Next>) {
        self.failure.get_or_insert((failure, next));
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn take_failure(&mut self) -> Option<(Failure, Option<Next>)> {
        self.failure.take()
    }

    /// Failed attempts since the last stored entry.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Spreads the retries of different invocations; the same for the same invocation and count.
    pub(crate) fn jitter(&self, failures: u32) -> f64 {
        Random::new(self.id.seed() ^ u64::from(failures)).fraction()
    }

    /// The journal shows that the code once went on from where it waits now.
    pub(super) fn stuck_in_replay(&self) -> Option<Failure> {
        let awaits = self.ops.values().any(|op| op.awaited && op.result.is_none());
        let (index, recorded) = self.replay.front().filter(|_| awaits)?;
        Some(compare::waits_instead(*index, recorded))
    }

    // ---- operations ----

    pub(super) fn polled_by(&mut self, waker: &Waker) {
        match &mut self.top {
            Some(top) => top.clone_from(waker),
            None => self.top = Some(waker.clone()),
        }
    }

    fn begin(&mut self, on: NotificationId, kind: OpKind) -> OpId {
        let op = self.next_op;
        self.next_op += 1;
        self.outstanding += usize::from(kind != OpKind::Step);
        self.waiting_for.entry(on.clone()).or_default().push_back(op);
        let staged_at = if matches!(on, NotificationId::Completion(_)) { self.staged_count } else { 0 };
        self.ops.insert(op, Op { on, kind, staged_at, result: None, awaited: false, waker: None });
        op
    }

    /// Begins an operation whose command, staged just before, completes with `completion`.
    pub(crate) fn begin_completion(&mut self, completion: u32) -> OpId {
        self.begin(NotificationId::Completion(completion), OpKind::Other)
    }

    /// Begins to wait for a signal.
    pub(crate) fn begin_signal(&mut self, signal: SignalId) -> OpId {
        let on = match signal {
            SignalId::Index(index) => NotificationId::SignalIndex(index),
            SignalId::Name(name) => NotificationId::SignalName(name),
        };
        self.begin(on, OpKind::Other)
    }

    /// Begins to wait for the id of the invocation that the command staged just before creates.
    pub(crate) fn begin_invocation_id(&mut self, completion: u32) -> OpId {
        self.begin(NotificationId::Completion(completion), OpKind::InvocationId)
    }

    /// Remembers that `id_op` tells the id of the callee whose result is `result`: cancellation is passed on to it.
    pub(crate) fn add_child(&mut self, id_op: OpId, result: u32) {
        self.children.insert(result, id_op);
    }

    /// The result of an operation, once, with its place in the order of reveals; or registers to be woken.
    pub(crate) fn poll_op(&mut self, id: OpId, waker: &Waker) -> Option<(u64, OpResult)> {
        let op = self.ops.get_mut(&id)?;
        if op.result.is_some() && op.kind == OpKind::InvocationId {
            return op.result.clone();
        }
        if op.result.is_some() {
            return self.ops.remove(&id).and_then(|op| op.result);
        }
        op.awaited = true;
        // The attempt polls its whole future after each reveal; only inner executors need to be woken.
        op.waker = self.top.as_ref().is_none_or(|top| !top.will_wake(waker)).then(|| waker.clone());
        None
    }

    /// The code will never ask for this result.
    pub(crate) fn abandon(&mut self, id: OpId) {
        let Some(op) = self.ops.get_mut(&id) else { return };
        if op.kind == OpKind::InvocationId {
            op.awaited = false;
            return;
        }
        if let Some(op) = self.ops.remove(&id)
            && op.result.is_none()
        {
            self.forget(id, &op);
        }
    }

    fn forget(&mut self, id: OpId, op: &Op) {
        self.outstanding -= usize::from(op.kind != OpKind::Step);
        if let Some(waiting) = self.waiting_for.get_mut(&op.on) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.waiting_for.remove(&op.on);
            }
        }
    }

    fn resolve(&mut self, id: OpId, result: OpResult) {
        let Some(mut op) = self.ops.remove(&id) else { return };
        self.forget(id, &op);
        if let NotificationId::Completion(completion) = &op.on {
            self.children.remove(completion);
        }
        op.result = Some((self.reveals, result));
        op.awaited = false;
        if let Some(waker) = op.waker.take() {
            waker.wake();
        }
        self.ops.insert(id, op);
    }

    fn op_for(&self, on: &NotificationId) -> Option<OpId> {
        self.waiting_for.get(on).and_then(|waiting| waiting.front().copied())
    }

    fn staged_at(&self, on: &NotificationId) -> Option<u64> {
        self.op_for(on).and_then(|id| self.ops.get(&id)).map(|op| op.staged_at)
    }

    // ---- steps ----

    /// Begins a step; its id in the journal, and the operation.
    pub(crate) fn begin_step(&mut self, name: &str) -> (u32, OpId) {
        let completion = self.allocate_completion();
        self.claim_step(completion, name);
        (completion, self.begin(NotificationId::Completion(completion), OpKind::Step))
    }

    /// Matches a step with its Run in the journal. Runs are journaled when they end, so they match by id, not by place.
    fn claim_step(&mut self, completion: u32, name: &str) {
        let issued = run_message(completion, name);
        let claims = |(_, recorded): &(u32, RawMessage)| compare::completion_ids(recorded).contains(&completion);
        let Some(place) = self.replay.iter().position(claims) else { return };
        if self.replay[place].1.code != Code::RUN {
            // Its place in the queue tells what the journal has instead.
            let (index, recorded) = &self.replay[place];
            if let Some(failure) = compare::difference(*index, recorded, &issued) {
                self.fail(failure, None);
            }
            return;
        }
        let Some((index, recorded)) = self.replay.remove(place) else { return };
        if let Some(failure) = compare::difference(index, &recorded, &issued) {
            self.fail(failure, None);
        }
    }

    /// Whether the closure of step `op` may run: everything before it is durable, its result is not in the journal, and
    /// the code can do nothing else. The last keeps a step from starting that is about to lose a race.
    pub(crate) fn may_run(&mut self, op: OpId) -> bool {
        if self.failure.is_some() || self.has_known_result(op) {
            return false;
        }
        let may = self.starting && self.is_quiet();
        self.step_blocked |= !may;
        self.steps_running += usize::from(may);
        may
    }

    /// A step that ran is not running any more, with or without a result.
    pub(crate) fn step_stopped(&mut self) {
        self.steps_running -= 1;
    }

    fn is_quiet(&self) -> bool {
        self.replay.is_empty()
            && self.staged.is_empty()
            && self.out.is_empty()
            && self.flushed == self.committed
            && self.next_event().is_none()
    }

    /// Lets steps start in the next poll, if any can.
    pub(super) fn start_steps(&mut self) -> bool {
        self.starting = self.step_blocked && self.is_quiet();
        self.step_blocked &= !self.starting;
        self.starting
    }

    /// A step ran to its end: journals it, and reveals its result in time.
    pub(crate) fn complete_step(&mut self, op: OpId, completion: u32, name: &str, result: Result<Bytes, Failure>) {
        self.stage(run_message(completion, name));
        self.stage(proposal(completion, result.clone()));
        let on = NotificationId::Completion(completion);
        let result = result.map(|content| NotificationResult::Value(Value { content }));
        let event = Event { on, code: Code::RUN_DONE, result };
        self.local.push_back(LocalStep { op, staged_at: self.staged_count, flush: None, event });
    }

    /// A step whose result is there at once: journaled without waiting for anything.
    pub(crate) fn instant_step(&mut self, name: &str, value: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let completion = self.allocate_completion();
        let on = NotificationId::Completion(completion);
        self.claim_step(completion, name);
        let known = self.events.iter().position(|event| event.on == on && event.code == Code::RUN_DONE);
        if let Some(event) = known.and_then(|place| self.events.remove(place))
            && let Ok(NotificationResult::Value(value)) = event.result
        {
            return value.content;
        }
        let value = value(self);
        self.stage(run_message(completion, name));
        self.stage(proposal(completion, Ok(value.clone())));
        value
    }

    fn has_known_result(&self, id: OpId) -> bool {
        let Some(op) = self.ops.get(&id) else { return false };
        self.local.iter().any(|step| step.op == id) || self.events.iter().any(|event| event.on == op.on)
    }

    // ---- reveals ----

    /// A notification was appended to the journal.
    pub(super) fn notify(&mut self, index: u32, entry: &JournalRow) {
        let message = entry.message();
        if !message.code.is_notification() || message.code == Code::RUN_DONE {
            return;
        }
        match Event::decode(&message) {
            Ok(event) => self.events.push_back(event),
            Err(reason) => self.fail(compare::unreadable(index, &reason), None),
        }
    }

    /// The place of the event that is to be revealed next, if one can be.
    ///
    /// Events nobody has asked for yet are passed over. An event of an operation that was issued after a step whose own
    /// result has no place in the journal yet waits for that step.
    fn next_event(&self) -> Option<usize> {
        let unplaced = self.local.front().map(|step| step.staged_at);
        for (place, event) in self.events.iter().enumerate() {
            if event.is_cancel() {
                if self.ops.values().any(|op| op.awaited && op.result.is_none()) {
                    return Some(place);
                }
            } else if let Some(at) = self.staged_at(&event.on) {
                return unplaced.is_none_or(|step| at <= step).then_some(place);
            }
        }
        None
    }

    /// Reveals one result to the code; `false` when there is none that can be.
    pub(super) fn reveal_next(&mut self) -> bool {
        self.reveals += 1;
        self.starting = false;
        if let Some(place) = self.next_event() {
            if !self.events[place].is_cancel() {
                self.reveal_event(place);
            } else if !self.reveal_finished_step() {
                self.events.remove(place);
                self.cancel();
            }
            return true;
        }
        self.outstanding == 0 && self.reveal_local(0)
    }

    fn reveal_event(&mut self, place: usize) {
        let Some(event) = self.events.remove(place) else { return };
        if let Some(op) = self.op_for(&event.on) {
            self.resolve(op, event.result);
        }
    }

    fn reveal_local(&mut self, place: usize) -> bool {
        let Some(step) = self.local.remove(place) else { return false };
        self.resolve(step.op, step.event.result);
        true
    }

    /// A step that has a result was not interrupted by the cancellation: otherwise it would have none.
    fn reveal_finished_step(&mut self) -> bool {
        let awaited = |engine: &Self, on: &NotificationId| {
            let op = engine.op_for(on).and_then(|id| engine.ops.get(&id));
            op.is_some_and(|op| op.kind == OpKind::Step && op.awaited)
        };
        if let Some(place) = self.events.iter().position(|event| awaited(self, &event.on)) {
            self.reveal_event(place);
            return true;
        }
        let place = self.local.iter().position(|step| awaited(self, &step.event.on));
        place.is_some_and(|place| self.reveal_local(place))
    }

    /// Passes the cancellation on to callees whose result is outstanding, and interrupts everything that is awaited.
    fn cancel(&mut self) {
        let ids: Vec<String> = self.children.values().filter_map(|id| self.callee(*id)).collect();
        for target_invocation_id in ids {
            self.stage(cancel_message(target_invocation_id));
        }
        self.settle();
        let awaited: Vec<OpId> =
            self.ops.iter().filter(|(_, op)| op.awaited && op.result.is_none()).map(|(id, _)| *id).collect();
        for op in awaited {
            self.resolve(op, Err(crate::Terminal::cancelled().failure()));
        }
    }

    fn callee(&self, id_op: OpId) -> Option<String> {
        match &self.ops.get(&id_op)?.result {
            Some((_, Ok(NotificationResult::InvocationId(id)))) => Some(id.clone()),
            _ => None,
        }
    }

    /// What the code waits for, when nothing else can wake it.
    pub(super) fn waiting(&self) -> Option<Awaiting> {
        if self.flushed != self.committed || self.steps_running > 0 {
            return None;
        }
        let mut awaiting = Awaiting { signals: vec![SIGNAL_CANCEL], ..Awaiting::default() };
        let mut any = false;
        for op in self.ops.values().filter(|op| op.awaited && op.result.is_none()) {
            any = true;
            match &op.on {
                NotificationId::Completion(id) => awaiting.completions.push(*id),
                NotificationId::SignalIndex(index) => awaiting.signals.push(*index),
                NotificationId::SignalName(name) => awaiting.names.push(name.clone()),
            }
        }
        any.then_some(awaiting)
    }
}

impl Event {
    fn decode(message: &RawMessage) -> Result<Self, String> {
        let Notification { id, result } = message.decode().map_err(|error| error.to_string())?;
        let on = id.ok_or_else(|| format!("{} without an id", message.code))?;
        let result = match result {
            Some(NotificationResult::Failure(failure)) => Err(failure),
            Some(result) => Ok(result),
            None => Ok(NotificationResult::Void(Void {})),
        };
        Ok(Self { on, code: message.code, result })
    }

    fn is_cancel(&self) -> bool {
        self.on == NotificationId::SignalIndex(SIGNAL_CANCEL)
    }
}

fn eager_state(key: &Bytes, fields: &Fields) -> RawMessage {
    let stored = std::str::from_utf8(key).ok().and_then(|field| fields.get(field));
    let result = match stored {
        Some(content) => EagerStateResult::Value(Value { content: content.clone() }),
        None => EagerStateResult::Void(Void {}),
    };
    let read = GetEagerState { key: key.clone(), name: String::new(), result: Some(result) };
    RawMessage::new(Code::GET_EAGER_STATE, &read)
}

fn run_message(completion: u32, name: &str) -> RawMessage {
    RawMessage::new(Code::RUN, &PlainCommand { result_completion_id: completion, name: name.to_owned() })
}

fn proposal(completion: u32, result: Result<Bytes, Failure>) -> RawMessage {
    let result = match result {
        Ok(value) => RunResult::Value(value),
        Err(failure) => RunResult::Failure(failure),
    };
    let proposal = ProposeRunCompletion { result_completion_id: completion, result: Some(result) };
    RawMessage::new(Code::PROPOSE_RUN_COMPLETION, &proposal)
}

/// The message that cancels an invocation.
pub(crate) fn cancel_message(target_invocation_id: String) -> RawMessage {
    let signal = SendSignal {
        target_invocation_id,
        signal_id: Some(SignalId::Index(SIGNAL_CANCEL)),
        result: Some(SignalResult::Void(Void {})),
        entry_name: String::new(),
    };
    RawMessage::new(Code::SEND_SIGNAL, &signal)
}
