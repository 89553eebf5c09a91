//! Every limit of the platform by name, with its unit and its reason. Related limits are asserted at compile time.

/// Largest request body or handler input, in bytes (reliability 3.4).
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest object key, in bytes of UTF-8. Far below the 65,535 bytes that the store accepts for a whole key.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Longest idempotency key, in bytes of UTF-8.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// Longest service, handler or state field name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Largest value of one state field, in bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 4 << 20;
/// Most entries of one journal.
pub const JOURNAL_ENTRIES_MAX: u32 = 10_000;
/// Entries that a journal keeps free for its own flow: signals from outside are refused before.
pub const JOURNAL_ENTRIES_FOR_FLOW: u32 = 1_000;
/// Most queued exclusive invocations of one object, of all classes together: a class has no share of its own.
pub const MAILBOX_MAX: u64 = 100_000;
/// Most messages that one turn may send.
pub const SENDS_PER_TURN_MAX: usize = 1_000;
/// Most commands in one log entry; nothing larger was measured to help (engine prototype §9.2).
pub const COMMANDS_PER_ENTRY_MAX: usize = 512;
/// An entry is closed once its commands reach this many bytes.
pub const ENTRY_BYTES_SOFT_MAX: usize = 128 << 10;
/// Most bytes of entries that one message to a follower carries, unless a single entry is larger.
pub const RAFT_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most results of plain calls that a replica remembers, for requests that are repeated after a failover.
pub const RECENT_RESULTS_MAX: usize = 16_384;
/// Most bytes of these results.
pub const RECENT_RESULT_BYTES_MAX: usize = 2 << 20;
/// Most timers that one command fires; more due ones follow in further commands.
pub const TIMERS_PER_COMMAND_MAX: usize = 256;
/// Most outbox messages that travel in one delivery.
pub const DELIVERY_MESSAGES_MAX: usize = 256;
/// Request headers: how many.
pub const HEADERS_MAX: usize = 64;
/// Request headers: bytes of all names and values together.
pub const HEADER_BYTES_MAX: usize = 32 << 10;
/// Longest request path with query, in bytes.
pub const URL_BYTES_MAX: usize = 8 << 10;
/// How long the result of an invocation with an idempotency key, or of a send, is kept by default, in ms.
pub const RETENTION_DEFAULT_MS: u64 = 24 * 60 * 60 * 1000;
/// Most failed attempts of an invocation that are kept for display.
pub const FAILURES_KEPT: usize = 10;
/// Most dead letters of a service in one partition; older ones are dropped.
pub const LETTERS_MAX: u64 = 1_000;
/// Most waiting invocations that hold a key below one another; a call chain this deep is taken for a runaway recursion.
pub const CALL_CHAIN_MAX: usize = 64;
/// Most invocations that wait for one result, and most that wait for one promise.
pub const SINKS_MAX: usize = 10_000;
/// Most expiries that one command carries out; more due ones follow in further commands.
pub const EXPIRIES_PER_COMMAND_MAX: usize = 256;
/// Most rows that one command of expiries removes: a journal alone may have [`JOURNAL_ENTRIES_MAX`].
pub const EXPIRED_ROWS_PER_COMMAND_SOFT_MAX: usize = 4_096;
/// A scheduled time that is further in the past than this was missed, in ms: the catch-up policy decides.
pub const SCHEDULE_LATE_MS: u64 = 10_000;
/// Most missed times of a schedule that are run when it catches up.
pub const SCHEDULE_CATCH_UP_MAX: usize = 100;
/// Most runs of a schedule that are watched; older ones go on unwatched.
pub const SCHEDULE_ACTIVE_MAX: usize = 64;
/// Longest schedule expression, in bytes.
pub const SCHEDULE_SPEC_BYTES_MAX: usize = 256;
/// Shortest period of a schedule, in ms: each run is an invocation in the log.
pub const SCHEDULE_PERIOD_MS_MIN: u64 = 1_000;
/// Largest input of a schedule, in bytes: [`SCHEDULE_CATCH_UP_MAX`] runs with it enter the log at once.
pub const SCHEDULE_INPUT_BYTES_MAX: usize = 64 << 10;
/// Most bytes of a schedule's last fault that are kept for display.
pub const SCHEDULE_FAULT_BYTES_MAX: usize = 512;
/// Most partitions of a cluster: the number behind them is that of [`crate::id::PartitionId::META`].
pub const PARTITIONS_MAX: u32 = 1023;
/// Most nodes of a cluster, those that are gone not counted: each has a replica of meta.
pub const NODES_MAX: usize = 256;
/// Longest peer, ingress or admin address of a node, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Longest zone, build text, cluster id or id of a data directory, in bytes.
pub const NODE_TEXT_BYTES_MAX: usize = 128;
/// Most bytes of a failure message that are kept.
pub const FAILURE_MESSAGE_BYTES_MAX: usize = 16 << 10;

// A maximal body with its headers still has to fit one raft message with room to spare.
const _: () = assert!(BODY_BYTES_MAX + HEADER_BYTES_MAX < 16 << 20);
const _: () = assert!(JOURNAL_ENTRIES_FOR_FLOW < JOURNAL_ENTRIES_MAX);
const _: () = assert!(KEY_BYTES_MAX + 2 * NAME_BYTES_MAX < 60_000);
const _: () = assert!(PARTITIONS_MAX == crate::id::PartitionId::META.0);
