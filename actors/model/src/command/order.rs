//! What operators order of invocations and dead letters.

use bytes::Bytes;
use prost::Message;

use crate::id::InvocationId;

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
