//! Refusals of orders. Each has an HTTP-like status for the door, a stable code for programs, and a text that says what
//! the order met and what to do.

use abide_model::effect::Answer;
use abide_model::error::{self, ErrorCode};
use abide_model::protocol::Failure;

fn refused(status: u32, code: ErrorCode, text: String) -> Answer {
    Answer::Refused(Failure::coded(status, code, text))
}

/// 400: the order asks for something that cannot be.
pub(crate) fn invalid(text: impl Into<String>) -> Answer {
    refused(400, error::INVALID_REQUEST, text.into())
}

/// 409: not in this state.
pub(crate) fn conflict(text: impl Into<String>) -> Answer {
    refused(409, error::CONFLICT, text.into())
}

/// 404: there is no such node or partition.
pub(crate) fn not_found(text: impl Into<String>) -> Answer {
    refused(404, error::NOT_FOUND, text.into())
}

/// 409: the build of a node lacks features that are in force.
pub(crate) fn build_too_old(text: impl Into<String>) -> Answer {
    refused(409, error::BUILD_TOO_OLD, text.into())
}

/// 410: the node was removed for ever.
pub(crate) fn node_removed(text: impl Into<String>) -> Answer {
    refused(410, error::NODE_REMOVED, text.into())
}

/// 410: the journal is not kept any more.
pub(crate) fn journal_gone(text: impl Into<String>) -> Answer {
    refused(410, error::JOURNAL_GONE, text.into())
}

/// 422: not for this kind of invocation.
pub(crate) fn unsupported(text: impl Into<String>) -> Answer {
    refused(422, error::UNSUPPORTED, text.into())
}

/// 425: not before it has started.
pub(crate) fn not_started(text: impl Into<String>) -> Answer {
    refused(425, error::NOT_STARTED, text.into())
}
