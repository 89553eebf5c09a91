//! The client of programs that are not handlers.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use abide_model::id::InvocationId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Accepted, BoxFuture, Callable, Caller, OutgoingRequest, Request, Transport};
use crate::error::{CallError, HandlerError};
use crate::wire;
use crate::{Object, Service};

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
        let (caller, request) = self.outgoing(None).map_err(rejected)?;
        caller.transport.send(request).await.map_err(super::TransportError::into_call_error)
    }

    /// As [`Request::send`], to start after `delay`.
    ///
    /// # Errors
    /// Why it was not accepted.
    pub async fn send_after(self, delay: Duration) -> Result<Accepted, CallError<E>> {
        let (caller, request) = self.outgoing(Some(delay)).map_err(rejected)?;
        caller.transport.send(request).await.map_err(super::TransportError::into_call_error)
    }

    fn outgoing(self, delay: Option<Duration>) -> Result<(OutsideCaller, OutgoingRequest), String> {
        let input = self.input.map_err(|reason| format!("the argument does not encode: {reason}"))?;
        let target = self.target;
        let request = OutgoingRequest {
            service: target.service,
            key: target.key,
            handler: target.handler,
            input,
            idempotency_key: self.idempotency_key,
            headers: self.headers,
            delay,
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
        let outgoing = self.outgoing(None);
        Box::pin(async move {
            let (caller, request) = outgoing.map_err(rejected)?;
            let bytes = caller.transport.call(request).await.map_err(super::TransportError::into_call_error)?;
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
        let bytes = self.transport.attach(self.id).await.map_err(super::TransportError::into_call_error)?;
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
        let bytes = self.transport.output(self.id).await.map_err(super::TransportError::into_call_error)?;
        bytes.map(|bytes| decoded(&bytes)).transpose()
    }
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
