//! What the micro-benchmarks share: commands as the host makes them, and a way to time what cannot be repeated.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::time::{Duration, Instant};

use abide_model::command::{
    Access, Append, Body, Command, FieldChange, FlowMessage, Form, Invoke, Outcome, StateVersion, Target, Turn,
};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionKey};
use abide_model::protocol::{
    Code, End, Output, OutputResult, PlainCommand, ProposeRunCompletion, RawMessage, RunResult, Value,
};
use bytes::Bytes;

/// Operations between two readings of the clock.
pub(crate) const CHUNK: usize = 64;
/// The term of the leader in the benchmarks.
pub(crate) const TERM: u64 = 1;
/// The activation that all turns run in.
const ACTIVATION: u64 = (TERM << 40) | 1;

/// Times `iterations` operations in chunks; what `make` does for a chunk is not timed.
pub(crate) fn timed<T>(iterations: u64, mut make: impl FnMut(usize) -> Vec<T>, mut run: impl FnMut(T)) -> Duration {
    let mut left = usize::try_from(iterations).expect("iterations fit the address space");
    let mut time = Duration::ZERO;
    while left > 0 {
        let chunk = make(left.min(CHUNK));
        left -= chunk.len().min(left);
        let started = Instant::now();
        chunk.into_iter().for_each(&mut run);
        time += started.elapsed();
    }
    time
}

/// The `number`th invocation, with a random-looking id in the place of `key`.
pub(crate) fn id(key: PartitionKey, number: u64) -> InvocationId {
    let random = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    InvocationId::fresh(key, Millis(1_700_000_000_000 + number / 50), random)
}

fn bytes(id: InvocationId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

/// Key of the `number`th object.
pub(crate) fn key(number: u64) -> String {
    format!("k{number}")
}

/// The object with the `number`th key.
pub(crate) fn object(number: u64) -> ObjectId {
    ObjectId { service: "Counter".into(), key: key(number) }
}

/// The record of a request to add to the `object`th counter, which `before` turns have changed.
pub(crate) fn turn(object: u64, before: u64, number: u64) -> Command {
    let key = key(object);
    let id = bytes(id(PartitionKey::of(&key), number));
    let target = Target {
        service: "Counter".into(),
        handler: "add".into(),
        key: Some(key),
        access: Access::Exclusive as i32,
        form: Form::Turn as i32,
        ..Target::default()
    };
    let value = Bytes::from((before + 1).to_string());
    let writer = if before == 0 { 0 } else { ACTIVATION };
    let accept = Invoke { id: id.clone(), target: Some(target), input: Bytes::from_static(b"1"), ..Invoke::default() };
    let turn = Turn {
        id,
        accept: Some(accept),
        activation: ACTIVATION,
        base: Some(StateVersion { version: before, writer }),
        changes: vec![FieldChange { field: "value".into(), value: Some(value.clone()) }],
        sends: Vec::new(),
        outcome: Some(Outcome::success(value)),
        life: 0,
    };
    Command { request: number, body: Some(Body::Turn(turn)) }
}

/// The acceptance of a flow of a service.
pub(crate) fn invoke(id: InvocationId) -> Command {
    let target = Target {
        service: "Flow".into(),
        handler: "three".into(),
        key: None,
        access: Access::Shared as i32,
        form: Form::Flow as i32,
        ..Target::default()
    };
    let invoke = Invoke { id: bytes(id), target: Some(target), input: Bytes::from_static(b"1"), ..Invoke::default() };
    Command { request: 1, body: Some(Body::Invoke(invoke)) }
}

/// What the first attempt of a flow has done.
pub(crate) fn append(id: InvocationId, seen: u32, messages: Vec<FlowMessage>) -> Command {
    Command::new(Body::Append(Append {
        id: bytes(id),
        term: TERM,
        attempt: 1,
        messages,
        seen,
        life: 1,
        ..Append::default()
    }))
}

/// A step that is begun.
pub(crate) fn run(completion: u32) -> FlowMessage {
    RawMessage::new(Code::RUN, &PlainCommand { result_completion_id: completion, name: "step".into() }).into()
}

/// A step's result.
pub(crate) fn ran(completion: u32) -> FlowMessage {
    let result = Some(RunResult::Value(Bytes::from_static(b"2")));
    let proposal = ProposeRunCompletion { result_completion_id: completion, result };
    RawMessage::new(Code::PROPOSE_RUN_COMPLETION, &proposal).into()
}

/// The end of a flow.
pub(crate) fn end() -> [FlowMessage; 2] {
    let result = OutputResult::Value(Value { content: Bytes::from_static(b"4") });
    let output = Output { name: String::new(), result: Some(result) };
    [RawMessage::new(Code::OUTPUT, &output).into(), RawMessage::new(Code::END, &End {}).into()]
}

/// A flow of three steps in its four rounds, as the host records them: a step runs once all before it is durable, and the
/// next one is announced with its result.
pub(crate) fn three_steps(id: InvocationId) -> Vec<Command> {
    let [output, end] = end();
    vec![
        invoke(id),
        append(id, 1, vec![run(1), ran(1), run(2)]),
        append(id, 4, vec![ran(2), run(3)]),
        append(id, 6, vec![ran(3), output, end]),
    ]
}
