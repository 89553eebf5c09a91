//! Flows as small random programs, and the interpreter that runs them.
//!
//! A program follows from its invocation's input alone, so that every attempt meets the same one. The interpreter runs
//! it from the top each time: what the journal has is replayed, what it has not is new, until something is missing.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{Access, FlowMessage, Invoke, Target};
use abide_model::id::{AwakeableId, InvocationId};
use abide_model::protocol::{
    AwakeableResult, Call, Code, CompleteAwakeable, CompletePromise, EagerStateResult, Failure, GetEagerState,
    InvocationTarget, NotificationId, NotificationResult, OneWayCall, Output, OutputResult, PlainCommand,
    PromiseCommand, PromiseResult, RawMessage, SIGNAL_CANCEL, SendSignal, SetState, SignalId, SignalResult, Sleep,
    StateKeyCommand, Value,
};
use bytes::Bytes;
use prost::Message as _;

use crate::names::{self, Callee};
use crate::rng::{Rng, fold};

/// Signal that a `Poke` sends.
const POKE: u32 = 40;
/// First signal of awakeables.
pub(crate) const AWAKEABLE: u32 = 17;

/// The handler of workflows that does nothing but complete a promise.
pub(crate) const RESOLVE: &str = "resolve";

/// One step of a program.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Sets a field.
    Set(u8, u8),
    /// Removes a field.
    Clear(u8),
    /// Removes all fields.
    ClearAll,
    /// Reads a field through the log.
    Lazy(u8),
    /// Lists the fields through the log.
    Keys,
    /// Reads a field of the state that came with the attempt.
    Eager(u8),
    /// Runs user code.
    Run,
    /// Sleeps for ms.
    Sleep(u64),
    /// Calls.
    Call(Callee),
    /// Sends, to be run after ms.
    Send(Callee, u64),
    /// Creates an awakeable.
    Awakeable,
    /// Calls its own key, or that of a cart which waits for it.
    CallUp(Callee),
    /// Waits for the signal of this name.
    Named(u8),
    /// Gives the signal of this name to what the step of this number sent.
    PokeNamed(usize, u8),
    /// Completes the first awakeable of what the step of this number sent.
    Complete(usize),
    /// Waits for a promise.
    GetPromise(u8),
    /// Looks at a promise.
    PeekPromise(u8),
    /// Completes a promise, with a failure or a value.
    CompletePromise(u8, bool),
    /// Waits for the result of what the step of this number sent.
    Attach(usize),
    /// Looks at the result of what the step of this number sent.
    Peek(usize),
    /// Signals what the step of this number sent.
    Poke(usize),
    /// Waits for the result of the step of this number.
    Await(usize),
    /// Waits for the first result of the steps of these numbers.
    Race(usize, usize),
}

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    ops: Vec<Op>,
    /// Whether its end is a failure.
    fails: bool,
}

impl Program {
    /// The program that `input` of a flow stands for.
    pub(crate) fn of(target: &Target, input: &[u8]) -> Self {
        if target.handler == RESOLVE {
            let promise = input.first().copied().unwrap_or(0);
            return Self { ops: vec![Op::CompletePromise(promise, false), Op::Await(0)], fails: false };
        }
        let depth = input.first().copied().unwrap_or(0);
        let mut draft =
            Draft { rng: Rng::stream(fold(0, input), "program"), ops: Vec::new(), open: Vec::new(), sent: Vec::new() };
        for _ in 0..draft.rng.range(1, 7) {
            draft.step(target, input, depth);
            if !draft.open.is_empty() && draft.rng.chance(5_000) {
                let of = draft.open.remove(0);
                draft.ops.push(Op::Await(of));
            }
        }
        draft.ops.extend(draft.open.into_iter().map(Op::Await));
        Self { ops: draft.ops, fails: draft.rng.chance(1_000) }
    }
}

/// A program that is being written.
struct Draft {
    rng: Rng,
    ops: Vec<Op>,
    /// Steps whose results nobody has waited for.
    open: Vec<usize>,
    /// Steps that sent something.
    sent: Vec<usize>,
}

impl Draft {
    fn step(&mut self, target: &Target, input: &[u8], depth: u8) {
        let (service, workflow) = (target.service.as_str(), target.workflow);
        let when = |holds: bool, weight: u64| if holds { weight } else { 0 };
        let writes = when(target.key.is_some() && target.access() != Access::Shared, 3);
        let reads = when(target.key.is_some(), 3);
        let calls = when(depth < 3, 3);
        let promises = when(workflow, 5);
        let up = when(target.key.is_some() && depth < 3, 1);
        let known = when(!self.sent.is_empty(), 1);
        let race = when(self.open.len() > 1, 3);
        let here = self.ops.len();
        let weights = [writes, reads, 4, 2, calls, calls, 1, known, known, known, race, promises, up, 1, known, known];
        let rng = &mut self.rng;
        match rng.weighted(&weights) {
            0 => self.ops.push(match rng.below(6) {
                0 => Op::Clear(field(rng)),
                1 => Op::ClearAll,
                _ => Op::Set(field(rng), rng.next().to_le_bytes()[0]),
            }),
            1 => match rng.below(5) {
                0 => self.ops.extend([Op::Keys, Op::Await(here)]),
                // The state of a workflow may be edited while an attempt runs.
                3 | 4 if !workflow => self.ops.push(Op::Eager(field(rng))),
                _ => self.ops.extend([Op::Lazy(field(rng)), Op::Await(here)]),
            },
            2 => self.ops.extend([Op::Run, Op::Await(here)]),
            3 => {
                self.ops.push(Op::Sleep(rng.range(0, 400)));
                self.open.push(here);
            }
            4 => {
                let mut callee = Callee::draw(rng, service, depth);
                if let (names::CART, names::STOCK, Some(key)) = (service, callee.service, &target.key) {
                    callee.input.extend(key.bytes());
                }
                self.ops.push(Op::Call(callee));
                self.open.push(here);
            }
            5 => {
                let delay = if rng.chance(3_000) { rng.range(1, 500) } else { 0 };
                self.ops.push(Op::Send(Callee::draw(rng, service, depth), delay));
                self.sent.push(here);
            }
            6 => {
                self.ops.push(Op::Awakeable);
                self.open.push(here);
            }
            7 => {
                let of = self.earlier();
                self.ops.push(Op::Attach(of));
                self.open.push(here);
            }
            8 => {
                let of = self.earlier();
                self.ops.extend([Op::Peek(of), Op::Await(here)]);
            }
            9 => {
                let of = self.earlier();
                self.ops.push(Op::Poke(of));
            }
            10 => self.ops.push(Op::Race(self.open[0], self.open[1])),
            11 => self.promise(here),
            12 => {
                let callee = self.holder(target, input, depth);
                self.ops.push(Op::CallUp(callee));
                self.open.push(here);
            }
            13 => {
                self.ops.push(Op::Named(self.rng.next().to_le_bytes()[0] % 2));
                self.open.push(here);
            }
            14 => {
                let of = self.earlier();
                self.ops.push(Op::PokeNamed(of, self.rng.next().to_le_bytes()[0] % 2));
            }
            _ => {
                let of = self.earlier();
                self.ops.push(Op::Complete(of));
            }
        }
    }

    fn earlier(&mut self) -> usize {
        self.sent[usize::try_from(self.rng.below(self.sent.len() as u64)).unwrap_or(0)]
    }

    fn promise(&mut self, here: usize) {
        let name = self.rng.next().to_le_bytes()[0] % 3;
        match self.rng.below(4) {
            0 => {
                self.ops.push(Op::GetPromise(name));
                self.open.push(here);
            }
            1 => self.ops.extend([Op::PeekPromise(name), Op::Await(here)]),
            _ => {
                self.ops.push(Op::CompletePromise(name, self.rng.chance(2_000)));
                self.open.push(here);
            }
        }
    }

    /// Its own key, or that of the cart that waits for it.
    fn holder(&mut self, target: &Target, input: &[u8], depth: u8) -> Callee {
        let up = input.get(names::FLOW_INPUT..).filter(|key| !key.is_empty());
        match (target.service.as_str(), up) {
            (names::STOCK, Some(key)) => {
                let key = String::from_utf8_lossy(key).into_owned();
                Callee::flow(&mut self.rng, names::CART, Some(key), depth + 1)
            }
            (names::ORDER, _) => {
                Callee::workflow(&mut self.rng, "run", target.key.clone().unwrap_or_default(), depth + 1)
            }
            (service, _) => {
                let service = if service == names::CART { names::CART } else { names::STOCK };
                Callee::flow(&mut self.rng, service, target.key.clone(), depth + 1)
            }
        }
    }
}

fn field(rng: &mut Rng) -> u8 {
    b'a' + u8::try_from(rng.below(3)).unwrap_or(0)
}

fn field_name(field: u8) -> String {
    char::from(field).to_string()
}

fn signal_name(name: u8) -> String {
    format!("s{name}")
}

pub(crate) fn promise_name(promise: u8) -> String {
    format!("p{promise}")
}

/// What an attempt knows: the commands and notifications of its journal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Commands in order, without the Input.
    pub(crate) commands: Vec<(Code, Bytes)>,
    /// The first notification of each kind, with its index.
    pub(crate) notes: BTreeMap<NotificationId, (u32, NotificationResult)>,
}

/// Where the interpreter stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Any of these has to come first.
    Wait(Vec<NotificationId>),
    /// User code is to be run for this completion, once everything before is durable.
    Run(u32),
    /// It is over.
    End(OutputResult),
    /// The journal says something else than the program.
    Mismatch(String),
}

/// One run of the interpreter from the top.
pub(crate) struct Replay<'a> {
    pub(crate) known: &'a Known,
    /// The object's state as the attempt got it, with the attempt's own changes.
    pub(crate) fields: &'a mut BTreeMap<String, Bytes>,
    /// The host's clock in ms.
    pub(crate) now: u64,
    /// Decides ids of callees that are not idempotent.
    pub(crate) entropy: &'a mut Rng,
    /// Commands that the journal does not have.
    pub(crate) fresh: Vec<FlowMessage>,
    cursor: usize,
    next_completion: u32,
    next_signal: u32,
    /// Where results of user code come.
    steps: BTreeSet<NotificationId>,
    digest: u64,
}

/// What a step left behind for later ones.
#[derive(Clone, Default)]
struct Slot {
    /// Where its result comes.
    result: Option<NotificationId>,
    /// Where the id of what it sent comes.
    callee: Option<u32>,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(
        known: &'a Known,
        fields: &'a mut BTreeMap<String, Bytes>,
        now: u64,
        entropy: &'a mut Rng,
    ) -> Self {
        Self {
            known,
            fields,
            now,
            entropy,
            fresh: Vec::new(),
            cursor: 0,
            next_completion: 1,
            next_signal: AWAKEABLE,
            steps: BTreeSet::new(),
            digest: 0,
        }
    }

    /// Runs `program` as far as it goes.
    pub(crate) fn run(&mut self, program: &Program) -> Stop {
        let mut slots: Vec<Slot> = Vec::new();
        for op in &program.ops {
            let mut slot = Slot::default();
            match self.step(op, &slots, &mut slot) {
                Ok(()) => slots.push(slot),
                Err(stop) => return stop,
            }
        }
        if program.fails {
            return self.end(OutputResult::Failure(Failure::new(500, format!("as planned {:x}", self.digest))));
        }
        let value = Value { content: Bytes::from(format!("{:016x}", self.digest)) };
        self.end(OutputResult::Value(value))
    }

    fn end(&mut self, result: OutputResult) -> Stop {
        let output = Output { name: self.name(), result: Some(result.clone()) };
        match self.command(Code::OUTPUT, output.encode_to_vec(), None) {
            Ok(_) => Stop::End(result),
            Err(stop) => stop,
        }
    }

    fn step(&mut self, op: &Op, slots: &[Slot], slot: &mut Slot) -> Result<(), Stop> {
        let name = self.name();
        match op {
            Op::Set(field, byte) => {
                let value = Value { content: Bytes::copy_from_slice(&[*byte]) };
                let set = SetState { key: Bytes::from(field_name(*field)), value: Some(value), name };
                self.command(Code::SET_STATE, set.encode_to_vec(), None)?;
                if !self.fresh.is_empty() {
                    self.fields.insert(field_name(*field), Bytes::copy_from_slice(&[*byte]));
                }
            }
            Op::Clear(field) => {
                let clear = StateKeyCommand { key: Bytes::from(field_name(*field)), result_completion_id: 0, name };
                self.command(Code::CLEAR_STATE, clear.encode_to_vec(), None)?;
                if !self.fresh.is_empty() {
                    self.fields.remove(&field_name(*field));
                }
            }
            Op::ClearAll => {
                let clear = PlainCommand { result_completion_id: 0, name };
                self.command(Code::CLEAR_ALL_STATE, clear.encode_to_vec(), None)?;
                if !self.fresh.is_empty() {
                    self.fields.clear();
                }
            }
            Op::Lazy(field) => {
                let result_completion_id = self.completion(slot);
                let get = StateKeyCommand { key: Bytes::from(field_name(*field)), result_completion_id, name };
                self.command(Code::GET_LAZY_STATE, get.encode_to_vec(), None)?;
            }
            Op::Keys => {
                let result_completion_id = self.completion(slot);
                let get = PlainCommand { result_completion_id, name };
                self.command(Code::GET_LAZY_STATE_KEYS, get.encode_to_vec(), None)?;
            }
            Op::Eager(field) => {
                let result = Some(match self.fields.get(&field_name(*field)) {
                    Some(value) => EagerStateResult::Value(Value { content: value.clone() }),
                    None => EagerStateResult::Void(abide_model::protocol::Void {}),
                });
                let get = GetEagerState { key: Bytes::from(field_name(*field)), name, result };
                let stored = self.command(Code::GET_EAGER_STATE, get.encode_to_vec(), None)?;
                self.digest = fold(self.digest, &stored);
            }
            Op::Run => {
                let completion = self.completion(slot);
                self.steps.insert(NotificationId::Completion(completion));
                let run = PlainCommand { result_completion_id: completion, name };
                self.command(Code::RUN, run.encode_to_vec(), None)?;
                if !self.known.notes.contains_key(&NotificationId::Completion(completion)) {
                    return Err(Stop::Run(completion));
                }
            }
            Op::Sleep(ms) => {
                let completion = self.completion(slot);
                let sleep = Sleep { wake_up_time: self.now + ms, result_completion_id: completion, name };
                self.command(Code::SLEEP, sleep.encode_to_vec(), None)?;
            }
            Op::Call(callee) | Op::CallUp(callee) => {
                let id_completion = self.callee_completion(slot);
                let result_completion_id = self.completion(slot);
                let invoke = self.resolve(callee, 0);
                let call = Call {
                    service_name: callee.service.to_owned(),
                    invocation_id_notification_idx: id_completion,
                    result_completion_id,
                    name,
                    ..Call::default()
                };
                self.command(Code::CALL, call.encode_to_vec(), Some(invoke))?;
            }
            Op::Send(callee, delay) => {
                let invocation_id_notification_idx = self.callee_completion(slot);
                let invoke = self.resolve(callee, if *delay > 0 { self.now + delay } else { 0 });
                let send = OneWayCall {
                    service_name: callee.service.to_owned(),
                    invocation_id_notification_idx,
                    name,
                    ..OneWayCall::default()
                };
                self.command(Code::ONE_WAY_CALL, send.encode_to_vec(), Some(invoke))?;
            }
            Op::Awakeable => {
                slot.result = Some(NotificationId::SignalIndex(self.next_signal));
                self.next_signal += 1;
            }
            Op::Attach(of) | Op::Peek(of) => {
                let invocation_id = self.callee_of(&slots[*of])?;
                let result_completion_id = self.completion(slot);
                let target = InvocationTarget { invocation_id, result_completion_id, name };
                let waits = matches!(op, Op::Attach(_));
                let code = if waits { Code::ATTACH_INVOCATION } else { Code::GET_INVOCATION_OUTPUT };
                self.command(code, target.encode_to_vec(), None)?;
            }
            Op::Poke(of) => {
                let signal = SendSignal {
                    target_invocation_id: self.callee_of(&slots[*of])?,
                    signal_id: Some(SignalId::Index(POKE)),
                    result: Some(SignalResult::Value(Value { content: Bytes::from_static(b"poke") })),
                    entry_name: name,
                };
                self.command(Code::SEND_SIGNAL, signal.encode_to_vec(), None)?;
            }
            Op::Named(name) => slot.result = Some(NotificationId::SignalName(signal_name(*name))),
            Op::PokeNamed(of, signal) => {
                let signal = SendSignal {
                    target_invocation_id: self.callee_of(&slots[*of])?,
                    signal_id: Some(SignalId::Name(signal_name(*signal))),
                    result: Some(SignalResult::Failure(Failure::new(400, "poked by name"))),
                    entry_name: name,
                };
                self.command(Code::SEND_SIGNAL, signal.encode_to_vec(), None)?;
            }
            Op::Complete(of) => {
                let text = self.callee_of(&slots[*of])?;
                let invocation = text.parse::<InvocationId>().map_err(|error| Stop::Mismatch(error.to_string()))?;
                let complete = CompleteAwakeable {
                    awakeable_id: AwakeableId { invocation, signal: AWAKEABLE }.to_string(),
                    result: Some(AwakeableResult::Value(Value { content: Bytes::from_static(b"completed") })),
                    name,
                };
                self.command(Code::COMPLETE_AWAKEABLE, complete.encode_to_vec(), None)?;
            }
            Op::GetPromise(promise) | Op::PeekPromise(promise) => {
                let result_completion_id = self.completion(slot);
                let command = PromiseCommand { key: promise_name(*promise), result_completion_id, name };
                let waits = matches!(op, Op::GetPromise(_));
                let code = if waits { Code::GET_PROMISE } else { Code::PEEK_PROMISE };
                self.command(code, command.encode_to_vec(), None)?;
            }
            Op::CompletePromise(promise, fails) => {
                let result_completion_id = self.completion(slot);
                let result = Some(if *fails {
                    PromiseResult::Failure(Failure::new(400, "rejected"))
                } else {
                    // Another one for each that completes it, so that a second completion shows.
                    PromiseResult::Value(Value { content: Bytes::from(format!("{:x} {name}", self.digest)) })
                });
                let command = CompletePromise { key: promise_name(*promise), result, result_completion_id, name };
                self.command(Code::COMPLETE_PROMISE, command.encode_to_vec(), None)?;
            }
            Op::Await(of) => {
                let (_, result) = self.wait(slots[*of].result.as_slice())?;
                self.digest = fold_result(self.digest, &result);
            }
            Op::Race(first, second) => {
                let of: Vec<_> = [first, second].iter().filter_map(|of| slots[**of].result.clone()).collect();
                let (winner, result) = self.wait(&of)?;
                self.digest = fold_result(fold(self.digest, format!("{winner:?}").as_bytes()), &result);
            }
        }
        Ok(())
    }

    /// The name of the next command, by which a replay notices that it went astray.
    fn name(&self) -> String {
        format!("c{}", self.cursor)
    }

    fn completion(&mut self, slot: &mut Slot) -> u32 {
        let completion = self.next_completion;
        self.next_completion += 1;
        slot.result = Some(NotificationId::Completion(completion));
        completion
    }

    fn callee_completion(&mut self, slot: &mut Slot) -> u32 {
        let completion = self.next_completion;
        self.next_completion += 1;
        slot.callee = Some(completion);
        completion
    }

    fn callee_of(&mut self, slot: &Slot) -> Result<String, Stop> {
        let completion = slot.callee.unwrap_or(0);
        match self.wait(&[NotificationId::Completion(completion)])? {
            (_, NotificationResult::InvocationId(text)) => Ok(text),
            (_, other) => Err(Stop::Mismatch(format!("an invocation id was expected, not {other:?}"))),
        }
    }

    fn resolve(&mut self, callee: &Callee, execute_at: u64) -> Invoke {
        if self.cursor < self.known.commands.len() {
            return Invoke::default();
        }
        Invoke { execute_at, ..callee.invoke(self.entropy, self.now) }
    }

    /// Replays the next command, or makes it. Returns its payload as the journal has it.
    fn command(&mut self, code: Code, payload: Vec<u8>, callee: Option<Invoke>) -> Result<Bytes, Stop> {
        let at = self.cursor;
        self.cursor += 1;
        if let Some((stored, bytes)) = self.known.commands.get(at) {
            let replayable = !matches!(code, Code::SLEEP | Code::GET_EAGER_STATE);
            if *stored != code || (replayable && *bytes != payload) {
                let text = format!("command {at} is {stored}, the program says {code}");
                return Err(Stop::Mismatch(text));
            }
            return Ok(bytes.clone());
        }
        let payload = Bytes::from(payload);
        let raw = RawMessage { code, payload: payload.clone() };
        self.fresh.push(FlowMessage { callee, ..raw.into() });
        Ok(payload)
    }

    /// The earliest notification among `ids`. A cancellation that came before it counts instead, except for a step: its
    /// result is there as soon as it is waited for.
    fn wait(&mut self, ids: &[NotificationId]) -> Result<(NotificationId, NotificationResult), Stop> {
        let first = ids.iter().filter_map(|id| Some((id, self.known.notes.get(id)?))).min_by_key(|(_, note)| note.0);
        let cancel = self.known.notes.get(&NotificationId::SignalIndex(SIGNAL_CANCEL)).map(|note| note.0);
        if let Some((id, (index, result))) = first
            && (self.steps.contains(id) || cancel.is_none_or(|cancel| *index < cancel))
        {
            return Ok((id.clone(), result.clone()));
        }
        if cancel.is_some() {
            return Err(self.end(OutputResult::Failure(Failure::new(409, names::CANCELLED))));
        }
        Err(Stop::Wait(ids.to_vec()))
    }
}

fn fold_result(digest: u64, result: &NotificationResult) -> u64 {
    match result {
        NotificationResult::Void(_) => fold(digest, b"void"),
        NotificationResult::Value(value) => fold(digest, &value.content),
        NotificationResult::Failure(failure) => fold(digest, failure.message.as_bytes()),
        NotificationResult::InvocationId(text) => fold(digest, text.as_bytes()),
        NotificationResult::StateKeys(keys) => keys.keys.iter().fold(digest, |digest, key| fold(digest, key)),
    }
}
