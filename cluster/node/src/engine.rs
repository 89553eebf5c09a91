//! The way into a running node: what the ingress, the admin API and clients in the process call.
//!
//! Finds the handler, gives the invocation its id, and takes the shortest durable way: a turn goes to its object's
//! handler thread at once and enters the log together with its result; everything else enters the log first.

mod freshness;
mod limiter;
mod loans;
mod look;
mod order;
mod route;
mod schedules;
mod serve;
mod snapshots;

use std::sync::{Arc, OnceLock};

use abide_host::{Completion, HostHandle, Refusal};
use abide_model::command::{Access, Body, Form, Invoke, LetterOrder, Priority, Signal, StateEdit, Target};
use abide_model::effect::Answer;
use abide_model::error::{self, ErrorCode};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::limits;
use abide_model::protocol::{Failure, Header, SignalId, SignalResult};
use abide_sdk::Registry;
use abide_sdk::service::{Kind, ServiceDescriptor};
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::oneshot;

pub use self::freshness::{Freshness, UnknownFreshness};
use self::limiter::Limiter;
pub use self::order::{Deployment, Order};
use self::serve::Serving;
use crate::archive::Archive;
use crate::clock;
use crate::cluster::{Asker, Cluster};
use crate::config;
use crate::driver::DriverHandle;
pub use crate::inspect::InvocationDetails;
use crate::inspect::LetterAddress;
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

    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
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
    retention: Retention,
    limiter: Limiter,
    cluster: Cluster,
    /// The way to other nodes, where there can be any.
    others: Option<Others>,
    /// Invocations that other nodes passed on and that are under way here.
    serving: Serving,
    /// Where the state of partitions is saved, if anywhere.
    archive: OnceLock<Archive>,
}

/// What it takes to reach other nodes.
#[derive(Clone)]
pub(crate) struct Others {
    /// Asks them.
    pub(crate) asker: Arc<dyn Asker>,
    /// Where requests wait for their answers.
    pub(crate) runtime: tokio::runtime::Handle,
}

/// How long what is completed is kept, where services and handlers do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Results of invocations with an idempotency key and of sends, in ms.
    pub completed_ms: u64,
    /// Journals, in ms; 0 keeps none.
    pub journal_ms: u64,
    /// Results, state and promises of workflows, in ms.
    pub workflow_ms: u64,
}

impl From<&config::Retention> for Retention {
    fn from(config: &config::Retention) -> Self {
        Self {
            completed_ms: Millis::of(config.completed),
            journal_ms: Millis::of(config.journal),
            workflow_ms: Millis::of(config.workflow),
        }
    }
}

/// The handler name of edits of a state. Handlers of this name are told apart by the form.
const EDIT: &str = "edit";

impl Engine {
    pub(crate) fn new(
        registry: Registry,
        driver: DriverHandle,
        host: HostHandle,
        partitions: u32,
        retention: Retention,
        cluster: Cluster,
        others: Option<Others>,
    ) -> Self {
        let limiter = Limiter::new(&registry);
        let (serving, archive) = (Serving::default(), OnceLock::new());
        let inner = Inner { registry, driver, host, partitions, retention, limiter, cluster, others, serving, archive };
        Self(Arc::new(inner))
    }

    /// What this node knows of the others.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn driver(&self) -> &DriverHandle {
        &self.0.driver
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
        let freshness =
            Freshness::of_headers(&request.headers).map_err(|error| EngineError::invalid(error.to_string()))?;
        let Prepared { id, partition, invoke, form } = self.prepare(request, false)?;
        let receiver = match freshness {
            Some(freshness) => self.invoke_read(partition, form, invoke, freshness)?,
            None => self.invoke(partition, form, invoke)?,
        };
        Ok((id, receiver))
    }

    /// Puts an invocation into the log and returns when it is durable there.
    ///
    /// # Errors
    /// [`EngineError`]; with [`Refusal::OutcomeUnknown`] it may or may not have been accepted.
    pub async fn send(&self, request: InvokeRequest) -> Result<Accepted, EngineError> {
        let Prepared { partition, invoke, .. } = self.prepare(request, true)?;
        Ok(self.route_send(partition, invoke).await?)
    }

    /// Waits for the result of an invocation.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing of it is known.
    pub async fn attach(&self, id: InvocationId) -> Result<Completion, EngineError> {
        found(id, self.route_attach(self.partition(id), id).await)
    }

    /// The result of an invocation; `None` while it has none.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when nothing of it is known.
    pub async fn output(&self, id: InvocationId) -> Result<Option<Completion>, EngineError> {
        found(id, self.route_output(self.partition(id), id).await)
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
        self.control_with(target.partition_key, body).await
    }

    /// Carries out an operator's order.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when the order names a version of the code that is not bound; [`EngineError::Refused`].
    pub async fn control(&self, target: InvocationId, order: Order) -> Result<Answer, EngineError> {
        if let Some(version) = order.named_version() {
            let known = self.find(target).await?;
            if let Some(service) = known.map(|details| details.target.service)
                && self.0.registry.version(&service, version).is_none()
            {
                let reason = format!(
                    "version `{version}` of `{service}` is not bound; bind it beside the current one, or use `latest`"
                );
                return Err(EngineError::Invalid { reason });
            }
        }
        let fresh = self.fresh(target.partition_key);
        self.control_with(target.partition_key, Body::Control(order.into_command(target, fresh))).await
    }

    /// Changes the state of an object as soon as its exclusive invocations before are completed. Returns the invocation
    /// that does it and where its end will be told.
    ///
    /// # Errors
    /// [`EngineError`] when it was not accepted; nothing changed.
    pub fn edit(
        &self,
        object: ObjectId,
        edit: &StateEdit,
    ) -> Result<(InvocationId, oneshot::Receiver<Result<Completion, Refusal>>), EngineError> {
        let service = self.0.registry.get(&object.service);
        let service = service.ok_or_else(|| EngineError::UnknownService { service: object.service.clone() })?;
        let descriptor = service.descriptor();
        if !descriptor.kind.is_keyed() {
            return Err(EngineError::invalid(format!("`{}` is a service: it has no state", object.service)));
        }
        let input = Bytes::from(edit.encode_to_vec());
        check_lengths(Some(&object.key), None, input.len())?;
        let id = self.fresh(PartitionKey::of(&object.key));
        let invoke = Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(target(descriptor, EDIT, Some(object.key), Access::Exclusive, Form::Edit)),
            input,
            retention_ms: self.0.retention.completed_ms,
            state_ttl_ms: descriptor.options.state_ttl.map_or(0, Millis::of),
            ..Invoke::default()
        };
        Ok((id, self.invoke(self.partition(id), Form::Edit, invoke)?))
    }

    /// Invokes what a dead letter says again, under a new id, and drops the letter.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for the run of a workflow, whose id cannot be another; [`EngineError::Refused`].
    pub async fn redrive(&self, at: &LetterAddress) -> Result<Answer, EngineError> {
        let Some(letter) = self.letter(at).await? else { return Ok(Answer::NotFound) };
        if letter.row.target.is_some_and(|target| target.access() == Access::Workflow) {
            let reason = "a workflow runs once per key: purge its run, and start it again";
            return Ok(Answer::Refused(Failure::new(u32::from(error::UNSUPPORTED.0), reason)));
        }
        let Some(failed) = InvocationId::from_bytes(&letter.row.invocation) else { return Ok(Answer::NotFound) };
        let redrive_as = Bytes::copy_from_slice(&self.fresh(failed.partition_key).to_bytes());
        self.letter_order(at, redrive_as).await
    }

    /// Drops a dead letter.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn drop_letter(&self, at: &LetterAddress) -> Result<Answer, EngineError> {
        if at.partition.0 >= self.0.partitions {
            return Ok(Answer::NotFound);
        }
        self.letter_order(at, Bytes::new()).await
    }

    async fn letter_order(&self, at: &LetterAddress, redrive_as: Bytes) -> Result<Answer, EngineError> {
        let body = Body::Letter(LetterOrder { service: at.service.clone(), seq: at.seq, redrive_as });
        self.order_in(at.partition, body).await
    }

    async fn control_with(&self, target: PartitionKey, body: Body) -> Result<Answer, EngineError> {
        self.order_in(PartitionId::of(target, self.0.partitions), body).await
    }

    pub(crate) async fn order_in(&self, partition: PartitionId, body: Body) -> Result<Answer, EngineError> {
        Ok(self.route_control(partition, body).await?)
    }

    fn partition(&self, id: InvocationId) -> PartitionId {
        PartitionId::of(id.partition_key, self.0.partitions)
    }

    fn fresh(&self, partition_key: PartitionKey) -> InvocationId {
        InvocationId::fresh(partition_key, self.clock(), random::u128())
    }

    /// The invocation that a request asks for; `one_way` when nobody waits for its result.
    fn prepare(&self, request: InvokeRequest, one_way: bool) -> Result<Prepared, EngineError> {
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
        let described = &descriptor.handlers[index];
        let run_of = key.as_deref().filter(|_| described.access == Access::Workflow);
        if run_of.is_some() && idempotency_key.is_some() {
            return Err(EngineError::invalid(format!(
                "`{service}/{handler}` takes no idempotency key: a workflow runs once per key"
            )));
        }
        let options = descriptor.options_of(index);
        let wished = Priority::of_headers(&headers).map_err(|error| EngineError::invalid(error.to_string()))?;
        let priority = wished.or(options.priority).unwrap_or_default();
        let admitted = self.0.limiter.admit(&service, index, key.as_deref(), self.clock());
        admitted.map_err(|retry_after| Refusal::RateLimited { retry_after })?;
        let id = match (run_of, &idempotency_key, &key) {
            (Some(key), _, _) => InvocationId::workflow(&service, key),
            (_, Some(idempotency), key) => InvocationId::idempotent(&service, key.as_deref(), &handler, idempotency),
            (_, None, Some(key)) => self.fresh(PartitionKey::of(key)),
            (_, None, None) => self.fresh(PartitionKey(random::u64())),
        };
        let retention = self.0.retention;
        let default_ms = if run_of.is_some() { retention.workflow_ms } else { retention.completed_ms };
        let keeps_result = one_way || run_of.is_some() || idempotency_key.is_some();
        let invoke = Invoke {
            id: Bytes::copy_from_slice(&id.to_bytes()),
            target: Some(Target {
                priority: priority as i32,
                ..target(descriptor, &handler, key, described.access, described.form)
            }),
            input,
            headers,
            execute_at: execute_at.map_or(0, |at| at.0),
            retention_ms: if keeps_result { options.retention.map_or(default_ms, Millis::of) } else { 0 },
            journal_retention_ms: options.journal_retention.map_or(retention.journal_ms, Millis::of),
            state_ttl_ms: options.state_ttl.map_or(0, Millis::of),
            idempotency_key,
            one_way,
            ..Invoke::default()
        };
        Ok(Prepared { id, partition: self.partition(id), invoke, form: described.form })
    }
}

/// What a request from outside invokes. The one place of the node where targets are made.
fn target(descriptor: &ServiceDescriptor, handler: &str, key: Option<String>, access: Access, form: Form) -> Target {
    Target {
        service: descriptor.name.clone(),
        handler: handler.to_owned(),
        key,
        access: access as i32,
        form: form as i32,
        workflow: descriptor.kind == Kind::Workflow,
        ..Target::default()
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

#[cfg(test)]
mod tests;
