//! What a bound service is to the platform: a description, and erased instances that run its handlers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use abide_model::command::{Access, Form, Priority};
use abide_model::protocol::Failure;
use bytes::Bytes;

pub use crate::registry::{Registry, RegistryBuilder, UnknownTarget};
pub use crate::retry::{Exhausted, RetryPolicy};
pub use crate::state::StateError;
use crate::{Flow, Read, Turn};

/// State by field name; values are JSON.
pub type Fields = BTreeMap<String, Bytes>;

/// What a handler answers: its encoded value, or the failure that is its caller's answer.
pub type HandlerResult = Result<Bytes, Failure>;

/// What [`Instance::flow`] returns: the instance as the handler left it, and the answer.
pub type FlowFuture = Pin<Box<dyn Future<Output = (Box<dyn Instance>, HandlerResult)>>>;

/// Whether a service has keys, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stateless handlers without a key.
    Service,
    /// Handlers with a key, and state per key.
    Object,
    /// As an object, but its `run` handler is executed once per key, and the others run beside it.
    Workflow,
}

impl Kind {
    /// Whether targets of this kind have a key.
    #[must_use]
    pub fn is_keyed(self) -> bool {
        matches!(self, Self::Object | Self::Workflow)
    }
}

/// At most `count` in any `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// What a service or a handler says about how it is run. A handler's word beats its service's, and that the node's
/// settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// What follows failed attempts.
    pub retry: Option<RetryPolicy>,
    /// How long results are kept: of requests with an idempotency key, of sends, and of a workflow's `run`.
    pub retention: Option<Duration>,
    /// How long journals of completed invocations are kept.
    pub journal_retention: Option<Duration>,
    /// The state of an object expires when it was not changed for this long. Of services only.
    pub state_ttl: Option<Duration>,
    /// The class of exclusive invocations in the mailbox of their object, unless the request names another. Normal by
    /// default.
    pub priority: Option<Priority>,
    /// Most attempts of flows at a time on one node; further ones wait.
    pub concurrency: Option<u32>,
    /// Most requests that one node accepts; further ones are refused with 429.
    pub rate: Option<Rate>,
    /// As `rate`, for each key.
    pub key_rate: Option<Rate>,
}

impl Options {
    /// These options, and where they are silent, those of `wider`.
    #[must_use]
    pub fn or(&self, wider: &Self) -> Self {
        Self {
            retry: self.retry.or(wider.retry),
            retention: self.retention.or(wider.retention),
            journal_retention: self.journal_retention.or(wider.journal_retention),
            state_ttl: self.state_ttl.or(wider.state_ttl),
            priority: self.priority.or(wider.priority),
            concurrency: self.concurrency.or(wider.concurrency),
            rate: self.rate.or(wider.rate),
            key_rate: self.key_rate.or(wider.key_rate),
        }
    }
}

/// A handler as the platform sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct HandlerDescriptor {
    /// Its name in paths and journals; unique in its service.
    pub name: String,
    /// Who may run beside it on one key.
    pub access: Access,
    /// Turn or flow.
    pub form: Form,
    /// What it says of itself; [`ServiceDescriptor::options_of`] has what holds.
    pub options: Options,
    /// Whether the ingress may call it.
    pub public: bool,
    /// For people, in Markdown.
    pub documentation: Option<String>,
}

/// A service as the platform sees it. The index of a handler in `handlers` is its number in [`Instance`].
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceDescriptor {
    /// Its name in paths and journals; unique in a registry.
    pub name: String,
    /// Whether it has keys.
    pub kind: Kind,
    /// The version of its code: flows finish on the version they started on. Empty for code without versions.
    pub version: String,
    /// What holds for handlers that do not say otherwise.
    pub options: Options,
    /// Its handlers.
    pub handlers: Vec<HandlerDescriptor>,
    /// For people, in Markdown.
    pub documentation: Option<String>,
}

impl ServiceDescriptor {
    /// What the service and its handler number `handler` say together.
    #[must_use]
    pub fn options_of(&self, handler: usize) -> Options {
        self.handlers[handler].options.or(&self.options)
    }
}

/// A bound service, erased. Shared by all threads; its instances are not.
pub trait Executable: Send + Sync + 'static {
    /// What it is.
    fn descriptor(&self) -> &ServiceDescriptor;

    /// An instance holding the state `fields`.
    ///
    /// # Errors
    /// [`StateError`] when the stored fields do not fit the type.
    fn instantiate(&self, fields: &Fields) -> Result<Box<dyn Instance>, StateError>;
}

/// An object (or service) in memory. `handler` is always an index into [`ServiceDescriptor::handlers`], and the method
/// that is called fits that handler's access and form.
pub trait Instance: 'static {
    /// The current state, encoded.
    ///
    /// # Errors
    /// [`StateError`] when a field does not serialize to JSON.
    fn fields(&self) -> Result<Fields, StateError>;

    /// Runs an exclusive turn, or a turn of an un-keyed service.
    fn turn(&mut self, handler: usize, cx: &mut Turn, input: Bytes) -> HandlerResult;

    /// Runs a shared turn.
    fn read(&self, handler: usize, cx: &Read, input: Bytes) -> HandlerResult;

    /// Starts a flow. The future is polled by [`crate::attempt::Attempt`] only.
    fn flow(self: Box<Self>, handler: usize, cx: Flow, input: Bytes) -> FlowFuture;
}
