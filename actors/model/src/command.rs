//! What enters a partition's log. One raft entry carries an [`Entry`]: a batch of commands.

mod meta;
mod order;
mod priority;
mod schedule;

use bytes::Bytes;
use prost::Message;

use crate::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use crate::protocol::{Code, Failure, Header, RawMessage, SignalId, SignalResult};
pub use meta::{
    AnnounceNode, FoundCluster, JoinNode, MetaAction, MetaOrder, NodeInfo, PinLeader, PlaceReplicas, RaiseFeatures,
    SetNodeState, SetSetting,
};
pub use order::{Control, LetterOrder, Verb};
pub use priority::{Priority, UnknownPriority};
pub use schedule::{CatchUp, Overlap, ScheduleAction, ScheduleDefinition, ScheduleFire, ScheduleNext, ScheduleOrder};

/// The data of one raft entry.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// The leader's clock when it proposed, in ms since the Unix epoch. Log time is the running maximum of these.
    #[prost(uint64, tag = "1")]
    pub proposed_at: u64,
    /// In the order in which they take effect.
    #[prost(message, repeated, tag = "2")]
    pub commands: Vec<Command>,
}

/// One command: what is to happen, and who wants to know.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// A number of the proposing node by which it finds who waits for the answer; 0 when nobody does.
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// What is to happen.
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub body: Option<Body>,
}

impl Command {
    /// A command nobody waits for.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self { request: 0, body: Some(body) }
    }
}

/// The commands, one file of the machine each.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    /// A leader begins: everything that is due is started again.
    #[prost(message, tag = "2")]
    LeaderStart(LeaderStart),
    /// Accepts an invocation.
    #[prost(message, tag = "3")]
    Invoke(Invoke),
    /// The result of a turn.
    #[prost(message, tag = "4")]
    Turn(Turn),
    /// What a flow did since its last command.
    #[prost(message, tag = "5")]
    Append(Append),
    /// An attempt failed.
    #[prost(message, tag = "6")]
    AttemptFailed(AttemptFailed),
    /// A signal for an invocation, from the ingress.
    #[prost(message, tag = "7")]
    Signal(Signal),
    /// An operator's order.
    #[prost(message, tag = "8")]
    Control(Control),
    /// Fires what is due at log time.
    #[prost(message, tag = "9")]
    FireTimers(FireTimers),
    /// Messages of another partition.
    #[prost(message, tag = "10")]
    Deliver(Deliver),
    /// Another partition has taken messages of this one.
    #[prost(message, tag = "11")]
    OutboxAck(OutboxAck),
    /// An operator's order about a dead letter.
    #[prost(message, tag = "12")]
    Letter(LetterOrder),
    /// A change of a schedule, or its firing.
    #[prost(message, tag = "13")]
    Schedule(ScheduleOrder),
    /// An order about the cluster; only in [`PartitionId::META`], where nothing else is ordered.
    #[prost(message, tag = "14")]
    Meta(MetaOrder),
}

/// A leader begins.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LeaderStart {
    /// Its term.
    #[prost(uint64, tag = "1")]
    pub term: u64,
}

/// Who may run beside whom on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Access {
    /// Concurrent, read-only; also every handler of an un-keyed service.
    Shared = 0,
    /// One at a time per key, in order.
    Exclusive = 1,
    /// The `run` handler of a workflow: once per key, beside shared handlers; it may change the workflow's state.
    Workflow = 2,
}

/// How a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Form {
    /// To its end without waiting; one commit.
    Turn = 0,
    /// In journaled steps.
    Flow = 1,
    /// Not a handler: an operator's [`StateEdit`], carried out by the machine when its place in the mailbox comes.
    Edit = 2,
}

/// What is invoked.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Target {
    /// Service, object or workflow.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Handler.
    #[prost(string, tag = "2")]
    pub handler: String,
    /// Key of objects; absent for un-keyed services.
    #[prost(string, optional, tag = "3")]
    pub key: Option<String>,
    /// Fixed when the invocation is accepted.
    #[prost(enumeration = "Access", tag = "4")]
    pub access: i32,
    /// Fixed when the invocation is accepted.
    #[prost(enumeration = "Form", tag = "5")]
    pub form: i32,
    /// Whether the service is a workflow: its handlers may use the promises of their key, and none of them queues. Set
    /// by whoever resolves the target, for every handler of a workflow and for an edit of a workflow's state; implied
    /// by [`Access::Workflow`].
    #[prost(bool, tag = "6")]
    pub workflow: bool,
    /// In which order it is taken from the mailbox. Fixed when the invocation is accepted, by whoever resolves the
    /// target; without a meaning for what does not queue.
    #[prost(enumeration = "Priority", tag = "7")]
    pub priority: i32,
}

impl Target {
    /// The class in which it queues: that of edits is always the normal one.
    #[must_use]
    pub fn class(&self) -> Priority {
        if self.form() == Form::Edit { Priority::Normal } else { self.priority() }
    }

    /// The object whose mailbox an exclusive invocation queues in; `None` for shared handlers, workflows and un-keyed
    /// services.
    #[must_use]
    pub fn exclusive_object(&self) -> Option<ObjectId> {
        (self.access() == Access::Exclusive && !self.workflow).then(|| self.object()).flatten()
    }

    /// The workflow whose promises the invocation may use; `None` for other services.
    #[must_use]
    pub fn workflow_object(&self) -> Option<ObjectId> {
        (self.workflow || self.access() == Access::Workflow).then(|| self.object()).flatten()
    }

    /// The workflow that this runs: of a `run` handler only, not of an edit of the workflow's state.
    #[must_use]
    pub fn run_object(&self) -> Option<ObjectId> {
        (self.access() == Access::Workflow && self.form() != Form::Edit).then(|| self.object()).flatten()
    }

    /// The object whose state the invocation may change: of exclusive handlers and of a workflow's `run`.
    #[must_use]
    pub fn writable_object(&self) -> Option<ObjectId> {
        matches!(self.access(), Access::Exclusive | Access::Workflow).then(|| self.object()).flatten()
    }

    /// The object of a keyed target.
    #[must_use]
    pub fn object(&self) -> Option<ObjectId> {
        self.key.as_ref().map(|key| ObjectId { service: self.service.clone(), key: key.clone() })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}/{key}/{}", self.service, self.handler),
            None => write!(f, "{}/{}", self.service, self.handler),
        }
    }
}

/// Where a call's result goes: a command of the caller's journal.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sink {
    /// Binary id of the waiting invocation.
    #[prost(bytes = "bytes", tag = "1")]
    pub caller: Bytes,
    /// The completion it waits for.
    #[prost(uint32, tag = "2")]
    pub completion: u32,
    /// Code of the notification it expects (CallCompletion, AttachInvocationCompletion, …), or
    /// [`Code::SCHEDULED_RUN_DONE`] when a schedule waits.
    #[prost(uint32, tag = "3")]
    pub code: u32,
    /// The life of `caller` that waits ([`Append::life`]): a later one with the same id is not told.
    #[prost(uint64, tag = "4")]
    pub life: u64,
}

impl Sink {
    /// A sink of `caller` in its life `life`; see the fields.
    #[must_use]
    pub fn new(caller: InvocationId, life: u64, completion: u32, code: Code) -> Self {
        Self { caller: Bytes::copy_from_slice(&caller.to_bytes()), completion, code: u32::from(code.0), life }
    }
}

/// An exclusive invocation that waits, directly or through others, for the one that carries this.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Holder {
    /// Service of the object whose key it holds.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The key it holds.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Binary id of the holding invocation.
    #[prost(bytes = "bytes", tag = "3")]
    pub invocation: Bytes,
}

/// Accepts an invocation: from the ingress, from a turn, from a flow, or from another partition.
#[derive(Clone, PartialEq, Message)]
pub struct Invoke {
    /// Binary id.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// What is invoked.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// Argument.
    #[prost(bytes = "bytes", tag = "3")]
    pub input: Bytes,
    /// Headers of the Input entry.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
    /// Earliest start, in ms since the Unix epoch; 0 is now.
    #[prost(uint64, tag = "5")]
    pub execute_at: u64,
    /// How long the result is kept after completion, in ms; 0 keeps nothing.
    #[prost(uint64, tag = "6")]
    pub retention_ms: u64,
    /// The idempotency key, for display; the id already depends on it.
    #[prost(string, optional, tag = "7")]
    pub idempotency_key: Option<String>,
    /// Who waits inside the cluster. Ingress waiters are known to their node only.
    #[prost(message, optional, tag = "8")]
    pub sink: Option<Sink>,
    /// Binary id of the invoking invocation; empty for the ingress.
    #[prost(bytes = "bytes", tag = "9")]
    pub invoked_by: Bytes,
    /// Who waits for it and holds a key meanwhile, outermost first. A call of one of these keys cannot end.
    #[prost(message, repeated, tag = "10")]
    pub chain: Vec<Holder>,
    /// How long the journal is kept after completion, in ms; 0 keeps nothing.
    #[prost(uint64, tag = "11")]
    pub journal_retention_ms: u64,
    /// The state of the object expires when it was not changed for this long, in ms; 0 is never.
    #[prost(uint64, tag = "12")]
    pub state_ttl_ms: u64,
    /// Nobody waits for the result: a failure becomes a dead letter.
    #[prost(bool, tag = "13")]
    pub one_way: bool,
    /// Name of the schedule that invokes it; empty for others.
    #[prost(string, tag = "14")]
    pub schedule: String,
    /// Binary id of the invocation that this one repeats by an operator's order; empty for others.
    #[prost(bytes = "bytes", tag = "15")]
    pub restarted_from: Bytes,
}

impl Invoke {
    /// The typed id; `None` when the command is malformed.
    #[must_use]
    pub fn id(&self) -> Option<InvocationId> {
        InvocationId::from_bytes(&self.id)
    }
}

/// A state of an object, identified: the version grows with every applied change, also over a time when the object was
/// forgotten; the writer tells speculative twins apart.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StateVersion {
    /// Number of applied changes of the object's state; more when states of the partition were forgotten before.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// The activation that made the last one; 0 when a flow or an operator did.
    #[prost(uint64, tag = "2")]
    pub writer: u64,
}

impl StateVersion {
    /// What `activation` makes of this state by changing it.
    #[must_use]
    pub fn next(self, activation: ActivationId) -> Self {
        Self { version: self.version + 1, writer: activation.0 }
    }
}

/// One changed field of an object's state.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FieldChange {
    /// Name of the field.
    #[prost(string, tag = "1")]
    pub field: String,
    /// New value; absent removes the field.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub value: Option<Bytes>,
}

/// The result of a turn: input (when nothing was in the log before), changes, messages and outcome in one record.
#[derive(Clone, PartialEq, Message)]
pub struct Turn {
    /// Binary id.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// The request, unless it is in the mailbox already.
    #[prost(message, optional, tag = "2")]
    pub accept: Option<Invoke>,
    /// The activation it ran in; 0 for un-keyed services.
    #[prost(uint64, tag = "3")]
    pub activation: u64,
    /// The state it ran on; absent for un-keyed services and shared handlers.
    #[prost(message, optional, tag = "4")]
    pub base: Option<StateVersion>,
    /// Changed fields.
    #[prost(message, repeated, tag = "5")]
    pub changes: Vec<FieldChange>,
    /// Invocations it sent.
    #[prost(message, repeated, tag = "6")]
    pub sends: Vec<Invoke>,
    /// Its outcome.
    #[prost(message, optional, tag = "7")]
    pub outcome: Option<Outcome>,
    /// The life of the invocation ([`crate::table::InvocationRow::life`]); ignored with `accept`.
    #[prost(uint64, tag = "8")]
    pub life: u64,
}

/// What an operator makes of an object's state; its protobuf bytes are the input of an invocation of [`Form::Edit`],
/// whose access is [`Access::Exclusive`] for objects and [`Access::Workflow`] for workflows.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateEdit {
    /// The state that the operator saw; on any other the edit fails with 409. Absent edits whatever there is.
    #[prost(message, optional, tag = "1")]
    pub expected: Option<StateVersion>,
    /// Whether fields that are not named are removed.
    #[prost(bool, tag = "2")]
    pub replace: bool,
    /// Named fields.
    #[prost(message, repeated, tag = "3")]
    pub changes: Vec<FieldChange>,
}

/// The end of an invocation.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Outcome {
    /// Which end.
    #[prost(oneof = "OutcomeKind", tags = "1, 2")]
    pub kind: Option<OutcomeKind>,
}

impl Outcome {
    /// The handler's value.
    #[must_use]
    pub fn success(value: Bytes) -> Self {
        Self { kind: Some(OutcomeKind::Success(value)) }
    }

    /// The handler's or the platform's failure.
    #[must_use]
    pub fn failure(failure: Failure) -> Self {
        Self { kind: Some(OutcomeKind::Failure(failure)) }
    }

    /// Whether it is a failure.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, Some(OutcomeKind::Failure(_)))
    }
}

/// Success or failure.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum OutcomeKind {
    /// Output bytes.
    #[prost(bytes = "bytes", tag = "1")]
    Success(Bytes),
    /// Failure.
    #[prost(message, tag = "2")]
    Failure(Failure),
}

/// What a flow's attempt did since its last command. Dropped whole when the attempt is no longer the current one.
#[derive(Clone, PartialEq, Message)]
pub struct Append {
    /// Binary id.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// Term of the leader that started the attempt.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Messages of the service protocol, in order.
    #[prost(message, repeated, tag = "4")]
    pub messages: Vec<FlowMessage>,
    /// Journal entries below this index were known to the attempt. A suspension ends at once when a signal it waits
    /// for stands at or above it.
    #[prost(uint32, tag = "5")]
    pub seen: u32,
    /// The life of the invocation ([`crate::table::InvocationRow::life`]) that the attempt belongs to.
    #[prost(uint64, tag = "6")]
    pub life: u64,
    /// The version of the code that the attempt runs. The first append pins the invocation to it. Empty for code that
    /// has no versions.
    #[prost(string, tag = "7")]
    pub version: String,
}

/// One message of a flow.
#[derive(Clone, PartialEq, Message)]
pub struct FlowMessage {
    /// Type code.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// Payload as sent.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// For Call and OneWayCall: the callee as the leader's registry resolves it, complete but for its sink.
    #[prost(message, optional, tag = "3")]
    pub callee: Option<Invoke>,
}

impl FlowMessage {
    /// The message without its resolution.
    #[must_use]
    pub fn raw(&self) -> RawMessage {
        RawMessage { code: Code(u16::try_from(self.code).unwrap_or(0)), payload: self.payload.clone() }
    }
}

impl From<RawMessage> for FlowMessage {
    fn from(message: RawMessage) -> Self {
        Self { code: u32::from(message.code.0), payload: message.payload, callee: None }
    }
}

/// An attempt ended without a result.
#[derive(Clone, PartialEq, Message)]
pub struct AttemptFailed {
    /// Binary id.
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// The request, when a turn that is not in the log yet failed: it is accepted by this command.
    #[prost(message, optional, tag = "2")]
    pub accept: Option<Invoke>,
    /// Term of the leader that started the attempt; of no meaning for a turn that is run from its mailbox, without a start.
    #[prost(uint64, tag = "3")]
    pub term: u64,
    /// The attempt; ignored with `accept`.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// What went wrong.
    #[prost(message, optional, tag = "5")]
    pub failure: Option<Failure>,
    /// What the retry policy says.
    #[prost(oneof = "Next", tags = "6, 7, 8")]
    pub next: Option<Next>,
    /// The life of the invocation that the attempt belongs to; ignored with `accept`.
    #[prost(uint64, tag = "9")]
    pub life: u64,
    /// The code never ran: it is not there. Such an attempt does not count for the retry policy.
    #[prost(bool, tag = "10")]
    pub uncounted: bool,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub enum Next {
    /// Another attempt after this many ms.
    #[prost(uint64, tag = "6")]
    RetryAfter(u64),
    /// Wait for an operator.
    #[prost(bool, tag = "7")]
    Pause(bool),
    /// The failure is the outcome.
    #[prost(bool, tag = "8")]
    Fail(bool),
}

/// A signal for an invocation.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Signal {
    /// Binary id of the target.
    #[prost(bytes = "bytes", tag = "1")]
    pub target: Bytes,
    /// Which signal.
    #[prost(oneof = "SignalId", tags = "2, 3")]
    pub signal: Option<SignalId>,
    /// With what.
    #[prost(oneof = "SignalResult", tags = "4, 5, 6")]
    pub result: Option<SignalResult>,
}

/// Fires what is due at log time, at most [`crate::limits::TIMERS_PER_COMMAND_MAX`] of it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct FireTimers {}

/// Messages of another partition, in its order.
#[derive(Clone, PartialEq, Message)]
pub struct Deliver {
    /// The sender.
    #[prost(uint32, tag = "1")]
    pub from: u32,
    /// Number of the first message; numbers start at 1 per pair of partitions.
    #[prost(uint64, tag = "2")]
    pub first: u64,
    /// Consecutive messages.
    #[prost(message, repeated, tag = "3")]
    pub messages: Vec<Parcel>,
}

impl Deliver {
    /// The sender.
    #[must_use]
    pub fn from_partition(&self) -> PartitionId {
        PartitionId(self.from)
    }
}

/// A message between two partitions.
#[derive(Clone, PartialEq, Message)]
pub struct Parcel {
    /// What it says.
    #[prost(oneof = "ParcelBody", tags = "1, 2, 3, 4, 5, 6")]
    pub body: Option<ParcelBody>,
}

impl Parcel {
    /// A parcel saying `body`.
    #[must_use]
    pub fn new(body: ParcelBody) -> Self {
        Self { body: Some(body) }
    }

    /// Where it goes; `None` when malformed.
    #[must_use]
    pub fn partition_key(&self) -> Option<PartitionKey> {
        let id = match self.body.as_ref()? {
            ParcelBody::Invoke(invoke) => &invoke.id,
            ParcelBody::Response(response) => &response.sink.as_ref()?.caller,
            ParcelBody::Signal(signal) => &signal.target,
            ParcelBody::Control(control) => &control.target,
            ParcelBody::Attach(attach) | ParcelBody::Peek(attach) => &attach.target,
        };
        InvocationId::from_bytes(id).map(|id| id.partition_key)
    }
}

/// What a [`Parcel`] says.
#[expect(clippy::large_enum_variant, reason = "most are invocations; a box would cost each of them an allocation")]
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ParcelBody {
    /// Accept this invocation.
    #[prost(message, tag = "1")]
    Invoke(Invoke),
    /// The result of a call or attach.
    #[prost(message, tag = "2")]
    Response(Response),
    /// A signal.
    #[prost(message, tag = "3")]
    Signal(Signal),
    /// Cancel or kill, from a parent.
    #[prost(message, tag = "4")]
    Control(Control),
    /// Tell the sink when the target is done.
    #[prost(message, tag = "5")]
    Attach(Attach),
    /// Tell the sink what the target's result is, or that there is none yet.
    #[prost(message, tag = "6")]
    Peek(Attach),
}

/// A result on its way to the journal that waits for it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Response {
    /// Who waits.
    #[prost(message, optional, tag = "1")]
    pub sink: Option<Sink>,
    /// The result; absent answers a peek at something unfinished.
    #[prost(message, optional, tag = "2")]
    pub outcome: Option<Outcome>,
    /// Binary id of the invocation whose result it is.
    #[prost(bytes = "bytes", tag = "3")]
    pub callee: Bytes,
}

/// Interest of an invocation in the result of another.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Attach {
    /// Binary id of the other.
    #[prost(bytes = "bytes", tag = "1")]
    pub target: Bytes,
    /// Who waits.
    #[prost(message, optional, tag = "2")]
    pub sink: Option<Sink>,
}

/// Another partition has taken all messages up to a number.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct OutboxAck {
    /// The other partition.
    #[prost(uint32, tag = "1")]
    pub by: u32,
    /// The last message it has taken.
    #[prost(uint64, tag = "2")]
    pub up_to: u64,
}

/// Log time: the running maximum of [`Entry::proposed_at`].
#[must_use]
pub fn log_time(previous: Millis, entry: &Entry) -> Millis {
    previous.max(Millis(entry.proposed_at))
}

#[cfg(test)]
mod tests;
