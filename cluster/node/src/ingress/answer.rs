//! Responses (service protocol §4.3): results, errors, cross-origin headers.

use std::collections::BTreeMap;

use abide_host::port::Completion;
use abide_model::command::OutcomeKind;
use abide_model::error::{self, ErrorCode};
use abide_model::id::InvocationId;
use abide_model::protocol::{CODE_METADATA, Failure};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::error::IngressError;
use crate::date::rfc3339;

/// What the ingress sends back: always whole.
pub(super) type Answer = Response<Full<Bytes>>;

const INVOCATION_ID: HeaderName = HeaderName::from_static("x-restate-id");
const ERROR_SOURCE: HeaderName = HeaderName::from_static("x-restate-error-source");
const IDEMPOTENCY_EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Who made an error.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Invocation,
    Ingress,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    source: Source,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abide_code: Option<String>,
}

/// A JSON document.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// Status without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// Adds `x-restate-id`.
pub(super) fn with_id(mut answer: Answer, id: InvocationId) -> Answer {
    let value = HeaderValue::try_from(id.to_string()).expect("ids are letters, digits and `_`");
    answer.headers_mut().insert(INVOCATION_ID, value);
    answer
}

/// The end of an invocation: its output as it is, or its failure as an error.
pub(super) fn completion(completion: Completion) -> Answer {
    let mut answer = match completion.outcome.kind {
        Some(OutcomeKind::Success(output)) => success(output),
        Some(OutcomeKind::Failure(failure)) => self::failure(&failure),
        // An outcome is written by this version's machine with one of both; absent only after damage.
        None => self::failure(&Failure::new(500, "the stored outcome is empty")),
    };
    if let Some(expires_at) = completion.expires_at {
        let value = HeaderValue::try_from(rfc3339(expires_at)).expect("dates are digits and signs");
        answer.headers_mut().insert(IDEMPOTENCY_EXPIRES, value);
    }
    with_id(answer, completion.invocation)
}

fn success(output: Bytes) -> Answer {
    if output.is_empty() { empty(StatusCode::OK) } else { json(StatusCode::OK, output) }
}

/// The failure of an invocation.
fn failure(failure: &Failure) -> Answer {
    let metadata = failure.metadata.iter().map(|fact| (fact.key.as_str(), fact.value.as_str())).collect();
    let mismatch = failure.code == u32::from(error::JOURNAL_MISMATCH.0);
    let told = failure.metadata.iter().find(|fact| fact.key == CODE_METADATA).map(|fact| fact.value.clone());
    let body = ErrorBody {
        code: failure.code,
        message: &failure.message,
        source: Source::Invocation,
        metadata,
        abide_code: told.or_else(|| mismatch.then(|| error::JOURNAL_MISMATCH.to_string())),
    };
    error_json(status_of(failure.code), &body)
}

/// An error of the ingress.
pub(super) fn error(error: &IngressError) -> Answer {
    let class = error.class();
    let message = error.to_string();
    let source = if matches!(error, IngressError::AttachNotFound) { Source::Invocation } else { Source::Ingress };
    let mut answer = error_json(class.status, &body(class.status, class.code, &message, source));
    if let Some(seconds) = error.retry_after() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let IngressError::Method(allowed) = error {
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    match error.invocation() {
        Some(id) => with_id(answer, id),
        None => answer,
    }
}

fn body(status: StatusCode, code: ErrorCode, message: &str, source: Source) -> ErrorBody<'_> {
    ErrorBody {
        code: u32::from(status.as_u16()),
        message,
        source,
        metadata: BTreeMap::new(),
        // Nothing went wrong when a result is not there yet.
        abide_code: (status.as_u16() != 470).then(|| code.to_string()),
    }
}

fn error_json(status: StatusCode, body: &ErrorBody<'_>) -> Answer {
    let mut answer = json(status, serde_json::to_vec(body).expect("texts and numbers"));
    let source = match body.source {
        Source::Invocation => "invocation",
        Source::Ingress => "ingress",
    };
    answer.headers_mut().insert(ERROR_SOURCE, HeaderValue::from_static(source));
    answer
}

/// The status for a failure's code: the code itself when it is a final status that can have a body, else 500.
pub(super) fn status_of(code: u32) -> StatusCode {
    match u16::try_from(code) {
        Ok(204 | 205 | 304) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Ok(code @ 200..=999) => StatusCode::from_u16(code).expect("200 to 999 are statuses"),
        Ok(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Lets pages of any origin use the ingress, without credentials. `origin` says whether the request came from a page.
pub(super) fn allow_origins(answer: &mut Answer, origin: bool) {
    let headers = answer.headers_mut();
    headers.insert(
        header::VARY,
        HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers"),
    );
    if origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    }
}

/// The answer to a browser that asks whether it may send a request with these headers.
pub(super) fn preflight(requested_headers: Option<&HeaderValue>) -> Answer {
    let mut answer = empty(StatusCode::OK);
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    // Repeated, because `*` would not include `authorization`.
    let allowed = requested_headers.cloned().unwrap_or(HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_codes_become_statuses() {
        for (code, status) in [
            (400, 400),
            (409, 409),
            (570, 570),
            (999, 999),
            (200, 200),
            (0, 500),
            (100, 500),
            (204, 500),
            (304, 500),
            (1000, 500),
            (70_000, 500),
        ] {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }
}
