//! Context of flows: handlers in durable steps, which may wait for days and survive crashes.

mod combine;
mod invocation;
mod operation;
mod promise;
mod request;
mod step;

use std::cell::RefCell;
use std::future::IntoFuture;
use std::rc::Rc;
use std::time::Duration;

use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::protocol::{
    AwakeableResult, Code, CompleteAwakeable, Failure, Header, RawMessage, SignalId, Sleep as SleepCommand, Value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attempt::engine::Engine;
use crate::client::{Callable, Request};
use crate::error::{StepError, Terminal};
use crate::{Object, Service, Workflow, wire};

pub use combine::{Either, Elapsed, Join, JoinAll, Race, SelectAll, Timeout};
pub use invocation::InvocationHandle;
pub use operation::{Awaited, Operation, Slept};
pub use promise::Promise;
pub use request::{CallFuture, FlowCaller, Sent};
pub use step::Step;

/// Context of a handler `async fn (&mut self, cx: &mut Flow, …)` or `async fn (&self, cx: &mut Flow, …)`.
///
/// Every operation is an entry of the invocation's journal. After a crash the handler runs again from its beginning, and
/// each operation gives what the journal says it gave before. So between operations the code must do the same every
/// time: outside effects belong in [`Flow::run`], time and chance come from [`Flow::now`] and [`Flow::random`].
///
/// An operation begins when its method is called, except for [`Flow::run`] and calls, which begin when they are first
/// polled or awaited. Several operations can be under way at once, see [`Flow::join`] and [`Flow::race`].
///
/// When the invocation is cancelled, everything that is being awaited gives a [`Terminal`] with code 409. The handler may
/// clean up with further operations before it returns.
pub struct Flow {
    engine: Rc<RefCell<Engine>>,
}

impl Flow {
    pub(crate) fn new(engine: Rc<RefCell<Engine>>) -> Self {
        Self { engine }
    }

    /// Key of this object; empty for services.
    #[must_use]
    pub fn key(&self) -> String {
        self.engine.borrow().key.clone().unwrap_or_default()
    }

    /// This invocation.
    #[must_use]
    pub fn id(&self) -> InvocationId {
        self.engine.borrow().id
    }

    /// Request headers.
    #[must_use]
    pub fn headers(&self) -> Vec<Header> {
        self.engine.borrow().headers.clone()
    }

    /// The current time, journaled.
    #[must_use]
    pub fn now(&self) -> Millis {
        let mut engine = self.engine.borrow_mut();
        let recorded = engine.instant_step("now", |engine| engine.now().0.to_string().into());
        match serde_json::from_slice(&recorded) {
            Ok(now) => Millis(now),
            Err(error) => {
                engine.fail(crate::attempt::other_type("`cx.now`", &error.to_string()), None);
                engine.now()
            }
        }
    }

    /// A random number, the same on every execution of this invocation. It follows from the invocation's id: draw secrets in
    /// [`Flow::run`], from the operating system.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.engine.borrow_mut().random.u64()
    }

    /// As [`Flow::random`], large enough for a unique id.
    #[must_use]
    pub fn random_u128(&self) -> u128 {
        self.engine.borrow_mut().random.u128()
    }

    /// A durable step: runs `action` once everything before it is durable, and journals its value.
    ///
    /// `action` runs again only if the process dies before its value is durable, or if it fails. An error of `action`
    /// fails the attempt and the step is tried again, by the handler's retry policy or the step's own ([`Step::retry`]).
    /// A [`Terminal`] is not retried: it is the step's result.
    ///
    /// ```
    /// # use abide_sdk::{Flow, StepError, Terminal};
    /// async fn pay(cx: &Flow) -> Result<String, Terminal> {
    ///     cx.run("bank", || async {
    ///         let receipt: u32 = "17".parse()?; // any error is retried
    ///         if receipt == 0 {
    ///             return Err(StepError::terminal(402, "no money"));
    ///         }
    ///         Ok(format!("receipt {receipt}"))
    ///     })
    ///     .await
    /// }
    /// ```
    pub fn run<F, Fut, T>(&self, name: &str, action: F) -> Step<F, Fut, T>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, StepError>>,
        T: Serialize + DeserializeOwned + 'static,
    {
        Step::new(Rc::clone(&self.engine), name, action)
    }

    /// Waits for `duration`, durably: also when the process dies meanwhile.
    pub fn sleep(&self, duration: Duration) -> Slept {
        let until = self.engine.borrow().now().plus(wire::millis(duration));
        self.sleep_until(until)
    }

    /// Waits until `time`, durably.
    pub fn sleep_until(&self, time: Millis) -> Slept {
        let mut engine = self.engine.borrow_mut();
        let completion = engine.allocate_completion();
        let sleep = SleepCommand { wake_up_time: time.0, result_completion_id: completion, name: String::new() };
        engine.stage(RawMessage::new(Code::SLEEP, &sleep));
        let op = engine.begin_completion(completion);
        drop(engine);
        Operation::new(&self.engine, op)
    }

    /// A place where the outside world can complete this flow: its id, to be handed out, and the future.
    #[must_use = "hand out the id and await the future"]
    pub fn awakeable<T: DeserializeOwned + 'static>(&self) -> (AwakeableId, Awaited<T>) {
        let mut engine = self.engine.borrow_mut();
        let signal = engine.allocate_signal();
        let id = AwakeableId { invocation: engine.id, signal };
        let op = engine.begin_signal(SignalId::Index(signal));
        drop(engine);
        (id, Operation::new(&self.engine, op))
    }

    /// Completes an awakeable with a value.
    ///
    /// # Errors
    /// [`Terminal`] when `value` does not encode.
    pub fn resolve_awakeable(&self, id: AwakeableId, value: &impl Serialize) -> Result<(), Terminal> {
        let content = wire::encode(value).map_err(does_not_encode)?;
        self.complete_awakeable(id, AwakeableResult::Value(Value { content }));
        Ok(())
    }

    /// Completes an awakeable with a failure.
    pub fn reject_awakeable(&self, id: AwakeableId, message: impl Into<String>) {
        self.complete_awakeable(id, AwakeableResult::Failure(Failure::new(500, message)));
    }

    fn complete_awakeable(&self, id: AwakeableId, result: AwakeableResult) {
        let command = CompleteAwakeable { awakeable_id: id.to_string(), result: Some(result), name: String::new() };
        self.engine.borrow_mut().stage(RawMessage::new(Code::COMPLETE_AWAKEABLE, &command));
    }

    /// Waits for the next signal of this name.
    pub fn signal<T: DeserializeOwned + 'static>(&self, name: impl Into<String>) -> Awaited<T> {
        let op = self.engine.borrow_mut().begin_signal(SignalId::Name(name.into()));
        Operation::new(&self.engine, op)
    }

    /// Another invocation by its id: as a send tells it ([`Sent::invocation_id`]), or as it follows from an idempotency key
    /// ([`Request::invocation_id`], [`InvocationId::idempotent`]).
    #[must_use]
    pub fn invocation(&self, id: InvocationId) -> InvocationHandle {
        InvocationHandle::new(Rc::clone(&self.engine), id)
    }

    /// The `run` of the workflow `T` with this key, begun or not.
    #[must_use]
    pub fn workflow_handle<T: Workflow>(&self, key: impl AsRef<str>) -> InvocationHandle {
        self.invocation(InvocationId::workflow(T::NAME, key.as_ref()))
    }

    /// Signals another invocation; see [`InvocationHandle::signal`].
    ///
    /// # Errors
    /// [`Terminal`] when `value` does not encode.
    pub fn send_signal(
        &self,
        invocation: InvocationId,
        name: impl Into<String>,
        value: &impl Serialize,
    ) -> Result<(), Terminal> {
        self.invocation(invocation).signal(name, value)
    }

    /// Asks another invocation to stop.
    pub fn cancel(&self, invocation: InvocationId) {
        self.invocation(invocation).cancel();
    }

    /// Waits for the result of another invocation.
    pub fn attach<T: DeserializeOwned + 'static>(&self, invocation: InvocationId) -> Awaited<T> {
        self.invocation(invocation).attach()
    }

    /// The result of another invocation; `None` while it is under way.
    pub fn output<T: DeserializeOwned + 'static>(&self, invocation: InvocationId) -> Awaited<Option<T>> {
        self.invocation(invocation).output()
    }

    /// The promise of this name of this workflow: a place for one value, which any of the workflow's handlers may await
    /// and any may complete, once. Only workflows have promises; elsewhere its operations fail with code 422.
    ///
    /// ```
    /// # extern crate abide_sdk as abide;
    /// use abide::prelude::*;
    ///
    /// #[workflow]
    /// struct Signup {
    ///     confirmed: bool,
    /// }
    ///
    /// #[handlers]
    /// impl Signup {
    ///     async fn run(&mut self, cx: &mut Flow, _email: String) -> Result<bool, Terminal> {
    ///         self.confirmed = cx.promise("clicked").await?;
    ///         Ok(self.confirmed)
    ///     }
    ///
    ///     async fn click(&self, cx: &mut Flow) -> Result<(), Terminal> {
    ///         cx.promise("clicked").resolve(&true).await
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    pub fn promise<T>(&self, name: impl Into<String>) -> Promise<T> {
        Promise::new(Rc::clone(&self.engine), name.into())
    }

    /// Client of the object `T` with this key.
    #[must_use]
    pub fn object<T: Object + Callable>(&self, key: impl Into<String>) -> T::Client<FlowCaller> {
        T::client(self.caller(), Some(key.into()))
    }

    /// Client of the service `T`.
    #[must_use]
    pub fn service<T: Service + Callable>(&self) -> T::Client<FlowCaller> {
        T::client(self.caller(), None)
    }

    /// Client of the workflow `T` with this key. A second call of its `run` fails with code 409; a second send changes
    /// nothing.
    #[must_use]
    pub fn workflow<T: Workflow + Callable>(&self, key: impl Into<String>) -> T::Client<FlowCaller> {
        T::client(self.caller(), Some(key.into()))
    }

    /// A request by names, for services that are not known at compile time.
    pub fn call_raw(
        &self,
        service: &str,
        key: Option<&str>,
        handler: &str,
        argument: &serde_json::Value,
    ) -> Request<FlowCaller, serde_json::Value, serde_json::Value> {
        Request::new(self.caller(), service, key.map(str::to_owned), handler, Some(argument))
    }

    fn caller(&self) -> FlowCaller {
        FlowCaller { engine: Rc::clone(&self.engine) }
    }

    /// Waits for both. Both are under way at the same time.
    pub fn join<A: IntoFuture, B: IntoFuture>(&self, a: A, b: B) -> Join<A::IntoFuture, B::IntoFuture> {
        Join::new(a.into_future(), b.into_future())
    }

    /// Waits for all, in the order given. All are under way at the same time.
    pub fn join_all<A: IntoFuture>(&self, all: impl IntoIterator<Item = A>) -> JoinAll<A::IntoFuture> {
        JoinAll::new(all.into_iter().map(IntoFuture::into_future))
    }

    /// Waits for the first of two; the other is dropped. The winner is the one whose result came first into the journal,
    /// so it is the same on every execution.
    pub fn race<A: IntoFuture, B: IntoFuture>(&self, a: A, b: B) -> Race<A::IntoFuture, B::IntoFuture> {
        Race::new(a.into_future(), b.into_future())
    }

    /// As [`Flow::race`] of any number: the place and the result of the first. Never ready when there are none.
    pub fn select_all<A: IntoFuture>(&self, all: impl IntoIterator<Item = A>) -> SelectAll<A::IntoFuture> {
        SelectAll::new(all.into_iter().map(IntoFuture::into_future))
    }

    /// Waits for `future`, but no longer than `duration`; then `future` is dropped.
    pub fn timeout<A: IntoFuture>(&self, duration: Duration, future: A) -> Timeout<A::IntoFuture> {
        Timeout::new(future.into_future(), self.sleep(duration))
    }
}

fn does_not_encode(reason: String) -> Terminal {
    Terminal::new(500, format!("the value does not encode: {reason}"))
}
