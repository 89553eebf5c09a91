//! Dead letters: one-way invocations that failed. Not in the reference.

use std::sync::Arc;

use abide_model::effect::Answer as Verdict;
use abide_model::id::{InvocationId, Millis, PartitionId};
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::answer::{self, AdminError};
use super::request::Parameters;
use super::{Office, Shared, details, journal};
use crate::backend::Backend;
use crate::date::rfc3339;
use crate::inspect::{Letter, LetterAddress};

/// Letters that are redriven at the same time.
const CONCURRENT: usize = 64;

pub(super) async fn list<E: Backend>(
    State(office): Shared<E>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let parameters = Parameters(query);
    let (service, after) = (parameters.get("service"), parameters.get("after"));
    let limit = parameters.limit()?;
    let page = office.engine.letters(service.as_deref(), limit, after.as_deref()).await?;
    let letters: Vec<_> = page.items.iter().map(summary).collect();
    let mut out = json!({ "deadletters": letters });
    if let Some(next) = page.next {
        out["next"] = next.into();
    }
    Ok(answer::json(&out))
}

pub(super) async fn describe<E: Backend>(
    State(office): Shared<E>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, AdminError> {
    let at = address(path)?;
    let letter = office.engine.letter(&at).await?.ok_or_else(|| unknown(&at))?;
    let mut out = summary(&letter);
    journal::put_bytes(&mut out, "input", &letter.row.input);
    let header = |header: &abide_model::protocol::Header| json!({ "key": header.key, "value": header.value });
    out["headers"] = letter.row.headers.iter().map(header).collect();
    Ok(answer::json(&out))
}

pub(super) async fn redrive<E: Backend>(
    State(office): Shared<E>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, AdminError> {
    match again(&office, &address(path)?).await? {
        Some(id) => Ok(answer::json(&json!({ "new_invocation_id": id.to_string() }))),
        None => Ok(StatusCode::OK.into_response()),
    }
}

pub(super) async fn drop<E: Backend>(
    State(office): Shared<E>,
    Path(path): Path<(String, String, String)>,
) -> Result<Response, AdminError> {
    let at = address(path)?;
    settled(&at, office.engine.drop_letter(&at).await?)?;
    Ok(StatusCode::OK.into_response())
}

/// Redrives up to `limit` letters of a service; `more` says whether there are others.
pub(super) async fn redrive_all<E: Backend>(
    State(office): Shared<E>,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let limit = Parameters(query).limit()?;
    let page = office.engine.letters(Some(&service), limit, None).await?;
    let office = &office;
    let matched = page.items.len();
    let orders = page.items.into_iter().map(|letter| async move { (again(office, &letter.at).await, letter) });
    let mut answers = futures_util::stream::iter(orders).buffered(CONCURRENT);
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    while let Some((answer, letter)) = answers.next().await {
        let mut out = place(&letter.at);
        match answer {
            Ok(id) => {
                out["new_invocation_id"] = id.map(|id| id.to_string()).into();
                succeeded.push(out);
            }
            Err(error) => {
                out["error"] = error.message.into();
                out["abide_code"] = error.code.to_string().into();
                failed.push(out);
            }
        }
    }
    let more = page.next.is_some();
    Ok(answer::json(&json!({ "matched": matched, "succeeded": succeeded, "failed": failed, "more": more })))
}

/// Invokes a letter again; the new id, if the answer tells it.
async fn again<E: Backend>(office: &Arc<Office<E>>, at: &LetterAddress) -> Result<Option<InvocationId>, AdminError> {
    settled(at, office.engine.redrive(at).await?)
}

fn settled(at: &LetterAddress, answer: Verdict) -> Result<Option<InvocationId>, AdminError> {
    match answer {
        Verdict::Created(id) => Ok(Some(id)),
        Verdict::Done | Verdict::Appended | Verdict::Node(_) => Ok(None),
        Verdict::NotFound | Verdict::AlreadyCompleted => Err(unknown(at)),
        Verdict::Refused(failure) => Err(AdminError::refused(&failure)),
    }
}

fn unknown(at: &LetterAddress) -> AdminError {
    let LetterAddress { service, partition, seq } = at;
    AdminError::not_found(format!("The requested dead letter '{service}/{partition}/{seq}' does not exist"))
}

fn address((service, partition, seq): (String, String, String)) -> Result<LetterAddress, AdminError> {
    let parse = || {
        let partition = partition.parse().ok().or_else(|| partition.parse().ok().map(PartitionId))?;
        Some(LetterAddress { service, partition, seq: seq.parse().ok()? })
    };
    let malformed =
        || AdminError::invalid("a dead letter is named by service, partition and number, such as `Mail/p3/7`");
    parse().ok_or_else(malformed)
}

fn place(at: &LetterAddress) -> Value {
    json!({ "service": at.service, "partition": at.partition.to_string(), "seq": at.seq })
}

fn summary(letter: &Letter) -> Value {
    let row = &letter.row;
    let mut out = place(&letter.at);
    let id = |bytes: &[u8]| InvocationId::from_bytes(bytes).map(|id| id.to_string());
    out["invocation_id"] = id(&row.invocation).into();
    if let Some(target) = &row.target {
        out["target"] = target.to_string().into();
        out["target_service_name"] = target.service.as_str().into();
        out["target_handler_name"] = target.handler.as_str().into();
        if let Some(key) = &target.key {
            out["target_service_key"] = key.as_str().into();
        }
    }
    if let Some(failure) = &row.failure {
        out["failure"] = details::failure(failure);
    }
    out["created_at"] = rfc3339(Millis(row.created_at)).into();
    out["failed_at"] = rfc3339(Millis(row.failed_at)).into();
    out["attempt"] = row.attempt.into();
    if let Some(by) = id(&row.invoked_by) {
        out["invoked_by_id"] = by.into();
    }
    out["input_bytes"] = letter.input_len.into();
    out
}
