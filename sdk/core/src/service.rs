//! What a bound service is to the platform: a description, and erased instances that run its handlers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use abide_model::command::{Access, Form};
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

/// Whether a service has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stateless handlers without a key.
    Service,
    /// Handlers with a key, and state per key.
    Object,
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
    /// What follows failed attempts; `None` is the platform's default.
    pub retry: Option<RetryPolicy>,
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
    /// Its handlers.
    pub handlers: Vec<HandlerDescriptor>,
    /// For people, in Markdown.
    pub documentation: Option<String>,
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
