//! Responses of the admin API.

use std::fmt::Display;

use abide_model::error::{self, ErrorCode};
use abide_model::id::InvocationId;
use abide_model::protocol::{CODE_METADATA, Failure};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::EngineError;
use crate::health::Phase;

/// A JSON document with status 200.
pub(super) fn json(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A JSON document with another status.
pub(super) fn json_with(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// An error of the admin API: `{"message", "restate_code", "abide_code"}`.
#[derive(Debug)]
pub(super) struct AdminError {
    pub(super) status: StatusCode,
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// Seconds after which repeating the request may succeed.
    retry_after: Option<u64>,
}

impl AdminError {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        let again = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self { status, code, message: message.into(), retry_after: again.then_some(1) }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error::INVALID_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error::NOT_FOUND, message)
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, error::INVALID_REQUEST, "method not allowed")
    }

    pub(super) fn forbidden(message: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, error::INVALID_REQUEST, message.to_string())
    }

    pub(super) fn not_ready(phase: Phase) -> Self {
        let message = format!("the node is {}", phase.word());
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error::SHUTTING_DOWN, message)
    }

    pub(super) fn unknown_invocation(id: InvocationId) -> Self {
        Self::not_found(format!("The requested invocation '{id}' does not exist"))
    }

    pub(super) fn already_completed(id: InvocationId) -> Self {
        let message = format!("The invocation '{id}' was already completed.");
        Self::new(StatusCode::CONFLICT, error::CONFLICT, message)
    }

    /// An order that what it is for does not allow. The machine chose the code: a status, or a stable code of ours.
    pub(super) fn refused(failure: &Failure) -> Self {
        let (status, code) = match failure.code {
            400 => (400, error::INVALID_REQUEST),
            404 => (404, error::NOT_FOUND),
            410 | 411 => (410, error::JOURNAL_GONE),
            413 => (413, error::TOO_LARGE),
            422 => (422, error::UNSUPPORTED),
            425 => (425, error::NOT_STARTED),
            430 => (429, error::MAILBOX_FULL),
            572 => (409, error::NO_CODE),
            _ => (409, error::CONFLICT),
        };
        let status = StatusCode::from_u16(status).expect("a literal above");
        // What was refused about the cluster says its own code.
        let said = failure.metadata.iter().find(|fact| fact.key == CODE_METADATA).map(|fact| fact.value.as_str());
        let known = error::CODES.iter().map(|(code, _)| *code).find(|code| said == Some(code.to_string().as_str()));
        Self::new(status, known.unwrap_or(code), failure.message.clone())
    }
}

impl From<EngineError> for AdminError {
    fn from(error: EngineError) -> Self {
        use abide_host::port::Refusal;
        let status = match &error {
            EngineError::UnknownService { .. } | EngineError::UnknownHandler { .. } | EngineError::NotFound(_) => {
                StatusCode::NOT_FOUND
            }
            EngineError::UnknownSchedule { .. } => StatusCode::NOT_FOUND,
            EngineError::ScheduleExists { .. } => StatusCode::CONFLICT,
            EngineError::Invalid { .. } => StatusCode::BAD_REQUEST,
            EngineError::Refused(refusal) => match refusal {
                Refusal::Overloaded | Refusal::MailboxFull | Refusal::RateLimited { .. } => {
                    StatusCode::TOO_MANY_REQUESTS
                }
                Refusal::ShuttingDown | Refusal::NotLeader => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::OutcomeUnknown | Refusal::Interrupted => StatusCode::GATEWAY_TIMEOUT,
                Refusal::NotFound => StatusCode::NOT_FOUND,
                Refusal::Invalid(failure) => return Self::refused(failure),
            },
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let body =
            json!({ "message": self.message, "restate_code": null, "abide_code": self.code.to_string() }).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        response
    }
}
