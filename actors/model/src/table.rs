//! The catalogue of persistent tables of a partition.
//!
//! A key is the table's tag, one byte, then the parts below in an order-preserving form ([`key`]). A value is a
//! protobuf message in the versioned envelope of [`crate::codec`]. Tags are persisted and must never change or be
//! reused.
//!
//! | tag | table | key | value |
//! |---|---|---|---|
//! | 01 | [`Applied`] | – | how far the log is applied |
//! | 02 | [`Invocations`] | invocation | an invocation that is not completed |
//! | 03 | [`Completions`] | invocation | the retained result of a completed invocation |
//! | 04 | [`Journals`] | invocation, index u32 | a journal entry |
//! | 05 | [`Objects`] | service, key | version of the state, bounds of the mailbox |
//! | 06 | [`States`] | service, key, field | the value of a field |
//! | 07 | [`Mailboxes`] | service, key, seq u64 | an exclusive invocation of normal priority in its order |
//! | 08 | [`Timers`] | due u64, kind u8, invocation, completion u32 | – |
//! | 09 | [`Outbox`] | target partition u32, seq u64 | a message for that partition |
//! | 0A | [`Sequences`] | direction u8, partition u32 | last sequence number |
//! | 0B | [`Ready`] | invocation | – (its attempt is due or under way) |
//! | 0C | [`Promises`] | workflow, key, name | a promise: its result, or who waits |
//! | 0D | [`Expiries`] | due u64, kind u8, subject | – (what is forgotten when) |
//! | 0E | [`Failures`] | invocation | the last failed attempts |
//! | 0F | [`Letters`] | service, seq u64 | a dead letter |
//! | 10 | [`LetterBounds`] | service | bounds of its dead letters |
//! | 11 | [`Schedules`] | schedule | a schedule |
//! | 12 | [`Lanes`] | service, key, class u8, seq u64 | an exclusive invocation of another priority in its order |
//! | 13 | [`Cluster`] | – | the cluster; this and all below in [`PartitionId::META`] only |
//! | 14 | [`Nodes`] | node u32 | a node of the cluster, also one that is gone |
//! | 15 | [`Placements`] | partition u32 | where the partition is wanted |
//! | 16 | [`Settings`] | name | a setting of the cluster that is not at its default |

mod cluster;
pub mod key;
mod row;

use bytes::Bytes;
use prost::Message;

use crate::codec;
use crate::command::{Parcel, Priority};
use crate::id::{InvocationId, Millis, NodeId, ObjectId, PartitionId, ScheduleId};
use crate::view::ReadError;
pub use cluster::*;
pub use row::*;

/// A table: how its keys and values become bytes.
pub trait Table {
    /// Persisted tag, the first byte of every key.
    const TAG: u8;
    /// Name in error messages.
    const NAME: &'static str;
    /// Typed key.
    type Key;
    /// Typed value.
    type Value: Message + Default;

    /// Appends the parts of `key` behind the tag.
    fn write_key(key: &Self::Key, out: &mut key::KeyWriter);

    /// Reads the parts behind the tag; `None` when they are not a key of this table.
    fn read_key(parts: &mut key::KeyReader<'_>) -> Option<Self::Key>;

    /// Tag and parts.
    fn encode_key(key: &Self::Key) -> Box<[u8]> {
        let mut out = key::KeyWriter::new(Self::TAG);
        Self::write_key(key, &mut out);
        out.finish()
    }

    /// The inverse of [`Table::encode_key`].
    ///
    /// # Errors
    /// [`ReadError`] for bytes of another table or shape.
    fn decode_key(bytes: &[u8]) -> Result<Self::Key, ReadError> {
        let malformed = || ReadError(format!("a key of table {} does not decode: {bytes:02x?}", Self::NAME));
        let mut parts = key::KeyReader::new(bytes, Self::TAG).ok_or_else(malformed)?;
        let key = Self::read_key(&mut parts).ok_or_else(malformed)?;
        if parts.is_empty() { Ok(key) } else { Err(malformed()) }
    }

    /// Versioned bytes of `value`.
    fn encode_value(value: &Self::Value) -> Bytes {
        codec::encode(value)
    }

    /// The inverse of [`Table::encode_value`].
    ///
    /// # Errors
    /// [`ReadError`] for an unknown version or malformed bytes.
    fn decode_value(bytes: &Bytes) -> Result<Self::Value, ReadError> {
        Ok(codec::decode(Self::NAME, bytes)?)
    }

    /// Bounds `[from, to)` of the whole table.
    fn whole() -> (Box<[u8]>, Box<[u8]>) {
        (Box::new([Self::TAG]), Box::new([Self::TAG + 1]))
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $tag:literal, $label:literal, $key:ty => $value:ty,
     |$k:ident, $out:ident| $write:block, |$parts:ident| $read:block) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Table for $name {
            const TAG: u8 = $tag;
            const NAME: &'static str = $label;
            type Key = $key;
            type Value = $value;

            fn write_key($k: &Self::Key, $out: &mut key::KeyWriter) $write

            fn read_key($parts: &mut key::KeyReader<'_>) -> Option<Self::Key> $read
        }
    };
}

table! {
    /// How far the log is applied; one row, written in the same batch as the changes it speaks of.
    Applied, 0x01, "applied", () => AppliedRow,
    |_key, _out| {}, |_parts| { Some(()) }
}
table! {
    /// Invocations from acceptance to completion.
    Invocations, 0x02, "invocations", InvocationId => InvocationRow,
    |key, out| { out.invocation(*key); }, |parts| { parts.invocation() }
}
table! {
    /// Results that are kept.
    Completions, 0x03, "completions", InvocationId => CompletionRow,
    |key, out| { out.invocation(*key); }, |parts| { parts.invocation() }
}
table! {
    /// Journal entries, from index 0 (the Input) without gaps.
    Journals, 0x04, "journals", (InvocationId, u32) => JournalRow,
    |key, out| { out.invocation(key.0); out.u32(key.1); }, |parts| { Some((parts.invocation()?, parts.u32()?)) }
}
table! {
    /// Objects that were ever changed or queued for.
    Objects, 0x05, "objects", ObjectId => ObjectRow,
    |key, out| { out.text(&key.service); out.text(&key.key); },
    |parts| { Some(ObjectId { service: parts.text()?, key: parts.text()? }) }
}
table! {
    /// State fields.
    States, 0x06, "states", (ObjectId, String) => StateRow,
    |key, out| { out.text(&key.0.service); out.text(&key.0.key); out.text(&key.1); },
    |parts| { Some((ObjectId { service: parts.text()?, key: parts.text()? }, parts.text()?)) }
}
table! {
    /// Queued and running exclusive invocations of normal priority, in order. Which one of all lanes holds the key is
    /// said by [`ObjectRow::holder`].
    Mailboxes, 0x07, "mailboxes", (ObjectId, u64) => MailboxRow,
    |key, out| { out.text(&key.0.service); out.text(&key.0.key); out.u64(key.1); },
    |parts| { Some((ObjectId { service: parts.text()?, key: parts.text()? }, parts.u64()?)) }
}
table! {
    /// What is due when.
    Timers, 0x08, "timers", TimerKey => Empty,
    |key, out| {
        out.u64(key.due.0);
        out.u8(key.kind as u8);
        out.invocation(key.invocation);
        out.u32(key.completion);
    },
    |parts| {
        Some(TimerKey {
            due: Millis(parts.u64()?),
            kind: TimerKind::from_tag(parts.u8()?)?,
            invocation: parts.invocation()?,
            completion: parts.u32()?,
        })
    }
}
table! {
    /// Messages that other partitions have not taken yet.
    Outbox, 0x09, "outbox", (PartitionId, u64) => Parcel,
    |key, out| { out.u32(key.0.0); out.u64(key.1); }, |parts| { Some((PartitionId(parts.u32()?), parts.u64()?)) }
}
table! {
    /// Sequence numbers of the exchange with other partitions.
    Sequences, 0x0A, "sequences", (Direction, PartitionId) => SequenceRow,
    |key, out| { out.u8(key.0 as u8); out.u32(key.1.0); },
    |parts| { Some((Direction::from_tag(parts.u8()?)?, PartitionId(parts.u32()?))) }
}
table! {
    /// Invocations whose attempt is due or under way: what a new leader starts again.
    Ready, 0x0B, "ready", InvocationId => Empty,
    |key, out| { out.invocation(*key); }, |parts| { parts.invocation() }
}

table! {
    /// Promises of workflows: those that are completed, and those that somebody waits for.
    Promises, 0x0C, "promises", (ObjectId, String) => PromiseRow,
    |key, out| { out.text(&key.0.service); out.text(&key.0.key); out.text(&key.1); },
    |parts| { Some((ObjectId { service: parts.text()?, key: parts.text()? }, parts.text()?)) }
}
table! {
    /// The expiry index: what is forgotten when.
    Expiries, 0x0D, "expiries", ExpiryKey => Empty,
    |key, out| {
        out.u64(key.due.0);
        match &key.what {
            Expiry::Completion(id) => { out.u8(1); out.invocation(*id); }
            Expiry::Journal(id) => { out.u8(2); out.invocation(*id); }
            Expiry::State(object) => { out.u8(3); out.text(&object.service); out.text(&object.key); }
        }
    },
    |parts| {
        let due = Millis(parts.u64()?);
        let what = match parts.u8()? {
            1 => Expiry::Completion(parts.invocation()?),
            2 => Expiry::Journal(parts.invocation()?),
            3 => Expiry::State(ObjectId { service: parts.text()?, key: parts.text()? }),
            _ => return None,
        };
        Some(ExpiryKey { due, what })
    }
}
table! {
    /// Failed attempts of invocations that are not completed, for display.
    Failures, 0x0E, "failures", InvocationId => FailuresRow,
    |key, out| { out.invocation(*key); }, |parts| { parts.invocation() }
}
table! {
    /// Dead letters: one-way invocations that failed, with what it takes to invoke them again.
    Letters, 0x0F, "letters", (String, u64) => LetterRow,
    |key, out| { out.text(&key.0); out.u64(key.1); }, |parts| { Some((parts.text()?, parts.u64()?)) }
}
table! {
    /// Where the dead letters of a service begin and end.
    LetterBounds, 0x10, "letter bounds", String => LetterBoundsRow,
    |key, out| { out.text(key); }, |parts| { parts.text() }
}
table! {
    /// Schedules.
    Schedules, 0x11, "schedules", ScheduleId => ScheduleRow,
    |key, out| { out.invocation(key.as_invocation()); },
    |parts| { parts.invocation().map(ScheduleId::from_invocation) }
}

table! {
    /// Queued and running exclusive invocations of other than normal priority, in order. The class byte is the number of
    /// the [`Priority`].
    Lanes, 0x12, "lanes", (ObjectId, Priority, u64) => MailboxRow,
    |key, out| {
        out.text(&key.0.service);
        out.text(&key.0.key);
        out.u8(match key.1 {
            Priority::Normal => 0,
            Priority::High => 1,
            Priority::Low => 2,
        });
        out.u64(key.2);
    },
    |parts| {
        let object = ObjectId { service: parts.text()?, key: parts.text()? };
        let class = Priority::try_from(i32::from(parts.u8()?)).ok()?;
        Some((object, class, parts.u64()?))
    }
}

table! {
    /// The cluster, one row.
    Cluster, 0x13, "cluster", () => ClusterRow,
    |_key, _out| {}, |_parts| { Some(()) }
}
table! {
    /// The nodes of the cluster, those that are gone included: no id is ever given out again.
    Nodes, 0x14, "nodes", NodeId => NodeRow,
    |key, out| { out.u32(key.0); }, |parts| { parts.u32().map(NodeId) }
}
table! {
    /// Where partitions are wanted, that of meta included.
    Placements, 0x15, "placements", PartitionId => PlacementRow,
    |key, out| { out.u32(key.0); }, |parts| { parts.u32().map(PartitionId) }
}
table! {
    /// Settings of the cluster that are not at their default.
    Settings, 0x16, "settings", String => SettingRow,
    |key, out| { out.text(key); }, |parts| { parts.text() }
}

/// When something is forgotten, and what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpiryKey {
    /// Log time at which it is forgotten, never before.
    pub due: Millis,
    /// What.
    pub what: Expiry,
}

/// What is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// The result of a completed invocation, with its journal; of a workflow's `run` also its state and promises.
    Completion(InvocationId),
    /// The journal of a completed invocation; its result stays.
    Journal(InvocationId),
    /// The state of an object, unless it was changed meanwhile.
    State(ObjectId),
}

/// When something is due, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    /// Log time at which it fires, never before.
    pub due: Millis,
    /// What it does.
    pub kind: TimerKind,
    /// For which invocation.
    pub invocation: InvocationId,
    /// For sleeps, the completion; otherwise 0.
    pub completion: u32,
}

/// What a due timer does. The tags are persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TimerKind {
    /// Starts a delayed invocation.
    Start = 1,
    /// Ends a sleep.
    Wake = 2,
    /// Tries a failed attempt again.
    Retry = 3,
    /// Forgets a retained result. Written by builds before [`Expiries`] only.
    Expire = 4,
    /// A schedule is due; the timer's invocation is the schedule's id.
    Schedule = 5,
}

impl TimerKind {
    fn from_tag(tag: u8) -> Option<Self> {
        [Self::Start, Self::Wake, Self::Retry, Self::Expire, Self::Schedule].into_iter().find(|kind| *kind as u8 == tag)
    }
}

/// Which way a sequence number counts. The tags are persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Messages put into the outbox for the partition.
    Sent = 1,
    /// Messages of the partition that were taken: the dedup record.
    Taken = 2,
}

impl Direction {
    fn from_tag(tag: u8) -> Option<Self> {
        [Self::Sent, Self::Taken].into_iter().find(|direction| *direction as u8 == tag)
    }
}

#[cfg(test)]
mod tests;
