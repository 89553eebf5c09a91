//! What everything on one shard shares.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use abide_model::command::{Form, Next, Target};
use abide_model::id::{Millis, PartitionId, PartitionKey};
use abide_model::protocol::Failure;
use abide_sdk::attempt::Clock;
use abide_sdk::service::{Executable, HandlerDescriptor, Kind, Options, Registry};

use crate::clock::NodeClock;
use crate::metrics::{ServiceMetrics, ShardMetrics};
use crate::port::{Order, Port, Refusal, Refused};
use crate::random::Random;
use crate::settings::HostSettings;
use crate::turn::Fault;

/// A bound service with what the host keeps beside it.
pub(crate) struct Service {
    pub(crate) executable: Arc<dyn Executable>,
    pub(crate) metrics: ServiceMetrics,
    /// What holds for each handler.
    options: Vec<Options>,
}

impl Service {
    fn new(executable: &Arc<dyn Executable>) -> Self {
        let descriptor = executable.descriptor();
        Self {
            executable: Arc::clone(executable),
            metrics: ServiceMetrics::new(descriptor),
            options: (0..descriptor.handlers.len()).map(|handler| descriptor.options_of(handler)).collect(),
        }
    }

    /// What its handler number `handler` and the service say together.
    pub(crate) fn options(&self, handler: usize) -> &Options {
        &self.options[handler]
    }

    pub(crate) fn version(&self) -> &str {
        &self.executable.descriptor().version
    }

    pub(crate) fn handler(&self, handler: usize) -> &HandlerDescriptor {
        &self.executable.descriptor().handlers[handler]
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.executable.descriptor().kind.is_keyed()
    }

    pub(crate) fn is_workflow(&self) -> bool {
        self.executable.descriptor().kind == Kind::Workflow
    }

    /// The number of the handler that `target` names.
    ///
    /// # Errors
    /// A failure of the attempt, when there is no such handler or it is of another kind than when the invocation was
    /// accepted.
    pub(crate) fn resolve(&self, target: &Target) -> Result<usize, Failure> {
        let handlers = &self.executable.descriptor().handlers;
        let found = handlers.iter().position(|handler| handler.name == target.handler);
        let number = found.ok_or_else(|| not_registered(&target.service, &target.handler))?;
        let handler = &handlers[number];
        if (handler.access, handler.form) != (target.access(), target.form()) {
            let word = |access, form| match form {
                Form::Turn => format!("{access:?} turn").to_lowercase(),
                Form::Flow => format!("{access:?} flow").to_lowercase(),
                Form::Edit => "an edit of the state".to_owned(),
            };
            let text = format!(
                "{target} was accepted as {} but is registered as {}: bring the old handler back, or end the invocation",
                word(target.access(), target.form()),
                word(handler.access, handler.form),
            );
            return Err(Failure::new(500, text));
        }
        Ok(number)
    }
}

/// The failure for a target that is not bound.
pub(crate) fn not_registered(service: &str, handler: &str) -> Failure {
    Failure::new(404, format!("{service}/{handler} is not registered"))
}

/// The surroundings of everything on one shard.
pub(crate) struct Env<P> {
    pub(crate) settings: HostSettings,
    pub(crate) clock: Rc<dyn Clock>,
    pub(crate) random: Random,
    pub(crate) metrics: ShardMetrics,
    /// Set once, when the node begins to shut down: nothing new starts.
    pub(crate) draining: Cell<bool>,
    /// Bytes of state that activated objects hold.
    pub(crate) memory: Rc<Cell<usize>>,
    services: HashMap<String, Rc<Service>>,
    /// Code of earlier versions, by service and version.
    kept: HashMap<(String, String), Rc<Service>>,
    port: P,
}

impl<P: Port> Env<P> {
    pub(crate) fn new(registry: &Registry, port: P, settings: HostSettings, shard: usize) -> Self {
        let services = registry.services().map(Service::new);
        let kept = registry.kept().map(Service::new);
        let name = |service: &Service| service.executable.descriptor().name.clone();
        Self {
            services: services.map(|service| (name(&service), Rc::new(service))).collect(),
            kept: kept.map(|old| ((name(&old), old.version().to_owned()), Rc::new(old))).collect(),
            memory: Rc::default(),
            random: Random::new(settings.seed, shard),
            clock: Rc::new(NodeClock(settings.clock)),
            metrics: ShardMetrics::new(shard),
            draining: Cell::new(false),
            settings,
            port,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(crate) fn service(&self, name: &str) -> Option<&Rc<Service>> {
        self.services.get(name)
    }

    /// The code on which an invocation goes on: the version it is pinned to, or the current one.
    ///
    /// # Errors
    /// A fault when this build has no such code.
    pub(crate) fn code(&self, name: &str, handler: &str, pinned: Option<&str>) -> Result<&Rc<Service>, Fault> {
        let current = self.service(name);
        let found = match pinned {
            None => return current.ok_or_else(|| Fault::missing(not_registered(name, handler))),
            Some(version) => current
                .filter(|current| current.version() == version)
                .or_else(|| self.kept.get(&(name.to_owned(), version.to_owned()))),
        };
        found.ok_or_else(|| Fault::no_code(name, pinned.unwrap_or_default(), current.map(|current| current.version())))
    }

    /// The partition of an object's key.
    pub(crate) fn partition_of(&self, key: &str) -> PartitionId {
        PartitionId::of(PartitionKey::of(key), self.settings.partitions)
    }

    /// What follows `failures` failed attempts (at least 1) of `handler`.
    pub(crate) fn next(&self, handler: Option<(&Service, usize)>, failures: u32) -> Next {
        let own = handler.and_then(|(service, handler)| service.options(handler).retry.as_ref());
        let policy = own.unwrap_or(&self.settings.retry);
        policy.after(failures.max(1), self.random.fraction())
    }

    /// What follows `fault`: the handler's policy, or another look later when there is no code to run.
    pub(crate) fn next_after(&self, fault: &Fault, handler: Option<(&Service, usize)>, failures: u32) -> Next {
        if fault.is_uncounted() {
            return Next::RetryAfter(Millis::of(self.settings.code_wait));
        }
        self.next(handler, failures)
    }

    /// Hands an order over.
    pub(crate) fn submit(&self, order: Order) -> Result<(), Box<Refused>> {
        self.port.submit(order).inspect_err(|refused| {
            if refused.refusal == Refusal::Overloaded {
                self.metrics.overloaded_log.increment(1);
            }
        })
    }

    /// Hands an order over that only a waiting caller would miss; they are told when it is refused.
    pub(crate) fn submit_or_tell(&self, order: Order) -> bool {
        match self.submit(order) {
            Ok(()) => true,
            Err(refused) => {
                self.metrics.calls_refused.increment(1);
                refused.tell();
                false
            }
        }
    }
}
