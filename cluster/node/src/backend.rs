//! What the doors need of the engine, so that their tests can put anything in its place.

use abide_host::port::{Completion, Refusal};
use abide_model::command::Verb;
use abide_model::effect::Answer;
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::{SignalId, SignalResult};
use tokio::sync::oneshot;

use crate::engine::{Accepted, Engine, EngineError, InvocationDetails, InvokeRequest};

/// Where the result of a call arrives. A dropped sender means that the outcome is unknown.
pub(crate) type Pending = oneshot::Receiver<Result<Completion, Refusal>>;

/// See [`Engine`] for what each does.
pub(crate) trait Backend: Send + Sync + 'static {
    fn call(&self, request: InvokeRequest) -> Result<(InvocationId, Pending), EngineError>;
    fn send(&self, request: InvokeRequest) -> impl Future<Output = Result<Accepted, EngineError>> + Send;
    fn attach(&self, id: InvocationId) -> impl Future<Output = Result<Completion, EngineError>> + Send;
    fn output(&self, id: InvocationId) -> impl Future<Output = Result<Option<Completion>, EngineError>> + Send;
    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> impl Future<Output = Result<Answer, EngineError>> + Send;
    fn control(&self, target: InvocationId, verb: Verb) -> impl Future<Output = Result<Answer, EngineError>> + Send;
    fn describe(&self, id: InvocationId)
    -> impl Future<Output = Result<Option<InvocationDetails>, EngineError>> + Send;
    fn clock(&self) -> Millis;
}

impl Backend for Engine {
    fn call(&self, request: InvokeRequest) -> Result<(InvocationId, Pending), EngineError> {
        self.call(request)
    }

    fn send(&self, request: InvokeRequest) -> impl Future<Output = Result<Accepted, EngineError>> + Send {
        self.send(request)
    }

    fn attach(&self, id: InvocationId) -> impl Future<Output = Result<Completion, EngineError>> + Send {
        self.attach(id)
    }

    fn output(&self, id: InvocationId) -> impl Future<Output = Result<Option<Completion>, EngineError>> + Send {
        self.output(id)
    }

    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> impl Future<Output = Result<Answer, EngineError>> + Send {
        self.signal(target, signal, result)
    }

    fn control(&self, target: InvocationId, verb: Verb) -> impl Future<Output = Result<Answer, EngineError>> + Send {
        self.control(target, verb)
    }

    fn describe(
        &self,
        id: InvocationId,
    ) -> impl Future<Output = Result<Option<InvocationDetails>, EngineError>> + Send {
        self.describe(id)
    }

    fn clock(&self) -> Millis {
        self.clock()
    }
}
