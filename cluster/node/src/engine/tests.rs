//! What requests become, as the driver's queue receives it.

use std::time::Duration;

use abide_host::{Host, HostSettings};
use abide_model::id::NodeId;
use abide_sdk::service::{Executable, Fields, HandlerDescriptor, Instance, Options, Rate, StateError};
use crossbeam_channel::Receiver;

use super::*;
use crate::driver::{Event, Query};

/// A service of which nothing is ever run.
pub(super) struct Bound(pub(super) ServiceDescriptor);

impl Executable for Bound {
    fn descriptor(&self) -> &ServiceDescriptor {
        &self.0
    }

    fn instantiate(&self, _: &Fields) -> Result<Box<dyn Instance>, StateError> {
        unreachable!("nothing is run")
    }
}

const RETENTION: Retention = Retention { completed_ms: 1_000, journal_ms: 2_000, workflow_ms: 3_000 };

fn handler(name: &str, access: Access, options: Options) -> HandlerDescriptor {
    HandlerDescriptor { name: name.to_owned(), access, form: Form::Flow, options, public: true, documentation: None }
}

/// An engine whose driver is this test.
struct Desk {
    engine: Engine,
    events: Receiver<Event>,
    _host: Host,
}

impl Desk {
    fn new() -> Self {
        let second = Some(Duration::from_secs(1));
        let own = Options {
            retention: second,
            journal_retention: Some(Duration::ZERO),
            priority: Some(Priority::High),
            ..Options::default()
        };
        let service = |name: &str, kind, options, handlers| {
            let name = name.to_owned();
            Arc::new(Bound(ServiceDescriptor {
                name,
                kind,
                version: "v1".into(),
                options,
                handlers,
                documentation: None,
            }))
        };
        let limited = Options { rate: Some(Rate { count: 1, per: Duration::from_secs(3_600) }), ..Options::default() };
        let registry = Registry::builder()
            .with(service(
                "Object",
                Kind::Object,
                Options {
                    retention: Some(Duration::from_millis(7)),
                    state_ttl: second,
                    priority: Some(Priority::Low),
                    ..Options::default()
                },
                vec![
                    handler("plain", Access::Exclusive, Options::default()),
                    handler("own", Access::Exclusive, own.clone()),
                ],
            ))
            .with(service(
                "Signup",
                Kind::Workflow,
                Options::default(),
                vec![
                    handler("run", Access::Workflow, Options::default()),
                    handler("status", Access::Shared, Options::default()),
                ],
            ))
            .with(service(
                "Plain",
                Kind::Service,
                Options::default(),
                vec![handler("hi", Access::Shared, Options::default()), handler("rare", Access::Shared, limited)],
            ))
            .build();
        let (driver, events) = DriverHandle::new(16);
        let host = Host::start(registry.clone(), driver.clone(), HostSettings::default()).unwrap();
        let engine = Engine::new(registry, driver, host.handle(), 4, RETENTION, Cluster::new(NodeId(1)), None);
        // A partition that leads, as far as the engine can see.
        for partition in (0..4).map(PartitionId) {
            engine.cluster().leads(partition, 1, Some(NodeId(1)));
        }
        Self { engine, events: events.events, _host: host }
    }

    /// What the request becomes as a call.
    fn call(&self, request: InvokeRequest) -> Result<Invoke, EngineError> {
        let (id, _) = self.engine.call(request)?;
        let Ok(Event::Query(query)) = self.events.try_recv() else { panic!("nothing reached the driver") };
        let Query::Call { partition, invoke, .. } = *query else { panic!("another query") };
        assert_eq!(invoke.id(), Some(id));
        assert_eq!(partition, PartitionId::of(id.partition_key, 4));
        Ok(invoke)
    }

    /// What the request becomes as a send.
    fn send(&self, request: InvokeRequest) -> Invoke {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let engine = self.engine.clone();
        runtime.block_on(async {
            let sent = tokio::spawn(async move { engine.send(request).await });
            tokio::task::yield_now().await;
            let Ok(Event::Query(query)) = self.events.try_recv() else { panic!("nothing reached the driver") };
            let Query::Send { invoke, responder, .. } = *query else { panic!("another query") };
            let accepted = Accepted { invocation: invoke.id().unwrap(), known: false, execute_at: None };
            responder.send(Ok(accepted)).unwrap();
            assert_eq!(sent.await.unwrap(), Ok(accepted));
            invoke
        })
    }
}

fn request(service: &str, key: Option<&str>, handler: &str) -> InvokeRequest {
    InvokeRequest {
        service: service.into(),
        handler: handler.into(),
        key: key.map(str::to_owned),
        ..InvokeRequest::default()
    }
}

#[test]
fn options_hold_from_the_handler_outwards() {
    let desk = Desk::new();
    let with_key =
        |handler: &str| InvokeRequest { idempotency_key: Some("i".into()), ..request("Object", Some("k"), handler) };
    let plain = desk.call(with_key("plain")).unwrap();
    assert_eq!((plain.retention_ms, plain.journal_retention_ms, plain.state_ttl_ms), (7, 2_000, 1_000));
    assert!(!plain.one_way);
    let own = desk.call(with_key("own")).unwrap();
    assert_eq!((own.retention_ms, own.journal_retention_ms), (1_000, 0));
    let unkept = desk.call(request("Object", Some("k"), "own")).unwrap();
    assert_eq!(unkept.retention_ms, 0, "nobody can ask for it again");
    let sent = desk.send(request("Plain", None, "hi"));
    assert_eq!((sent.retention_ms, sent.state_ttl_ms, sent.one_way), (1_000, 0, true));
}

#[test]
fn the_request_says_the_priority_or_the_handler_or_the_service() {
    let desk = Desk::new();
    let class = |request| desk.call(request).unwrap().target.unwrap().class();
    assert_eq!(class(request("Object", Some("k"), "plain")), Priority::Low);
    assert_eq!(class(request("Object", Some("k"), "own")), Priority::High);
    assert_eq!(class(request("Plain", None, "hi")), Priority::Normal);
    let wish = |word: &str| {
        let headers = vec![Header { key: Priority::HEADER.into(), value: word.into() }];
        InvokeRequest { headers, ..request("Object", Some("k"), "own") }
    };
    for priority in Priority::ORDER {
        assert_eq!(class(wish(priority.word())), priority);
    }
    let refused = desk.call(wish("urgent")).unwrap_err();
    assert_eq!(refused.code(), error::INVALID_REQUEST);
    assert!(desk.events.is_empty());
}

#[test]
fn a_workflow_runs_under_the_id_of_its_key() {
    let desk = Desk::new();
    let id = InvocationId::workflow("Signup", "anna");
    let called = desk.call(request("Signup", Some("anna"), "run")).unwrap();
    assert_eq!((called.id(), called.retention_ms), (Some(id), 3_000));
    let sent = desk.send(request("Signup", Some("anna"), "run"));
    assert_eq!((sent.id(), sent.one_way), (Some(id), true));
    assert_eq!(sent.target.unwrap().access(), Access::Workflow);
    let status = desk.call(request("Signup", Some("anna"), "status")).unwrap();
    assert_ne!(status.id(), Some(id));
    assert_eq!(status.id().unwrap().partition_key, id.partition_key);
    let keyed = InvokeRequest { idempotency_key: Some("i".into()), ..request("Signup", Some("anna"), "run") };
    let refused = desk.call(keyed).unwrap_err();
    assert_eq!(refused.code(), error::INVALID_REQUEST);
    assert!(refused.to_string().contains("takes no idempotency key"), "{refused}");
}

#[test]
fn a_rate_limit_refuses_before_anything_is_accepted() {
    let desk = Desk::new();
    desk.call(request("Plain", None, "rare")).unwrap();
    let refused = desk.call(request("Plain", None, "rare")).unwrap_err();
    assert_eq!(refused.code(), error::RATE_LIMITED);
    let EngineError::Refused(Refusal::RateLimited { retry_after }) = refused else { panic!("{refused}") };
    assert!(retry_after > Duration::from_secs(3_590), "{retry_after:?}");
    assert!(desk.events.is_empty());
    desk.call(request("Plain", None, "hi")).unwrap();
}

#[test]
fn an_edit_takes_its_place_in_the_mailbox() {
    let desk = Desk::new();
    let object = ObjectId { service: "Signup".into(), key: "k".into() };
    let edit = StateEdit { replace: true, ..StateEdit::default() };
    let (id, _) = desk.engine.edit(object, &edit).unwrap();
    let Ok(Event::Query(query)) = desk.events.try_recv() else { panic!("nothing reached the driver") };
    let Query::Call { invoke, .. } = *query else { panic!("another query") };
    assert_eq!((invoke.id(), invoke.input.as_ref()), (Some(id), edit.encode_to_vec().as_slice()));
    let target = invoke.target.unwrap();
    assert_eq!(
        (target.access(), target.form(), target.to_string()),
        (Access::Exclusive, Form::Edit, "Signup/k/edit".into())
    );
    for (service, code) in [("Plain", error::INVALID_REQUEST), ("Nobody", error::NOT_FOUND)] {
        let object = ObjectId { service: service.into(), key: "k".into() };
        assert_eq!(desk.engine.edit(object, &edit).unwrap_err().code(), code);
    }
}
