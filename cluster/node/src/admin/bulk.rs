//! One order for many invocations: named by their ids (service protocol §5.3), or by a filter, which can be tried first.

use std::borrow::Cow;
use std::sync::Arc;

use abide_model::id::InvocationId;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, AdminError};
use super::orders::{self, Carried, Details};
use super::{Office, Shared, request};
use crate::backend::Backend;
use crate::engine::Order;
use crate::inspect::Filter;

/// Most invocations of one request.
pub(super) const BATCH_MAX: usize = 1_000;
/// Orders under way at the same time: they share the driver's fsyncs, and leave room for others in its queue.
const CONCURRENT: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    invocation_ids: Option<Vec<String>>,
    filter: Option<String>,
    #[serde(default)]
    dry_run: bool,
    limit: Option<usize>,
    deployment: Option<String>,
    from: Option<u32>,
    at: Option<String>,
    delay: Option<String>,
}

pub(super) async fn run<E: Backend>(
    State(office): Shared<E>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, AdminError> {
    let batch: Batch = request::json(&body)?;
    let details = Details {
        deployment: batch.deployment.as_deref().map(Cow::Borrowed),
        from: batch.from,
        at: batch.at.as_deref().map(Cow::Borrowed),
        delay: batch.delay.as_deref().map(Cow::Borrowed),
    };
    let order = orders::order(&name, &details, office.engine.clock())?;
    match (batch.invocation_ids, batch.filter) {
        (Some(ids), None) => {
            if ids.len() > BATCH_MAX {
                return Err(AdminError::invalid(format!("at most {BATCH_MAX} invocations per request")));
            }
            let ids = ids.iter().map(|id| request::id(id)).collect::<Result<Vec<_>, _>>()?;
            let (succeeded, failed) = all(&office, ids, &order).await;
            Ok(answer::json(&json!({ "succeeded": succeeded, "failed": failed })))
        }
        (None, Some(text)) => {
            let filter = request::filter(&text)?;
            if filter.is_empty() {
                let reason =
                    "an empty filter means every invocation; name at least one condition, such as `status=paused`";
                return Err(AdminError::invalid(reason));
            }
            let limit = batch.limit.unwrap_or(BATCH_MAX);
            if !(1..=BATCH_MAX).contains(&limit) {
                return Err(AdminError::invalid(format!("`limit` must be between 1 and {BATCH_MAX}")));
            }
            let (ids, more) = find(&office, &filter, limit).await?;
            let mut out = json!({ "matched": ids.len(), "dry_run": batch.dry_run, "more": more });
            let (succeeded, failed) = if batch.dry_run {
                out["invocation_ids"] = ids.iter().map(|id| Value::from(id.to_string())).collect();
                (Vec::new(), Vec::new())
            } else {
                all(&office, ids, &order).await
            };
            out["succeeded"] = succeeded.into();
            out["failed"] = failed.into();
            Ok(answer::json(&out))
        }
        _ => Err(AdminError::invalid("name the invocations with either `invocation_ids` or `filter`")),
    }
}

/// The first `limit` invocations that match, and whether there are more. All are found before the first order is given:
/// an order moves what it is for, and would be followed by the list.
async fn find<E: Backend>(
    office: &Arc<Office<E>>,
    filter: &Filter,
    limit: usize,
) -> Result<(Vec<InvocationId>, bool), AdminError> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        // One more than asked for tells whether there are more.
        let page = office.engine.list(filter.clone(), limit + 1 - ids.len(), after).await?;
        ids.extend(page.items.iter().map(|invocation| invocation.id));
        if ids.len() > limit {
            ids.truncate(limit);
            return Ok((ids, true));
        }
        after = page.next;
        if after.is_none() {
            return Ok((ids, false));
        }
    }
}

/// Gives the order to all of them. Returns the ids of those that took it, and the others with the reason.
async fn all<E: Backend>(office: &Arc<Office<E>>, ids: Vec<InvocationId>, order: &Order) -> (Vec<Value>, Vec<Value>) {
    let orders = ids.into_iter().map(|id| async move { (id, orders::carry_out(office, id, order.clone()).await) });
    let mut answers = futures_util::stream::iter(orders).buffered(CONCURRENT);
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    while let Some((id, carried)) = answers.next().await {
        let id = id.to_string();
        match carried {
            Ok(Carried::Out | Carried::Later) => succeeded.push(id.into()),
            Ok(Carried::As(new)) => {
                succeeded.push(json!({ "old_invocation_id": id, "new_invocation_id": new.to_string() }));
            }
            Err(error) => failed.push(json!({
                "invocation_id": id, "error": error.message, "abide_code": error.code.to_string(),
            })),
        }
    }
    (succeeded, failed)
}
