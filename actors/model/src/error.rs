//! The stable codes of public errors. `ops/runbooks/errors.md` has a line for each; a test compares the two.

use std::fmt;

/// A stable code, printed as `AB0404`. Codes are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorCode(pub u16);

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AB{:04}", self.0)
    }
}

/// All codes with their short names.
pub const CODES: &[(ErrorCode, &str)] = &[
    (INVALID_REQUEST, "invalid request"),
    (NOT_FOUND, "service, handler, invocation or node not found"),
    (TOO_LARGE, "request too large"),
    (WRONG_CONTENT_TYPE, "content type not accepted"),
    (OVERLOADED, "overloaded"),
    (MAILBOX_FULL, "mailbox full"),
    (SHUTTING_DOWN, "shutting down"),
    (OUTCOME_UNKNOWN, "outcome unknown"),
    (CANCELLED, "invocation cancelled"),
    (KILLED, "invocation killed"),
    (JOURNAL_MISMATCH, "journal mismatch"),
    (HANDLER_PANIC, "handler panicked"),
    (STATE_MISMATCH, "state does not fit the struct"),
    (CONFLICT, "not possible in this state"),
    (JOURNAL_GONE, "journal is gone"),
    (UNSUPPORTED, "not possible for this kind of invocation"),
    (NOT_STARTED, "invocation has not started"),
    (DEADLOCK, "deadlock"),
    (RATE_LIMITED, "rate limit reached"),
    (NO_CODE, "no code of the pinned version"),
    (NOT_READY, "no result yet"),
    (NO_LEADER, "no leader"),
    (SNAPSHOT_STORE, "store of snapshots failed"),
    (NODE_REMOVED, "node removed"),
    (BUILD_TOO_OLD, "build too old for the cluster"),
];

/// The request cannot be understood.
pub const INVALID_REQUEST: ErrorCode = ErrorCode(400);
/// No such service, handler, invocation, node or partition.
pub const NOT_FOUND: ErrorCode = ErrorCode(404);
/// Body, key, header or journal above its limit.
pub const TOO_LARGE: ErrorCode = ErrorCode(413);
/// The handler does not take this content type.
pub const WRONG_CONTENT_TYPE: ErrorCode = ErrorCode(415);
/// A bound of the node is reached; nothing was accepted.
pub const OVERLOADED: ErrorCode = ErrorCode(429);
/// The object has as many queued invocations as it may.
pub const MAILBOX_FULL: ErrorCode = ErrorCode(430);
/// The node is stopping; nothing was accepted.
pub const SHUTTING_DOWN: ErrorCode = ErrorCode(503);
/// The request was under way when the node lost its say; it may or may not have been executed.
pub const OUTCOME_UNKNOWN: ErrorCode = ErrorCode(504);
/// Ended by a cancellation.
pub const CANCELLED: ErrorCode = ErrorCode(409);
/// Ended by a kill.
pub const KILLED: ErrorCode = ErrorCode(410);
/// Replay met code that does something else than the journal says.
pub const JOURNAL_MISMATCH: ErrorCode = ErrorCode(570);
/// The handler's code panicked.
pub const HANDLER_PANIC: ErrorCode = ErrorCode(501);
/// Stored fields cannot be read into the struct.
pub const STATE_MISMATCH: ErrorCode = ErrorCode(502);
/// The invocation, schedule or state is not in a state in which the order can be carried out.
pub const CONFLICT: ErrorCode = ErrorCode(419);
/// The journal that the order needs is not kept any more.
pub const JOURNAL_GONE: ErrorCode = ErrorCode(411);
/// The order does not exist for this kind of invocation.
pub const UNSUPPORTED: ErrorCode = ErrorCode(422);
/// The invocation has not started, so the order has no meaning yet.
pub const NOT_STARTED: ErrorCode = ErrorCode(425);
/// A call would wait for itself.
pub const DEADLOCK: ErrorCode = ErrorCode(508);
/// A rate limit of the service, handler or key is reached; nothing was accepted.
pub const RATE_LIMITED: ErrorCode = ErrorCode(431);
/// This build has no code of the version that the invocation is pinned to.
pub const NO_CODE: ErrorCode = ErrorCode(572);
/// Nobody leads the partition that the request is for, or this node does not; nothing was accepted.
pub const NO_LEADER: ErrorCode = ErrorCode(521);
/// The invocation exists and has no result yet.
pub const NOT_READY: ErrorCode = ErrorCode(470);
/// The store of snapshots did not do what it was asked; the message has its own code.
pub const SNAPSHOT_STORE: ErrorCode = ErrorCode(522);
/// The node, or the data directory it has, was removed from the cluster for ever.
pub const NODE_REMOVED: ErrorCode = ErrorCode(480);
/// The build of a node lacks features that are in force in the cluster.
pub const BUILD_TOO_OLD: ErrorCode = ErrorCode(481);
