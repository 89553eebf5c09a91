//! What enters a partition's log. One raft entry carries an [`Entry`]: a batch of commands.

use bytes::Bytes;
use prost::Message;

use crate::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use crate::protocol::{Code, Failure, Header, RawMessage, SignalId, SignalResult};

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
    #[prost(oneof = "Body", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
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

/// Class of an exclusive invocation in the mailbox of its object. The numbers are persisted.
///
/// Whatever waits is taken class by class, [`Priority::ORDER`], and in the order of acceptance within a class. The
/// invocation that holds the key goes on whatever comes. A class waits as long as there is something in those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Priority {
    /// Of everything that does not say otherwise.
    Normal = 0,
    /// Before everything else.
    High = 1,
    /// After everything else.
    Low = 2,
}

/// A priority is none of the words there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no priority: write `high`, `normal` or `low`")]
pub struct UnknownPriority(String);

impl Priority {
    /// The request header that names the priority of one invocation. It is part of what the handler sees.
    pub const HEADER: &'static str = "x-abide-priority";
    /// First to last.
    pub const ORDER: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Place in [`Priority::ORDER`].
    #[must_use]
    pub fn rank(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// The word for it in headers, options, the API and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// What the headers of a request say of it; of several the last one counts. `None` when they say nothing.
    ///
    /// # Errors
    /// [`UnknownPriority`] for any other word.
    pub fn of_headers(headers: &[Header]) -> Result<Option<Self>, UnknownPriority> {
        let header = headers.iter().rev().find(|header| header.key == Self::HEADER);
        header.map(|header| header.value.parse()).transpose()
    }
}

impl std::str::FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(word: &str) -> Result<Self, UnknownPriority> {
        let known = Self::ORDER.into_iter().find(|priority| priority.word() == word);
        known.ok_or_else(|| UnknownPriority(word.chars().take(64).collect()))
    }
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

/// An operator's order.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Control {
    /// Binary id of the target.
    #[prost(bytes = "bytes", tag = "1")]
    pub target: Bytes,
    /// The order.
    #[prost(enumeration = "Verb", tag = "2")]
    pub verb: i32,
    /// [`Verb::Restart`]: binary id of the new invocation, in the partition of the target.
    #[prost(bytes = "bytes", tag = "3")]
    pub new_id: Bytes,
    /// [`Verb::Restart`]: number of journal entries that are kept, Input included; 0 is 1.
    #[prost(uint32, tag = "4")]
    pub keep: u32,
    /// [`Verb::Resume`] and [`Verb::Restart`]: the version of the code to go on with. Absent keeps the one it has;
    /// empty takes the current one.
    #[prost(string, optional, tag = "5")]
    pub version: Option<String>,
    /// [`Verb::Reschedule`]: the new time, in ms since the Unix epoch.
    #[prost(uint64, tag = "6")]
    pub execute_at: u64,
}

impl Control {
    /// An order without further detail.
    #[must_use]
    pub fn new(target: InvocationId, verb: Verb) -> Self {
        Self { target: Bytes::copy_from_slice(&target.to_bytes()), verb: verb as i32, ..Self::default() }
    }
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Verb {
    /// Ask it to stop; its compensation runs.
    Cancel = 0,
    /// End it now, with all that it called.
    Kill = 1,
    /// Try a paused or backing-off one again now.
    Resume = 2,
    /// Make no further attempts until it is resumed.
    Pause = 3,
    /// Forget a completed one: result, journal, and what a workflow leaves behind.
    Purge = 4,
    /// Forget the journal of a completed one; the result stays.
    PurgeJournal = 5,
    /// Run a completed one again as a new invocation, from its start or behind some of its journal.
    Restart = 6,
    /// Give a scheduled one another time.
    Reschedule = 7,
}

/// What is to become of a dead letter.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LetterOrder {
    /// Service of the letter.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Number of the letter among those of the service in this partition.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Binary id under which it is invoked again, in the letter's partition; empty drops the letter.
    #[prost(bytes = "bytes", tag = "3")]
    pub redrive_as: Bytes,
}

/// An order about a schedule, in the partition of its id.
#[derive(Clone, PartialEq, Message)]
pub struct ScheduleOrder {
    /// Binary [`crate::id::ScheduleId`].
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    /// What is to happen.
    #[prost(oneof = "ScheduleAction", tags = "2, 3, 4, 5, 6, 7")]
    pub action: Option<ScheduleAction>,
}

/// What is to happen to a schedule. Times are reckoned by the leader: cron and time zones are not for the rules.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ScheduleAction {
    /// Create or replace it.
    #[prost(message, tag = "2")]
    Put(ScheduleDefinition),
    /// Skip everything that becomes due until it is resumed.
    #[prost(bool, tag = "3")]
    Pause(bool),
    /// Go on.
    #[prost(message, tag = "4")]
    Resume(ScheduleNext),
    /// Run now, beside its times.
    #[prost(message, tag = "5")]
    Trigger(Invoke),
    /// Forget it. Runs under way go on.
    #[prost(bool, tag = "6")]
    Delete(bool),
    /// What was due.
    #[prost(message, tag = "7")]
    Fire(ScheduleFire),
}

/// When a schedule is due next.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ScheduleNext {
    /// In ms since the Unix epoch; 0 is never again.
    #[prost(uint64, tag = "1")]
    pub due: u64,
}

/// A schedule as its owner describes it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ScheduleDefinition {
    /// Its name, unique in the cluster.
    #[prost(string, tag = "1")]
    pub name: String,
    /// When it is due: a text that the node reads, `cron <expression> <zone>`, `every <period> from
    /// <time>` or `at <time>`.
    #[prost(string, tag = "2")]
    pub spec: String,
    /// What it invokes.
    #[prost(string, tag = "3")]
    pub service: String,
    /// Handler.
    #[prost(string, tag = "4")]
    pub handler: String,
    /// Key of objects.
    #[prost(string, optional, tag = "5")]
    pub key: Option<String>,
    /// Argument.
    #[prost(bytes = "bytes", tag = "6")]
    pub input: Bytes,
    /// Headers of the Input entry.
    #[prost(message, repeated, tag = "7")]
    pub headers: Vec<Header>,
    /// What becomes of times that were missed.
    #[prost(enumeration = "CatchUp", tag = "8")]
    pub catch_up: i32,
    /// What becomes of a run that is due while an earlier one is under way.
    #[prost(enumeration = "Overlap", tag = "9")]
    pub overlap: i32,
    /// When it is due first, in ms since the Unix epoch; 0 is never.
    #[prost(uint64, tag = "10")]
    pub first_due: u64,
    /// Created only when there is none of this name; otherwise a put replaces it.
    #[prost(bool, tag = "11")]
    pub create_only: bool,
    /// Created paused.
    #[prost(bool, tag = "12")]
    pub paused: bool,
}

/// What becomes of times that were missed, because nobody could fire them. A time is missed when it is more than
/// [`crate::limits::SCHEDULE_LATE_MS`] in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum CatchUp {
    /// They are skipped.
    Skip = 0,
    /// One run makes up for all.
    One = 1,
    /// Each is run, at most [`crate::limits::SCHEDULE_CATCH_UP_MAX`], the latest ones.
    All = 2,
}

/// What becomes of a run that is due while an earlier one is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Overlap {
    /// It runs beside it.
    Allow = 0,
    /// It is skipped.
    Skip = 1,
    /// The earlier one is cancelled.
    CancelOther = 2,
}

/// What a leader makes of a schedule that is due.
#[derive(Clone, PartialEq, Message)]
pub struct ScheduleFire {
    /// The time that became due. Nothing happens when the schedule's is another one by now.
    #[prost(uint64, tag = "1")]
    pub due: u64,
    /// Runs, each complete but for its sink.
    #[prost(message, repeated, tag = "2")]
    pub runs: Vec<Invoke>,
    /// When it is due next, in ms since the Unix epoch; 0 is never again.
    #[prost(uint64, tag = "3")]
    pub next: u64,
    /// Times that the catch-up policy skips.
    #[prost(uint64, tag = "4")]
    pub skipped: u64,
    /// Why nothing could be run, for display; empty when it could.
    #[prost(string, tag = "5")]
    pub fault: String,
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
mod tests {
    use super::*;
    use crate::codec;

    /// The persisted form of a batch; a change of these bytes breaks every existing log.
    #[test]
    fn golden_bytes() {
        let turn = Turn {
            id: Bytes::from_static(&[7; 24]),
            accept: None,
            activation: 3,
            base: Some(StateVersion { version: 4, writer: 3 }),
            changes: vec![FieldChange { field: "n".into(), value: Some(Bytes::from_static(b"5")) }],
            sends: vec![],
            outcome: Some(Outcome::success(Bytes::from_static(b"5"))),
            life: 0,
        };
        let entry = Entry {
            proposed_at: 1000,
            commands: vec![
                Command::new(Body::LeaderStart(LeaderStart { term: 2 })),
                Command { request: 9, body: Some(Body::Turn(turn)) },
                Command::new(Body::FireTimers(FireTimers {})),
            ],
        };
        let bytes = codec::encode(&entry);
        let mut expected = vec![1, 0x08, 0xe8, 0x07, 0x12, 4, 0x12, 2, 8, 2, 0x12, 47, 8, 9, 0x22, 43, 0x0a, 24];
        expected.extend([7; 24]);
        expected.extend([0x18, 3, 0x22, 4, 8, 4, 16, 3, 0x2a, 6, 0x0a, 1, b'n', 0x12, 1, b'5', 0x3a, 3, 0x0a, 1, b'5']);
        expected[11] = u8::try_from(expected.len() - 12).expect("short");
        expected[15] = expected[11] - 4;
        expected.extend([0x12, 2, 0x4a, 0]);
        assert_eq!(bytes.as_ref(), expected);
        assert_eq!(codec::decode::<Entry>("a log entry", &bytes), Ok(entry));
    }

    /// The persisted form of orders; a change of these bytes breaks every existing log.
    #[test]
    fn golden_bytes_of_orders() {
        let control = Control {
            target: Bytes::from_static(&[9]),
            verb: Verb::Restart as i32,
            new_id: Bytes::from_static(&[8]),
            keep: 2,
            version: Some(String::new()),
            execute_at: 3,
        };
        assert_eq!(control.encode_to_vec(), [0x0a, 1, 9, 16, 6, 0x1a, 1, 8, 32, 2, 0x2a, 0, 48, 3]);
        let letter = LetterOrder { service: "S".into(), seq: 1, redrive_as: Bytes::from_static(&[9]) };
        assert_eq!(letter.encode_to_vec(), [0x0a, 1, b'S', 16, 1, 0x1a, 1, 9]);
        let definition = ScheduleDefinition {
            name: "n".into(),
            spec: "s".into(),
            service: "S".into(),
            handler: "h".into(),
            key: Some("k".into()),
            input: Bytes::from_static(b"i"),
            headers: vec![Header { key: "a".into(), value: "b".into() }],
            catch_up: CatchUp::All as i32,
            overlap: Overlap::CancelOther as i32,
            first_due: 1,
            create_only: true,
            paused: true,
        };
        let mut put = vec![0x12, 36, 0x0a, 1, b'n', 0x12, 1, b's', 0x1a, 1, b'S', 0x22, 1, b'h', 0x2a, 1, b'k'];
        put.extend([0x32, 1, b'i', 0x3a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 64, 2, 72, 2, 80, 1, 88, 1, 96, 1]);
        let run = Invoke { id: Bytes::from_static(&[7]), ..Invoke::default() };
        let fire = ScheduleFire { due: 1, runs: vec![run.clone()], next: 2, skipped: 3, fault: "f".into() };
        for (action, expected) in [
            (ScheduleAction::Put(definition), put),
            (ScheduleAction::Pause(true), vec![24, 1]),
            (ScheduleAction::Resume(ScheduleNext { due: 5 }), vec![0x22, 2, 8, 5]),
            (ScheduleAction::Trigger(run), vec![0x2a, 3, 0x0a, 1, 7]),
            (ScheduleAction::Delete(true), vec![48, 1]),
            (ScheduleAction::Fire(fire), vec![0x3a, 14, 8, 1, 0x12, 3, 0x0a, 1, 7, 24, 2, 32, 3, 0x2a, 1, b'f']),
        ] {
            let order = ScheduleOrder { id: Bytes::from_static(&[9]), action: Some(action) };
            assert_eq!(order.encode_to_vec(), [&[0x0a, 1, 9], &expected[..]].concat());
            assert_eq!(ScheduleOrder::decode(order.encode_to_vec().as_slice()), Ok(order));
        }
        let letter = Command::new(Body::Letter(LetterOrder::default())).encode_to_vec();
        assert_eq!(letter, [0x62, 0]);
        assert_eq!(Command::new(Body::Schedule(ScheduleOrder::default())).encode_to_vec(), [0x6a, 0]);
    }

    /// Numbers and words of priorities are persisted.
    #[test]
    fn priorities_stay() {
        let of = |number| Priority::try_from(number).expect("three priorities");
        assert_eq!([of(0), of(1), of(2)], [Priority::Normal, Priority::High, Priority::Low]);
        let target = Target { priority: Priority::Low as i32, ..Target::default() };
        assert_eq!(target.encode_to_vec(), [56, 2]);
        let edit = Target { form: Form::Edit as i32, ..target.clone() };
        assert_eq!((target.class(), edit.class()), (Priority::Low, Priority::Normal));
        // Of a build to come: it queues with the normal ones.
        assert_eq!(Target { priority: 9, ..target }.class(), Priority::Normal);

        for (rank, priority) in Priority::ORDER.into_iter().enumerate() {
            assert_eq!((priority.rank(), priority.word().parse()), (rank, Ok(priority)));
        }
        let headers = |words: &[&str]| {
            let header = |word: &&str| Header { key: "x-abide-priority".into(), value: (*word).into() };
            words.iter().map(header).collect::<Vec<_>>()
        };
        assert_eq!(Priority::of_headers(&[Header { key: "a".into(), value: "high".into() }]), Ok(None));
        assert_eq!(Priority::of_headers(&headers(&["low", "high"])), Ok(Some(Priority::High)));
        for word in ["", "High", "urgent", "1"] {
            assert_eq!(Priority::of_headers(&headers(&[word])), Err(UnknownPriority(word.into())));
        }
    }

    /// Numbers of verbs and policies are persisted.
    #[test]
    fn numbers_of_orders_stay() {
        let verbs = (0..8).map(|verb| Verb::try_from(verb).expect("eight verbs"));
        use Verb::{Cancel, Kill, Pause, Purge, PurgeJournal, Reschedule, Restart, Resume};
        assert!(verbs.eq([Cancel, Kill, Resume, Pause, Purge, PurgeJournal, Restart, Reschedule]));
        let overlaps = [Overlap::Allow, Overlap::Skip, Overlap::CancelOther].map(|overlap| overlap as i32);
        let catch_ups = [CatchUp::Skip, CatchUp::One, CatchUp::All].map(|catch_up| catch_up as i32);
        assert_eq!((overlaps, catch_ups), ([0, 1, 2], [0, 1, 2]));
    }

    /// The commands and inputs that later builds brought; these bytes must never change.
    #[test]
    fn golden_later_fields() {
        let invoke = Invoke {
            target: Some(Target { access: Access::Workflow as i32, workflow: true, ..Target::default() }),
            sink: Some(Sink { caller: Bytes::from_static(&[7]), completion: 2, code: 0xFFFF, life: 3 }),
            chain: vec![Holder { service: "S".into(), key: "k".into(), invocation: Bytes::from_static(&[7]) }],
            journal_retention_ms: 2,
            state_ttl_ms: 3,
            one_way: true,
            schedule: "s".into(),
            restarted_from: Bytes::from_static(&[9]),
            ..Invoke::default()
        };
        let expected = [
            1, 0x12, 4, 32, 2, 48, 1, 0x42, 11, 0x0a, 1, 7, 16, 2, 24, 0xff, 0xff, 3, 32, 3, 0x52, 9, 0x0a, 1, b'S',
            0x12, 1, b'k', 0x1a, 1, 7, 88, 2, 96, 3, 104, 1, 0x72, 1, b's', 0x7a, 1, 9,
        ];
        assert_eq!(codec::encode(&invoke).as_ref(), expected);
        assert_eq!(codec::decode::<Invoke>("an invocation", &Bytes::copy_from_slice(&expected)), Ok(invoke));

        let append = Append { term: 1, life: 2, version: "v".into(), ..Append::default() };
        assert_eq!(append.encode_to_vec(), [16, 1, 48, 2, 0x3a, 1, b'v']);
        let failed = AttemptFailed { life: 2, uncounted: true, next: Some(Next::Pause(true)), ..Default::default() };
        assert_eq!(failed.encode_to_vec(), [56, 1, 72, 2, 80, 1]);
        assert_eq!(Turn { life: 2, ..Turn::default() }.encode_to_vec(), [64, 2]);

        // The input of an edit is without an envelope: it lies in a journal entry, which has one.
        let edit = StateEdit {
            expected: Some(StateVersion { version: 4, writer: 3 }),
            replace: true,
            changes: vec![
                FieldChange { field: "a".into(), value: Some(Bytes::new()) },
                FieldChange { field: "b".into(), value: None },
            ],
        };
        let expected = [0x0a, 4, 8, 4, 16, 3, 16, 1, 0x1a, 5, 0x0a, 1, b'a', 0x12, 0, 0x1a, 3, 0x0a, 1, b'b'];
        assert_eq!(edit.encode_to_vec(), expected);
        assert_eq!(StateEdit::decode(&expected[..]), Ok(edit));
    }
}
