//! A small stand-in for the machine: it turns the messages of an attempt into journal rows and notifications, fires
//! sleeps and answers calls, and can crash between any two flushes.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use abide_model::command::Next;
use abide_model::id::{InvocationId, Millis, PartitionKey};
use abide_model::protocol::*;
use abide_model::table::{Awaiting, JournalRow};
use abide_sdk::Handlers;
use abide_sdk::attempt::{Attempt, AttemptStart, Clock, Progress};
use abide_sdk::service::{Executable, Fields, Registry};
use bytes::Bytes;

pub type Answer = fn(&Call) -> Option<Result<String, Failure>>;

pub struct World {
    service: Arc<dyn Executable>,
    handler: usize,
    pub shared: bool,
    pub key: Option<String>,
    pub state: Fields,
    pub journal: Vec<JournalRow>,
    pub failures: u32,
    /// Log rounds, counting the acceptance.
    pub rounds: u32,
    pub outcome: Option<Result<String, Failure>>,
    pub clock: Rc<TestClock>,
    sleeps: BTreeMap<(u64, u32), ()>,
    pub calls: Vec<Call>,
    pub sends: Vec<OneWayCall>,
    pub signals: Vec<SendSignal>,
    /// Of the workflow; completed ones.
    pub promises: BTreeMap<String, Result<Value, Failure>>,
    /// Who waits for promises.
    listeners: Vec<(String, u32)>,
    pub answer: Answer,
    /// Start a new attempt whenever one could be suspended.
    pub suspend: bool,
    pub attempts: u32,
}

pub struct TestClock(pub Cell<u64>);

impl Clock for TestClock {
    fn now(&self) -> Millis {
        Millis(self.0.get())
    }
}

/// How [`World::run`] ended.
#[derive(Debug, PartialEq)]
pub enum Ended {
    Done,
    Crashed,
    Failed(Failure, Option<Next>),
    /// Waits for something that the test has to bring about.
    Waiting(Awaiting),
    /// Waits for a waker.
    Busy,
}

pub fn id() -> InvocationId {
    InvocationId { partition_key: PartitionKey(7), unique: 42 }
}

pub fn json(value: impl serde::Serialize) -> Bytes {
    serde_json::to_vec(&value).unwrap().into()
}

impl World {
    pub fn new<T: Handlers>(handler: &str, input: Bytes) -> Self {
        let registry = Registry::builder().bind::<T>().build();
        let (service, index) = registry.handler(T::NAME, handler).unwrap();
        let shared = service.descriptor().handlers[index].access == abide_model::command::Access::Shared;
        let keyed = service.descriptor().kind.is_keyed();
        let first = Input { headers: vec![], name: String::new(), value: Some(Value { content: input }) };
        Self {
            service,
            handler: index,
            shared,
            key: keyed.then(|| "k".to_owned()),
            state: Fields::new(),
            journal: vec![JournalRow::new(RawMessage::new(Code::INPUT, &first), Millis(0))],
            failures: 0,
            rounds: 1,
            outcome: None,
            clock: Rc::new(TestClock(Cell::new(1_000))),
            sleeps: BTreeMap::new(),
            calls: vec![],
            sends: vec![],
            signals: vec![],
            promises: BTreeMap::new(),
            listeners: vec![],
            answer: |_| None,
            suspend: false,
            attempts: 0,
        }
    }

    /// Another build: from now on attempts run this code.
    pub fn deploy<T: Handlers>(&mut self, handler: &str) {
        let registry = Registry::builder().bind::<T>().build();
        (self.service, self.handler) = registry.handler(T::NAME, handler).unwrap();
    }

    pub fn start(&mut self) -> Attempt {
        self.attempts += 1;
        let start = AttemptStart {
            id: id(),
            key: self.key.clone(),
            shared: self.shared,
            fields: self.state.clone(),
            journal: self.journal.clone(),
            failures: self.failures,
            clock: self.clock.clone(),
        };
        Attempt::start(start, &self.service, self.handler).unwrap()
    }

    /// Runs until done, or until nothing moves.
    pub fn run(&mut self) -> Ended {
        self.run_crashing(u32::MAX)
    }

    /// As [`World::run`]; the process dies instead of the flush number `crash` (from 0).
    pub fn run_crashing(&mut self, crash: u32) -> Ended {
        let mut attempt = self.start();
        self.drive(&mut attempt, crash)
    }

    pub fn drive(&mut self, attempt: &mut Attempt, crash: u32) -> Ended {
        let mut flushes = 0;
        loop {
            let progress = attempt.poll(&mut Context::from_waker(Waker::noop()));
            let (messages, then) = match progress {
                Progress::Done { messages } => (messages, Some(Ended::Done)),
                Progress::Failed { messages, failure, next } => (messages, Some(Ended::Failed(failure, next))),
                Progress::Pending { messages, waiting } => {
                    if messages.is_empty() {
                        let Some(waiting) = waiting else { return Ended::Busy };
                        if let Some(notified) = self.fire() {
                            attempt.notify(notified.0, notified.1);
                            continue;
                        }
                        return Ended::Waiting(waiting);
                    }
                    (messages, None)
                }
            };
            if !messages.is_empty() {
                if flushes == crash {
                    return Ended::Crashed;
                }
                flushes += 1;
                self.rounds += 1;
                self.failures = 0;
                for (index, row) in self.apply(messages) {
                    attempt.notify(index, row);
                }
                attempt.committed();
            }
            if let Some(ended) = then {
                if matches!(ended, Ended::Failed(..)) {
                    self.failures += 1;
                }
                return ended;
            }
            if self.suspend {
                *attempt = self.start();
            }
        }
    }

    fn push(&mut self, message: RawMessage) -> (u32, JournalRow) {
        let row = JournalRow::new(message, Millis(self.clock.0.get()));
        self.journal.push(row.clone());
        (u32::try_from(self.journal.len() - 1).unwrap(), row)
    }

    pub fn notify(&mut self, code: Code, id: NotificationId, result: NotificationResult) -> (u32, JournalRow) {
        self.push(RawMessage::new(code, &Notification { id: Some(id), result: Some(result) }))
    }

    pub fn cancel(&mut self) -> (u32, JournalRow) {
        self.notify(Code::SIGNAL, NotificationId::SignalIndex(1), NotificationResult::Void(Void {}))
    }

    pub fn answer_call(&mut self, completion: u32, result: Result<String, Failure>) -> (u32, JournalRow) {
        let result = match result {
            Ok(value) => NotificationResult::Value(Value { content: value.into() }),
            Err(failure) => NotificationResult::Failure(failure),
        };
        self.notify(Code::CALL_DONE, NotificationId::Completion(completion), result)
    }

    /// Fires the next sleep.
    pub fn fire(&mut self) -> Option<(u32, JournalRow)> {
        let ((due, completion), ()) = self.sleeps.pop_first()?;
        self.clock.0.set(self.clock.0.get().max(due));
        Some(self.notify(Code::SLEEP_DONE, NotificationId::Completion(completion), NotificationResult::Void(Void {})))
    }

    /// Applies a flush; the notifications to be told.
    pub fn apply(&mut self, messages: Vec<RawMessage>) -> Vec<(u32, JournalRow)> {
        let mut told = vec![];
        for message in messages {
            match message.code {
                Code::PROPOSE_RUN_COMPLETION => {
                    let proposal: ProposeRunCompletion = message.decode().unwrap();
                    let result = match proposal.result.unwrap() {
                        RunResult::Value(content) => NotificationResult::Value(Value { content }),
                        RunResult::Failure(failure) => NotificationResult::Failure(failure),
                    };
                    self.notify(Code::RUN_DONE, NotificationId::Completion(proposal.result_completion_id), result);
                    continue;
                }
                Code::END => {
                    let last = self.journal.last().unwrap().message();
                    let output: Output = last.decode().unwrap();
                    self.outcome = Some(match output.result.unwrap() {
                        OutputResult::Value(value) => Ok(String::from_utf8(value.content.to_vec()).unwrap()),
                        OutputResult::Failure(failure) => Err(failure),
                    });
                    continue;
                }
                _ => {}
            }
            self.push(message.clone());
            match message.code {
                Code::SET_STATE => {
                    let set: SetState = message.decode().unwrap();
                    self.state.insert(String::from_utf8(set.key.to_vec()).unwrap(), set.value.unwrap().content);
                }
                Code::CLEAR_STATE => {
                    let clear: StateKeyCommand = message.decode().unwrap();
                    self.state.remove(std::str::from_utf8(&clear.key).unwrap());
                }
                Code::SLEEP => {
                    let sleep: Sleep = message.decode().unwrap();
                    self.sleeps.insert((sleep.wake_up_time, sleep.result_completion_id), ());
                }
                Code::CALL => {
                    let call: Call = message.decode().unwrap();
                    let callee = InvocationId { partition_key: PartitionKey(1), unique: self.calls.len() as u128 };
                    told.push(self.notify(
                        Code::CALL_INVOCATION_ID,
                        NotificationId::Completion(call.invocation_id_notification_idx),
                        NotificationResult::InvocationId(callee.to_string()),
                    ));
                    if let Some(result) = (self.answer)(&call) {
                        told.push(self.answer_call(call.result_completion_id, result));
                    }
                    self.calls.push(call);
                }
                Code::ONE_WAY_CALL => {
                    let send: OneWayCall = message.decode().unwrap();
                    let callee = InvocationId { partition_key: PartitionKey(2), unique: self.sends.len() as u128 };
                    told.push(self.notify(
                        Code::CALL_INVOCATION_ID,
                        NotificationId::Completion(send.invocation_id_notification_idx),
                        NotificationResult::InvocationId(callee.to_string()),
                    ));
                    self.sends.push(send);
                }
                Code::SEND_SIGNAL => self.signals.push(message.decode().unwrap()),
                Code::GET_PROMISE => {
                    let get: PromiseCommand = message.decode().unwrap();
                    self.listeners.push((get.key, get.result_completion_id));
                    told.extend(self.tell_promises());
                }
                Code::PEEK_PROMISE => {
                    let peek: PromiseCommand = message.decode().unwrap();
                    let result = self.promises.get(&peek.key).cloned().map(promised);
                    let on = NotificationId::Completion(peek.result_completion_id);
                    let result = result.unwrap_or(NotificationResult::Void(Void {}));
                    told.push(self.notify(Code::PEEK_PROMISE_DONE, on, result));
                }
                Code::COMPLETE_PROMISE => {
                    let complete: CompletePromise = message.decode().unwrap();
                    let first = !self.promises.contains_key(&complete.key);
                    let result = match complete.result.unwrap() {
                        PromiseResult::Value(value) => Ok(value),
                        PromiseResult::Failure(failure) => Err(failure),
                    };
                    let on = NotificationId::Completion(complete.result_completion_id);
                    let answer = if first {
                        NotificationResult::Void(Void {})
                    } else {
                        NotificationResult::Failure(Failure::new(409, "promise was already completed"))
                    };
                    told.push(self.notify(Code::COMPLETE_PROMISE_DONE, on, answer));
                    self.promises.entry(complete.key).or_insert(result);
                    told.extend(self.tell_promises());
                }
                _ => {}
            }
        }
        told
    }

    /// Another invocation of the workflow completed a promise: the notifications to be told.
    pub fn complete_promise(&mut self, name: &str, result: Result<Bytes, Failure>) -> Vec<(u32, JournalRow)> {
        self.promises.insert(name.to_owned(), result.map(|content| Value { content }));
        self.tell_promises()
    }

    fn tell_promises(&mut self) -> Vec<(u32, JournalRow)> {
        let mut told = vec![];
        for (name, completion) in std::mem::take(&mut self.listeners) {
            match self.promises.get(&name).cloned() {
                Some(result) => {
                    let on = NotificationId::Completion(completion);
                    told.push(self.notify(Code::GET_PROMISE_DONE, on, promised(result)));
                }
                None => self.listeners.push((name, completion)),
            }
        }
        told
    }

    /// Names of the journal's entries.
    pub fn entries(&self) -> Vec<&'static str> {
        self.journal.iter().map(|row| row.message().code.name()).collect()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.state.get(name).map(|value| std::str::from_utf8(value).unwrap())
    }
}

fn promised(result: Result<Value, Failure>) -> NotificationResult {
    match result {
        Ok(value) => NotificationResult::Value(value),
        Err(failure) => NotificationResult::Failure(failure),
    }
}
