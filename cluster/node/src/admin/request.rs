//! What is read from a request: ids, parameters, bodies.

use std::borrow::Cow;

use abide_model::error;
use abide_model::id::{InvocationId, Millis};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::answer::AdminError;
use crate::delay;
use crate::inspect::{Filter, FilterError};

/// Items of a page when nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Most items of a page.
pub(super) const LIMIT_MAX: usize = 1_000;

/// The parameters behind the path.
pub(super) struct Parameters(pub(super) Option<String>);

impl Parameters {
    /// The value of the first parameter of this name, decoded.
    pub(super) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        delay::parameter(self.0.as_deref()?, name)
    }

    /// How many items a page has.
    pub(super) fn limit(&self) -> Result<usize, AdminError> {
        self.get("limit").map_or(Ok(LIMIT_DEFAULT), |text| {
            let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            limit.ok_or_else(|| AdminError::invalid(format!("`limit` must be between 1 and {LIMIT_MAX}")))
        })
    }

    /// A number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u32>, AdminError> {
        let parse =
            |text: Cow<'_, str>| text.parse().map_err(|_| AdminError::invalid(format!("`{name}` must be a number")));
        self.get(name).map(parse).transpose()
    }
}

/// The invocation that a path names.
pub(super) fn id(text: &str) -> Result<InvocationId, AdminError> {
    text.parse().map_err(|error| {
        AdminError::invalid(format!("The request field 'invocation_id' is invalid. Reason: bad format: {error}"))
    })
}

/// The filter in a text.
pub(super) fn filter(text: &str) -> Result<Filter, AdminError> {
    Filter::parse(text).map_err(|error: FilterError| AdminError::invalid(error.to_string()))
}

/// A JSON body.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|fault| {
        let status = match fault.classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Syntax | Category::Eof | Category::Io => StatusCode::BAD_REQUEST,
        };
        AdminError::new(status, error::INVALID_REQUEST, format!("the body is not as expected: {fault}"))
    })
}

/// The point in time that exactly one of `at` and `delay` names.
pub(super) fn time(at: Option<&str>, delay: Option<&str>, now: Millis) -> Result<Millis, AdminError> {
    let time = match (at, delay) {
        (Some(at), None) => delay::parse_time(at, now),
        (None, Some(delay)) => delay::parse(delay).map(|delay| now.plus(delay::ms(delay))),
        _ => Err("name the new time with either `at` or `delay`".to_owned()),
    };
    time.map_err(AdminError::invalid)
}
