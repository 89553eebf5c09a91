//! The way into a running node: what the ingress, the admin API and clients in the process call.
//!
//! Finds the handler, gives the invocation its id, and takes the shortest durable way: a turn goes to its object's
//! handler thread at once and enters the log together with its result; everything else enters the log first.

mod schedules;

use std::sync::Arc;

use abide_host::{Completion, DirectCall, HostHandle, Refusal};
use abide_model::command::{Access, Body, Control, Form, Invoke, Outcome, Signal, Target, Verb};
use abide_model::effect::Answer;
use abide_model::error::{self, ErrorCode};
use abide_model::id::{InvocationId, Millis, PartitionId, PartitionKey};
use abide_model::limits;
use abide_model::protocol::{Failure, Header, SignalId, SignalResult};
use abide_model::table::JournalRow;
use abide_sdk::Registry;
use abide_sdk::service::Kind;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock;
use crate::driver::{DriverHandle, Query};
use crate::random;

pub use schedules::{Declared, SCHEDULES_PER_PAGE_MAX};

/// A request to invoke a handler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvokeRequest {
    /// Service, object or workflow.
    pub service: String,
    /// Handler.
    pub handler: String,
    /// Key, for keyed targets.
    pub key: Option<String>,
    /// Argument, as the handler takes it: JSON for native ones.
    pub input: Bytes,
    /// Headers for the handler.
    pub headers: Vec<Header>,
    /// Makes repetitions of the request one invocation.
    pub idempotency_key: Option<String>,
    /// Earliest start, for sends.
    pub execute_at: Option<Millis>,
}

/// The answer to a send: the invocation is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub invocation: InvocationId,
    /// Whether an earlier request created it.
    pub known: bool,
    /// When it starts, if it was delayed.
    pub execute_at: Option<Millis>,
}

/// Everything known about an invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct InvocationDetails {
    /// Its id.
    pub id: InvocationId,
    /// Where it is: `scheduled`, `pending`, `running`, `backing-off`, `suspended`, `paused`, `completed`.
    pub status: &'static str,
    /// What runs.
    pub target: Target,
    /// When it was accepted.
    pub created_at: Millis,
    /// When something last changed.
    pub modified_at: Millis,
    /// When it ended.
    pub completed_at: Option<Millis>,
    /// Attempts that were started.
    pub attempt: u32,
    /// Failed attempts since the last progress.
    pub failures: u32,
    /// The last failure of an attempt.
    pub last_failure: Option<Failure>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The idempotency key it was accepted with.
    pub idempotency_key: Option<String>,
    /// The invocation that invoked it.
    pub invoked_by: Option<InvocationId>,
    /// Its journal; empty once it is completed.
    pub journal: Vec<JournalRow>,
    /// When the next attempt is due, while backing off.
    pub next_retry_at: Option<Millis>,
    /// When it starts, while scheduled.
    pub scheduled_at: Option<Millis>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// Nothing is bound under this name.
    #[error("service `{service}` not found")]
    UnknownService {
        /// The name.
        service: String,
    },
    /// The service has no such handler.
    #[error("handler `{handler}` not found in service `{service}`")]
    UnknownHandler {
        /// The service.
        service: String,
        /// The name.
        handler: String,
    },
    /// The request is wrong; nothing changed.
    #[error("{reason}")]
    Invalid {
        /// What is wrong, and what to do.
        reason: String,
    },
    /// There is no such invocation, or nothing of it is kept any more.
    #[error("invocation `{0}` not found")]
    NotFound(InvocationId),
    /// There is no schedule of this name.
    #[error("schedule `{name}` does not exist")]
    UnknownSchedule {
        /// The name.
        name: String,
    },
    /// There is a schedule of this name already.
    #[error("schedule `{name}` exists already; choose another name, or replace it")]
    ScheduleExists {
        /// The name.
        name: String,
    },
    /// The node could not take the request, or lost its say over it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl EngineError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownService { .. }
            | Self::UnknownHandler { .. }
            | Self::NotFound(_)
            | Self::UnknownSchedule { .. } => error::NOT_FOUND,
            Self::Invalid { .. } | Self::ScheduleExists { .. } => error::INVALID_REQUEST,
            Self::Refused(refusal) => refusal.code(),
        }
    }

    fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid { reason: reason.into() }
    }
}

/// The way into a running node. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    registry: Registry,
    driver: DriverHandle,
    host: HostHandle,
    partitions: u32,
    retention_ms: u64,
}

impl Engine {
    pub(crate) fn new(
        registry: Registry,
        driver: DriverHandle,
        host: HostHandle,
        partitions: u32,
        retention_ms: u64,
    ) -> Self {
        Self(Arc::new(Inner { registry, driver, host, partitions, retention_ms }))
    }

    /// What is bound.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> Millis {
        clock::now()
    }

    /// Number of partitions of the cluster.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.0.partitions
    }

    /// Hands in an invocation and returns its id and where its result will be told. The result is durable when it is
    /// told. A receiver whose sender is gone means that the outcome is unknown.
    ///
    /// # Errors
    /// [`EngineError`] when it was not accepted; nothing changed.
    pub fn call(
        &self,
        request: InvokeRequest,
    ) -> Result<(InvocationId, oneshot::Receiver<Result<Completion, Refusal>>), EngineError> {
        if request.execute_at.is_some() {
            return Err(EngineError::invalid("a call cannot be delayed; use send"));
        }
        let keeps = request.idempotency_key.is_some();
        let Prepared { id, partition, invoke, form } = self.prepare(request, keeps)?;
        let (responder, receiver) = oneshot::channel();
        if form == Form::Turn {
            let call = DirectCall { partition, invoke, responder };
            self.0.host.call(call).map_err(|refused| EngineError::Refused(refused.1))?;
        } else {
            self.0.driver.query(Query::Call { partition, invoke, responder })?;
        }
        Ok((id, receiver))
    }

    /// Puts an invocation into the log and returns when it is durable there.
    ///
    /// # Errors
    /// [`EngineError`]; with [`Refusal::OutcomeUnknown`] it may or may not have been accepted.
    pub async fn send(&self, request: InvokeRequest) -> Result<Accepted, EngineError> {
        let Prepared { partition, invoke, .. } = self.prepare(request, true)?;
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Send { partition, invoke, responder })?;
        Ok(receiver.await.map_err(|_| Refusal::OutcomeUnknown)??)
    }

    /// Waits for the result of an invocation.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing of it is known.
    pub async fn attach(&self, id: InvocationId) -> Result<Completion, EngineError> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Attach { partition: self.partition(id), id, responder })?;
        found(id, receiver.await.map_err(|_| Refusal::OutcomeUnknown)?)
    }

    /// The result of an invocation; `None` while it has none.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing of it is known.
    pub async fn output(&self, id: InvocationId) -> Result<Option<Completion>, EngineError> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Output { partition: self.partition(id), id, responder })?;
        found(id, receiver.await.map_err(|_| Refusal::OutcomeUnknown)?)
    }

    /// Signals an invocation; also completes awakeables.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> Result<Answer, EngineError> {
        let body = Body::Signal(Signal {
            target: Bytes::copy_from_slice(&target.to_bytes()),
            signal: Some(signal),
            result: Some(result),
        });
        self.control_with(target, body).await
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn control(&self, target: InvocationId, verb: Verb) -> Result<Answer, EngineError> {
        let body = Body::Control(Control::new(target, verb));
        self.control_with(target, body).await
    }

    /// Everything known about an invocation, or `None`.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn describe(&self, id: InvocationId) -> Result<Option<InvocationDetails>, EngineError> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Describe { partition: self.partition(id), id, responder })?;
        Ok(receiver.await.map_err(|_| Refusal::OutcomeUnknown)?)
    }

    async fn control_with(&self, target: InvocationId, body: Body) -> Result<Answer, EngineError> {
        let (responder, receiver) = oneshot::channel();
        self.0.driver.query(Query::Control { partition: self.partition(target), body, responder })?;
        Ok(receiver.await.map_err(|_| Refusal::OutcomeUnknown)??)
    }

    fn partition(&self, id: InvocationId) -> PartitionId {
        PartitionId::of(id.partition_key, self.0.partitions)
    }

    fn prepare(&self, request: InvokeRequest, keeps_result: bool) -> Result<Prepared, EngineError> {
        let InvokeRequest { service, handler, key, input, headers, idempotency_key, execute_at } = request;
        let (executable, index) = self.0.registry.handler(&service, &handler).map_err(|error| match error {
            abide_sdk::UnknownTarget::Service { name } => EngineError::UnknownService { service: name },
            abide_sdk::UnknownTarget::Handler { service, name } => {
                EngineError::UnknownHandler { service, handler: name }
            }
        })?;
        let descriptor = executable.descriptor();
        match (descriptor.kind, &key) {
            (Kind::Service, Some(_)) => {
                return Err(EngineError::invalid(format!("`{service}` is a service: it takes no key")));
            }
            (Kind::Object | Kind::Workflow, None) => {
                return Err(EngineError::invalid(format!("`{service}` has keys: name one")));
            }
            (Kind::Service, None) | (Kind::Object | Kind::Workflow, Some(_)) => {}
        }
        check_lengths(key.as_deref(), idempotency_key.as_deref(), input.len())?;
        let handler_kind = &descriptor.handlers[index];
        let (access, form): (Access, Form) = (handler_kind.access, handler_kind.form);
        let id = match &idempotency_key {
            Some(idempotency) => InvocationId::idempotent(&service, key.as_deref(), &handler, idempotency),
            None => {
                let place = match &key {
                    Some(key) => PartitionKey::of(key),
                    None => PartitionKey(random::u64()),
                };
                InvocationId::fresh(place, clock::now(), random::u128())
            }
        };
        let invoke = Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(Target { service, handler, key, access: access as i32, form: form as i32, ..Target::default() }),
            input,
            headers,
            execute_at: execute_at.map_or(0, |at| at.0),
            retention_ms: if keeps_result { self.0.retention_ms } else { 0 },
            idempotency_key,
            sink: None,
            ..Invoke::default()
        };
        Ok(Prepared { id, partition: self.partition(id), invoke, form })
    }
}

struct Prepared {
    id: InvocationId,
    partition: PartitionId,
    invoke: Invoke,
    form: Form,
}

fn check_lengths(key: Option<&str>, idempotency_key: Option<&str>, input: usize) -> Result<(), EngineError> {
    let too_long = |what: &str, max: usize| EngineError::invalid(format!("{what} is longer than {max} bytes"));
    if key.is_some_and(|key| key.len() > limits::KEY_BYTES_MAX) {
        return Err(too_long("the key", limits::KEY_BYTES_MAX));
    }
    if idempotency_key.is_some_and(|key| key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX) {
        return Err(too_long("the idempotency key", limits::IDEMPOTENCY_KEY_BYTES_MAX));
    }
    if input > limits::BODY_BYTES_MAX {
        return Err(too_long("the input", limits::BODY_BYTES_MAX));
    }
    Ok(())
}

fn found<T>(id: InvocationId, result: Result<T, Refusal>) -> Result<T, EngineError> {
    result.map_err(|refusal| match refusal {
        Refusal::NotFound => EngineError::NotFound(id),
        refusal => EngineError::Refused(refusal),
    })
}
