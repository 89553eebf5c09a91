//! The values of the tables.

use bytes::Bytes;
use prost::Message;

use crate::command::{Holder, Next, Outcome, Priority, ScheduleDefinition, Sink, StateVersion, Target};
use crate::id::Millis;
use crate::protocol::{Code, Failure, Header, NotificationId, PromiseResult, RawMessage};

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
    /// Invocations that were ever recorded: the last number given out as [`InvocationRow::life`].
    #[prost(uint64, tag = "8")]
    pub lives: u64,
    /// Highest version of a state that was forgotten. What is written to its object later has higher ones, so that a
    /// version never names two states.
    #[prost(uint64, tag = "9")]
    pub forgotten_version: u64,
    /// While the members change in two steps: the voters before.
    #[prost(uint64, repeated, tag = "10")]
    pub voters_outgoing: Vec<u64>,
    /// While the members change in two steps: voters that become learners with the second.
    #[prost(uint64, repeated, tag = "11")]
    pub learners_next: Vec<u64>,
    /// Whether the second step follows by itself.
    #[prost(bool, tag = "12")]
    pub auto_leave: bool,
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
    /// Place in the mailbox of its object, for exclusive invocations that have one: the number in the lane of its class
    /// ([`Target::class`]).
    #[prost(uint64, optional, tag = "18")]
    pub mailbox_seq: Option<u64>,
    /// Sleeps whose timers are set.
    #[prost(uint32, tag = "19")]
    pub open_sleeps: u32,
    /// Tells this invocation from earlier and later ones with the same id, which an idempotency key or a workflow's key
    /// makes possible. At least 1; 0 in rows of builds that knew no lives.
    #[prost(uint64, tag = "20")]
    pub life: u64,
    /// Who waits for it and holds a key meanwhile.
    #[prost(message, repeated, tag = "21")]
    pub chain: Vec<Holder>,
    /// How long the journal is kept, in ms.
    #[prost(uint64, tag = "22")]
    pub journal_retention_ms: u64,
    /// The object's state expires when it was not changed for this long, in ms; 0 is never.
    #[prost(uint64, tag = "23")]
    pub state_ttl_ms: u64,
    /// Nobody waits for the result: a failure becomes a dead letter.
    #[prost(bool, tag = "24")]
    pub one_way: bool,
    /// The version of the code it is pinned to; absent before its first entry, and for code without versions.
    #[prost(string, optional, tag = "25")]
    pub version: Option<String>,
    /// Name of the schedule that invoked it; empty for others.
    #[prost(string, tag = "26")]
    pub schedule: String,
    /// Binary id of the invocation that this one repeats; empty for others.
    #[prost(bytes = "bytes", tag = "27")]
    pub restarted_from: Bytes,
    /// Whether it has a row in [`super::Failures`].
    #[prost(bool, tag = "28")]
    pub has_failures: bool,
}

impl InvocationRow {
    /// Whether what speaks of the life `said` speaks of this one. Commands and sinks of builds that knew no lives say 0:
    /// they are in logs that this build replays, and are taken at their word.
    #[must_use]
    pub fn is_life(&self, said: u64) -> bool {
        said == 0 || said == self.life
    }
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
    /// Number of journal entries that are kept; 0 once the journal is gone.
    #[prost(uint32, tag = "8")]
    pub journal_len: u32,
    /// Log time at which the journal is forgotten, when that is before the result.
    #[prost(uint64, tag = "9")]
    pub journal_expires_at: u64,
    /// Attempts that were started.
    #[prost(uint32, tag = "10")]
    pub attempt: u32,
    /// The version of the code it ran on; empty for code without versions.
    #[prost(string, tag = "11")]
    pub version: String,
    /// Name of the schedule that invoked it; empty for others.
    #[prost(string, tag = "12")]
    pub schedule: String,
    /// Binary id of the invocation that this one repeated; empty for others.
    #[prost(bytes = "bytes", tag = "13")]
    pub restarted_from: Bytes,
    /// The object's state expires when it was not changed for this long, in ms; kept for a restart.
    #[prost(uint64, tag = "14")]
    pub state_ttl_ms: u64,
    /// How long the result was to be kept, in ms; kept for a restart.
    #[prost(uint64, tag = "15")]
    pub retention_ms: u64,
    /// How long the journal was to be kept, in ms; kept for a restart.
    #[prost(uint64, tag = "16")]
    pub journal_retention_ms: u64,
    /// Whether nobody waited for the result.
    #[prost(bool, tag = "17")]
    pub one_way: bool,
}

/// A promise of a workflow.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PromiseRow {
    /// What it was completed with.
    #[prost(oneof = "PromiseResult", tags = "2, 3")]
    pub result: Option<PromiseResult>,
    /// Invocations that wait for it; empty once it is completed.
    #[prost(message, repeated, tag = "4")]
    pub listeners: Vec<Sink>,
    /// Log time of completion.
    #[prost(uint64, tag = "5")]
    pub completed_at: u64,
}

/// The last failed attempts of an invocation, oldest first; at most [`crate::limits::FAILURES_KEPT`].
#[derive(Clone, PartialEq, Message)]
pub struct FailuresRow {
    /// Failed attempts.
    #[prost(message, repeated, tag = "1")]
    pub attempts: Vec<FailedAttempt>,
    /// Failed attempts in all, those that are not kept included.
    #[prost(uint32, tag = "2")]
    pub total: u32,
}

/// A failed attempt.
#[derive(Clone, PartialEq, Message)]
pub struct FailedAttempt {
    /// Which attempt.
    #[prost(uint32, tag = "1")]
    pub attempt: u32,
    /// Log time of the failure.
    #[prost(uint64, tag = "2")]
    pub at: u64,
    /// What went wrong.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
    /// Journal entries there were: behind which of them it failed.
    #[prost(uint32, tag = "4")]
    pub journal_len: u32,
    /// What followed.
    #[prost(oneof = "Next", tags = "6, 7, 8")]
    pub next: Option<Next>,
}

/// A one-way invocation that failed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LetterRow {
    /// Binary id of the failed invocation.
    #[prost(bytes = "bytes", tag = "1")]
    pub invocation: Bytes,
    /// What was invoked.
    #[prost(message, optional, tag = "2")]
    pub target: Option<Target>,
    /// Argument.
    #[prost(bytes = "bytes", tag = "3")]
    pub input: Bytes,
    /// Headers.
    #[prost(message, repeated, tag = "4")]
    pub headers: Vec<Header>,
    /// How it ended.
    #[prost(message, optional, tag = "5")]
    pub failure: Option<Failure>,
    /// Log time of acceptance.
    #[prost(uint64, tag = "6")]
    pub created_at: u64,
    /// Log time of the end.
    #[prost(uint64, tag = "7")]
    pub failed_at: u64,
    /// Attempts that were started.
    #[prost(uint32, tag = "8")]
    pub attempt: u32,
    /// Binary id of the invoking invocation; empty for the ingress.
    #[prost(bytes = "bytes", tag = "9")]
    pub invoked_by: Bytes,
    /// How long the result of a repetition is kept, in ms.
    #[prost(uint64, tag = "10")]
    pub retention_ms: u64,
    /// How long the journal of a repetition is kept, in ms.
    #[prost(uint64, tag = "11")]
    pub journal_retention_ms: u64,
    /// State TTL of a repetition, in ms.
    #[prost(uint64, tag = "12")]
    pub state_ttl_ms: u64,
}

/// Where the dead letters of a service begin and end.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LetterBoundsRow {
    /// Number of the next letter.
    #[prost(uint64, tag = "1")]
    pub next: u64,
    /// How many there are.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// How many were dropped because there were too many.
    #[prost(uint64, tag = "3")]
    pub dropped: u64,
}

/// A schedule.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ScheduleRow {
    /// As its owner described it.
    #[prost(message, optional, tag = "1")]
    pub definition: Option<ScheduleDefinition>,
    /// When it is due, in ms since the Unix epoch; 0 is never again.
    #[prost(uint64, tag = "2")]
    pub due: u64,
    /// Whether `due` has come and the leader is reckoning what to run.
    #[prost(bool, tag = "3")]
    pub firing: bool,
    /// Whether it is paused.
    #[prost(bool, tag = "4")]
    pub paused: bool,
    /// Log time of creation.
    #[prost(uint64, tag = "5")]
    pub created_at: u64,
    /// Log time of the last change of the definition, pause or resumption.
    #[prost(uint64, tag = "6")]
    pub modified_at: u64,
    /// Runs that were started.
    #[prost(uint64, tag = "7")]
    pub runs: u64,
    /// Times that were skipped, by catch-up, by overlap, or because they could not be run.
    #[prost(uint64, tag = "8")]
    pub skipped: u64,
    /// Log time of the last start.
    #[prost(uint64, tag = "9")]
    pub last_run_at: u64,
    /// Binary id of the last run.
    #[prost(bytes = "bytes", tag = "10")]
    pub last_run: Bytes,
    /// Binary ids of runs under way, oldest first; at most [`crate::limits::SCHEDULE_ACTIVE_MAX`].
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub active: Vec<Bytes>,
    /// Runs that ended with a failure.
    #[prost(uint64, tag = "12")]
    pub failed: u64,
    /// The last failure of a run, or why nothing could be run.
    #[prost(string, tag = "13")]
    pub last_fault: String,
    /// Tells this schedule from earlier ones of the same name.
    #[prost(uint64, tag = "14")]
    pub life: u64,
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
    /// Lane of normal priority: see [`Lane::head`].
    #[prost(uint64, tag = "2")]
    pub head: u64,
    /// Lane of normal priority: see [`Lane::tail`].
    #[prost(uint64, tag = "3")]
    pub tail: u64,
    /// Log time at which the state expires unless it is changed before; 0 is never.
    #[prost(uint64, tag = "4")]
    pub expires_at: u64,
    /// How long the state is kept after its last change, in ms; 0 is for ever.
    #[prost(uint64, tag = "5")]
    pub state_ttl_ms: u64,
    /// When its entry in the expiry index is due; 0 when there is none, which is when `expires_at` is 0. Never later
    /// than `expires_at`: a change of the state moves that one only, and the entry follows when it is due.
    #[prost(uint64, tag = "6")]
    pub expiry_due: u64,
    /// Lane of high priority; absent when nothing is in it.
    #[prost(message, optional, tag = "7")]
    pub high: Option<Lane>,
    /// Lane of low priority; absent when nothing is in it.
    #[prost(message, optional, tag = "8")]
    pub low: Option<Lane>,
    /// The lane whose head holds the key; the normal one when the object is idle.
    #[prost(enumeration = "Priority", tag = "9")]
    pub holding: i32,
}

impl ObjectRow {
    /// Whether nothing is queued or running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.head == self.tail && self.high.is_none() && self.low.is_none()
    }

    /// The lane of a class.
    #[must_use]
    pub fn lane(&self, class: Priority) -> Lane {
        match class {
            Priority::Normal => Lane { head: self.head, tail: self.tail },
            Priority::High => self.high.unwrap_or_default(),
            Priority::Low => self.low.unwrap_or_default(),
        }
    }

    /// Sets the lane of a class. Numbers of the other lanes than the normal one begin anew when there is nothing in it.
    pub fn set_lane(&mut self, class: Priority, lane: Lane) {
        let used = (!lane.is_empty()).then_some(lane);
        match class {
            Priority::Normal => (self.head, self.tail) = (lane.head, lane.tail),
            Priority::High => self.high = used,
            Priority::Low => self.low = used,
        }
    }

    /// The place of the invocation that holds the key; `None` when the object is idle.
    #[must_use]
    pub fn holder(&self) -> Option<Place> {
        let class = self.holding();
        (!self.is_idle()).then(|| Place { class, seq: self.lane(class).head })
    }

    /// Numbers of all lanes that are taken; those of cancelled invocations count until they are passed.
    #[must_use]
    pub fn queued(&self) -> u64 {
        Priority::ORDER.into_iter().map(|class| self.lane(class).len()).sum()
    }

    /// Which state it has.
    #[must_use]
    pub fn version(&self) -> StateVersion {
        self.state.unwrap_or_default()
    }
}

/// Bounds of the mailbox numbers of one class. `head == tail` when it is empty.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Lane {
    /// Number of the first invocation that is not completed. In use when the lane holds the key; otherwise those at the
    /// front may be cancelled ones.
    #[prost(uint64, tag = "1")]
    pub head: u64,
    /// Number that the next invocation gets.
    #[prost(uint64, tag = "2")]
    pub tail: u64,
}

impl Lane {
    /// Whether no number is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Numbers that are taken.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tail.saturating_sub(self.head)
    }
}

/// A place in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which lane.
    pub class: Priority,
    /// Its number there.
    pub seq: u64,
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
