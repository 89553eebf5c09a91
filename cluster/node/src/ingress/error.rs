//! Everything the ingress itself answers with an error, and how each is answered. The one place for status codes.

use abide_host::port::Refusal;
use abide_model::error::{self, ErrorCode};
use abide_model::id::InvocationId;
use abide_model::limits;
use http::StatusCode;

use super::path::PathError;
use crate::delay::whole_seconds;
use crate::engine::EngineError;
use crate::metrics::Rejection;

/// An error made by the ingress, as opposed to the failure of an invocation.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngressError {
    #[error("bad path: {0}")]
    BadPath(&'static str),
    #[error("bad path: a segment is not UTF-8 once percent-decoded")]
    PathEncoding,
    #[error("service `{0}` not found; bind it when building the server, or check the spelling")]
    UnknownService(String),
    #[error("service `{service}` exists, but has no handler `{handler}`")]
    UnknownHandler { service: String, handler: String },
    #[error("`{0}` is not a workflow")]
    NotAWorkflow(String),
    #[error("the invoked service is not public")]
    NotPublic,
    #[error("method not allowed; allowed: {0}")]
    Method(&'static str),
    #[error("bad delay: {0}")]
    BadDelay(String),
    #[error("bad delay: only sends can be delayed; append `/send` to the path")]
    DelayOnCall,
    #[error("bad delay: `delay` and `at` exclude each other")]
    DelayAndTime,
    #[error(
        "input validation error: expected a body with content-type `application/json`, or no body and no content-type, \
         but got {0}"
    )]
    ContentType(String),
    #[error("the path with its query is longer than {} bytes", limits::URL_BYTES_MAX)]
    UrlTooLong,
    #[error("the request has more than {} headers or {} bytes of them", limits::HEADERS_MAX, limits::HEADER_BYTES_MAX)]
    HeadersTooLarge,
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("the body was not complete in time")]
    BodyTime,
    #[error("the bodies being received take as much memory as they may; nothing was accepted, try again later")]
    BodyBudget,
    #[error("the body could not be read: {0}")]
    BodyBroken(String),
    #[error("the key is longer than {} bytes", limits::KEY_BYTES_MAX)]
    KeyTooLong,
    #[error("the idempotency key is longer than {} bytes", limits::IDEMPOTENCY_KEY_BYTES_MAX)]
    IdempotencyKeyTooLong,
    #[error("the idempotency key is not UTF-8")]
    IdempotencyKeyEncoding,
    #[error("bad invocation id: {0}")]
    InvocationId(String),
    #[error("bad awakeable id: {0}")]
    AwakeableId(String),
    #[error(
        "bad target: {0}; expected {{\"target\":\"invocation\",\"invocationId\"}}, \
         {{\"target\":\"idempotentInvocation\",\"service\",\"key\"?,\"handler\",\"idempotencyKey\"}} or \
         {{\"target\":\"workflow\",\"workflowName\",\"workflowKey\"}}"
    )]
    LookupBody(String),
    #[error("the name of a signal is at most {} bytes long", limits::NAME_BYTES_MAX)]
    SignalName,
    #[error("a signal carries JSON, or nothing: {0}")]
    SignalBody(String),
    #[error("the invocation was already completed")]
    AlreadyCompleted,
    #[error("the rejection's message is not UTF-8")]
    ReasonEncoding,
    #[error("the invocation exists but has not completed yet")]
    NotCompleted,
    #[error("invocation not found")]
    InvocationNotFound,
    #[error("not found")]
    AttachNotFound,
    #[error("the node is {0}")]
    NotReady(&'static str),
    #[error("{0}")]
    Engine(EngineError),
    #[error("{refusal}{}", advice(.refusal, .invocation))]
    Refused { refusal: Refusal, invocation: InvocationId },
}

fn advice(refusal: &Refusal, invocation: &InvocationId) -> String {
    match refusal {
        Refusal::OutcomeUnknown | Refusal::Interrupted => format!("; or ask for the result of `{invocation}`"),
        Refusal::Overloaded
        | Refusal::MailboxFull
        | Refusal::RateLimited { .. }
        | Refusal::ShuttingDown
        | Refusal::NotLeader
        | Refusal::NotFound
        | Refusal::Invalid(_) => String::new(),
    }
}

/// How an error is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Status, which is also the `code` of the body.
    pub(super) status: StatusCode,
    /// Stable code.
    pub(super) code: ErrorCode,
    /// Whether repeating the request a little later may succeed.
    pub(super) again: bool,
    /// For the metric, when a limit of the door was exceeded.
    pub(super) rejection: Option<Rejection>,
}

impl IngressError {
    pub(super) fn class(&self) -> Class {
        let class = |status: u16, code| Class {
            status: StatusCode::from_u16(status).expect("a literal below"),
            code,
            again: false,
            rejection: None,
        };
        let limit = |status, rejection| Class { rejection: Some(rejection), ..class(status, error::TOO_LARGE) };
        match self {
            Self::BadPath(_)
            | Self::PathEncoding
            | Self::NotAWorkflow(_)
            | Self::NotPublic
            | Self::BadDelay(_)
            | Self::DelayOnCall
            | Self::DelayAndTime
            | Self::SignalName
            | Self::SignalBody(_)
            | Self::BodyBroken(_)
            | Self::InvocationId(_)
            | Self::AwakeableId(_)
            | Self::LookupBody(_)
            | Self::ReasonEncoding => class(400, error::INVALID_REQUEST),
            Self::IdempotencyKeyEncoding => {
                Class { rejection: Some(Rejection::IdempotencyKey), ..class(400, error::INVALID_REQUEST) }
            }
            Self::ContentType(_) => class(400, error::WRONG_CONTENT_TYPE),
            Self::Method(_) => class(405, error::INVALID_REQUEST),
            Self::UnknownService(_) | Self::UnknownHandler { .. } | Self::InvocationNotFound | Self::AttachNotFound => {
                class(404, error::NOT_FOUND)
            }
            Self::NotCompleted => class(470, error::NOT_READY),
            Self::AlreadyCompleted => class(409, error::CONFLICT),
            Self::UrlTooLong => limit(414, Rejection::Url),
            Self::HeadersTooLarge => limit(431, Rejection::Headers),
            Self::BodyTooLarge { .. } => limit(413, Rejection::Body),
            Self::KeyTooLong => limit(400, Rejection::Key),
            Self::IdempotencyKeyTooLong => limit(400, Rejection::IdempotencyKey),
            Self::BodyTime => Class { rejection: Some(Rejection::BodyTime), ..class(408, error::INVALID_REQUEST) },
            Self::BodyBudget => {
                Class { again: true, rejection: Some(Rejection::BodyBudget), ..class(429, error::OVERLOADED) }
            }
            Self::NotReady(_) => Class { again: true, ..class(503, error::SHUTTING_DOWN) },
            Self::Engine(engine) => match engine {
                EngineError::Refused(refusal) => of_refusal(refusal),
                EngineError::UnknownService { .. } | EngineError::UnknownHandler { .. } | EngineError::NotFound(_) => {
                    class(404, engine.code())
                }
                EngineError::Invalid { .. } => class(400, engine.code()),
                EngineError::UnknownSchedule { .. } => class(404, engine.code()),
                EngineError::ScheduleExists { .. } => class(409, engine.code()),
            },
            Self::Refused { refusal, .. } => of_refusal(refusal),
        }
    }

    /// Seconds after which repeating the request may succeed; `None` when it will not.
    pub(super) fn retry_after(&self) -> Option<u64> {
        let refusal = match self {
            Self::Engine(EngineError::Refused(refusal)) | Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        };
        match refusal {
            Some(Refusal::RateLimited { retry_after }) => Some(whole_seconds(*retry_after)),
            _ => self.class().again.then_some(1),
        }
    }

    /// The invocation the error is about, for `x-restate-id`.
    pub(super) fn invocation(&self) -> Option<InvocationId> {
        match self {
            Self::Refused { invocation, .. } => Some(*invocation),
            _ => None,
        }
    }
}

fn of_refusal(refusal: &Refusal) -> Class {
    let (status, again) = match refusal {
        Refusal::Overloaded | Refusal::MailboxFull | Refusal::RateLimited { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, true)
        }
        Refusal::ShuttingDown | Refusal::NotLeader => (StatusCode::SERVICE_UNAVAILABLE, true),
        Refusal::OutcomeUnknown | Refusal::Interrupted => (StatusCode::GATEWAY_TIMEOUT, false),
        Refusal::NotFound => (StatusCode::NOT_FOUND, false),
        Refusal::Invalid(failure) => (super::answer::status_of(failure.code), false),
    };
    let code = match refusal {
        Refusal::Invalid(failure) => of_failure(failure.code).unwrap_or_else(|| refusal.code()),
        refusal => refusal.code(),
    };
    Class { status, code, again, rejection: None }
}

/// The stable code of a refusal by the machine, which tells its status.
fn of_failure(status: u32) -> Option<ErrorCode> {
    match status {
        404 => Some(error::NOT_FOUND),
        409 => Some(error::CONFLICT),
        413 => Some(error::TOO_LARGE),
        422 => Some(error::UNSUPPORTED),
        425 => Some(error::NOT_STARTED),
        508 => Some(error::DEADLOCK),
        _ => None,
    }
}

impl From<PathError> for IngressError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Shape(expected) => Self::BadPath(expected),
            PathError::Encoding => Self::PathEncoding,
            PathError::UnknownService(name) => Self::UnknownService(name),
        }
    }
}

impl From<EngineError> for IngressError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use abide_model::id::PartitionKey;
    use abide_model::protocol::Failure;

    use super::*;

    const ID: InvocationId = InvocationId { partition_key: PartitionKey(1), unique: 1 };

    #[test]
    fn errors_of_the_engine_keep_their_code() {
        let service = || "S".to_owned();
        for (error, status, code) in [
            (EngineError::UnknownService { service: service() }, 404, "AB0404"),
            (EngineError::UnknownHandler { service: service(), handler: service() }, 404, "AB0404"),
            (EngineError::Invalid { reason: service() }, 400, "AB0400"),
            (EngineError::NotFound(ID), 404, "AB0404"),
            (EngineError::Refused(Refusal::Overloaded), 429, "AB0429"),
            (EngineError::Refused(Refusal::MailboxFull), 429, "AB0430"),
            (EngineError::Refused(Refusal::RateLimited { retry_after: Duration::from_millis(1) }), 429, "AB0431"),
            (EngineError::Refused(Refusal::ShuttingDown), 503, "AB0503"),
            (EngineError::Refused(Refusal::OutcomeUnknown), 504, "AB0504"),
            (EngineError::Refused(Refusal::NotFound), 404, "AB0404"),
            (EngineError::Refused(Refusal::Invalid(Failure::new(425, ""))), 425, "AB0425"),
            (EngineError::Refused(Refusal::Invalid(Failure::new(400, ""))), 400, "AB0400"),
        ] {
            let class = IngressError::from(error).class();
            assert_eq!((class.status.as_u16(), class.code.to_string().as_str()), (status, code));
            assert_eq!(class.again, matches!(status, 429 | 503), "{status}");
        }
    }

    #[test]
    fn an_unknown_outcome_says_how_to_learn_it() {
        let error = IngressError::Refused { refusal: Refusal::OutcomeUnknown, invocation: ID };
        let text = error.to_string();
        assert!(text.contains("same idempotency key") && text.contains(&ID.to_string()), "{text}");
        assert_eq!(error.invocation(), Some(ID));
    }

    #[test]
    fn limits_are_client_errors_and_counted() {
        for error in [
            IngressError::UrlTooLong,
            IngressError::HeadersTooLarge,
            IngressError::BodyTooLarge { limit: 1 },
            IngressError::BodyTime,
            IngressError::BodyBudget,
            IngressError::KeyTooLong,
            IngressError::IdempotencyKeyTooLong,
            IngressError::IdempotencyKeyEncoding,
        ] {
            let class = error.class();
            assert!(class.status.is_client_error() && class.rejection.is_some(), "{error}");
        }
    }
}
