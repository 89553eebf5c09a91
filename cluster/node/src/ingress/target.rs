//! Which invocation a request for a result means: by id, or by what the id is computed from.

use std::borrow::Cow;

use abide_model::id::InvocationId;
use abide_sdk::service::Kind;
use serde::Deserialize;

use super::directory::Directory;
use super::error::IngressError;
use super::path::Target;
use super::request::{check_idempotency_key, check_key};

/// The body of `POST /restate/attach|output|lookup`.
#[derive(Deserialize)]
#[serde(tag = "target", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum TargetBody {
    Invocation { invocation_id: String },
    IdempotentInvocation { service: String, key: Option<String>, handler: String, idempotency_key: String },
    Workflow { workflow_name: String, workflow_key: String },
}

/// The invocation that a JSON body means.
pub(super) fn read(body: &[u8], directory: &Directory) -> Result<InvocationId, IngressError> {
    let body: TargetBody = serde_json::from_slice(body).map_err(|error| IngressError::LookupBody(error.to_string()))?;
    let target = match body {
        TargetBody::Invocation { invocation_id } => Target::Id(Cow::Owned(invocation_id)),
        TargetBody::IdempotentInvocation { service, key, handler, idempotency_key } => Target::Idempotent {
            service: service.into(),
            key: key.map(Cow::Owned),
            handler: handler.into(),
            idempotency_key: idempotency_key.into(),
        },
        TargetBody::Workflow { workflow_name, workflow_key } => {
            Target::Workflow { name: workflow_name.into(), key: workflow_key.into() }
        }
    };
    resolve(&target, directory)
}

/// The id of a target. It need not exist; its service and handler must.
pub(super) fn resolve(target: &Target<'_>, directory: &Directory) -> Result<InvocationId, IngressError> {
    match target {
        Target::Id(id) => id.parse().map_err(|error| IngressError::InvocationId(format!("{error}"))),
        Target::Idempotent { service, key, handler, idempotency_key } => {
            let Some(found) = directory.get(service) else {
                return Err(IngressError::UnknownService(service.to_string()));
            };
            if found.handler(handler).is_none() {
                let (service, handler) = (service.to_string(), handler.to_string());
                return Err(IngressError::UnknownHandler { service, handler });
            }
            match (found.kind, key) {
                (Kind::Service, Some(_)) => return Err(IngressError::BadPath("the service has no keys")),
                (Kind::Object | Kind::Workflow, None) => {
                    return Err(IngressError::BadPath("the service has keys: name one"));
                }
                (Kind::Service, None) | (Kind::Object | Kind::Workflow, Some(_)) => {}
            }
            check_key(key.as_deref())?;
            check_idempotency_key(idempotency_key.len())?;
            Ok(InvocationId::idempotent(service, key.as_deref(), handler, idempotency_key))
        }
        Target::Workflow { name, key } => match directory.get(name) {
            None => Err(IngressError::UnknownService(name.to_string())),
            Some(service) => match service.kind {
                Kind::Service | Kind::Object => Err(IngressError::NotAWorkflow(name.to_string())),
                Kind::Workflow => {
                    check_key(Some(key))?;
                    Ok(InvocationId::workflow(name, key))
                }
            },
        },
    }
}
