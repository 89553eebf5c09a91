//! The state of an attempt that its operations share: the rest of the journal to replay, what was issued, what is
//! waited for.

mod reveals;
mod state;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use abide_model::command::Next;
use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::protocol::{
    Code, End, Failure, Header, Input, Notification, NotificationId, NotificationResult, Output, OutputResult,
    RawMessage, SIGNAL_CANCEL, SendSignal, SignalId, SignalResult, Value, Void,
};
use abide_model::table::JournalRow;
use bytes::Bytes;

use super::{AttemptError, AttemptStart, Clock, compare};
use crate::random::Random;
use crate::service::{Fields, HandlerResult, Kind};

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
    /// The handler is a workflow's: there are promises.
    pub(crate) workflow: bool,
    shared: bool,
    clock: Rc<dyn Clock>,
    failures: u32,

    initial: Fields,
    seen: Fields,
    /// There are stored fields that the struct has not, or not in this form.
    outdated: bool,
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
    /// The engine of a handler of this kind of service, and the handler's input.
    pub(super) fn new(start: AttemptStart, kind: Kind) -> Result<(Self, Bytes), AttemptError> {
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
            workflow: kind == Kind::Workflow,
            shared: start.shared,
            clock: start.clock,
            failures: start.failures,
            initial: start.fields,
            seen: Fields::new(),
            outdated: false,
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
