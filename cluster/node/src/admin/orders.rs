//! Orders for single invocations (service protocol §5.3; `reschedule` is not in the reference).

use std::borrow::Cow;
use std::sync::Arc;

use abide_model::effect::Answer as Verdict;
use abide_model::id::{InvocationId, Millis};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::{self, AdminError};
use super::request::{self, Parameters};
use super::services::DEPLOYMENT_ID;
use super::{Office, Shared};
use crate::backend::Backend;
use crate::engine::{Deployment, Order};

/// What an order may need beside its name.
#[derive(Default)]
pub(super) struct Details<'a> {
    pub(super) deployment: Option<Cow<'a, str>>,
    pub(super) from: Option<u32>,
    pub(super) at: Option<Cow<'a, str>>,
    pub(super) delay: Option<Cow<'a, str>>,
}

/// The order of this name.
pub(super) fn order(name: &str, details: &Details<'_>, now: Millis) -> Result<Order, AdminError> {
    let deployment = |default| deployment(details.deployment.as_deref(), default);
    Ok(match name {
        "cancel" => Order::Cancel,
        "kill" => Order::Kill,
        "pause" => Order::Pause,
        "purge" => Order::Purge,
        "purge-journal" => Order::PurgeJournal,
        "resume" => Order::Resume { deployment: deployment(Deployment::Keep)? },
        "restart-as-new" => {
            Order::Restart { from: details.from.unwrap_or(0), deployment: deployment(Deployment::Latest)? }
        }
        "reschedule" => Order::Reschedule { at: request::time(details.at.as_deref(), details.delay.as_deref(), now)? },
        _ => {
            return Err(AdminError::not_found(format!(
                "'{name}' is not an order for invocations; there are cancel, kill, pause, resume, purge, purge-journal, \
                 restart-as-new and reschedule"
            )));
        }
    })
}

fn deployment(text: Option<&str>, default: Deployment) -> Result<Deployment, AdminError> {
    match text {
        None => Ok(default),
        Some("keep") => Ok(Deployment::Keep),
        // All current code is in this binary.
        Some("latest" | DEPLOYMENT_ID) => Ok(Deployment::Latest),
        Some(version) if !version.is_empty() && !version.starts_with("dp_") => {
            Ok(Deployment::Version(version.to_owned()))
        }
        Some(other) => Err(AdminError::invalid(format!(
            "The deployment '{other}' does not exist; write keep, latest, {DEPLOYMENT_ID}, or a version of the code"
        ))),
    }
}

pub(super) async fn control<E: Backend>(
    State(office): Shared<E>,
    Path((id, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let parameters = Parameters(query);
    let details = Details {
        deployment: parameters.get("deployment"),
        from: parameters.number("from")?,
        at: parameters.get("at"),
        delay: parameters.get("delay"),
    };
    let order = order(&name, &details, office.engine.clock())?;
    match carry_out(&office, request::id(&id)?, order).await? {
        Carried::Out => Ok(StatusCode::OK.into_response()),
        Carried::Later => Ok(StatusCode::ACCEPTED.into_response()),
        Carried::As(id) => Ok(answer::json(&json!({ "new_invocation_id": id.to_string() }))),
    }
}

/// The old spelling of cancel, kill and purge: 202 whenever there is such an invocation.
pub(super) async fn end<E: Backend>(
    State(office): Shared<E>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let id = request::id(&id)?;
    let parameters = Parameters(query);
    let order = match parameters.get("mode").as_deref().unwrap_or("cancel") {
        "cancel" => Order::Cancel,
        "kill" => Order::Kill,
        "purge" => Order::Purge,
        mode => {
            let text = format!("The mode '{mode}' is not known; there are cancel, kill and purge");
            return Err(AdminError::invalid(text));
        }
    };
    match office.engine.control(id, order).await? {
        Verdict::Done | Verdict::Appended | Verdict::Created(_) | Verdict::Node(_) | Verdict::AlreadyCompleted => {
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Verdict::NotFound => Err(AdminError::unknown_invocation(id)),
        Verdict::Refused(failure) => Err(AdminError::refused(&failure)),
    }
}

/// How an order was carried out.
pub(super) enum Carried {
    /// At once.
    Out,
    /// The invocation will see it.
    Later,
    /// By making another invocation.
    As(InvocationId),
}

/// Gives an order.
pub(super) async fn carry_out<E: Backend>(
    office: &Arc<Office<E>>,
    id: InvocationId,
    order: Order,
) -> Result<Carried, AdminError> {
    match office.engine.control(id, order).await? {
        Verdict::Done | Verdict::Node(_) => Ok(Carried::Out),
        Verdict::Appended => Ok(Carried::Later),
        Verdict::Created(new) => Ok(Carried::As(new)),
        Verdict::NotFound => Err(AdminError::unknown_invocation(id)),
        Verdict::AlreadyCompleted => Err(AdminError::already_completed(id)),
        Verdict::Refused(failure) => Err(AdminError::refused(&failure)),
    }
}
