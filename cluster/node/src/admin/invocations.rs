//! Invocations as operators look at them.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{self, AdminError};
use super::request::{self, Parameters};
use super::{Shared, details, journal as entries};
use crate::backend::Backend;
use crate::inspect::Cursor;

pub(super) async fn list<E: Backend>(
    State(office): Shared<E>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let parameters = Parameters(query);
    let filter = request::filter(parameters.get("filter").as_deref().unwrap_or_default())?;
    let after: Option<Cursor> = match parameters.get("after") {
        Some(text) => Some(text.parse().map_err(|error| AdminError::invalid(format!("{error}")))?),
        None => None,
    };
    let page = office.engine.list(filter, parameters.limit()?, after).await?;
    let invocations: Vec<_> = page.items.iter().map(details::summary).collect();
    let mut out = json!({ "invocations": invocations });
    if let Some(next) = page.next {
        out["next"] = next.to_string().into();
    }
    Ok(answer::json(&out))
}

pub(super) async fn describe<E: Backend>(
    State(office): Shared<E>,
    Path(id): Path<String>,
) -> Result<Response, AdminError> {
    let id = request::id(&id)?;
    let found = office.engine.describe(id).await?.ok_or_else(|| AdminError::unknown_invocation(id))?;
    Ok(answer::json(&details::render(&found)))
}

pub(super) async fn journal<E: Backend>(
    State(office): Shared<E>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let id = request::id(&id)?;
    let parameters = Parameters(query);
    let (from, limit) = (parameters.number("from")?.unwrap_or(0), parameters.limit()?);
    let page = office.engine.journal(id, from, limit).await?.ok_or_else(|| AdminError::unknown_invocation(id))?;
    let journal: Vec<Value> = (page.from..).zip(&page.entries).map(|(index, row)| entries::entry(index, row)).collect();
    let next = page.from.saturating_add(u32::try_from(journal.len()).unwrap_or(u32::MAX));
    let mut out = json!({ "id": id.to_string(), "journal_size": page.len, "journal": journal });
    if !page.entries.is_empty() && next < page.len {
        out["next"] = next.into();
    }
    Ok(answer::json(&out))
}
