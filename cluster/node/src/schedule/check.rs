//! What a schedule must be before it enters the log.

use abide_model::command::ScheduleDefinition;
use abide_model::id::Millis;
use abide_model::limits;
use abide_schedule::{Spec, SpecError, timestamp};

use super::run::PLATFORM_HEADERS;
use super::{Schedule, When};
use crate::engine::EngineError;

impl Schedule {
    /// The definition that is persisted, without the time at which it is due first.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] that points at what is wrong. Whether the handler exists is not looked at.
    pub(crate) fn definition(&self, now: Millis) -> Result<(Spec, ScheduleDefinition), EngineError> {
        check_name(&self.name)?;
        if let Some(fault) = &self.fault {
            return Err(invalid(format!("the input cannot be encoded as JSON: {fault}")));
        }
        if self.service.is_empty() || self.handler.is_empty() {
            return Err(invalid("a schedule needs a `service` and a `handler` to invoke"));
        }
        for (what, name) in [("service", &self.service), ("handler", &self.handler)] {
            check_length(what, name.len(), limits::NAME_BYTES_MAX)?;
        }
        check_length("key", self.key.as_ref().map_or(0, String::len), limits::KEY_BYTES_MAX)?;
        check_length("input", self.input.len(), limits::SCHEDULE_INPUT_BYTES_MAX)?;
        self.check_headers()?;
        let spec = self.spec(now)?;
        let definition = ScheduleDefinition {
            name: self.name.clone(),
            spec: spec.to_string(),
            service: self.service.clone(),
            handler: self.handler.clone(),
            key: self.key.clone(),
            input: self.input.clone(),
            headers: self.headers.clone(),
            catch_up: self.catch_up as i32,
            overlap: self.overlap as i32,
            first_due: 0,
            create_only: false,
            paused: self.paused,
        };
        check_length("time", definition.spec.len(), limits::SCHEDULE_SPEC_BYTES_MAX)?;
        Ok((spec, definition))
    }

    /// Whether `known` is what this describes, however it is written. A period without a beginning agrees with any.
    pub(crate) fn describes(&self, known: &ScheduleDefinition, now: Millis) -> Result<bool, EngineError> {
        let mut own = self.clone();
        if let (When::Every(_), None, Ok(Spec::Every(every))) = (&own.when, &own.from, known.spec.parse()) {
            own.from = Some(every.anchor().0.to_string());
        }
        let (_, own) = own.definition(now)?;
        let ScheduleDefinition { first_due, create_only, paused, .. } = *known;
        Ok(ScheduleDefinition { first_due, create_only, paused, ..own } == *known)
    }

    fn spec(&self, now: Millis) -> Result<Spec, EngineError> {
        let only = |field: &str, of: &str| invalid(format!("`{field}` goes with `{of}` only; leave it out"));
        if self.zone.is_some() && !matches!(self.when, When::Cron(_)) {
            return Err(only("zone", "cron"));
        }
        if self.from.is_some() && !matches!(self.when, When::Every(_)) {
            return Err(only("from", "every"));
        }
        let fault = |error: SpecError| invalid(error.to_string());
        match &self.when {
            When::Cron(expression) => Spec::cron(expression, self.zone.as_deref().unwrap_or("UTC")).map_err(fault),
            When::Every(period) => {
                let from = self.from.as_deref().map_or(Ok(now), timestamp).map_err(fault)?;
                Spec::every(period, from).map_err(fault)
            }
            When::At(time) => Spec::at(time).map_err(fault),
        }
    }

    fn check_headers(&self) -> Result<(), EngineError> {
        let bytes: usize = self.headers.iter().map(|header| header.key.len() + header.value.len()).sum();
        // Each run gets headers of its own.
        let count = self.headers.len() + PLATFORM_HEADERS.len();
        if count > limits::HEADERS_MAX || bytes > limits::HEADER_BYTES_MAX / 2 {
            return Err(invalid(format!(
                "a schedule has at most {} headers with {} bytes",
                limits::HEADERS_MAX - PLATFORM_HEADERS.len(),
                limits::HEADER_BYTES_MAX / 2
            )));
        }
        for header in &self.headers {
            let name = &header.key;
            if http::HeaderName::from_lowercase(name.as_bytes()).is_err() {
                return Err(invalid(format!(
                    "`{name}` is not a name of a header: write lower-case letters, digits and -"
                )));
            }
            if PLATFORM_HEADERS.contains(&name.as_str()) {
                return Err(invalid(format!("the header `{name}` is set for each run; leave it out")));
            }
            if http::HeaderValue::from_str(&header.value).is_err() {
                return Err(invalid(format!(
                    "the value of the header `{name}` has characters that headers cannot have"
                )));
            }
        }
        Ok(())
    }
}

/// # Errors
/// When no schedule can have this name.
pub(crate) fn check_name(name: &str) -> Result<(), EngineError> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(invalid("the name of a schedule has printable characters, and at least one"));
    }
    check_length("name", name.len(), limits::NAME_BYTES_MAX)
}

fn check_length(what: &str, length: usize, max: usize) -> Result<(), EngineError> {
    if length <= max { Ok(()) } else { Err(invalid(format!("the {what} of the schedule is longer than {max} bytes"))) }
}

fn invalid(reason: impl Into<String>) -> EngineError {
    EngineError::Invalid { reason: reason.into() }
}
