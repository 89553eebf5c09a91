//! Schedules: as their owners describe them, and what is ordered of them.

use bytes::Bytes;
use prost::Message;

use super::Invoke;
use crate::protocol::Header;

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
