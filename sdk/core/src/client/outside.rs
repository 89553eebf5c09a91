//! The client of programs that are not handlers.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::protocol::{Failure, SignalId, SignalResult, Value};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Accepted, BoxFuture, Callable, Caller, OutgoingRequest, Request, Start, Stop, Transport, TransportError};
use crate::error::{CallError, HandlerError};
use crate::wire;
use crate::{Object, Service, Workflow};

/// A client for everything behind one [`Transport`]. Cloning is cheap.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

/// Calls from outside.
#[derive(Clone)]
pub struct OutsideCaller {
    transport: Arc<dyn Transport>,
}

impl Caller for OutsideCaller {}

impl Client {
    /// A client that uses this transport.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Client of the object `T` with this key.
    #[must_use]
    pub fn object<T: Object + Callable>(&self, key: impl Into<String>) -> T::Client<OutsideCaller> {
        T::client(self.caller(), Some(key.into()))
    }

    /// Client of the service `T`.
    #[must_use]
    pub fn service<T: Service + Callable>(&self) -> T::Client<OutsideCaller> {
        T::client(self.caller(), None)
    }

    /// Client of the workflow `T` with this key. Submit its `run` with `send`: a second one changes nothing, while a second
    /// call fails with code 409. [`Client::workflow_handle`] has the result.
    #[must_use]
    pub fn workflow<T: Workflow + Callable>(&self, key: impl Into<String>) -> T::Client<OutsideCaller> {
        T::client(self.caller(), Some(key.into()))
    }

    /// The `run` of the workflow `T` with this key, begun or not.
    #[must_use]
    pub fn workflow_handle<T: Workflow>(&self, key: impl AsRef<str>) -> InvocationClient {
        self.invocation(InvocationId::workflow(T::NAME, key.as_ref()))
    }

    /// An awakeable by its id: [`crate::Flow::awakeable`].
    #[must_use]
    pub fn awakeable(&self, id: AwakeableId) -> AwakeableClient {
        AwakeableClient { id, transport: Arc::clone(&self.transport) }
    }

    /// A request by names, for services that are not known at compile time.
    pub fn call_raw(
        &self,
        service: &str,
        key: Option<&str>,
        handler: &str,
        argument: &impl Serialize,
    ) -> Request<OutsideCaller, serde_json::Value, serde_json::Value> {
        Request::new(self.caller(), service, key.map(str::to_owned), handler, Some(argument))
    }

    /// An invocation by its id.
    #[must_use]
    pub fn invocation(&self, id: InvocationId) -> InvocationClient {
        InvocationClient { id, transport: Arc::clone(&self.transport) }
    }

    fn caller(&self) -> OutsideCaller {
        OutsideCaller { transport: Arc::clone(&self.transport) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl<T, E> Request<OutsideCaller, T, E>
where
    T: DeserializeOwned + 'static,
    E: HandlerError + 'static,
{
    /// Waits for the result; the same as awaiting the request.
    ///
    /// # Errors
    /// The handler's own error, or why there is none.
    pub async fn call(self) -> Result<T, CallError<E>> {
        self.await
    }

    /// Sends the request; returns as soon as it is durable.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn send(self) -> Result<Accepted, CallError<E>> {
        self.send_starting(Start::Now).await
    }

    /// As [`Request::send`], to start after `delay`.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn send_after(self, delay: Duration) -> Result<Accepted, CallError<E>> {
        self.send_starting(Start::After(delay)).await
    }

    /// As [`Request::send`], to start at `time`, or at once if that is past.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn send_at(self, time: Millis) -> Result<Accepted, CallError<E>> {
        self.send_starting(Start::At(time)).await
    }

    async fn send_starting(self, start: Start) -> Result<Accepted, CallError<E>> {
        let (caller, request) = self.outgoing(start).map_err(rejected)?;
        caller.transport.send(request).await.map_err(TransportError::into_call_error)
    }

    fn outgoing(self, start: Start) -> Result<(OutsideCaller, OutgoingRequest), String> {
        let input = self.input.map_err(|reason| format!("the argument does not encode: {reason}"))?;
        let target = self.target;
        let request = OutgoingRequest {
            service: target.service,
            key: target.key,
            handler: target.handler,
            input,
            idempotency_key: self.idempotency_key,
            headers: self.headers,
            start,
        };
        Ok((self.caller, request))
    }
}

impl<T, E> IntoFuture for Request<OutsideCaller, T, E>
where
    T: DeserializeOwned + 'static,
    E: HandlerError + 'static,
{
    type Output = Result<T, CallError<E>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let outgoing = self.outgoing(Start::Now);
        Box::pin(async move {
            let (caller, request) = outgoing.map_err(rejected)?;
            let bytes = caller.transport.call(request).await.map_err(TransportError::into_call_error)?;
            decoded(&bytes)
        })
    }
}

/// An invocation, from outside.
#[derive(Clone)]
pub struct InvocationClient {
    id: InvocationId,
    transport: Arc<dyn Transport>,
}

impl InvocationClient {
    /// Waits for the result.
    ///
    /// # Errors
    /// The failure the invocation ended with, or why there is none.
    pub async fn attach<T>(&self) -> Result<T, CallError<serde_json::Value>>
    where
        T: DeserializeOwned + 'static,
    {
        let bytes = self.transport.attach(self.id).await.map_err(TransportError::into_call_error)?;
        decoded(&bytes)
    }

    /// The result; `None` while the invocation is under way.
    ///
    /// # Errors
    /// The failure the invocation ended with, or why there is none.
    pub async fn output<T>(&self) -> Result<Option<T>, CallError<serde_json::Value>>
    where
        T: DeserializeOwned + 'static,
    {
        let bytes = self.transport.output(self.id).await.map_err(TransportError::into_call_error)?;
        bytes.map(|bytes| decoded(&bytes)).transpose()
    }
}

impl InvocationClient {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> InvocationId {
        self.id
    }

    /// Signals it: [`crate::Flow::signal`]. An invocation that has ended, or has not begun, does not hear it.
    ///
    /// # Errors
    /// Why the signal is not recorded.
    pub async fn signal(
        &self,
        name: impl Into<String>,
        value: &impl Serialize,
    ) -> Result<(), CallError<serde_json::Value>> {
        let (name, content) = (name.into(), encoded(value));
        let result = SignalResult::Value(Value { content: content.map_err(rejected)? });
        let sent = self.transport.signal(self.id, SignalId::Name(name), result);
        sent.await.map_err(TransportError::into_call_error)
    }

    /// Asks it to stop; its compensation runs. One that has ended is left as it is.
    ///
    /// # Errors
    /// Why the order is not recorded. The HTTP transport does not carry it: that is for the admin API.
    pub async fn cancel(&self) -> Result<(), CallError<serde_json::Value>> {
        self.transport.stop(self.id, Stop::Cancel).await.map_err(TransportError::into_call_error)
    }

    /// Ends it now, with all that it called; its compensation does not run. One that has ended is left as it is.
    ///
    /// # Errors
    /// As [`InvocationClient::cancel`].
    pub async fn kill(&self) -> Result<(), CallError<serde_json::Value>> {
        self.transport.stop(self.id, Stop::Kill).await.map_err(TransportError::into_call_error)
    }
}

/// An awakeable, from outside. The first completion counts.
#[derive(Clone)]
pub struct AwakeableClient {
    id: AwakeableId,
    transport: Arc<dyn Transport>,
}

impl AwakeableClient {
    /// Completes it with a value.
    ///
    /// # Errors
    /// Why the completion is not recorded.
    pub async fn resolve(&self, value: &impl Serialize) -> Result<(), CallError<serde_json::Value>> {
        let content = encoded(value);
        self.complete(SignalResult::Value(Value { content: content.map_err(rejected)? })).await
    }

    /// Completes it with a failure, code 500.
    ///
    /// # Errors
    /// Why the completion is not recorded.
    pub async fn reject(&self, message: impl Into<String>) -> Result<(), CallError<serde_json::Value>> {
        let failure = Failure::new(500, message);
        self.complete(SignalResult::Failure(failure)).await
    }

    async fn complete(&self, result: SignalResult) -> Result<(), CallError<serde_json::Value>> {
        let completed = self.transport.signal(self.id.invocation, SignalId::Index(self.id.signal), result);
        completed.await.map_err(TransportError::into_call_error)
    }
}

fn encoded(value: &impl Serialize) -> Result<Bytes, String> {
    wire::encode(value).map_err(|reason| format!("the value does not encode: {reason}"))
}

fn rejected<E>(message: String) -> CallError<E> {
    CallError::Rejected { code: 400, message }
}

fn decoded<T: DeserializeOwned + 'static, E>(bytes: &[u8]) -> Result<T, CallError<E>> {
    wire::decode(bytes).map_err(|reason| CallError::Terminal {
        code: 500,
        message: format!("the result is not a `{}`: {reason}", std::any::type_name::<T>()),
    })
}
