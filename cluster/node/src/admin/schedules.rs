//! Schedules as resources: `/schedules`, `/schedules/{name}`.

mod body;
mod render;

use std::sync::Arc;

use abide_model::error::TOO_LARGE;
use abide_model::id::{InvocationId, Millis};
use abide_model::limits;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, patch};
use bytes::Bytes;
use serde_json::{Value, json};

use self::body::ScheduleBody;
use super::answer::{self, AdminError};
use super::request::Parameters;
use crate::engine::{Engine, EngineError, SCHEDULES_PER_PAGE_MAX};
use crate::schedule::{Schedule, ScheduleChange, ScheduleDetails};

/// Schedules on a page, unless the request says otherwise.
const PER_PAGE_DEFAULT: usize = 100;
/// Largest body: the input, headers, and room for the rest with its escapes.
const BODY_BYTES_MAX: usize = 2 * (limits::SCHEDULE_INPUT_BYTES_MAX + limits::HEADER_BYTES_MAX);

/// What the pages about schedules need of the engine; see [`Engine`] for what each does.
pub(super) trait Schedules: Clone + Send + Sync + 'static {
    fn put(&self, schedule: Schedule, create_only: bool) -> impl Future<Output = Result<(), EngineError>> + Send;
    fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ScheduleDetails>, EngineError>> + Send;
    fn describe(&self, name: &str) -> impl Future<Output = Result<ScheduleDetails, EngineError>> + Send;
    fn pause(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
    fn resume(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
    fn trigger(&self, name: &str) -> impl Future<Output = Result<InvocationId, EngineError>> + Send;
    fn reschedule(&self, name: &str, change: ScheduleChange) -> impl Future<Output = Result<(), EngineError>> + Send;
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send;
    fn now(&self) -> Millis;
}

impl Schedules for Engine {
    fn put(&self, schedule: Schedule, create_only: bool) -> impl Future<Output = Result<(), EngineError>> + Send {
        self.schedules_put(schedule, create_only)
    }

    fn list(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ScheduleDetails>, EngineError>> + Send {
        self.schedules_list(after, limit)
    }

    fn describe(&self, name: &str) -> impl Future<Output = Result<ScheduleDetails, EngineError>> + Send {
        self.schedules_describe(name)
    }

    fn pause(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send {
        self.schedules_pause(name)
    }

    fn resume(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send {
        self.schedules_resume(name)
    }

    fn trigger(&self, name: &str) -> impl Future<Output = Result<InvocationId, EngineError>> + Send {
        self.schedules_trigger(name)
    }

    fn reschedule(&self, name: &str, change: ScheduleChange) -> impl Future<Output = Result<(), EngineError>> + Send {
        self.schedules_reschedule(name, change)
    }

    fn delete(&self, name: &str) -> impl Future<Output = Result<(), EngineError>> + Send {
        self.schedules_delete(name)
    }

    fn now(&self) -> Millis {
        self.clock()
    }
}

/// The routes.
pub(super) fn router<S: Schedules>(schedules: S) -> Router {
    let one = get(describe::<S>).put(put::<S>).patch(reschedule::<S>).delete(delete::<S>);
    Router::new()
        .route("/schedules", get(list::<S>))
        .route("/schedules/{name}", one)
        .route("/schedules/{name}/{verb}", patch(order::<S>))
        .with_state(Arc::new(schedules))
}

type Shared<S> = State<Arc<S>>;

async fn list<S: Schedules>(State(schedules): Shared<S>, RawQuery(query): RawQuery) -> Result<Response, AdminError> {
    let limit = match Parameters(query.clone()).get("limit") {
        None => PER_PAGE_DEFAULT,
        Some(text) => {
            let known = text.parse().ok().filter(|limit| (1..=SCHEDULES_PER_PAGE_MAX).contains(limit));
            let reason = format!("`limit` is a number from 1 to {SCHEDULES_PER_PAGE_MAX}, not '{text}'");
            known.ok_or_else(|| AdminError::invalid(reason))?
        }
    };
    let parameters = Parameters(query);
    let after = parameters.get("after");
    let found = schedules.list(after.as_deref(), limit).await?;
    // Whoever gets a full page asks again; the last page may be empty.
    let next = found.last().filter(|_| found.len() == limit).map(|last| last.definition().name);
    let page: Vec<Value> = found.iter().map(|details| render::summary(details, schedules.now())).collect();
    Ok(answer::json(&json!({ "schedules": page, "next": next })))
}

async fn describe<S: Schedules>(State(schedules): Shared<S>, Path(name): Path<String>) -> Result<Response, AdminError> {
    described(&*schedules, &name).await
}

async fn put<S: Schedules>(
    State(schedules): Shared<S>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, AdminError> {
    let create_only = match Parameters(query).get("create_only").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(AdminError::invalid(format!("`create_only` is true or false, not '{other}'"))),
    };
    let schedule = ScheduleBody::read(&read(body).await?)?.into_schedule(name.clone())?;
    schedules.put(schedule, create_only).await?;
    described(&*schedules, &name).await
}

async fn reschedule<S: Schedules>(
    State(schedules): Shared<S>,
    Path(name): Path<String>,
    body: Body,
) -> Result<Response, AdminError> {
    let change = ScheduleBody::read(&read(body).await?)?.into_change()?;
    schedules.reschedule(&name, change).await?;
    described(&*schedules, &name).await
}

async fn order<S: Schedules>(
    State(schedules): Shared<S>,
    Path((name, verb)): Path<(String, String)>,
) -> Result<Response, AdminError> {
    match verb.as_str() {
        "pause" => schedules.pause(&name).await?,
        "resume" => schedules.resume(&name).await?,
        "trigger" => {
            let id = schedules.trigger(&name).await?;
            return Ok(answer::json(&json!({ "invocation_id": id.to_string() })));
        }
        _ => {
            return Err(AdminError::not_found(format!(
                "'{verb}' is not an order for schedules; there are pause, resume and trigger"
            )));
        }
    }
    described(&*schedules, &name).await
}

async fn delete<S: Schedules>(State(schedules): Shared<S>, Path(name): Path<String>) -> Result<StatusCode, AdminError> {
    schedules.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn described<S: Schedules>(schedules: &S, name: &str) -> Result<Response, AdminError> {
    Ok(answer::json(&render::details(&schedules.describe(name).await?, schedules.now())))
}

async fn read(body: Body) -> Result<Bytes, AdminError> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let message = format!("the body was cut off, or is larger than {BODY_BYTES_MAX} bytes");
        AdminError::new(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, message)
    })
}

#[cfg(test)]
mod tests;
