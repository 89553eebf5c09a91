//! What the consensus side tells handler threads. Events of one shard are delivered in the order of the log.

use std::collections::BTreeMap;

use abide_model::command::StateVersion;
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId, ObjectId, PartitionId};
use abide_model::table::JournalRow;
use bytes::Bytes;

use crate::port::DirectCall;

/// State by field name.
pub type Fields = BTreeMap<String, Bytes>;

/// One thing that happened.
#[derive(Debug)]
pub enum HostEvent {
    /// The answer to [`crate::port::Order::Activate`]: the applied state, and the mailbox as it is at that point of the
    /// log. An [`HostEvent::Enqueued`] for the object that was delivered before it is included in `queue`.
    Activated {
        /// Of which object.
        object: ObjectId,
        /// The name of this loading.
        activation: ActivationId,
        /// Which state it is.
        version: StateVersion,
        /// The state.
        fields: Fields,
        /// The first invocations of the mailbox, in order.
        queue: Vec<Queued>,
        /// Whether the mailbox is longer than `queue`.
        more: bool,
    },
    /// An exclusive invocation took its place in a mailbox, behind all of its class; committed.
    Enqueued {
        /// Whose mailbox.
        object: ObjectId,
        /// The invocation.
        work: Work,
    },
    /// An attempt is due: of a flow, or of a turn that is not (or no longer) driven by a mailbox: shared and service
    /// turns, retries of exclusive turns.
    Start(Box<StartAttempt>),
    /// The machine appended an entry to the journal of a running attempt.
    Notify {
        /// Whose attempt.
        invocation: InvocationId,
        /// Which attempt.
        attempt: u32,
        /// Index of the entry.
        index: u32,
        /// The entry.
        entry: JournalRow,
    },
    /// What an attempt proposed to append is durable; one for each proposal, in order.
    Appended {
        /// Whose attempt.
        invocation: InvocationId,
        /// Which attempt.
        attempt: u32,
    },
    /// An invocation ended otherwise than by a turn record of the object's activation, or its attempt must stop.
    Abort {
        /// Which invocation.
        invocation: InvocationId,
        /// The object in whose mailbox it was, for exclusive invocations.
        object: Option<ObjectId>,
    },
    /// A turn of this activation met another state than it ran on: the activation is void. Its requests are in the
    /// mailbox.
    Rejected {
        /// Of which object.
        object: ObjectId,
        /// The void activation.
        activation: ActivationId,
    },
    /// An object's state was changed by something other than a turn of its activation.
    StateChanged {
        /// Of which object.
        object: ObjectId,
    },
    /// An [`crate::port::Order::Answer`] could not be given, as its activation is void: run the request again.
    Again(Box<DirectCall>),
    /// A read of a replica's applied state, which this node may not lead.
    Read {
        /// The request.
        call: Box<DirectCall>,
        /// The state.
        fields: Fields,
    },
    /// The node does not lead this partition (any more): everything of it in memory is void, and its next leader has
    /// what was accepted.
    Lost {
        /// Which one.
        partition: PartitionId,
    },
    /// The answer to [`crate::port::Order::Activate`] when the node does not lead the object's partition.
    NotLeading {
        /// Which object.
        object: ObjectId,
    },
    /// Stop starting new work: the node is shutting down.
    Drain,
}

/// An invocation in a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// The invocation.
    pub work: Work,
    /// Whether it is backing off, paused, or a flow: nothing behind it runs until a Start or an Abort speaks of it.
    pub held: bool,
}

/// An attempt that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct StartAttempt {
    /// Where the invocation lives.
    pub partition: PartitionId,
    /// The invocation.
    pub work: Work,
    /// Its object, for keyed targets.
    pub object: Option<ObjectId>,
    /// Term of the leader that starts the attempt.
    pub term: u64,
    /// Number of the attempt.
    pub attempt: u32,
    /// The version of the code that the invocation is pinned to; absent before its first entry.
    pub version: Option<String>,
    /// Failed attempts since the last stored entry.
    pub failures: u32,
    /// All entries, from the Input at index 0. Empty for turns.
    pub journal: Vec<JournalRow>,
    /// The object's state as applied now. Empty for un-keyed services.
    pub fields: Fields,
}
