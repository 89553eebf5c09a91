//! The bound services as the ingress needs them: shape of the path, visibility, and metric handles, in one look-up.

use std::collections::HashMap;

use abide_model::command::Access;
use abide_sdk::service::{Kind, ServiceDescriptor};
use bytes::Bytes;
use serde_json::json;

use crate::metrics::{HandlerMetrics, UNKNOWN};

/// All bound services.
pub(super) struct Directory {
    services: HashMap<String, Service>,
    /// The body of `/restate/health`.
    pub(super) health: Bytes,
    /// Requests that reach no bound handler.
    pub(super) unknown: HandlerMetrics,
    /// Requests for results.
    pub(super) results: HandlerMetrics,
    /// Requests for ids.
    pub(super) lookups: HandlerMetrics,
    /// Completions of awakeables.
    pub(super) awakeables: HandlerMetrics,
    /// Named signals.
    pub(super) signals: HandlerMetrics,
    /// Requests for the node's health.
    pub(super) healths: HandlerMetrics,
}

/// A bound service.
pub(super) struct Service {
    pub(super) kind: Kind,
    handlers: HashMap<String, Handler>,
}

/// A bound handler.
pub(super) struct Handler {
    pub(super) public: bool,
    /// Whether it is the run of a workflow.
    pub(super) run: bool,
    pub(super) metrics: HandlerMetrics,
}

/// The service label of operations that are not invocations; the prefix is reserved for the platform.
const PLATFORM: &str = "restate";

impl Directory {
    pub(super) fn new<'a>(services: impl Iterator<Item = &'a ServiceDescriptor>) -> Self {
        let services: HashMap<_, _> =
            services.map(|descriptor| (descriptor.name.clone(), Service::new(descriptor))).collect();
        let mut names: Vec<_> = services.keys().collect();
        names.sort();
        let health = Bytes::from(json!({ "services": names }).to_string());
        Self {
            services,
            health,
            unknown: HandlerMetrics::new(UNKNOWN, UNKNOWN),
            results: HandlerMetrics::new(PLATFORM, "result"),
            lookups: HandlerMetrics::new(PLATFORM, "lookup"),
            awakeables: HandlerMetrics::new(PLATFORM, "awakeable"),
            signals: HandlerMetrics::new(PLATFORM, "signal"),
            healths: HandlerMetrics::new(PLATFORM, "health"),
        }
    }

    pub(super) fn get(&self, service: &str) -> Option<&Service> {
        self.services.get(service)
    }
}

impl Service {
    fn new(descriptor: &ServiceDescriptor) -> Self {
        let handlers = descriptor.handlers.iter().map(|handler| {
            let metrics = HandlerMetrics::new(&descriptor.name, &handler.name);
            (handler.name.clone(), Handler { public: handler.public, run: handler.access == Access::Workflow, metrics })
        });
        Self { kind: descriptor.kind, handlers: handlers.collect() }
    }

    pub(super) fn handler(&self, name: &str) -> Option<&Handler> {
        self.handlers.get(name)
    }
}
