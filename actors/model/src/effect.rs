//! What the leader must do after a command is committed and applied. Everything here can be derived again from the
//! tables, so a new leader loses none of it; answers to people who are connected elsewhere go nowhere.

use bytes::Bytes;

use crate::command::{Outcome, Parcel, Target};
use crate::id::{ActivationId, InvocationId, Millis, NodeId, ObjectId, PartitionId, ScheduleId};
use crate::protocol::{Failure, Header};
use crate::table::{JournalRow, ScheduleRow};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An exclusive invocation took its place in a mailbox, behind all of its class: turns may be run in this order, flows
    /// wait for [`Effect::Start`]. Said again of a turn that gets the key by something other than a turn's record, of one
    /// that failed before its place had come, and by a new leader. One that rests at the front ([`Effect::Rested`] follows) waits for its Start.
    Enqueued {
        /// Whose mailbox.
        object: ObjectId,
        /// The invocation with its input.
        work: Work,
    },
    /// An attempt is due: of a flow, or of a turn that is not exclusive, or that failed before.
    Start {
        /// Of which invocation.
        invocation: InvocationId,
    },
    /// A running attempt is told something; entries come in journal order.
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
    /// What an attempt appended is durable.
    Appended {
        /// Whose attempt.
        invocation: InvocationId,
        /// Which attempt.
        attempt: u32,
    },
    /// A running attempt must stop: it is ended, superseded or paused.
    ///
    /// With an object, the invocation has left its mailbox without a turn's record, and what an activation made of it is
    /// void, even if its record is still on the way: that record will change nothing and nothing more is said of it.
    /// Answers that were given on such a state may not go out. The same holds for a workflow's run that is over, and for
    /// an edit, whether it had queued or not; and for a turn that the host ran ahead in vain, which is still queued.
    Abort {
        /// Of which invocation.
        invocation: InvocationId,
        /// The object whose mailbox it has left, for exclusive invocations that are over; or whose state it has changed.
        object: Option<ObjectId>,
    },
    /// An invocation's attempt is over without its end: suspended, backing off or paused.
    Rested {
        /// Which invocation.
        invocation: InvocationId,
    },
    /// A turn's record does not count, because it ran on a state that is not the applied one, was not next, repeats an
    /// earlier request or breaks a limit: the activation is void. Its invocation, unless that ended, is in the mailbox.
    TurnRejected {
        /// Of which object.
        object: ObjectId,
        /// The activation that ran it.
        activation: ActivationId,
    },
    /// An object's state was changed by something other than an activation's turn.
    StateChanged {
        /// Of which object.
        object: ObjectId,
    },
    /// An invocation was accepted, or was known already.
    Accepted {
        /// The command's request number.
        request: u64,
        /// Its id.
        invocation: InvocationId,
        /// Whether an earlier request created it.
        known: bool,
        /// When it starts, for delayed ones.
        execute_at: Option<Millis>,
    },
    /// An invocation ended, or a request found it ended.
    Completed {
        /// Which one.
        invocation: InvocationId,
        /// What ran.
        target: Target,
        /// How.
        outcome: Outcome,
        /// Until when the result is kept; set only when a request was answered from the record.
        expires_at: Option<Millis>,
    },
    /// The answer to a signal, a control command or a refused invocation.
    Answered {
        /// The command's request number.
        request: u64,
        /// What became of it.
        answer: Answer,
    },
    /// A message for another partition is in the outbox.
    Ship {
        /// Which partition.
        to: PartitionId,
        /// Its number.
        seq: u64,
        /// The message.
        parcel: Parcel,
    },
    /// Messages of another partition are taken up to this number; it may forget them.
    Acknowledge {
        /// Which partition.
        to: PartitionId,
        /// The last one taken.
        up_to: u64,
    },
    /// A schedule is due: reckon what to run and when it is due next, and answer with
    /// [`crate::command::ScheduleAction::Fire`]. Said again by a new leader.
    ScheduleDue {
        /// Which schedule.
        schedule: ScheduleId,
        /// Its row.
        row: Box<ScheduleRow>,
    },
    /// A timer fired.
    TimerFired {
        /// When it was due.
        due: Millis,
        /// Log time at which it fired.
        at: Millis,
    },
    /// Something became due at this time, earlier than the leader may have known.
    TimerSet {
        /// When.
        due: Millis,
    },
}

/// An invocation with its input, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Which invocation.
    pub id: InvocationId,
    /// What runs.
    pub target: Target,
    /// Argument.
    pub input: Bytes,
    /// Request headers.
    pub headers: Vec<Header>,
    /// Failed attempts so far, for the retry policy.
    pub failures: u32,
    /// Its life ([`crate::table::InvocationRow::life`]), which everything said of it repeats.
    pub life: u64,
}

/// What became of a request that is not an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Carried out.
    Done,
    /// Recorded; the invocation will see it.
    Appended,
    /// There is no such invocation.
    NotFound,
    /// The invocation has ended already.
    AlreadyCompleted,
    /// Carried out by making a new invocation.
    Created(InvocationId),
    /// The node belongs to the cluster, under this id.
    Node(NodeId),
    /// Refused; nothing changed.
    Refused(Failure),
}
