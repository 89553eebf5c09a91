//! Service metadata (service protocol §5.2) of native services.

use std::time::Duration;

use abide_model::command::Access;
use abide_sdk::service::{Exhausted, HandlerDescriptor, Kind, RetryPolicy, ServiceDescriptor};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::units::friendly;

/// The deployment of all handlers that are compiled into this binary.
pub(super) const DEPLOYMENT_ID: &str = "dp_native";

/// A handler that blocks is never cut off; this is what the field says for native services.
const ABORT_TIMEOUT: Duration = Duration::from_secs(600);

/// What holds for every service unless it says otherwise.
pub(super) struct Defaults {
    retention: Duration,
    suspend_after: Duration,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self { retention: config.retention.completed, suspend_after: config.handlers.suspend_after }
    }
}

/// The metadata of a service.
pub(super) fn metadata(service: &ServiceDescriptor, defaults: &Defaults) -> Value {
    let handlers: Vec<_> = service.handlers.iter().map(|known| handler(service, known, defaults)).collect();
    let mut metadata = json!({
        "name": service.name,
        "ty": match service.kind {
            Kind::Service => "Service",
            Kind::Object => "VirtualObject",
            Kind::Workflow => "Workflow",
        },
        "handlers": handlers,
        "deployment_id": DEPLOYMENT_ID,
        "revision": 1,
        "public": service.handlers.iter().any(|handler| handler.public),
        "idempotency_retention": friendly(defaults.retention),
        "journal_retention": "0s",
        "inactivity_timeout": friendly(defaults.suspend_after),
        "abort_timeout": friendly(ABORT_TIMEOUT),
        "enable_lazy_state": false,
        "retry_policy": policy(&RetryPolicy::default()),
    });
    if let Some(documentation) = &service.documentation {
        metadata["documentation"] = documentation.as_str().into();
    }
    metadata
}

/// The metadata of one of its handlers.
pub(super) fn handler(service: &ServiceDescriptor, handler: &HandlerDescriptor, defaults: &Defaults) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), handler.name.as_str().into());
    if service.kind == Kind::Object {
        let ty = if handler.access == Access::Exclusive { "Exclusive" } else { "Shared" };
        metadata.insert("ty".into(), ty.into());
    }
    if let Some(documentation) = &handler.documentation {
        metadata.insert("documentation".into(), documentation.as_str().into());
    }
    metadata.insert("idempotency_retention".into(), friendly(defaults.retention).into());
    metadata.insert("public".into(), handler.public.into());
    metadata
        .insert("input_description".into(), "one of [\"none\", \"value of content-type 'application/json'\"]".into());
    metadata.insert("output_description".into(), "value of content-type 'application/json'".into());
    metadata.insert("retry_policy".into(), handler.options.retry.as_ref().map_or_else(|| json!({}), policy));
    Value::Object(metadata)
}

fn policy(policy: &RetryPolicy) -> Value {
    json!({
        "initial_interval": friendly(policy.initial),
        "exponentiation_factor": policy.factor,
        "max_attempts": policy.max_attempts,
        "max_interval": friendly(policy.max_interval),
        "on_max_attempts": match policy.exhausted {
            Exhausted::Pause => "Pause",
            Exhausted::Fail => "Kill",
        },
    })
}
