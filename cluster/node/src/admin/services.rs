//! Service metadata (service protocol §5.2) of native services.

use std::time::Duration;

use abide_model::command::Access;
use abide_sdk::service::{Exhausted, Kind, Options, Rate, RetryPolicy, ServiceDescriptor};
use serde_json::{Map, Value, json};

use crate::config::units::friendly;
use crate::config::{self, Config};

/// The deployment of all handlers that are compiled into this binary.
pub(super) const DEPLOYMENT_ID: &str = "dp_native";

/// A handler that blocks is never cut off; this is what the field says for native services.
const ABORT_TIMEOUT: Duration = Duration::from_secs(600);

/// What holds for every service unless it says otherwise.
pub(super) struct Defaults {
    retention: config::Retention,
    suspend_after: Duration,
}

impl From<&Config> for Defaults {
    fn from(config: &Config) -> Self {
        Self { retention: config.retention.clone(), suspend_after: config.handlers.suspend_after }
    }
}

/// The metadata of a service.
pub(super) fn metadata(service: &ServiceDescriptor, defaults: &Defaults) -> Value {
    let handlers: Vec<_> = (0..service.handlers.len()).map(|number| handler(service, number, defaults)).collect();
    let options = &service.options;
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
        "idempotency_retention": friendly(options.retention.unwrap_or(defaults.retention.completed)),
        "journal_retention": friendly(options.journal_retention.unwrap_or(defaults.retention.journal)),
        "inactivity_timeout": friendly(defaults.suspend_after),
        "abort_timeout": friendly(ABORT_TIMEOUT),
        "enable_lazy_state": false,
        "retry_policy": policy(&options.retry.unwrap_or_default()),
    });
    if service.kind == Kind::Workflow {
        let retention = options.retention.unwrap_or(defaults.retention.workflow);
        metadata["workflow_completion_retention"] = friendly(retention).into();
    }
    if !service.version.is_empty() {
        metadata["version"] = service.version.as_str().into();
    }
    if let Some(ttl) = options.state_ttl {
        metadata["state_ttl"] = friendly(ttl).into();
    }
    limits(&mut metadata, options);
    if let Some(documentation) = &service.documentation {
        metadata["documentation"] = documentation.as_str().into();
    }
    metadata
}

/// The metadata of its handler with this number.
pub(super) fn handler(service: &ServiceDescriptor, number: usize, defaults: &Defaults) -> Value {
    let handler = &service.handlers[number];
    let options = service.options_of(number);
    let mut metadata = Map::new();
    metadata.insert("name".into(), handler.name.as_str().into());
    if service.kind.is_keyed() {
        let ty = match handler.access {
            Access::Exclusive => "Exclusive",
            Access::Shared => "Shared",
            Access::Workflow => "Workflow",
        };
        metadata.insert("ty".into(), ty.into());
    }
    if let Some(documentation) = &handler.documentation {
        metadata.insert("documentation".into(), documentation.as_str().into());
    }
    // A workflow's run takes no idempotency key.
    if handler.access != Access::Workflow {
        let retention = options.retention.unwrap_or(defaults.retention.completed);
        metadata.insert("idempotency_retention".into(), friendly(retention).into());
    }
    let journal = options.journal_retention.unwrap_or(defaults.retention.journal);
    metadata.insert("journal_retention".into(), friendly(journal).into());
    metadata.insert("public".into(), handler.public.into());
    metadata
        .insert("input_description".into(), "one of [\"none\", \"value of content-type 'application/json'\"]".into());
    metadata.insert("output_description".into(), "value of content-type 'application/json'".into());
    metadata.insert("retry_policy".into(), handler.options.retry.as_ref().map_or_else(|| json!({}), policy));
    let mut metadata = Value::Object(metadata);
    limits(&mut metadata, &handler.options);
    metadata
}

/// Limits and the priority that are said here; not in the reference.
fn limits(metadata: &mut Value, options: &Options) {
    let rate = |rate: Rate| format!("{} per {}", rate.count, friendly(rate.per));
    if let Some(limit) = options.rate {
        metadata["rate"] = rate(limit).into();
    }
    if let Some(limit) = options.key_rate {
        metadata["key_rate"] = rate(limit).into();
    }
    if let Some(concurrency) = options.concurrency {
        metadata["concurrency"] = concurrency.into();
    }
    if let Some(priority) = options.priority {
        metadata["priority"] = priority.word().into();
    }
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
