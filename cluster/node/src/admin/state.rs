//! State of objects: read as it is applied, changed by edits that queue like exclusive invocations.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use abide_host::port::Refusal;
use abide_model::command::{FieldChange, OutcomeKind, StateEdit, StateVersion};
use abide_model::error;
use abide_model::id::ObjectId;
use abide_model::limits;
use axum::body::Bytes as Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::answer::{self, AdminError};
use super::request::{self, Parameters};
use super::{Office, Shared};
use crate::backend::Backend;
use crate::date::rfc3339;
use crate::engine::EngineError;

/// How long a request waits for its edit, which waits for the object's exclusive invocations.
const EDIT_WAIT: Duration = Duration::from_secs(5);

/// The state of an object. Values that are not JSON are in `binary`.
#[derive(Serialize)]
struct StateBody<'a> {
    service: &'a str,
    key: &'a str,
    version: String,
    fields: BTreeMap<&'a str, &'a RawValue>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    binary: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    queued: u64,
}

pub(super) async fn read<E: Backend>(
    State(office): Shared<E>,
    Path((service, key)): Path<(String, String)>,
) -> Result<Response, AdminError> {
    let object = object(&office, service, key)?;
    let state = office.engine.state(object.clone()).await?;
    let (mut fields, mut binary) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in &state.fields {
        match serde_json::from_slice::<&RawValue>(value) {
            Ok(json) => {
                fields.insert(name.as_str(), json);
            }
            Err(_) => {
                binary.insert(name.as_str(), STANDARD.encode(value));
            }
        }
    }
    let body = StateBody {
        service: &object.service,
        key: &object.key,
        version: version_text(state.version),
        fields,
        binary,
        expires_at: state.expires_at.map(rfc3339),
        queued: state.queued,
    };
    let body = serde_json::to_string(&body).expect("texts, numbers and JSON");
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(super) async fn keys<E: Backend>(
    State(office): Shared<E>,
    Path(service): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let parameters = Parameters(query);
    let object = object(&office, service, String::new())?;
    let (prefix, after) = (parameters.get("prefix"), parameters.get("after"));
    let limit = parameters.limit()?;
    let prefix = prefix.as_deref().unwrap_or_default();
    let page = office.engine.keys(&object.service, prefix, limit, after.as_deref()).await?;
    let mut out = json!({ "keys": page.items });
    if let Some(next) = page.next {
        out["next"] = next.into();
    }
    Ok(answer::json(&out))
}

/// The body of the reference: the whole state, values as lists of bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replace {
    version: Option<String>,
    object_key: String,
    scope: Option<String>,
    new_state: BTreeMap<String, Vec<u8>>,
}

pub(super) async fn replace<E: Backend>(
    State(office): Shared<E>,
    Path(service): Path<String>,
    body: Body,
) -> Result<Response, AdminError> {
    let Replace { version, object_key, scope, new_state } = request::json(&body)?;
    if scope.is_some() {
        return Err(AdminError::invalid("scopes are not supported; leave `scope` out"));
    }
    let changes = new_state.into_iter().map(|(field, value)| change_of(field, Some(value.into())));
    let edit = StateEdit { expected: expected(version.as_deref())?, replace: true, changes: changes.collect() };
    carry_out(&office, object(&office, service, object_key)?, edit, StatusCode::ACCEPTED).await
}

/// Some fields, values as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    version: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, Box<RawValue>>,
    #[serde(default)]
    clear: Vec<String>,
}

pub(super) async fn change<E: Backend>(
    State(office): Shared<E>,
    Path((service, key)): Path<(String, String)>,
    body: Body,
) -> Result<Response, AdminError> {
    let Change { version, set, clear } = request::json(&body)?;
    if set.is_empty() && clear.is_empty() {
        return Err(AdminError::invalid("nothing to change; name fields in `set` or `clear`"));
    }
    if let Some(field) = clear.iter().find(|field| set.contains_key(*field)) {
        return Err(AdminError::invalid(format!("`{field}` is both in `set` and in `clear`")));
    }
    let set = set.into_iter().map(|(field, value)| {
        let value = Bytes::copy_from_slice(value.get().as_bytes());
        change_of(field, Some(value))
    });
    let changes = set.chain(clear.into_iter().map(|field| change_of(field, None))).collect();
    let edit = StateEdit { expected: expected(version.as_deref())?, replace: false, changes };
    carry_out(&office, object(&office, service, key)?, edit, StatusCode::OK).await
}

pub(super) async fn clear<E: Backend>(
    State(office): Shared<E>,
    Path((service, key)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, AdminError> {
    let expected = expected(Parameters(query).get("version").as_deref())?;
    let edit = StateEdit { expected, replace: true, changes: Vec::new() };
    carry_out(&office, object(&office, service, key)?, edit, StatusCode::OK).await
}

/// Hands the edit in and waits for it a while: `applied` when it is carried out, 202 when it is still queued.
async fn carry_out<E: Backend>(
    office: &Arc<Office<E>>,
    object: ObjectId,
    edit: StateEdit,
    applied: StatusCode,
) -> Result<Response, AdminError> {
    check(&edit)?;
    let (id, pending) = office.engine.edit(object, &edit)?;
    let completion = match timeout(EDIT_WAIT, pending).await {
        Ok(told) => told.unwrap_or(Err(Refusal::OutcomeUnknown)).map_err(EngineError::from)?,
        Err(_) => {
            let body = json!({ "invocation_id": id.to_string(), "applied": false });
            return Ok(answer::json_with(StatusCode::ACCEPTED, &body));
        }
    };
    match completion.outcome.kind {
        Some(OutcomeKind::Failure(failure)) => Err(AdminError::refused(&failure)),
        Some(OutcomeKind::Success(_)) | None => {
            Ok(answer::json_with(applied, &json!({ "invocation_id": id.to_string(), "applied": true })))
        }
    }
}

fn check(edit: &StateEdit) -> Result<(), AdminError> {
    let too_large = |text: String| AdminError::new(StatusCode::PAYLOAD_TOO_LARGE, error::TOO_LARGE, text);
    for change in &edit.changes {
        let field = &change.field;
        if field.is_empty() || field.len() > limits::NAME_BYTES_MAX {
            return Err(AdminError::invalid(format!("a field's name has 1 to {} bytes", limits::NAME_BYTES_MAX)));
        }
        if change.value.as_ref().is_some_and(|value| value.len() > limits::STATE_VALUE_BYTES_MAX) {
            return Err(too_large(format!("`{field}` is larger than {} bytes", limits::STATE_VALUE_BYTES_MAX)));
        }
    }
    Ok(())
}

fn change_of(field: String, value: Option<Bytes>) -> FieldChange {
    FieldChange { field, value }
}

fn object<E: Backend>(office: &Arc<Office<E>>, service: String, key: String) -> Result<ObjectId, AdminError> {
    if !office.find(&service)?.kind.is_keyed() {
        return Err(AdminError::invalid(format!("'{service}' is a service without keys: it has no state")));
    }
    Ok(ObjectId { service, key })
}

/// `<changes>.<writer>`, both in decimal.
fn version_text(version: StateVersion) -> String {
    format!("{}.{}", version.version, version.writer)
}

fn expected(text: Option<&str>) -> Result<Option<StateVersion>, AdminError> {
    let parse = |text: &str| {
        let (version, writer) = text.split_once('.')?;
        Some(StateVersion { version: version.parse().ok()?, writer: writer.parse().ok()? })
    };
    text.map(|text| {
        parse(text).ok_or_else(|| {
            AdminError::invalid("`version` is not a version of a state; pass the one that was read, such as `4.3`")
        })
    })
    .transpose()
}
