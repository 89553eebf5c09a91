//! The values of the tables.

use bytes::Bytes;
use prost::Message;

use crate::command::{Outcome, Sink, StateVersion, Target};
use crate::id::Millis;
use crate::protocol::{Code, Failure, NotificationId, RawMessage};

/// A row whose key says everything.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// How far the log is applied.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AppliedRow {
    /// Index of the last applied entry.
    #[prost(uint64, tag = "1")]
    pub index: u64,
    /// Its term.
    #[prost(uint64, tag = "2")]
    pub term: u64,
    /// Log time, in ms since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub log_time: u64,
    /// Term of the last leader that began.
    #[prost(uint64, tag = "4")]
    pub leader_term: u64,
    /// XXH3-64 chained over all writes so far, in order.
    #[prost(fixed64, tag = "5")]
    pub state_hash: u64,
    /// Voters of the partition's group at this index (rule P8).
    #[prost(uint64, repeated, tag = "6")]
    pub voters: Vec<u64>,
    /// Learners of the partition's group at this index.
    #[prost(uint64, repeated, tag = "7")]
    pub learners: Vec<u64>,
}

/// An invocation that is not completed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct InvocationRow {
    /// What runs.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// Where it is.
    #[prost(oneof = "Status", tags = "2, 3, 4, 5, 6, 7")]
    pub status: Option<Status>,
    /// Number of attempts that were started.
    #[prost(uint32, tag = "8")]
    pub attempt: u32,
    /// Log time of acceptance.
    #[prost(uint64, tag = "9")]
    pub created_at: u64,
    /// Log time of the last change.
    #[prost(uint64, tag = "10")]
    pub modified_at: u64,
    /// Number of journal entries.
    #[prost(uint32, tag = "11")]
    pub journal_len: u32,
    /// Invocations that wait for the result.
    #[prost(message, repeated, tag = "12")]
    pub sinks: Vec<Sink>,
    /// Binary id of the invoking invocation; empty for the ingress.
    #[prost(bytes = "bytes", tag = "13")]
    pub invoked_by: Bytes,
    /// For display.
    #[prost(string, optional, tag = "14")]
    pub idempotency_key: Option<String>,
    /// How long the result is kept, in ms.
    #[prost(uint64, tag = "15")]
    pub retention_ms: u64,
    /// Failed attempts since the last stored command.
    #[prost(uint32, tag = "16")]
    pub failures: u32,
    /// The last failure.
    #[prost(message, optional, tag = "17")]
    pub last_failure: Option<Failure>,
    /// Place in the mailbox of its object, for exclusive invocations that have one.
    #[prost(uint64, optional, tag = "18")]
    pub mailbox_seq: Option<u64>,
    /// Sleeps whose timers are set.
    #[prost(uint32, tag = "19")]
    pub open_sleeps: u32,
}

/// Where an invocation is between acceptance and completion.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub enum Status {
    /// Waits for its time (ms since the Unix epoch).
    #[prost(uint64, tag = "2")]
    Scheduled(u64),
    /// In the mailbox, behind others.
    #[prost(message, tag = "3")]
    Queued(Empty),
    /// Its attempt is due or under way.
    #[prost(message, tag = "4")]
    Running(Empty),
    /// Waits for its next attempt (ms since the Unix epoch).
    #[prost(uint64, tag = "5")]
    BackingOff(u64),
    /// Waits for notifications, without an attempt.
    #[prost(message, tag = "6")]
    Suspended(Awaiting),
    /// Waits for an operator.
    #[prost(message, tag = "7")]
    Paused(Empty),
}

impl Status {
    /// The word for it in the API, the CLI and logs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Scheduled(_) => "scheduled",
            Self::Queued(_) => "pending",
            Self::Running(_) => "running",
            Self::BackingOff(_) => "backing-off",
            Self::Suspended(_) => "suspended",
            Self::Paused(_) => "paused",
        }
    }
}

/// What a suspended invocation waits for: any of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Awaiting {
    /// Completion ids.
    #[prost(uint32, repeated, tag = "1")]
    pub completions: Vec<u32>,
    /// Signal numbers.
    #[prost(uint32, repeated, tag = "2")]
    pub signals: Vec<u32>,
    /// Signal names.
    #[prost(string, repeated, tag = "3")]
    pub names: Vec<String>,
}

impl Awaiting {
    /// Whether a notification with this id ends the wait.
    #[must_use]
    pub fn includes(&self, id: &NotificationId) -> bool {
        match id {
            NotificationId::Completion(id) => self.completions.contains(id),
            NotificationId::SignalIndex(index) => self.signals.contains(index),
            NotificationId::SignalName(name) => self.names.contains(name),
        }
    }
}

/// A retained result.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CompletionRow {
    /// What ran.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Target>,
    /// How it ended.
    #[prost(message, optional, tag = "2")]
    pub outcome: Option<Outcome>,
    /// Log time of acceptance.
    #[prost(uint64, tag = "3")]
    pub created_at: u64,
    /// Log time of completion.
    #[prost(uint64, tag = "4")]
    pub completed_at: u64,
    /// Log time at which it is forgotten.
    #[prost(uint64, tag = "5")]
    pub expires_at: u64,
    /// For display.
    #[prost(string, optional, tag = "6")]
    pub idempotency_key: Option<String>,
    /// Binary id of the invoking invocation; empty for the ingress.
    #[prost(bytes = "bytes", tag = "7")]
    pub invoked_by: Bytes,
}

/// A journal entry.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct JournalRow {
    /// Type code.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// Payload, byte for byte as received.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
    /// Log time of the append.
    #[prost(uint64, tag = "3")]
    pub appended_at: u64,
}

impl JournalRow {
    /// The entry at `at`.
    #[must_use]
    pub fn new(message: RawMessage, at: Millis) -> Self {
        Self { code: u32::from(message.code.0), payload: message.payload, appended_at: at.0 }
    }

    /// The message it holds.
    #[must_use]
    pub fn message(&self) -> RawMessage {
        RawMessage { code: Code(u16::try_from(self.code).unwrap_or(0)), payload: self.payload.clone() }
    }
}

/// An object's version and mailbox bounds.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ObjectRow {
    /// Which state it has.
    #[prost(message, optional, tag = "1")]
    pub state: Option<StateVersion>,
    /// Mailbox number of the first invocation that is not completed.
    #[prost(uint64, tag = "2")]
    pub head: u64,
    /// Mailbox number that the next invocation gets. `head == tail` means idle.
    #[prost(uint64, tag = "3")]
    pub tail: u64,
}

impl ObjectRow {
    /// Whether nothing is queued or running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.head == self.tail
    }

    /// Which state it has.
    #[must_use]
    pub fn version(&self) -> StateVersion {
        self.state.unwrap_or_default()
    }
}

/// The value of a state field.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateRow {
    /// The bytes the handler stored: JSON for native ones.
    #[prost(bytes = "bytes", tag = "1")]
    pub value: Bytes,
}

/// An invocation in a mailbox.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MailboxRow {
    /// Binary id.
    #[prost(bytes = "bytes", tag = "1")]
    pub invocation: Bytes,
}

/// The last number of a sequence.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SequenceRow {
    /// 0 before the first message.
    #[prost(uint64, tag = "1")]
    pub last: u64,
}
