//! The door as its clients see it: a real socket, and an engine of this file behind it.

mod client;
mod limits;
mod protocol;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use abide_host::port::{Completion, Refusal};
use abide_model::command::{Access, Form, Outcome};
use abide_model::effect::Answer as Verdict;
use abide_model::id::{InvocationId, Millis, PartitionKey};
use abide_model::protocol::Failure;
use abide_sdk::service::{HandlerDescriptor, Kind, Options, ServiceDescriptor};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::backend::Pending;
use crate::engine::{Accepted, EngineError};

/// An engine that answers by the handler's name and remembers what it was asked.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    requests: Vec<InvokeRequest>,
    signals: Vec<(InvocationId, SignalId, SignalResult)>,
    results: HashMap<InvocationId, Option<Completion>>,
    /// Calls of `wait` that are not answered yet.
    waiting: Vec<(InvocationId, oneshot::Sender<Result<Completion, Refusal>>)>,
}

/// The clock of the fake engine.
const NOW: Millis = Millis(1_795_416_432_191);

fn some_id() -> InvocationId {
    InvocationId { partition_key: PartitionKey(7), unique: 7 }
}

fn completed(id: InvocationId, outcome: Outcome) -> Completion {
    Completion { invocation: id, outcome, expires_at: None }
}

impl Fake {
    fn asked<T>(&self, look: impl FnOnce(&mut Asked) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn last_request(&self) -> InvokeRequest {
        self.asked(|asked| asked.requests.last().cloned()).expect("a request reached the engine")
    }
}

impl Requests for Fake {
    fn call(&self, request: InvokeRequest) -> Result<(InvocationId, Pending), EngineError> {
        let id = some_id();
        let (responder, receiver) = oneshot::channel();
        let result = match request.handler.as_str() {
            "fail" => Ok(completed(
                id,
                Outcome::failure(Failure {
                    metadata: vec![abide_model::protocol::Metadata { key: "abide-error".into(), value: "{}".into() }],
                    ..Failure::new(418, "no coffee")
                }),
            )),
            "again" => {
                Ok(Completion { expires_at: Some(NOW), ..completed(id, Outcome::success(request.input.clone())) })
            }
            "limited" => {
                let retry_after = Duration::from_millis(2_001);
                return Err(EngineError::Refused(Refusal::RateLimited { retry_after }));
            }
            "refuse" => return Err(EngineError::Refused(Refusal::Overloaded)),
            "full" => Err(Refusal::MailboxFull),
            "stop" => Err(Refusal::ShuttingDown),
            "lost" => Err(Refusal::OutcomeUnknown),
            "invalid" | "run" => Err(Refusal::Invalid(Failure::new(409, "not like that"))),
            "vanish" => return Ok((id, receiver)),
            "wait" => {
                self.asked(|asked| {
                    asked.requests.push(request);
                    asked.waiting.push((id, responder));
                });
                return Ok((id, receiver));
            }
            _ => Ok(completed(id, Outcome::success(request.input.clone()))),
        };
        self.asked(|asked| asked.requests.push(request));
        responder.send(result).expect("the receiver is below");
        Ok((id, receiver))
    }

    async fn send(&self, request: InvokeRequest) -> Result<Accepted, EngineError> {
        let known = request.idempotency_key.as_deref() == Some("known");
        let execute_at = request.execute_at;
        self.asked(|asked| asked.requests.push(request));
        Ok(Accepted { invocation: some_id(), known, execute_at })
    }

    async fn attach(&self, id: InvocationId) -> Result<Completion, EngineError> {
        self.asked(|asked| asked.results.get(&id).cloned().flatten()).ok_or(EngineError::NotFound(id))
    }

    async fn output(&self, id: InvocationId) -> Result<Option<Completion>, EngineError> {
        self.asked(|asked| asked.results.get(&id).cloned()).ok_or(EngineError::NotFound(id))
    }

    async fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> Result<Verdict, EngineError> {
        self.asked(|asked| asked.signals.push((target, signal, result)));
        Ok(match target.unique {
            7 => Verdict::Appended,
            9 => Verdict::AlreadyCompleted,
            _ => Verdict::NotFound,
        })
    }

    fn clock(&self) -> Millis {
        NOW
    }
}

fn service(name: &str, kind: Kind, handlers: &[&str]) -> ServiceDescriptor {
    let handler = |name: &&str| HandlerDescriptor {
        name: (*name).to_owned(),
        access: if *name == "run" { Access::Workflow } else { Access::Exclusive },
        form: Form::Turn,
        options: Options::default(),
        public: *name != "hidden",
        documentation: None,
    };
    let handlers = handlers.iter().map(handler).collect();
    ServiceDescriptor {
        name: name.to_owned(),
        kind,
        version: String::new(),
        options: Options::default(),
        handlers,
        documentation: None,
    }
}

fn settings() -> Settings {
    Settings { connections_max: 100, ..Settings::from(&config::Ingress::default()) }
}

/// A door that is open until the value is dropped.
struct Door {
    addr: SocketAddr,
    engine: Fake,
    health: Health,
    stop: Stop,
    served: JoinHandle<Drained>,
}

impl Door {
    fn open(settings: Settings) -> Self {
        Self::open_with(settings, Duration::from_secs(2))
    }

    fn open_with(settings: Settings, drain: Duration) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), "ingress").unwrap();
        let addr = listener.addr();
        let engine = Fake::default();
        let health = Health::default();
        health.enter(Phase::Ready);
        let stop = Stop::default();
        let handlers = [
            "add", "echo", "fail", "again", "refuse", "full", "stop", "lost", "invalid", "vanish", "wait", "hidden",
            "send", "limited",
        ];
        let services = [
            service("Counter", Kind::Object, &handlers),
            service("Greeter", Kind::Service, &handlers),
            service("Signup", Kind::Workflow, &["run", "echo", "invalid"]),
        ];
        let front = Front::new(engine.clone(), services.iter(), settings, health.clone());
        let served = tokio::spawn(front.serve(listener, settings, stop.clone(), drain));
        Self { addr, engine, health, stop, served }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.request();
    }
}
