//! Flows as small random programs, and the interpreter that runs them.
//!
//! A program follows from its invocation's input alone, so that every attempt meets the same one. The interpreter runs
//! it from the top each time: what the journal has is replayed, what it has not is new, until something is missing.

use std::collections::BTreeMap;

use abide_model::command::{FlowMessage, Invoke, Target};
use abide_model::protocol::{
    Call, Code, EagerStateResult, Failure, GetEagerState, InvocationTarget, NotificationId, NotificationResult,
    OneWayCall, Output, OutputResult, PlainCommand, RawMessage, SIGNAL_CANCEL, SendSignal, SetState, SignalId,
    SignalResult, Sleep, StateKeyCommand, Value,
};
use bytes::Bytes;
use prost::Message as _;

use crate::names::{self, Callee};
use crate::rng::{Rng, fold};

/// Signal that a `Poke` sends.
const POKE: u32 = 40;
/// First signal of awakeables.
pub(crate) const AWAKEABLE: u32 = 17;

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
        let (service, keyed) = (target.service.as_str(), target.key.is_some());
        let seed = fold(0, input);
        let depth = input.first().copied().unwrap_or(0);
        let mut rng = Rng::stream(seed, "program");
        let rank = names::rank(service);
        let mut ops: Vec<Op> = Vec::new();
        // Steps whose results nobody has waited for, steps that sent something.
        let mut open: Vec<usize> = Vec::new();
        let mut sent: Vec<usize> = Vec::new();
        for _ in 0..rng.range(1, 7) {
            let state = if keyed { 3 } else { 0 };
            let calls = if depth < 3 { 3 } else { 0 };
            let known = if sent.is_empty() { 0 } else { 1 };
            let race = if open.len() > 1 { 3 } else { 0 };
            let here = ops.len();
            match rng.weighted(&[state, state, 4, 2, calls, calls, 1, known, known, known, race]) {
                0 => ops.push(match rng.below(6) {
                    0 => Op::Clear(field(&mut rng)),
                    1 => Op::ClearAll,
                    _ => Op::Set(field(&mut rng), rng.next().to_le_bytes()[0]),
                }),
                1 => match rng.below(5) {
                    0 => ops.extend([Op::Keys, Op::Await(here)]),
                    1 | 2 => ops.extend([Op::Lazy(field(&mut rng)), Op::Await(here)]),
                    _ => ops.push(Op::Eager(field(&mut rng))),
                },
                2 => ops.extend([Op::Run, Op::Await(here)]),
                3 => {
                    ops.push(Op::Sleep(rng.range(0, 400)));
                    open.push(here);
                }
                4 => {
                    ops.push(Op::Call(Callee::draw(&mut rng, rank, depth)));
                    open.push(here);
                }
                5 => {
                    let delay = if rng.chance(3_000) { rng.range(1, 500) } else { 0 };
                    ops.push(Op::Send(Callee::draw(&mut rng, rank, depth), delay));
                    sent.push(here);
                }
                6 => {
                    ops.push(Op::Awakeable);
                    open.push(here);
                }
                7 => {
                    let of = sent[usize::try_from(rng.below(sent.len() as u64)).unwrap_or(0)];
                    ops.push(Op::Attach(of));
                    open.push(here);
                }
                8 => {
                    let of = sent[usize::try_from(rng.below(sent.len() as u64)).unwrap_or(0)];
                    ops.extend([Op::Peek(of), Op::Await(here)]);
                }
                9 => ops.push(Op::Poke(sent[usize::try_from(rng.below(sent.len() as u64)).unwrap_or(0)])),
                _ => ops.push(Op::Race(open[0], open[1])),
            }
            if !open.is_empty() && rng.chance(5_000) {
                ops.push(Op::Await(open.remove(0)));
            }
        }
        ops.extend(open.into_iter().map(Op::Await));
        Self { ops, fails: rng.chance(1_000) }
    }
}

fn field(rng: &mut Rng) -> u8 {
    b'a' + u8::try_from(rng.below(3)).unwrap_or(0)
}

fn field_name(field: u8) -> String {
    char::from(field).to_string()
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
            Op::Call(callee) => {
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

    /// The earliest notification among `ids`. A cancellation counts while there is none.
    fn wait(&mut self, ids: &[NotificationId]) -> Result<(NotificationId, NotificationResult), Stop> {
        let first = ids.iter().filter_map(|id| Some((id, self.known.notes.get(id)?))).min_by_key(|(_, note)| note.0);
        if let Some((id, (_, result))) = first {
            return Ok((id.clone(), result.clone()));
        }
        if self.known.notes.contains_key(&NotificationId::SignalIndex(SIGNAL_CANCEL)) {
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
