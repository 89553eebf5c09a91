//! Responses of the admin API.

use std::fmt::Display;

use abide_model::error::{self, ErrorCode};
use abide_model::id::InvocationId;
use abide_model::protocol::Failure;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::EngineError;
use crate::health::Phase;

/// A JSON document with status 200.
pub(super) fn json(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// An error of the admin API: `{"message", "restate_code", "abide_code"}`.
#[derive(Debug)]
pub(super) struct AdminError {
    pub(super) status: StatusCode,
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl AdminError {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
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
        Self::new(StatusCode::CONFLICT, error::INVALID_REQUEST, message)
    }

    /// An order that the invocation's state does not allow; the machine chose the status.
    pub(super) fn refused(failure: &Failure) -> Self {
        let status = u16::try_from(failure.code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| status.is_client_error()).unwrap_or(StatusCode::CONFLICT);
        Self::new(status, error::INVALID_REQUEST, failure.message.clone())
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
                Refusal::Overloaded | Refusal::MailboxFull => StatusCode::TOO_MANY_REQUESTS,
                Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
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
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}
