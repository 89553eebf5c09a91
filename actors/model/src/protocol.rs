//! Messages of the service protocol (version 6), which are also the entries of every journal.
//!
//! Field numbers and type codes are wire facts, see `service-protocol.md` §2.4. The bytes of an entry are stored and
//! replayed exactly as they were received.

use bytes::Bytes;
use prost::Message;

use crate::codec::CodecError;
use crate::error::ErrorCode;

/// What a message is: the first field of its frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name people know the message by.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* _ => "Custom" }
            }
        }
    };
}

codes! {
    /// Ends an attempt that waits: which notifications it waits for.
    SUSPENSION = 0x0001, "Suspension";
    /// Ends an attempt that failed and may be tried again.
    ERROR = 0x0002, "Error";
    /// Ends an invocation; its result is the last Output.
    END = 0x0003, "End";
    /// The result of a step, to become its notification.
    PROPOSE_RUN_COMPLETION = 0x0005, "ProposeRunCompletion";
    /// The request: always entry 0.
    INPUT = 0x0400, "Input";
    /// The result.
    OUTPUT = 0x0401, "Output";
    /// A state read answered by a notification.
    GET_LAZY_STATE = 0x0402, "GetLazyState";
    /// A state write.
    SET_STATE = 0x0403, "SetState";
    /// Removal of one state field.
    CLEAR_STATE = 0x0404, "ClearState";
    /// Removal of all state.
    CLEAR_ALL_STATE = 0x0405, "ClearAllState";
    /// A listing of state fields answered by a notification.
    GET_LAZY_STATE_KEYS = 0x0406, "GetLazyStateKeys";
    /// A state read with its answer.
    GET_EAGER_STATE = 0x0407, "GetEagerState";
    /// A listing of state fields with its answer.
    GET_EAGER_STATE_KEYS = 0x0408, "GetEagerStateKeys";
    /// Waits for a promise of the workflow.
    GET_PROMISE = 0x0409, "GetPromise";
    /// Looks at a promise of the workflow.
    PEEK_PROMISE = 0x040A, "PeekPromise";
    /// Completes a promise of the workflow.
    COMPLETE_PROMISE = 0x040B, "CompletePromise";
    /// Waits until a durable point in time.
    SLEEP = 0x040C, "Sleep";
    /// Invokes another handler and waits for its result.
    CALL = 0x040D, "Call";
    /// Invokes another handler without waiting.
    ONE_WAY_CALL = 0x040E, "OneWayCall";
    /// Signals another invocation.
    SEND_SIGNAL = 0x0410, "SendSignal";
    /// A step of user code.
    RUN = 0x0411, "Run";
    /// Waits for the result of another invocation.
    ATTACH_INVOCATION = 0x0412, "AttachInvocation";
    /// Looks at the result of another invocation.
    GET_INVOCATION_OUTPUT = 0x0413, "GetInvocationOutput";
    /// Completes an awakeable.
    COMPLETE_AWAKEABLE = 0x0414, "CompleteAwakeable";
    /// Answer to GetLazyState.
    GET_LAZY_STATE_DONE = 0x8002, "GetLazyStateCompletion";
    /// Answer to GetLazyStateKeys.
    GET_LAZY_STATE_KEYS_DONE = 0x8006, "GetLazyStateKeysCompletion";
    /// Answer to GetPromise.
    GET_PROMISE_DONE = 0x8009, "GetPromiseCompletion";
    /// Answer to PeekPromise.
    PEEK_PROMISE_DONE = 0x800A, "PeekPromiseCompletion";
    /// Answer to CompletePromise.
    COMPLETE_PROMISE_DONE = 0x800B, "CompletePromiseCompletion";
    /// The sleep is over.
    SLEEP_DONE = 0x800C, "SleepCompletion";
    /// Result of a Call.
    CALL_DONE = 0x800D, "CallCompletion";
    /// Id of the invocation that a Call or OneWayCall created.
    CALL_INVOCATION_ID = 0x800E, "CallInvocationId";
    /// Result of a step.
    RUN_DONE = 0x8011, "RunCompletion";
    /// Result of AttachInvocation.
    ATTACH_DONE = 0x8012, "AttachInvocationCompletion";
    /// Answer to GetInvocationOutput.
    OUTPUT_DONE = 0x8013, "GetInvocationOutputCompletion";
    /// A signal arrived.
    SIGNAL = 0xFBFF, "Signal";
    /// Never in a journal: the run of a schedule ended, as told to the schedule.
    SCHEDULED_RUN_DONE = 0xFFFF, "ScheduledRunDone";
}

impl Code {
    /// Commands are what handlers ask for; notifications are what they are told.
    #[must_use]
    pub fn is_command(self) -> bool {
        (0x0400..0x8000).contains(&self.0)
    }

    /// Whether this is a completion or a signal.
    #[must_use]
    pub fn is_notification(self) -> bool {
        (0x8000..=0xFBFF).contains(&self.0)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:04x})", self.name(), self.0)
    }
}

/// The built-in signal that asks an invocation to stop.
pub const SIGNAL_CANCEL: u32 = 1;

/// A message with its code: payload bytes exactly as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// What it is.
    pub code: Code,
    /// Its protobuf bytes.
    pub payload: Bytes,
}

impl RawMessage {
    /// Encodes `message` under `code`.
    #[must_use]
    pub fn new<M: Message>(code: Code, message: &M) -> Self {
        Self { code, payload: message.encode_to_vec().into() }
    }

    /// Decodes the payload as `M`.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] when the payload is not an `M`.
    pub fn decode<M: Message + Default>(&self) -> Result<M, CodecError> {
        M::decode(self.payload.clone())
            .map_err(|error| CodecError::Malformed { what: self.code.name(), reason: error.to_string() })
    }
}

/// Bytes with presence.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Value {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub content: Bytes,
}

/// Name of the metadata under which a failure of the platform carries its stable code ([`crate::error`]).
pub const CODE_METADATA: &str = "abide-code";

/// A failure that ends what it belongs to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Failure {
    /// HTTP-like code.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// Facts for programs.
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Metadata>,
}

impl Failure {
    /// A failure without metadata.
    #[must_use]
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), metadata: Vec::new() }
    }

    /// A failure that the platform makes: `status` is for the door, `code` is stable and for programs.
    #[must_use]
    pub fn coded(status: u32, code: ErrorCode, message: impl Into<String>) -> Self {
        let metadata = vec![Metadata { key: CODE_METADATA.to_owned(), value: code.to_string() }];
        Self { code: status, message: message.into(), metadata }
    }
}

/// One fact of a [`Failure`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Metadata {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Nothing, with presence.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Void {}

/// A request header.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Header {
    /// Lower-case name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Names of state fields.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateKeys {
    /// The names, sorted.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub keys: Vec<Bytes>,
}

/// Code 0001.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Suspension {
    /// Completion ids, any of which ends the wait.
    #[prost(uint32, repeated, tag = "1")]
    pub waiting_completions: Vec<u32>,
    /// Signal indexes, any of which ends the wait.
    #[prost(uint32, repeated, tag = "2")]
    pub waiting_signals: Vec<u32>,
    /// Signal names, any of which ends the wait.
    #[prost(string, repeated, tag = "3")]
    pub waiting_named_signals: Vec<String>,
}

/// Code 0003.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct End {}

/// Code 0005.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProposeRunCompletion {
    /// The step.
    #[prost(uint32, tag = "1")]
    pub result_completion_id: u32,
    /// Its result.
    #[prost(oneof = "RunResult", tags = "14, 15")]
    pub result: Option<RunResult>,
}

/// Result of a step.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum RunResult {
    /// Raw bytes, not a [`Value`].
    #[prost(bytes = "bytes", tag = "14")]
    Value(Bytes),
    /// The step failed for good.
    #[prost(message, tag = "15")]
    Failure(Failure),
}

/// Code 0400.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Input {
    /// Request headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Header>,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
    /// The argument.
    #[prost(message, optional, tag = "14")]
    pub value: Option<Value>,
}

/// Code 0401.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Output {
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
    /// The result.
    #[prost(oneof = "OutputResult", tags = "14, 15")]
    pub result: Option<OutputResult>,
}

/// Result of an invocation.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum OutputResult {
    /// Success.
    #[prost(message, tag = "14")]
    Value(Value),
    /// Failure.
    #[prost(message, tag = "15")]
    Failure(Failure),
}

/// Codes 0402, 0404: a field and, for 0402, where the answer goes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateKeyCommand {
    /// Field name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Where the answer goes (0402 only).
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 0403.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SetState {
    /// Field name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// New value.
    #[prost(message, optional, tag = "3")]
    pub value: Option<Value>,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Codes 0405, 0406, 0411: a command without arguments of its own.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PlainCommand {
    /// Where the answer goes (not for 0405).
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 0407: what the handler read.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetEagerState {
    /// Field name.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
    /// What was there.
    #[prost(oneof = "EagerStateResult", tags = "13, 14")]
    pub result: Option<EagerStateResult>,
}

/// Answer inside [`GetEagerState`].
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum EagerStateResult {
    /// The field did not exist.
    #[prost(message, tag = "13")]
    Void(Void),
    /// Its value.
    #[prost(message, tag = "14")]
    Value(Value),
}

/// Code 0408.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetEagerStateKeys {
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
    /// The fields that exist.
    #[prost(message, optional, tag = "14")]
    pub value: Option<StateKeys>,
}

/// Code 040C.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sleep {
    /// Milliseconds since the Unix epoch.
    #[prost(uint64, tag = "1")]
    pub wake_up_time: u64,
    /// Where the end of the sleep is told.
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 040D.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Call {
    /// Callee.
    #[prost(string, tag = "1")]
    pub service_name: String,
    /// Callee.
    #[prost(string, tag = "2")]
    pub handler_name: String,
    /// Argument.
    #[prost(bytes = "bytes", tag = "3")]
    pub parameter: Bytes,
    /// Headers of the callee's Input.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
    /// Key; empty for un-keyed callees.
    #[prost(string, tag = "5")]
    pub key: String,
    /// Makes repetitions one invocation.
    #[prost(string, optional, tag = "6")]
    pub idempotency_key: Option<String>,
    /// Where the callee's id is told.
    #[prost(uint32, tag = "10")]
    pub invocation_id_notification_idx: u32,
    /// Where the callee's result is told.
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 040E.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct OneWayCall {
    /// Callee.
    #[prost(string, tag = "1")]
    pub service_name: String,
    /// Callee.
    #[prost(string, tag = "2")]
    pub handler_name: String,
    /// Argument.
    #[prost(bytes = "bytes", tag = "3")]
    pub parameter: Bytes,
    /// Earliest start in milliseconds since the Unix epoch; 0 is now.
    #[prost(uint64, tag = "4")]
    pub invoke_time: u64,
    /// Headers of the callee's Input.
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<Header>,
    /// Key; empty for un-keyed callees.
    #[prost(string, tag = "6")]
    pub key: String,
    /// Makes repetitions one invocation.
    #[prost(string, optional, tag = "7")]
    pub idempotency_key: Option<String>,
    /// Where the callee's id is told.
    #[prost(uint32, tag = "10")]
    pub invocation_id_notification_idx: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 0410.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SendSignal {
    /// Text form of the target's id.
    #[prost(string, tag = "1")]
    pub target_invocation_id: String,
    /// Which signal.
    #[prost(oneof = "SignalId", tags = "2, 3")]
    pub signal_id: Option<SignalId>,
    /// With what.
    #[prost(oneof = "SignalResult", tags = "4, 5, 6")]
    pub result: Option<SignalResult>,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub entry_name: String,
}

/// A signal by number or by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Oneof)]
pub enum SignalId {
    /// By number.
    #[prost(uint32, tag = "2")]
    Index(u32),
    /// By name.
    #[prost(string, tag = "3")]
    Name(String),
}

/// What a signal carries.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum SignalResult {
    /// Nothing.
    #[prost(message, tag = "4")]
    Void(Void),
    /// A value.
    #[prost(message, tag = "5")]
    Value(Value),
    /// A failure.
    #[prost(message, tag = "6")]
    Failure(Failure),
}

/// Codes 0412, 0413 with a target given by invocation id.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InvocationTarget {
    /// Text form of the target's id.
    #[prost(string, tag = "1")]
    pub invocation_id: String,
    /// Where the answer goes.
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 0414.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CompleteAwakeable {
    /// Text form of the awakeable's id.
    #[prost(string, tag = "1")]
    pub awakeable_id: String,
    /// With what.
    #[prost(oneof = "AwakeableResult", tags = "2, 3")]
    pub result: Option<AwakeableResult>,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Codes 0409, 040A: a promise of the workflow, by name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PromiseCommand {
    /// Name of the promise.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Where the answer goes.
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// Code 040B.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CompletePromise {
    /// Name of the promise.
    #[prost(string, tag = "1")]
    pub key: String,
    /// With what.
    #[prost(oneof = "PromiseResult", tags = "2, 3")]
    pub result: Option<PromiseResult>,
    /// Where the answer goes.
    #[prost(uint32, tag = "11")]
    pub result_completion_id: u32,
    /// Entry name.
    #[prost(string, tag = "12")]
    pub name: String,
}

/// What completes a promise.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum PromiseResult {
    /// A value.
    #[prost(message, tag = "2")]
    Value(Value),
    /// A failure.
    #[prost(message, tag = "3")]
    Failure(Failure),
}

/// What completes an awakeable.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum AwakeableResult {
    /// A value.
    #[prost(message, tag = "2")]
    Value(Value),
    /// A failure.
    #[prost(message, tag = "3")]
    Failure(Failure),
}

/// All notifications: what for, and what.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Notification {
    /// Which command or signal this answers.
    #[prost(oneof = "NotificationId", tags = "1, 2, 3")]
    pub id: Option<NotificationId>,
    /// The answer.
    #[prost(oneof = "NotificationResult", tags = "4, 5, 6, 16, 17")]
    pub result: Option<NotificationResult>,
}

/// What a notification belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Oneof)]
pub enum NotificationId {
    /// A command's completion id.
    #[prost(uint32, tag = "1")]
    Completion(u32),
    /// A signal by number.
    #[prost(uint32, tag = "2")]
    SignalIndex(u32),
    /// A signal by name.
    #[prost(string, tag = "3")]
    SignalName(String),
}

/// What a notification carries.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum NotificationResult {
    /// Nothing.
    #[prost(message, tag = "4")]
    Void(Void),
    /// A value.
    #[prost(message, tag = "5")]
    Value(Value),
    /// A failure.
    #[prost(message, tag = "6")]
    Failure(Failure),
    /// Text form of an invocation id.
    #[prost(string, tag = "16")]
    InvocationId(String),
    /// Names of state fields.
    #[prost(message, tag = "17")]
    StateKeys(StateKeys),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes worked out in the protocol description; they must never change.
    #[test]
    fn golden_bytes() {
        let output = Output {
            name: String::new(),
            result: Some(OutputResult::Value(Value { content: Bytes::from_static(b"\"hi\"") })),
        };
        assert_eq!(output.encode_to_vec(), [0x72, 6, 0x0a, 4, 0x22, 0x68, 0x69, 0x22]);
        let slept =
            Notification { id: Some(NotificationId::Completion(1)), result: Some(NotificationResult::Void(Void {})) };
        assert_eq!(slept.encode_to_vec(), [0x08, 1, 0x22, 0]);
        let run = PlainCommand { result_completion_id: 1, name: "count".into() };
        assert_eq!(run.encode_to_vec(), [0x58, 1, 0x62, 5, b'c', b'o', b'u', b'n', b't']);
        let suspension = Suspension {
            waiting_completions: vec![1],
            waiting_signals: vec![1, 17],
            waiting_named_signals: vec!["sn".into()],
        };
        assert_eq!(suspension.encode_to_vec(), [0x0a, 1, 1, 0x12, 2, 1, 17, 0x1a, 2, b's', b'n']);
    }

    #[test]
    fn empty_variants_survive() {
        let void = SendSignal { result: Some(SignalResult::Void(Void {})), ..SendSignal::default() };
        assert_eq!(SendSignal::decode(void.encode_to_vec().as_slice()), Ok(void));
        let empty = ProposeRunCompletion { result_completion_id: 0, result: Some(RunResult::Value(Bytes::new())) };
        assert_eq!(ProposeRunCompletion::decode(empty.encode_to_vec().as_slice()), Ok(empty));
    }
}
