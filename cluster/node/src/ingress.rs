//! The door for requests: HTTP/1.1 and h2c on one port, the paths of service protocol §4.
//!
//! A request is checked in the order of what is cheapest to refuse: size of the head, path, method, visibility, content
//! type, and only then is the body read and the engine asked. What the path asks for is decided by [`path`], what is
//! read from the request by [`request`], how it is answered by [`answer`] and [`error`]; this file connects them.

mod answer;
mod directory;
mod error;
mod path;
mod request;
mod target;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abide_host::port::{Completion, Refusal};
use abide_model::command::{Outcome, Priority};
use abide_model::effect::Answer as Verdict;
use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::limits;
use abide_model::protocol::{Failure, SignalId, SignalResult, Value, Void};
use abide_sdk::service::ServiceDescriptor;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, StatusCode, header};
use http_body::Body;
use hyper::service::service_fn;
use serde::de::IgnoredAny;
use serde_json::json;

use self::answer::Answer;
use self::directory::{Directory, Handler};
use self::error::IngressError;
use self::path::{Route, Wait};
use self::request::Bodies;
use crate::backend::Requests;
use crate::config;
use crate::date::rfc3339;
use crate::delay;
use crate::engine::{Engine, EngineError, InvokeRequest};
use crate::health::{Health, Phase};
use crate::listener::{self, Drained, IDLE_TIME, Listener};
use crate::metrics::{DoorMetrics, HandlerMetrics, Rejections};
use crate::shutdown::Stop;

/// What can be set about the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most open connections.
    pub connections_max: u32,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// A body must be complete within this time.
    pub body_time: Duration,
    /// See [`IDLE_TIME`].
    pub idle_time: Duration,
}

impl From<&config::Ingress> for Settings {
    fn from(config: &config::Ingress) -> Self {
        Self {
            connections_max: config.connections_max,
            body_bytes_max: config.body_bytes_max.bytes(),
            body_time: request::BODY_TIME,
            idle_time: IDLE_TIME,
        }
    }
}

/// Serves requests until `stop` is requested, and then for at most `drain` those that are in flight.
///
/// The process's metrics recorder must be installed before ([`crate::metrics::recorder`]).
pub async fn serve(
    listener: Listener,
    engine: Engine,
    settings: Settings,
    health: Health,
    stop: Stop,
    drain: Duration,
) -> Drained {
    let registry = engine.registry().clone();
    let services = registry.services().map(|service| service.descriptor());
    Front::new(engine, services, settings, health).serve(listener, settings, stop, drain).await
}

/// How the machine refuses a second run of a workflow.
const ALREADY_INVOKED: u32 = 409;

/// Everything a request needs.
struct Front<E> {
    engine: E,
    directory: Directory,
    bodies: Bodies,
    door: DoorMetrics,
    rejections: Arc<Rejections>,
    health: Health,
}

impl<E: Requests> Front<E> {
    fn new<'a>(
        engine: E,
        services: impl Iterator<Item = &'a ServiceDescriptor>,
        settings: Settings,
        health: Health,
    ) -> Self {
        Self {
            engine,
            directory: Directory::new(services),
            bodies: Bodies::new(settings.body_bytes_max, settings.body_time),
            door: DoorMetrics::new("ingress"),
            rejections: Arc::new(Rejections::new("ingress")),
            health,
        }
    }

    async fn serve(self, listener: Listener, settings: Settings, stop: Stop, drain: Duration) -> Drained {
        let connections = listener::Settings {
            connections_max: settings.connections_max as usize,
            idle_time: settings.idle_time,
            open: self.door.connections.clone(),
            rejections: Arc::clone(&self.rejections),
        };
        let front = Arc::new(self);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        listener.serve(service, connections, stop, drain).await
    }

    async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let begun = Instant::now();
        let _in_flight = self.door.enter();
        let (head, body) = request.into_parts();
        let mut counted = &self.directory.unknown;
        let mut answer = match self.route(&head, body, &mut counted).await {
            Ok(answer) => answer,
            Err(error) => {
                if let Some(rejection) = error.class().rejection {
                    self.rejections.count(rejection);
                }
                answer::error(&error)
            }
        };
        counted.answered(answer.status().as_u16(), begun.elapsed());
        answer::allow_origins(&mut answer, head.headers.contains_key(header::ORIGIN));
        answer
    }

    /// Finds out what is asked for and does it. `counted` is set to what the request counts for as soon as it is known.
    async fn route<'a, B>(
        &'a self,
        head: &Parts,
        body: B,
        counted: &mut &'a HandlerMetrics,
    ) -> Result<Answer, IngressError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        request::check_head(head)?;
        if head.method == Method::OPTIONS {
            return Ok(answer::preflight(head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS)));
        }
        let directory = &self.directory;
        match path::parse(head.uri.path(), |service| directory.get(service).map(|service| service.kind))? {
            Route::Invoke { service, key, handler, send } => {
                let found = directory.get(&service).and_then(|service| service.handler(&handler));
                let Some(found) = found else {
                    let (service, handler) = (service.into_owned(), handler.into_owned());
                    return Err(IngressError::UnknownHandler { service, handler });
                };
                *counted = &found.metrics;
                let mut invoke = InvokeRequest {
                    service: service.into_owned(),
                    handler: handler.into_owned(),
                    key: key.map(|key| key.into_owned()),
                    input: Bytes::new(),
                    headers: Vec::new(),
                    idempotency_key: None,
                    execute_at: None,
                };
                self.complete(&mut invoke, found, head, body, send).await?;
                if send { self.send(invoke).await } else { self.call(invoke, found.run).await }
            }
            Route::Result { of, wait } => {
                *counted = &directory.results;
                allow(head, &[Method::GET], "GET")?;
                self.result(target::resolve(&of, directory)?, wait).await
            }
            Route::ResultByBody { wait } => {
                *counted = &directory.results;
                allow(head, &[Method::POST], "POST")?;
                let id = target::read(&self.bodies.read(body).await?, directory)?;
                self.result(id, wait).await
            }
            Route::Lookup => {
                *counted = &directory.lookups;
                allow(head, &[Method::POST], "POST")?;
                let id = target::read(&self.bodies.read(body).await?, directory)?;
                Ok(answer::json(StatusCode::OK, json!({ "invocationId": id.to_string() }).to_string()))
            }
            Route::Awakeable { id, resolve } => {
                *counted = &directory.awakeables;
                allow(head, &[Method::POST], "POST")?;
                self.awakeable(&id, resolve, body).await
            }
            Route::Signal { id, name } => {
                *counted = &directory.signals;
                allow(head, &[Method::POST], "POST")?;
                self.signal(&id, name.into_owned(), head, body).await
            }
            Route::Health => {
                *counted = &directory.healths;
                allow(head, &[Method::GET], "GET")?;
                match self.health.phase() {
                    Phase::Ready => Ok(answer::json(StatusCode::OK, directory.health.clone())),
                    phase @ (Phase::Starting | Phase::Stopping) => Err(IngressError::NotReady(phase.word())),
                }
            }
        }
    }

    /// Checks an invocation's request and adds what it carries.
    async fn complete<B>(
        &self,
        invoke: &mut InvokeRequest,
        handler: &Handler,
        head: &Parts,
        body: B,
        send: bool,
    ) -> Result<(), IngressError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        allow(head, &[Method::GET, Method::POST], "GET, POST")?;
        if !handler.public {
            return Err(IngressError::NotPublic);
        }
        request::check_key(invoke.key.as_deref())?;
        invoke.idempotency_key = request::idempotency_key(&head.headers)?;
        invoke.execute_at = self.start(head.uri.query().unwrap_or_default(), send)?;
        invoke.headers = request::handler_headers(head);
        Priority::of_headers(&invoke.headers).map_err(|error| EngineError::Invalid { reason: error.to_string() })?;
        let content_type = request::check_content_type(&head.headers)?;
        invoke.input = self.bodies.read(body).await?;
        content_type.check(&invoke.input)?;
        Ok(())
    }

    /// When a send with this query is to start; `None` is at once.
    fn start(&self, query: &str, send: bool) -> Result<Option<Millis>, IngressError> {
        let (delay, at) = (delay::parameter(query, "delay"), delay::parameter(query, "at"));
        if !send && (delay.is_some() || at.is_some()) {
            return Err(IngressError::DelayOnCall);
        }
        let now = self.engine.clock();
        let at = match (delay, at) {
            (Some(_), Some(_)) => return Err(IngressError::DelayAndTime),
            (Some(delay), None) => now.plus(delay::ms(delay::parse(&delay).map_err(IngressError::BadDelay)?)),
            (None, Some(at)) => delay::parse_time(&at, now).map_err(IngressError::BadDelay)?,
            (None, None) => now,
        };
        Ok((at > now).then_some(at))
    }

    /// `run` says that it is a workflow's.
    async fn call(&self, invoke: InvokeRequest, run: bool) -> Result<Answer, IngressError> {
        let (invocation, result) = self.engine.call(invoke)?;
        match result.await.unwrap_or(Err(Refusal::OutcomeUnknown)) {
            Ok(completion) => Ok(answer::completion(completion)),
            // That the workflow has run is said in the name of the invocation: clients repeat what the ingress refuses.
            Err(Refusal::Invalid(failure)) if run && failure.code == ALREADY_INVOKED => {
                let outcome = Outcome::failure(failure);
                Ok(answer::completion(Completion { invocation, outcome, expires_at: None }))
            }
            Err(refusal) => Err(IngressError::Refused { refusal, invocation }),
        }
    }

    async fn send(&self, invoke: InvokeRequest) -> Result<Answer, IngressError> {
        let accepted = self.engine.send(invoke).await?;
        let mut body = json!({
            "invocationId": accepted.invocation.to_string(),
            "status": if accepted.known { "PreviouslyAccepted" } else { "Accepted" },
        });
        if let Some(at) = accepted.execute_at {
            body["executionTime"] = rfc3339(at).into();
        }
        Ok(answer::with_id(answer::json(StatusCode::ACCEPTED, body.to_string()), accepted.invocation))
    }

    async fn result(&self, id: InvocationId, wait: Wait) -> Result<Answer, IngressError> {
        use crate::engine::EngineError::NotFound;
        match wait {
            Wait::Attach => match self.engine.attach(id).await {
                Ok(completion) => Ok(answer::completion(completion)),
                // Clients of the reference expect this one as if the invocation itself had said it.
                Err(NotFound(id)) => Ok(answer::with_id(answer::error(&IngressError::AttachNotFound), id)),
                Err(error) => Err(error.into()),
            },
            Wait::Output => match self.engine.output(id).await {
                Ok(Some(completion)) => Ok(answer::completion(completion)),
                Ok(None) => Err(IngressError::NotCompleted),
                Err(NotFound(_)) => Err(IngressError::InvocationNotFound),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Completions of invocations that do not wait (any more) have no effect and are no error, as in the reference.
    async fn awakeable<B>(&self, id: &str, resolve: bool, body: B) -> Result<Answer, IngressError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let id: AwakeableId = id.parse().map_err(|error| IngressError::AwakeableId(format!("{error}")))?;
        if id.signal < AwakeableId::FIRST_SIGNAL {
            // Such a number is not an awakeable: 1 would cancel the invocation.
            return Err(IngressError::AwakeableId(format!("signal {} is reserved", id.signal)));
        }
        let content = self.bodies.read(body).await?;
        let result = if resolve {
            SignalResult::Value(Value { content })
        } else {
            let reason = std::str::from_utf8(&content).map_err(|_| IngressError::ReasonEncoding)?;
            SignalResult::Failure(Failure::new(500, reason))
        };
        match self.engine.signal(id.invocation, SignalId::Index(id.signal), result).await? {
            Verdict::Done
            | Verdict::Appended
            | Verdict::Created(_)
            | Verdict::Node(_)
            | Verdict::NotFound
            | Verdict::AlreadyCompleted => Ok(answer::empty(StatusCode::ACCEPTED)),
            Verdict::Refused(failure) => {
                let refusal = Refusal::Invalid(failure);
                Err(IngressError::Refused { refusal, invocation: id.invocation })
            }
        }
    }

    /// A named signal. Unlike an awakeable it is addressed by who knows the invocation, so they are told when there is none.
    async fn signal<B>(&self, id: &str, name: String, head: &Parts, body: B) -> Result<Answer, IngressError>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: std::fmt::Display,
    {
        let id: InvocationId = id.parse().map_err(|error| IngressError::InvocationId(format!("{error}")))?;
        if name.len() > limits::NAME_BYTES_MAX {
            return Err(IngressError::SignalName);
        }
        let content_type = request::check_content_type(&head.headers)?;
        let content = self.bodies.read(body).await?;
        content_type.check(&content)?;
        let result = if content.is_empty() {
            SignalResult::Void(Void {})
        } else {
            serde_json::from_slice::<IgnoredAny>(&content)
                .map_err(|error| IngressError::SignalBody(error.to_string()))?;
            SignalResult::Value(Value { content })
        };
        match self.engine.signal(id, SignalId::Name(name), result).await? {
            Verdict::Done | Verdict::Appended | Verdict::Created(_) | Verdict::Node(_) => {
                Ok(answer::empty(StatusCode::ACCEPTED))
            }
            Verdict::NotFound => Err(IngressError::InvocationNotFound),
            Verdict::AlreadyCompleted => Err(IngressError::AlreadyCompleted),
            Verdict::Refused(failure) => {
                Err(IngressError::Refused { refusal: Refusal::Invalid(failure), invocation: id })
            }
        }
    }
}

fn allow(head: &Parts, methods: &[Method], names: &'static str) -> Result<(), IngressError> {
    if methods.contains(&head.method) { Ok(()) } else { Err(IngressError::Method(names)) }
}

#[cfg(test)]
mod tests;
