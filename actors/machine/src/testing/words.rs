//! Short words for commands and for what is expected of them.

use abide_model::command::{
    Access, Append, AttemptFailed, Body, Control, FieldChange, FireTimers, FlowMessage, Form, Invoke, LeaderStart,
    Next, Outcome, Priority, Signal, StateEdit, StateVersion, Target, Turn, Verb,
};
use abide_model::effect::{Answer, Effect};
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionKey};
use abide_model::protocol::{
    Call, Code, CompletePromise, End, Failure, OneWayCall, Output, OutputResult, PlainCommand, PromiseCommand,
    PromiseResult, ProposeRunCompletion, RawMessage, RunResult, SetState, SignalId, SignalResult, Sleep, Suspension,
    Value,
};
use bytes::Bytes;
use prost::Message;

use super::World;

/// The `n`th id, in the partition with the lowest keys.
pub(crate) fn id(n: u128) -> InvocationId {
    InvocationId { partition_key: PartitionKey(7), unique: n }
}

/// The `n`th id, in the partition with the highest keys.
pub(crate) fn far(n: u128) -> InvocationId {
    InvocationId { partition_key: PartitionKey(u64::MAX), unique: n }
}

pub(crate) fn bytes(id: InvocationId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bytes())
}

pub(crate) fn object(key: &str) -> ObjectId {
    ObjectId { service: "S".into(), key: key.into() }
}

fn target(key: Option<&str>, access: Access, form: Form) -> Target {
    let (service, handler, key) = ("S".into(), "h".into(), key.map(Into::into));
    Target { service, handler, key, access: access as i32, form: form as i32, ..Target::default() }
}

/// The same before everything of other priorities.
pub(crate) fn high(target: Target) -> Target {
    Target { priority: Priority::High as i32, ..target }
}

/// The same behind everything of other priorities.
pub(crate) fn low(target: Target) -> Target {
    Target { priority: Priority::Low as i32, ..target }
}

/// An exclusive turn on the object `key`.
pub(crate) fn turn_on(key: &str) -> Target {
    target(Some(key), Access::Exclusive, Form::Turn)
}

/// An exclusive flow on the object `key`.
pub(crate) fn flow_on(key: &str) -> Target {
    target(Some(key), Access::Exclusive, Form::Flow)
}

/// A shared turn on the object `k`.
pub(crate) fn reader() -> Target {
    target(Some("k"), Access::Shared, Form::Turn)
}

/// A shared flow on the object `k`.
pub(crate) fn watcher() -> Target {
    target(Some("k"), Access::Shared, Form::Flow)
}

/// A turn of a service without keys.
pub(crate) fn plain_turn() -> Target {
    target(None, Access::Shared, Form::Turn)
}

/// A flow of a service without keys.
pub(crate) fn plain_flow() -> Target {
    target(None, Access::Shared, Form::Flow)
}

/// The workflow `key`.
pub(crate) fn workflow(key: &str) -> ObjectId {
    ObjectId { service: "W".into(), key: key.into() }
}

/// The run of the workflow `key`.
pub(crate) fn run_of(key: &str) -> Target {
    Target { service: "W".into(), workflow: true, ..target(Some(key), Access::Workflow, Form::Flow) }
}

/// Another handler of the workflow `key`, a flow.
pub(crate) fn beside(key: &str) -> Target {
    Target { service: "W".into(), workflow: true, ..target(Some(key), Access::Shared, Form::Flow) }
}

/// An operator's edit of the object `key`.
pub(crate) fn edit_on(key: &str) -> Target {
    target(Some(key), Access::Exclusive, Form::Edit)
}

/// An operator's edit of the workflow `key`.
pub(crate) fn edit_of(key: &str) -> Target {
    Target { service: "W".into(), workflow: true, ..target(Some(key), Access::Workflow, Form::Edit) }
}

pub(crate) fn run_id(key: &str) -> InvocationId {
    InvocationId::workflow("W", key)
}

/// A call of the run of the workflow `key`; its result is kept for 5 s.
pub(crate) fn run_call(key: &str) -> Invoke {
    Invoke { id: bytes(run_id(key)), retention_ms: 5000, ..invoke(0, run_of(key)) }
}

pub(crate) fn edit(n: u128, target: Target, edit: &StateEdit) -> Invoke {
    Invoke { input: edit.encode_to_vec().into(), ..invoke(n, target) }
}

pub(crate) fn get_promise(name: &str, completion: u32) -> FlowMessage {
    message(
        Code::GET_PROMISE,
        &PromiseCommand { key: name.into(), result_completion_id: completion, name: String::new() },
    )
}

pub(crate) fn peek_promise(name: &str, completion: u32) -> FlowMessage {
    FlowMessage { code: u32::from(Code::PEEK_PROMISE.0), ..get_promise(name, completion) }
}

pub(crate) fn complete_promise(name: &str, text: &str, completion: u32) -> FlowMessage {
    let result = Some(PromiseResult::Value(Value { content: Bytes::copy_from_slice(text.as_bytes()) }));
    let command = CompletePromise { key: name.into(), result, result_completion_id: completion, name: String::new() };
    message(Code::COMPLETE_PROMISE, &command)
}

pub(crate) fn changed(object: ObjectId) -> Effect {
    Effect::StateChanged { object }
}

pub(crate) fn invoke(n: u128, target: Target) -> Invoke {
    Invoke { id: bytes(id(n)), target: Some(target), input: Bytes::from_static(b"in"), ..Invoke::default() }
}

/// As [`invoke`], repeatable, with a kept result and journal.
pub(crate) fn keyed(n: u128, target: Target) -> Invoke {
    Invoke { idempotency_key: Some("ik".into()), retention_ms: 5000, journal_retention_ms: 5000, ..invoke(n, target) }
}

pub(crate) fn invoked(invoke: Invoke) -> Body {
    Body::Invoke(invoke)
}

pub(crate) fn version(version: u64, writer: u64) -> StateVersion {
    StateVersion { version, writer }
}

pub(crate) fn set(field: &str, value: &str) -> FieldChange {
    FieldChange { field: field.into(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

pub(crate) fn ok(text: &str) -> Outcome {
    Outcome::success(Bytes::copy_from_slice(text.as_bytes()))
}

/// The record of a turn by activation 9 that answered `ok`.
pub(crate) fn record(id: InvocationId, accept: Option<Invoke>, base: StateVersion, changes: Vec<FieldChange>) -> Turn {
    Turn {
        id: bytes(id),
        accept,
        activation: 9,
        base: Some(base),
        changes,
        sends: Vec::new(),
        outcome: Some(ok("ok")),
        life: 0,
    }
}

/// The record of a direct exclusive turn on `k`.
pub(crate) fn direct(n: u128, base: StateVersion, changes: Vec<FieldChange>) -> Turn {
    record(id(n), Some(invoke(n, turn_on("k"))), base, changes)
}

/// The record of a turn from the mailbox of `k`.
pub(crate) fn from_mailbox(n: u128, base: StateVersion, changes: Vec<FieldChange>) -> Turn {
    record(id(n), None, base, changes)
}

pub(crate) fn appended(id: InvocationId, term: u64, attempt: u32, seen: u32, messages: Vec<FlowMessage>) -> Body {
    Body::Append(Append { id: bytes(id), term, attempt, messages, seen, ..Append::default() })
}

pub(crate) fn failed(id: InvocationId, term: u64, attempt: u32, next: Next) -> Body {
    Body::AttemptFailed(AttemptFailed {
        id: bytes(id),
        accept: None,
        term,
        attempt,
        failure: Some(Failure::new(500, "boom")),
        next: Some(next),
        ..AttemptFailed::default()
    })
}

/// The failure of a direct turn.
pub(crate) fn failed_call(invoke: Invoke, next: Next) -> Body {
    Body::AttemptFailed(AttemptFailed {
        id: invoke.id.clone(),
        accept: Some(invoke),
        term: 0,
        attempt: 0,
        failure: Some(Failure::new(500, "boom")),
        next: Some(next),
        ..AttemptFailed::default()
    })
}

pub(crate) fn signal(id: InvocationId, signal: SignalId) -> Body {
    let result = Some(SignalResult::Value(Value { content: Bytes::from_static(b"sig") }));
    Body::Signal(Signal { target: bytes(id), signal: Some(signal), result })
}

pub(crate) fn order(id: InvocationId, verb: Verb) -> Body {
    Body::Control(Control::new(id, verb))
}

pub(crate) fn fire() -> Body {
    Body::FireTimers(FireTimers {})
}

pub(crate) fn lead(term: u64) -> Body {
    Body::LeaderStart(LeaderStart { term })
}

pub(crate) fn message<M: Message>(code: Code, message: &M) -> FlowMessage {
    RawMessage::new(code, message).into()
}

pub(crate) fn output(text: &str) -> FlowMessage {
    let result = OutputResult::Value(Value { content: Bytes::copy_from_slice(text.as_bytes()) });
    message(Code::OUTPUT, &Output { name: String::new(), result: Some(result) })
}

pub(crate) fn end() -> FlowMessage {
    message(Code::END, &End {})
}

pub(crate) fn run(completion: u32) -> FlowMessage {
    message(Code::RUN, &PlainCommand { result_completion_id: completion, name: "step".into() })
}

pub(crate) fn ran(completion: u32, text: &str) -> FlowMessage {
    let result = Some(RunResult::Value(Bytes::copy_from_slice(text.as_bytes())));
    message(Code::PROPOSE_RUN_COMPLETION, &ProposeRunCompletion { result_completion_id: completion, result })
}

pub(crate) fn sleep(until: u64, completion: u32) -> FlowMessage {
    message(Code::SLEEP, &Sleep { wake_up_time: until, result_completion_id: completion, name: String::new() })
}

pub(crate) fn set_state(field: &str, text: &str) -> FlowMessage {
    let value = Some(Value { content: Bytes::copy_from_slice(text.as_bytes()) });
    message(Code::SET_STATE, &SetState { key: Bytes::copy_from_slice(field.as_bytes()), value, name: String::new() })
}

/// A call whose callee's id is told as completion `first`, and its result as the next.
pub(crate) fn call(callee: Invoke, first: u32) -> FlowMessage {
    let call = Call { invocation_id_notification_idx: first, result_completion_id: first + 1, ..Call::default() };
    FlowMessage { callee: Some(callee), ..message(Code::CALL, &call) }
}

pub(crate) fn one_way(callee: Invoke, first: u32) -> FlowMessage {
    let call = OneWayCall { invocation_id_notification_idx: first, ..OneWayCall::default() };
    FlowMessage { callee: Some(callee), ..message(Code::ONE_WAY_CALL, &call) }
}

pub(crate) fn suspend(completions: &[u32], signals: &[u32]) -> FlowMessage {
    message(
        Code::SUSPENSION,
        &Suspension {
            waiting_completions: completions.to_vec(),
            waiting_signals: signals.to_vec(),
            waiting_named_signals: Vec::new(),
        },
    )
}

// Short words for what is expected.

pub(crate) fn accepted(request: u64, invocation: InvocationId) -> Effect {
    Effect::Accepted { request, invocation, known: false, execute_at: None }
}

pub(crate) fn known(request: u64, invocation: InvocationId) -> Effect {
    Effect::Accepted { request, invocation, known: true, execute_at: None }
}

pub(crate) fn start(invocation: InvocationId) -> Effect {
    Effect::Start { invocation }
}

pub(crate) fn rested(invocation: InvocationId) -> Effect {
    Effect::Rested { invocation }
}

pub(crate) fn completed(invocation: InvocationId, outcome: Outcome) -> Effect {
    Effect::Completed { invocation, target: Target::default(), outcome, expires_at: None }
}

/// A result from the record of an earlier invocation.
pub(crate) fn kept(invocation: InvocationId, outcome: Outcome, expires_at: u64) -> Effect {
    let expires_at = Some(Millis(expires_at));
    Effect::Completed { invocation, target: Target::default(), outcome, expires_at }
}

pub(crate) fn abort(invocation: InvocationId, key: Option<&str>) -> Effect {
    Effect::Abort { invocation, object: key.map(object) }
}

pub(crate) fn rejected() -> Effect {
    Effect::TurnRejected { object: object("k"), activation: ActivationId(9) }
}

pub(crate) fn timer_set(due: u64) -> Effect {
    Effect::TimerSet { due: Millis(due) }
}

pub(crate) fn answered(request: u64, answer: Answer) -> Effect {
    Effect::Answered { request, answer }
}

pub(crate) fn failure(code: u32, text: &str) -> Outcome {
    Outcome::failure(Failure::new(code, text))
}

/// The ids of the Enqueued effects.
pub(crate) fn enqueued(effects: &[Effect]) -> Vec<InvocationId> {
    let ids = effects.iter().filter_map(|effect| match effect {
        Effect::Enqueued { work, .. } => Some(work.id),
        _ => None,
    });
    ids.collect()
}

/// The effects but for Enqueued, which carry a copy of the request.
pub(crate) fn others(effects: &[Effect]) -> Vec<Effect> {
    effects.iter().filter(|effect| !matches!(effect, Effect::Enqueued { .. })).cloned().collect()
}

/// The code with which a request was refused.
pub(crate) fn refusal(effects: &[Effect]) -> Option<u32> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answered { answer: Answer::Refused(failure), .. } => Some(failure.code),
        _ => None,
    })
}

/// Everywhere an invocation can be.
pub(crate) const PLACES: [&str; 9] =
    ["scheduled", "pending", "first", "running", "suspended", "backing-off", "paused", "completed", "unknown"];

/// A world with invocation 1 of the given form on the object `k` at one of the [`PLACES`]; nothing else is in it, but for
/// the turn 100 in front of it when it is pending. `None` when invocations of this form do not come there.
pub(crate) fn placed(form: Form, place: &str) -> Option<World> {
    let mut world = World::new();
    let of_flow = form == Form::Flow;
    let target = if of_flow { flow_on("k") } else { turn_on("k") };
    match place {
        "unknown" => return Some(world),
        "scheduled" => {
            world.apply(invoked(Invoke { execute_at: 9000, ..keyed(1, target) }));
            return Some(world);
        }
        "pending" => {
            world.apply(invoked(invoke(100, turn_on("k"))));
        }
        _ => {}
    }
    world.apply(invoked(keyed(1, target)));
    let started = |world: &mut World| {
        if !of_flow {
            world.fail(id(1), Next::RetryAfter(1));
            world.at(1001).apply(fire());
        }
    };
    match (place, of_flow) {
        ("pending", _) | ("first", false) => {}
        ("running", _) => started(&mut world),
        ("suspended", true) => {
            world.append(id(1), vec![suspend(&[2], &[1, 17])]);
        }
        ("backing-off", _) => {
            world.fail(id(1), Next::RetryAfter(500));
        }
        ("paused", _) => {
            world.fail(id(1), Next::Pause(true));
        }
        ("completed", true) => {
            world.append(id(1), vec![output("ok"), end()]);
        }
        ("completed", false) => {
            world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
        }
        _ => return None,
    }
    Some(world)
}
