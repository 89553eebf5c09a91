//! The traits behind `#[object]`, `#[service]`, `#[workflow]` and `#[handlers]`: what the macros write can be written by hand.

use std::future::Future;
use std::pin::Pin;

use abide_model::protocol::Failure;
use bytes::Bytes;

use crate::service::{
    Executable, Fields, FlowFuture, HandlerDescriptor, HandlerResult, Instance, Kind, Options, ServiceDescriptor,
};
use crate::state::StateError;
use crate::{Flow, Read, Turn};

/// A named type that handlers can be written for. `#[object]`, `#[service]` and `#[workflow]` implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an object nor a service nor a workflow",
    label = "add `#[object]`, `#[service]` or `#[workflow]` to the struct"
)]
pub trait Entity: Sized + 'static {
    /// Name in paths and journals.
    const NAME: &'static str;
    /// Whether it has keys.
    const KIND: Kind;
    /// For people, in Markdown.
    const DOCUMENTATION: Option<&'static str>;
    /// Version of its code ([`crate::service::ServiceDescriptor::version`]).
    const VERSION: &'static str = "";

    /// What holds for its handlers unless they say otherwise.
    fn options() -> Options {
        Options::default()
    }

    /// An instance with the stored state.
    ///
    /// # Errors
    /// [`StateError`] when the stored fields do not fit.
    fn load(fields: &Fields) -> Result<Self, StateError>;

    /// The state to store.
    ///
    /// # Errors
    /// [`StateError`] when a field does not serialize.
    fn save(&self) -> Result<Fields, StateError>;
}

/// An [`Entity`] with keys and state per key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an object",
    label = "not an object",
    note = "handlers with `&mut self` are for objects; on a service write `fn name(&self, cx: &mut Turn, …)` or `async fn name(&self, cx: &mut Flow, …)`, and call it with `service::<{Self}>()`",
    note = "in a workflow only `async fn run(&mut self, cx: &mut Flow, …)` takes `&mut self`; call workflows with `workflow::<{Self}>(key)`",
    note = "or make the struct an object with `#[object]`"
)]
pub trait Object: Entity {}

/// An [`Entity`] without key and state.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "not a service",
    note = "`&self` with `&mut Turn` is for services; on an object write `&mut self` with `&mut Turn` to change it, or `&self` with `&Read` to only read it; call it with `object::<{Self}>(key)`, and workflows with `workflow::<{Self}>(key)`",
    note = "or make the struct a service with `#[service]`"
)]
pub trait Service: Entity {}

/// An [`Entity`] with keys, state per key, and a handler `run` that is executed once per key. Its other handlers run
/// beside it and after it: they read the state and complete promises ([`Flow::promise`]).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    label = "not a workflow",
    note = "call objects with `object::<{Self}>(key)`, services with `service::<{Self}>()`",
    note = "or make the struct a workflow with `#[workflow]`"
)]
pub trait Workflow: Entity {}

/// An [`Object`] or a [`Workflow`]: there is a key, and state to read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no state",
    label = "neither an object nor a workflow",
    note = "on a service write `fn name(&self, cx: &mut Turn, …)` or `async fn name(&self, cx: &mut Flow, …)`",
    note = "or make the struct an object with `#[object]` or a workflow with `#[workflow]`"
)]
pub trait Keyed: Entity {}

/// Code of an earlier version of an [`Entity`]: the same name and state, another [`Entity::VERSION`], and the flows as
/// they were. `#[handlers(version = …)]` makes a type that implements it.
///
/// ```
/// # extern crate abide_sdk as abide;
/// use abide::prelude::*;
///
/// #[object(version = 2)]
/// struct Account {
///     balance: i64,
/// }
///
/// #[handlers]
/// impl Account {
///     async fn pay_out(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
///         cx.run("new bank", || async { Ok(()) }).await
///     }
/// }
///
/// #[handlers(version = 1)]
/// impl Account {
///     #[handler(name = "pay_out")]
///     async fn pay_out_v1(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
///         cx.run("old bank", || async { Ok(()) }).await
///     }
/// }
///
/// # fn main() {
/// let registry = abide::Registry::builder().bind::<Account>().keep::<AccountV1>().build();
/// assert!(registry.version("Account", "1").is_some());
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not code of an earlier version",
    label = "the current version is bound with `bind`",
    note = "`#[handlers(version = 1)]` above a second `impl` block makes the type to keep: `AccountV1` for `Account`"
)]
pub trait KeptHandlers: Handlers {}

/// The handlers of an [`Entity`]. `#[handlers]` implements it.
///
/// `handler` is an index into [`Handlers::handlers`]; the platform calls the method that fits the handler's form and
/// access, so only the ones in use need an implementation.
///
/// By hand, an object with one turn and one flow, and its client:
///
/// ```
/// use std::pin::Pin;
///
/// use abide_model::command::{Access, Form};
/// use abide_model::protocol::Failure;
/// use abide_sdk::attempt::at_await;
/// use abide_sdk::client::{Callable, Caller, Request};
/// use abide_sdk::service::{Fields, HandlerDescriptor, HandlerResult, Kind, Options};
/// use abide_sdk::{Entity, Flow, Handlers, NoError, Object, Registry, StateError, Terminal, Turn};
/// use bytes::Bytes;
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// #[serde(default)]
/// struct Counter {
///     value: i64,
/// }
///
/// impl Entity for Counter {
///     const NAME: &'static str = "Counter";
///     const KIND: Kind = Kind::Object;
///     const DOCUMENTATION: Option<&'static str> = None;
///
///     fn load(fields: &Fields) -> Result<Self, StateError> {
///         abide_sdk::decode_fields(fields)
///     }
///
///     fn save(&self) -> Result<Fields, StateError> {
///         abide_sdk::encode_fields(self)
///     }
/// }
///
/// impl Object for Counter {}
///
/// impl Counter {
///     fn add(&mut self, _: &mut Turn, amount: i64) -> i64 {
///         self.value += amount;
///         self.value
///     }
///
///     async fn add_later(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
///         self.value += 1;
///         let sleep = cx.sleep(std::time::Duration::from_secs(1));
///         at_await(&*self); // journals the change together with the sleep
///         sleep.await
///     }
/// }
///
/// fn handler(name: &str, form: Form) -> HandlerDescriptor {
///     let (name, access) = (name.to_owned(), Access::Exclusive);
///     let options = Options::default();
///     HandlerDescriptor { name, access, form, options, public: true, documentation: None }
/// }
///
/// impl Handlers for Counter {
///     fn handlers() -> Vec<HandlerDescriptor> {
///         vec![handler("add", Form::Turn), handler("addLater", Form::Flow)]
///     }
///
///     fn turn(&mut self, _: usize, cx: &mut Turn, input: Bytes) -> HandlerResult {
///         let amount = serde_json::from_slice(&input).map_err(|error| Failure::new(400, error.to_string()))?;
///         Ok(self.add(cx, amount).to_string().into())
///     }
///
///     fn flow<'a>(
///         &'a mut self,
///         _: usize,
///         cx: &'a mut Flow,
///         _: Bytes,
///     ) -> Pin<Box<dyn Future<Output = HandlerResult> + 'a>> {
///         Box::pin(async move {
///             let result = self.add_later(cx).await;
///             result.map(|()| Bytes::new()).map_err(|error| Failure::new(error.code.into(), error.message))
///         })
///     }
/// }
///
/// struct CounterClient<C> {
///     caller: C,
///     key: Option<String>,
/// }
///
/// impl<C: Caller> CounterClient<C> {
///     fn add(&self, amount: i64) -> Request<C, i64, NoError> {
///         Request::new(self.caller.clone(), Counter::NAME, self.key.clone(), "add", Some(&amount))
///     }
/// }
///
/// impl Callable for Counter {
///     type Client<C: Caller> = CounterClient<C>;
///
///     fn client<C: Caller>(caller: C, key: Option<String>) -> CounterClient<C> {
///         CounterClient { caller, key }
///     }
/// }
///
/// async fn use_it(cx: &mut Flow) {
///     let _sum: Result<i64, _> = cx.object::<Counter>("a").add(1).await;
/// }
/// assert!(Registry::builder().bind::<Counter>().build().handler("Counter", "addLater").is_ok());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handlers",
    label = "write its handlers in an `impl` block with `#[handlers]`"
)]
pub trait Handlers: Entity {
    /// What the handlers are.
    fn handlers() -> Vec<HandlerDescriptor>;

    /// Runs an exclusive turn or a service's turn.
    fn turn(&mut self, handler: usize, cx: &mut Turn, input: Bytes) -> HandlerResult {
        let _ = (cx, input);
        Err(misdirected::<Self>(handler))
    }

    /// Runs a shared turn.
    fn read(&self, handler: usize, cx: &Read, input: Bytes) -> HandlerResult {
        let _ = (cx, input);
        Err(misdirected::<Self>(handler))
    }

    /// Runs a flow.
    fn flow<'a>(
        &'a mut self,
        handler: usize,
        cx: &'a mut Flow,
        input: Bytes,
    ) -> Pin<Box<dyn Future<Output = HandlerResult> + 'a>> {
        let _ = (cx, input);
        Box::pin(std::future::ready(Err(misdirected::<Self>(handler))))
    }
}

pub(crate) fn misdirected<T: Entity>(handler: usize) -> Failure {
    Failure::new(500, format!("handler number {handler} of `{}` cannot be run in this way", T::NAME))
}

type Make<T> = Box<dyn Fn(&Fields) -> Result<T, StateError> + Send + Sync>;

/// [`Executable`] of a typed entity.
pub struct Executor<T> {
    descriptor: ServiceDescriptor,
    make: Make<T>,
}

impl<T: Handlers> Executor<T> {
    /// Instances come from [`Entity::load`].
    #[must_use]
    pub fn new() -> Self {
        Self::with(T::load)
    }

    /// Instances come from `make`.
    #[must_use]
    pub fn with(make: impl Fn(&Fields) -> Result<T, StateError> + Send + Sync + 'static) -> Self {
        let descriptor = ServiceDescriptor {
            name: T::NAME.to_owned(),
            kind: T::KIND,
            version: T::VERSION.to_owned(),
            options: T::options(),
            handlers: T::handlers(),
            documentation: T::DOCUMENTATION.map(str::to_owned),
        };
        Self { descriptor, make: Box::new(make) }
    }
}

impl<T: Handlers> Default for Executor<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Handlers> Executable for Executor<T> {
    fn descriptor(&self) -> &ServiceDescriptor {
        &self.descriptor
    }

    fn instantiate(&self, fields: &Fields) -> Result<Box<dyn Instance>, StateError> {
        (self.make)(fields).map(|entity| Box::new(Held(entity)) as Box<dyn Instance>)
    }
}

/// [`Instance`] of a typed entity.
struct Held<T>(T);

impl<T: Handlers> Instance for Held<T> {
    fn fields(&self) -> Result<Fields, StateError> {
        self.0.save()
    }

    fn turn(&mut self, handler: usize, cx: &mut Turn, input: Bytes) -> HandlerResult {
        let result = self.0.turn(handler, cx, input);
        match cx.refused() {
            None => result,
            Some(callee) => Err(Failure::new(500, format!("the argument of a message to `{callee}` does not encode"))),
        }
    }

    fn read(&self, handler: usize, cx: &Read, input: Bytes) -> HandlerResult {
        self.0.read(handler, cx, input)
    }

    fn flow(mut self: Box<Self>, handler: usize, mut cx: Flow, input: Bytes) -> FlowFuture {
        Box::pin(async move {
            let result = self.0.flow(handler, &mut cx, input).await;
            (self as Box<dyn Instance>, result)
        })
    }
}
