//! The client inside the process: typed clients of the SDK over the engine, without HTTP.

use abide_host::{Completion, Refusal};
use abide_model::command::OutcomeKind;
use abide_model::effect::Answer;
use abide_model::id::InvocationId;
use abide_sdk::client::{
    Accepted, AcceptedStatus, BoxFuture, OutgoingRequest, SignalId, SignalResult, Start, Stop, Transport,
    TransportError,
};
use bytes::Bytes;

use crate::engine::{Engine, EngineError, InvokeRequest, Order};

/// Carries requests of [`abide_sdk::client::Client`] to the engine of this process.
#[derive(Clone)]
pub struct LocalTransport {
    engine: Engine,
}

impl LocalTransport {
    /// Over the given engine.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    fn request(&self, request: OutgoingRequest) -> InvokeRequest {
        let execute_at = match request.start {
            Start::Now => None,
            Start::After(delay) => {
                let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                Some(self.engine.clock().plus(delay))
            }
            Start::At(time) => Some(time),
        };
        InvokeRequest {
            service: request.service,
            handler: request.handler,
            key: request.key,
            input: request.input,
            headers: request.headers,
            idempotency_key: request.idempotency_key,
            execute_at,
        }
    }
}

impl Transport for LocalTransport {
    fn call(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        let called = self.engine.call(self.request(request));
        Box::pin(async move {
            let (id, receiver) = called.map_err(|error| refused(None, error))?;
            match receiver.await {
                Ok(Ok(completion)) => result(completion),
                Ok(Err(refusal)) => Err(refused(Some(id), refusal.into())),
                Err(_) => Err(refused(Some(id), Refusal::OutcomeUnknown.into())),
            }
        })
    }

    fn send(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Accepted, TransportError>> {
        let request = self.request(request);
        Box::pin(async move {
            let accepted = self.engine.send(request).await.map_err(|error| refused(None, error))?;
            let status = if accepted.known { AcceptedStatus::PreviouslyAccepted } else { AcceptedStatus::Accepted };
            Ok(Accepted { id: accepted.invocation, status })
        })
    }

    fn attach(&self, id: InvocationId) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        Box::pin(async move { result(self.engine.attach(id).await.map_err(|error| refused(Some(id), error))?) })
    }

    fn output(&self, id: InvocationId) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move {
            let completion = self.engine.output(id).await.map_err(|error| refused(Some(id), error))?;
            completion.map(result).transpose()
        })
    }

    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move { ordered(target, self.engine.signal(target, signal, result).await) })
    }

    fn stop(&self, target: InvocationId, how: Stop) -> BoxFuture<'_, Result<(), TransportError>> {
        let order = match how {
            Stop::Cancel => Order::Cancel,
            Stop::Kill => Order::Kill,
        };
        Box::pin(async move { ordered(target, self.engine.control(target, order).await) })
    }
}

/// What came of an order.
fn ordered(target: InvocationId, answer: Result<Answer, EngineError>) -> Result<(), TransportError> {
    match answer.map_err(|error| refused(Some(target), error))? {
        Answer::Done | Answer::Appended | Answer::AlreadyCompleted | Answer::Created(_) | Answer::Node(_) => Ok(()),
        Answer::NotFound => Err(TransportError::NotFound { message: format!("there is no invocation {target}") }),
        Answer::Refused(failure) => {
            let code = u16::try_from(failure.code).unwrap_or(400);
            Err(TransportError::Rejected { code, message: failure.message })
        }
    }
}

fn result(completion: Completion) -> Result<Bytes, TransportError> {
    match completion.outcome.kind {
        Some(OutcomeKind::Success(value)) => Ok(value),
        Some(OutcomeKind::Failure(failure)) => Err(TransportError::Failure(failure)),
        None => Ok(Bytes::new()),
    }
}

fn refused(id: Option<InvocationId>, error: EngineError) -> TransportError {
    let message = error.to_string();
    match error {
        EngineError::UnknownService { .. } | EngineError::UnknownHandler { .. } | EngineError::NotFound(_) => {
            TransportError::NotFound { message }
        }
        EngineError::UnknownSchedule { .. } => TransportError::NotFound { message },
        EngineError::ScheduleExists { .. } => TransportError::Rejected { code: 409, message },
        EngineError::Invalid { .. } => TransportError::Rejected { code: 400, message },
        EngineError::Refused(refusal) => match refusal {
            Refusal::Overloaded | Refusal::MailboxFull | Refusal::ShuttingDown | Refusal::NotLeader => {
                TransportError::Overloaded { message, retry_after: None }
            }
            Refusal::RateLimited { retry_after } => {
                TransportError::Overloaded { message, retry_after: Some(retry_after) }
            }
            Refusal::OutcomeUnknown | Refusal::Interrupted => TransportError::OutcomeUnknown { id, message },
            Refusal::NotFound => TransportError::NotFound { message },
            Refusal::Invalid(failure) => {
                TransportError::Rejected { code: u16::try_from(failure.code).unwrap_or(400), message }
            }
        },
    }
}
