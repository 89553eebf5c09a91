//! What goes into a partition and what comes out.

use abide_model::command::{Command, Deliver, OutboxAck};
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_storage::LogWrite;

/// Something happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command is moved through once; boxing it would cost an allocation each"
)]
pub enum Input {
    /// Stand for election. Sent once after opening to the only voter of a partition.
    Campaign,
    /// One tick of the election and heartbeat clock, see [`crate::PartitionSettings::tick_ms`].
    Tick,
    /// A command for the log. Kept until this replica leads.
    Propose(Command),
    /// The batch of the last [`Output::Persist`] is durable.
    Persisted,
    /// Time has passed: a timer may be due.
    Wake,
    /// Entries up to and with this index may leave the log: their effects are durable in the state store.
    Trim {
        /// The last index to forget.
        through: u64,
    },
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
    /// Leadership began in this term: everything the shell held for an earlier one is void.
    Leading {
        /// The term.
        term: u64,
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
}

/// Figures of a partition for metrics and operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Current term.
    pub term: u64,
    /// Whether this replica leads.
    pub leading: bool,
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
}
