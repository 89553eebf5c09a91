//! An object and a service, written by hand against the SDK's traits.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use abide_model::command::{Access, Form};
use abide_model::id::InvocationId;
use abide_model::protocol::Failure;
use abide_sdk::client::{Callable, Caller, Request};
use abide_sdk::service::{
    Executable, Fields, FlowFuture, HandlerDescriptor, HandlerResult, Instance, Kind, Options, Registry,
    ServiceDescriptor,
};
use abide_sdk::{Entity, Flow, Handlers, NoError, Object, Read, Service, StateError, StepError, Turn};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) const COUNTER: &str = "Counter";
pub(crate) const GREETER: &str = "Greeter";

pub(crate) fn registry() -> Registry {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        Registry::builder().bind::<Counter>().bind::<Greeter>().keep_with(Arc::new(OldGreeter::new())).build()
    });
    REGISTRY.clone()
}

/// The flow `steps` of the greeter as it was in version 1: it ends at once.
struct OldGreeter(ServiceDescriptor);

impl OldGreeter {
    fn new() -> Self {
        Self(ServiceDescriptor {
            name: GREETER.into(),
            kind: Kind::Service,
            version: "1".into(),
            options: Options::default(),
            handlers: vec![handler("steps", Access::Shared, Form::Flow)],
            documentation: None,
        })
    }
}

impl Executable for OldGreeter {
    fn descriptor(&self) -> &ServiceDescriptor {
        &self.0
    }

    fn instantiate(&self, _fields: &Fields) -> Result<Box<dyn Instance>, StateError> {
        Ok(Box::new(OldInstance))
    }
}

struct OldInstance;

impl Instance for OldInstance {
    fn fields(&self) -> Result<Fields, StateError> {
        Ok(Fields::new())
    }

    fn turn(&mut self, _handler: usize, _cx: &mut Turn, _input: Bytes) -> HandlerResult {
        Err(Failure::new(500, "has no turns"))
    }

    fn read(&self, _handler: usize, _cx: &Read, _input: Bytes) -> HandlerResult {
        Err(Failure::new(500, "has no reads"))
    }

    fn flow(self: Box<Self>, _handler: usize, _cx: Flow, _input: Bytes) -> FlowFuture {
        Box::pin(async move { (self as Box<dyn Instance>, text("the old way")) })
    }
}

static BOMBS: LazyLock<Mutex<HashMap<InvocationId, u32>>> = LazyLock::new(Mutex::default);
static RUNS: LazyLock<Mutex<HashMap<(InvocationId, &'static str), u32>>> = LazyLock::new(Mutex::default);

/// Makes the next `count` executions of `id` panic.
pub(crate) fn plant(id: InvocationId, count: u32) {
    BOMBS.lock().expect("never held while panicking").insert(id, count);
}

fn explode_if_planted(id: InvocationId) {
    let mut bombs = BOMBS.lock().expect("never held while panicking");
    if let Some(left) = bombs.get_mut(&id).filter(|left| **left > 0) {
        *left -= 1;
        drop(bombs);
        panic!("boom");
    }
}

fn ran(id: InvocationId, step: &'static str) {
    *RUNS.lock().expect("never held while panicking").entry((id, step)).or_default() += 1;
}

/// How often a step of an invocation ran.
pub(crate) fn runs(id: InvocationId, step: &'static str) -> u32 {
    RUNS.lock().expect("never held while panicking").get(&(id, step)).copied().unwrap_or_default()
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Counter {
    n: i64,
}

impl Object for Counter {}

impl Entity for Counter {
    const NAME: &'static str = COUNTER;
    const KIND: Kind = Kind::Object;
    const DOCUMENTATION: Option<&'static str> = None;

    fn load(fields: &Fields) -> Result<Self, StateError> {
        abide_sdk::decode_fields(fields)
    }

    fn save(&self) -> Result<Fields, StateError> {
        abide_sdk::encode_fields(self)
    }
}

struct CounterClient<C> {
    caller: C,
    key: Option<String>,
}

impl<C: Caller> CounterClient<C> {
    fn add(self, n: i64) -> Request<C, i64, NoError> {
        Request::new(self.caller, COUNTER, self.key, "add", Some(&n))
    }

    fn lost(self) -> Request<C, i64, NoError> {
        Request::new(self.caller, "Nowhere", self.key, "lost", None::<&()>)
    }
}

impl Callable for Counter {
    type Client<C: Caller> = CounterClient<C>;

    fn client<C: Caller>(caller: C, key: Option<String>) -> CounterClient<C> {
        CounterClient { caller, key }
    }
}

fn handler(name: &str, access: Access, form: Form) -> HandlerDescriptor {
    HandlerDescriptor {
        name: name.into(),
        access,
        form,
        options: Options::default(),
        public: true,
        documentation: None,
    }
}

fn text(value: impl ToString) -> HandlerResult {
    Ok(Bytes::from(value.to_string()))
}

fn argument(input: &Bytes) -> String {
    String::from_utf8(input.to_vec()).expect("tests send text")
}

impl Handlers for Counter {
    fn handlers() -> Vec<HandlerDescriptor> {
        use Access::{Exclusive, Shared};
        vec![
            handler("add", Exclusive, Form::Turn),
            handler("get", Shared, Form::Turn),
            handler("relay", Exclusive, Form::Turn),
            handler("trip", Exclusive, Form::Flow),
        ]
    }

    /// `add` adds its argument and returns the sum; `add` of `no` changes the state and then fails. `relay` sends an `add`
    /// of one to the object its argument names.
    fn turn(&mut self, handler: usize, cx: &mut Turn, input: Bytes) -> HandlerResult {
        let input = argument(&input);
        ran(cx.id(), "turn");
        match handler {
            0 if input == "no" => {
                self.n = -1;
                cx.object::<Counter>("b").add(1).send();
                Err(Failure::new(422, "no"))
            }
            0 => {
                self.n += input.parse::<i64>().expect("a number");
                explode_if_planted(cx.id());
                text(self.n)
            }
            _ if input == "nowhere" => {
                self.n = -1;
                cx.object::<Counter>("b").lost().send();
                text("sent")
            }
            _ => {
                cx.object::<Counter>(input).add(1).send();
                text("sent")
            }
        }
    }

    fn read(&self, _handler: usize, cx: &Read, _input: Bytes) -> HandlerResult {
        explode_if_planted(cx.id());
        text(self.n)
    }

    /// `trip` adds ten, sleeps for an hour, and adds one.
    fn flow<'a>(
        &'a mut self,
        _handler: usize,
        cx: &'a mut Flow,
        _input: Bytes,
    ) -> Pin<Box<dyn Future<Output = HandlerResult> + 'a>> {
        Box::pin(async move {
            self.n += 10;
            cx.sleep(Duration::from_secs(3600)).await.map_err(|error| Failure::new(500, error.to_string()))?;
            self.n += 1;
            text(self.n)
        })
    }
}

struct Greeter;

impl Service for Greeter {}

impl Entity for Greeter {
    const NAME: &'static str = GREETER;
    const KIND: Kind = Kind::Service;
    const DOCUMENTATION: Option<&'static str> = None;

    fn load(_fields: &Fields) -> Result<Self, StateError> {
        Ok(Self)
    }

    fn save(&self) -> Result<Fields, StateError> {
        Ok(Fields::new())
    }
}

impl Handlers for Greeter {
    fn handlers() -> Vec<HandlerDescriptor> {
        vec![
            handler("hello", Access::Shared, Form::Turn),
            handler("announce", Access::Shared, Form::Turn),
            handler("steps", Access::Shared, Form::Flow),
            handler("ask", Access::Shared, Form::Flow),
            handler("lost", Access::Shared, Form::Flow),
            handler("block", Access::Shared, Form::Turn),
        ]
    }

    /// `hello` greets, `announce` also sends an `add`, `block` holds the thread up for its argument in ms.
    fn turn(&mut self, handler: usize, cx: &mut Turn, input: Bytes) -> HandlerResult {
        let input = argument(&input);
        explode_if_planted(cx.id());
        if handler == 1 {
            cx.object::<Counter>(input.clone()).add(1).send();
        }
        if handler == 5 {
            ran(cx.id(), "blocked");
            std::thread::sleep(Duration::from_millis(input.parse().expect("a number of milliseconds")));
        }
        text(format!("hello {input}"))
    }

    /// `steps` runs two steps, the second of them on the runtime's timer, sleeps in between, and may explode at its end.
    /// `ask` adds to the object its argument names and returns the sum. `lost` runs a step and calls what is not bound.
    fn flow<'a>(
        &'a mut self,
        handler: usize,
        cx: &'a mut Flow,
        input: Bytes,
    ) -> Pin<Box<dyn Future<Output = HandlerResult> + 'a>> {
        let id = cx.id();
        let failed = |error: &dyn std::fmt::Display| Failure::new(500, error.to_string());
        Box::pin(async move {
            if handler == 3 {
                let sum = cx.object::<Counter>(argument(&input)).add(5).await;
                return text(sum.map_err(|error| failed(&error))?);
            }
            let one = cx.run("one", || async move {
                ran(id, "one");
                Ok::<_, StepError>(1)
            });
            let one = one.await.map_err(|error| failed(&error))?;
            if handler == 4 {
                let sum = cx.object::<Counter>("b").lost().await;
                return text(sum.map_err(|error| failed(&error))?);
            }
            cx.sleep(Duration::from_secs(3600)).await.map_err(|error| failed(&error))?;
            let two = cx.run("two", || async move {
                ran(id, "two");
                tokio::time::sleep(Duration::from_millis(5)).await;
                Ok::<_, StepError>(2)
            });
            let two = two.await.map_err(|error| failed(&error))?;
            explode_if_planted(id);
            text(one + two)
        })
    }
}
