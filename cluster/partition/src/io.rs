//! What goes into a partition and what comes out.

use abide_model::command::{Command, Deliver, OutboxAck};
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_storage::{LogEntry, LogWrite};

use crate::guard::Dropped;
use crate::wire::{Members, Message, SnapshotPoint};

/// Something happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command is moved through once; boxing it would cost an allocation each"
)]
pub enum Input {
    /// Stand for election. Sent once after opening to the only voter of a partition.
    Campaign,
    /// One tick of the election and heartbeat clock.
    Tick,
    /// A command for the log. Dropped unless this replica leads ([`crate::Partition::leading`]).
    Propose(Command),
    /// The batch of the last [`Output::Persist`] is durable.
    Persisted,
    /// Time has passed: a timer may be due.
    Wake,
    /// Entries up to and with this index may leave the log: their effects are durable in the state store. Some stay for
    /// followers all the same.
    Trim {
        /// The last index to forget.
        through: u64,
    },
    /// A message of another replica. Looked at first; what does not pass is told by [`Output::Dropped`].
    Receive(Box<Message>),
    /// Messages to a replica are lost: its node is not connected.
    Unreachable {
        /// Which one.
        replica: u64,
    },
    /// The connection to a node broke, as it does at once when its process dies. If that replica leads, the others need not
    /// wait for it any longer: they stand for election one after the other. Whoever still hears the leader refuses.
    LeaderGone {
        /// The replica on that node.
        replica: u64,
    },
    /// Names a read that has to be linearizable; answered by [`Output::ReadReady`] when the tables are new enough for
    /// it, never if leadership changes meanwhile. On a follower the leader is asked. Any number not used before,
    /// here or at another replica of the group: the leader tells reads apart by it.
    Read {
        /// Its name.
        context: u64,
    },
    /// What [`Output::Fetch`] asked for, empty when it is not in the log any more.
    Fetched {
        /// Index of the first entry.
        low: u64,
        /// The entries.
        entries: Vec<LogEntry>,
    },
    /// The shell holds the state as of this point, and can send it ([`Output::SendSnapshot`]).
    Offer(SnapshotPoint),
    /// It does no longer.
    Withdraw,
    /// What became of a snapshot that was to be sent.
    SnapshotSent {
        /// To whom.
        replica: u64,
        /// Whether it arrived.
        arrived: bool,
    },
    /// A snapshot of another replica, its rows loaded and synced in a generation of the state store that nobody reads.
    /// Answered by [`Output::Restored`] or [`Output::Discard`].
    Restore {
        /// The message that came with it.
        message: Box<Message>,
        /// Where its rows are.
        generation: u8,
    },
    /// Bring the members closer to these; the leader takes one step, others do nothing. Ask again until
    /// [`Output::MembersChanged`] says that they are.
    ChangeMembers {
        /// Who is to decide.
        voters: Vec<u64>,
        /// Who is to follow without a vote.
        learners: Vec<u64>,
    },
    /// The level of features that is in force in the cluster; 0 until it is known. It says how entries are written.
    Features(u32),
    /// Hand leadership over; gives up by itself after an election timeout. While a write is under way the other replica is
    /// told to stand for election at once, however far it is: the disk may not answer for long.
    Transfer {
        /// To whom.
        replica: u64,
    },
    /// Whether this replica lets all others stand first when the leader is gone, because it would lead badly.
    Yield(bool),
    /// Write something to the log although there is nothing to write: how long its disk takes is asked.
    Probe,
}

/// Something to do, in order.
#[derive(Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "outputs are moved once; boxing the frequent ones would cost an allocation each"
)]
pub enum Output {
    /// Write this to the log; answer with [`Input::Persisted`]. No other comes before that.
    Persist {
        /// What to write.
        write: LogWrite,
        /// Whether it must be durable before the answer.
        sync: bool,
    },
    /// Send this to the replica it names. May be lost, but not overtake another one on the same way for long.
    Send(Box<Message>),
    /// Send the state that was offered at the point in the message, and the message behind it. Tell the outcome with
    /// [`Input::SnapshotSent`].
    SendSnapshot(Box<Message>),
    /// A follower needs the state: take an export of the tables and offer it.
    SnapshotWanted,
    /// Read entries `low..high` from the log; answer with [`Input::Fetched`].
    Fetch {
        /// First index.
        low: u64,
        /// Behind the last index.
        high: u64,
        /// Bytes of content, but at least one entry.
        max_bytes: u64,
    },
    /// Leadership began in this term, and the tables are complete: everything the shell held for an earlier one is void,
    /// and effects follow.
    Leading {
        /// The term.
        term: u64,
    },
    /// This replica does not lead (any more). Commands that it took and did not yet apply may or may not come about; what
    /// waits for them has to ask the next leader.
    Following {
        /// The present term.
        term: u64,
        /// Who leads, if it is known.
        leader: Option<u64>,
    },
    /// Carry this out. Comes only while leading, only for entries of the own term.
    Effect(Effect),
    /// Propose this in another partition.
    Deliver {
        /// Which one.
        to: PartitionId,
        /// Consecutive messages of this partition's outbox.
        delivery: Deliver,
    },
    /// Propose this in another partition: its messages were taken.
    Acknowledge {
        /// Which one.
        to: PartitionId,
        /// Up to where.
        ack: OutboxAck,
    },
    /// A batch was applied.
    Applied {
        /// The last applied index.
        index: u64,
        /// How many commands it had.
        commands: usize,
    },
    /// The tables are new enough for a read.
    ReadReady {
        /// Its name.
        context: u64,
    },
    /// The members of the group as of the applied index.
    MembersChanged(Members),
    /// This replica does not belong to its group any more: it can be removed.
    Removed,
    /// A snapshot was installed: the tables are another generation, and everything read before is old.
    Restored {
        /// Applied index now.
        index: u64,
        /// The generation whose rows nobody reads any more.
        discard: u8,
    },
    /// A snapshot was of no use: nobody will read its rows.
    Discard {
        /// Where they are.
        generation: u8,
    },
    /// A message was not taken.
    Dropped(Dropped),
}

/// How far another replica is, as its leader knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Which one.
    pub replica: u64,
    /// Last index it has acknowledged.
    pub matched: u64,
    /// Whether it said anything of late.
    pub active: bool,
    /// Whether it is being sent a snapshot.
    pub snapshot: bool,
}

/// Figures of a partition for metrics and operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Current term.
    pub term: u64,
    /// Whether this replica leads, with complete tables.
    pub leading: bool,
    /// Who leads, if it is known.
    pub leader: Option<u64>,
    /// First index in the log.
    pub first: u64,
    /// Last index in the log.
    pub last: u64,
    /// Last committed index.
    pub committed: u64,
    /// Last applied index.
    pub applied: u64,
    /// Chained hash of all writes up to `applied`.
    pub state_hash: u64,
    /// Log time.
    pub log_time: Millis,
    /// No timer is due before this.
    pub timers_from: Millis,
    /// Bytes in the overlay.
    pub overlay_bytes: usize,
    /// Commands that wait for their entry.
    pub pending: usize,
    /// Messages shipped and not yet acknowledged.
    pub unacknowledged: u64,
    /// Members as of `applied`.
    pub members: Members,
    /// The others, while leading.
    pub progress: Vec<Progress>,
}
