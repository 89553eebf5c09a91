//! The admin API as its clients see it, with an engine of this file behind it.

mod bulk;
mod invocations;
mod letters;
mod orders;
mod real;
mod state;

use std::sync::Mutex;

use abide_host::port::{Completion, Refusal};
use abide_model::command::{Access, Form, Outcome, StateEdit, StateVersion, Target};
use abide_model::effect::Answer as Verdict;
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::{Code, Failure, Input, RawMessage, Value as Content};
use abide_model::table::{InvocationRow, JournalRow, LetterRow};
use abide_sdk::service::{HandlerDescriptor, Kind, Options, Rate, RetryPolicy};
use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::backend::Pending;
use crate::engine::{EngineError, InvocationDetails, Order};
use crate::inspect::{Cursor, Filter, JournalPage, Letter, LetterAddress, ObjectState, Page};
use crate::metrics::recorder;

type Asked<T> = Result<T, EngineError>;

/// Answers orders by the unique part of the id: 0 done, 1 appended, 2 unknown, 3 completed, 4 too early, 5 overloaded, 6
/// created, 7 conflict, 8 journal gone, 9 unsupported, 10 invalid. Remembers what it was asked.
#[derive(Default)]
struct Fake {
    orders: Mutex<Vec<(InvocationId, Order)>>,
    edits: Mutex<Vec<(ObjectId, StateEdit)>>,
    filters: Mutex<Vec<Filter>>,
    /// Invocations that lists have.
    listed: Vec<u128>,
    /// Edits that are never answered.
    queued: Mutex<Vec<oneshot::Sender<Result<Completion, Refusal>>>>,
}

const NOW: Millis = Millis(1_795_416_432_191);

fn verdict(number: u128) -> Asked<Verdict> {
    let refused = |code| Ok(Verdict::Refused(Failure::new(code, format!("refused with {code}"))));
    match number {
        0 => Ok(Verdict::Done),
        1 => Ok(Verdict::Appended),
        2 => Ok(Verdict::NotFound),
        3 => Ok(Verdict::AlreadyCompleted),
        4 => refused(425),
        6 => Ok(Verdict::Created(id(60))),
        7 => refused(409),
        8 => refused(410),
        9 => refused(422),
        10 => refused(400),
        _ => Err(EngineError::Refused(Refusal::Overloaded)),
    }
}

impl Backend for Fake {
    async fn control(&self, target: InvocationId, order: Order) -> Asked<Verdict> {
        self.orders.lock().unwrap().push((target, order));
        verdict(target.unique)
    }

    async fn describe(&self, id: InvocationId) -> Asked<Option<InvocationDetails>> {
        Ok((id.unique != 2).then(|| invocations::described(id)))
    }

    async fn journal(&self, id: InvocationId, from: u32, limit: usize) -> Asked<Option<JournalPage>> {
        let entries = invocations::entries().into_iter().skip(from as usize).take(limit).collect();
        let len = u32::try_from(invocations::entries().len()).unwrap();
        Ok((id.unique != 2).then_some(JournalPage { from, entries, len }))
    }

    /// Pages of at most two.
    async fn list(
        &self,
        filter: Filter,
        limit: usize,
        after: Option<Cursor>,
    ) -> Asked<Page<InvocationDetails, Cursor>> {
        self.filters.lock().unwrap().push(filter);
        let begin = match after.map(|cursor| cursor.place) {
            Some(crate::inspect::Place::Active(last)) => {
                self.listed.iter().position(|unique| *unique == last.unique).unwrap() + 1
            }
            _ => 0,
        };
        let end = (begin + limit.min(2)).min(self.listed.len());
        let items: Vec<_> = self.listed[begin..end].iter().map(|unique| invocations::active(id(*unique))).collect();
        let last = items.last().map(|invocation| crate::inspect::Place::Active(invocation.id));
        let next = last.filter(|_| end < self.listed.len());
        Ok(Page { items, next: next.map(|place| Cursor { partition: PartitionId(0), place }) })
    }

    async fn state(&self, object: ObjectId) -> Asked<ObjectState> {
        Ok(state::stored(&object))
    }

    async fn keys(
        &self,
        service: &str,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
    ) -> Asked<Page<String, String>> {
        let items = vec![format!("{service}|{prefix}|{limit}|{after:?}")];
        Ok(Page { items, next: after.is_none().then(|| "p0.kx".to_owned()) })
    }

    /// By key: `fail` conflicts, `queue` waits for ever, `lost` loses the answer.
    fn edit(&self, object: ObjectId, edit: &StateEdit) -> Asked<(InvocationId, Pending)> {
        let (responder, receiver) = oneshot::channel();
        let end = |outcome| Ok(Completion { invocation: id(70), outcome, expires_at: None });
        match object.key.as_str() {
            "fail" => responder.send(end(Outcome::failure(Failure::new(409, "the state is another one")))).unwrap(),
            "queue" => self.queued.lock().unwrap().push(responder),
            "lost" => drop(responder),
            _ => responder.send(end(Outcome::success(Bytes::new()))).unwrap(),
        }
        self.edits.lock().unwrap().push((object, edit.clone()));
        Ok((id(70), receiver))
    }

    async fn letters(&self, service: Option<&str>, limit: usize, after: Option<&str>) -> Asked<Page<Letter, String>> {
        Ok(letters::stored(service, limit, after))
    }

    async fn letter(&self, at: &LetterAddress) -> Asked<Option<Letter>> {
        Ok((at.seq != 2).then(|| letters::letter(at.seq)))
    }

    async fn redrive(&self, at: &LetterAddress) -> Asked<Verdict> {
        verdict(at.seq.into())
    }

    async fn drop_letter(&self, at: &LetterAddress) -> Asked<Verdict> {
        verdict(at.seq.into())
    }

    fn clock(&self) -> Millis {
        NOW
    }
}

fn services() -> Vec<ServiceDescriptor> {
    let handler = |name: &str, access, retry| HandlerDescriptor {
        name: name.to_owned(),
        access,
        form: Form::Turn,
        options: Options { retry, ..Options::default() },
        public: name != "hidden",
        documentation: Some(format!("About {name}.")),
    };
    let handlers =
        vec![handler("add", Access::Exclusive, Some(RetryPolicy::default())), handler("hidden", Access::Shared, None)];
    let counter = ServiceDescriptor {
        name: "Counter".into(),
        kind: Kind::Object,
        version: String::new(),
        options: Options::default(),
        handlers,
        documentation: None,
    };
    let mut run = handler("run", Access::Workflow, None);
    run.options.retention = Some(Duration::from_secs(60));
    let signup = ServiceDescriptor {
        name: "Signup".into(),
        kind: Kind::Workflow,
        version: "v2".into(),
        options: Options {
            journal_retention: Some(Duration::from_secs(3_600)),
            rate: Some(Rate { count: 5, per: Duration::from_secs(1) }),
            ..Options::default()
        },
        handlers: vec![run, handler("status", Access::Shared, None)],
        documentation: None,
    };
    let greeter = ServiceDescriptor {
        name: "Greeter".into(),
        kind: Kind::Service,
        handlers: vec![handler("hi", Access::Shared, None)],
        ..counter.clone()
    };
    vec![counter, greeter, signup]
}

fn office() -> Office<Fake> {
    office_with(Fake::default())
}

fn office_with(engine: Fake) -> Office<Fake> {
    let health = Health::default();
    health.enter(Phase::Ready);
    let ingress = SocketAddr::from(([127, 0, 0, 1], 8080));
    Office::new(engine, services(), &Config::default(), ingress, recorder().clone(), health)
}

/// The router behind the guard, as it is served on 127.0.0.1.
fn guarded(router: Router) -> Router {
    let rejections = Arc::new(Rejections::new("admin"));
    let hosts = Hosts::new(([127, 0, 0, 1], 9070).into(), &[], rejections, DoorMetrics::new("admin"));
    router.layer(middleware::from_fn_with_state(Arc::new(hosts), guard::check))
}

async fn send_to(router: Router, request: Request<Body>) -> (u16, Value) {
    let response = guarded(router).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (status, value)
}

async fn send(request: Request<Body>) -> (u16, Value) {
    send_to(office().router(), request).await
}

fn request(method: Method, path: &str, body: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "localhost:9070").body(body.to_owned().into()).unwrap()
}

async fn ask(method: Method, path: &str) -> (u16, Value) {
    send(request(method, path, "")).await
}

/// An API whose engine can be looked at.
struct Api(Arc<Office<Fake>>);

impl Api {
    fn new(engine: Fake) -> Self {
        Self(Arc::new(office_with(engine)))
    }

    fn engine(&self) -> &Fake {
        &self.0.engine
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        send_to(routes(Arc::clone(&self.0), Router::new()), request(method, path, body)).await
    }

    /// The orders that were given since the last look.
    fn orders(&self) -> Vec<(InvocationId, Order)> {
        std::mem::take(&mut self.engine().orders.lock().unwrap())
    }

    fn edits(&self) -> Vec<(ObjectId, StateEdit)> {
        std::mem::take(&mut self.engine().edits.lock().unwrap())
    }
}

fn id(unique: u128) -> InvocationId {
    InvocationId { partition_key: PartitionKey(1), unique }
}

#[tokio::test]
async fn health_version_and_metrics() {
    assert_eq!(ask(Method::GET, "/health").await, (200, "".into()));
    for prefix in ["", "/v2", "/v3", "/v4"] {
        let (status, version) = ask(Method::GET, &format!("{prefix}/version")).await;
        assert_eq!((status, &version["max_admin_api_version"]), (200, &4.into()), "{prefix}");
        assert_eq!(version["ingress_endpoint"], "http://127.0.0.1:8080/");
    }
    assert_eq!(ask(Method::GET, "/v1/version").await.0, 400);
    let (status, page) = ask(Method::GET, "/metrics").await;
    assert!(status == 200 && page.as_str().unwrap().contains("# TYPE abide_build_info gauge"), "{page}");
}

#[tokio::test]
async fn a_node_that_does_not_serve_says_so() {
    let office = office();
    office.health.enter(Phase::Stopping);
    let request = Request::builder().uri("/health").body(Body::empty()).unwrap();
    let response = office.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn services_are_described() {
    let (status, all) = ask(Method::GET, "/services").await;
    let (_, counter) = ask(Method::GET, "/services/Counter").await;
    assert_eq!((status, &all["services"][0]), (200, &counter));
    for (field, value) in [
        ("name", json!("Counter")),
        ("ty", json!("VirtualObject")),
        ("deployment_id", json!("dp_native")),
        ("revision", json!(1)),
        ("public", json!(true)),
        ("idempotency_retention", json!("1d")),
        ("inactivity_timeout", json!("30s")),
    ] {
        assert_eq!(counter[field], value, "{field}");
    }
    assert_eq!(
        counter["retry_policy"],
        json!({ "initial_interval": "500ms", "exponentiation_factor": 2.0, "max_attempts": 70, "max_interval": "1m",
                "on_max_attempts": "Pause" })
    );
    let (_, handlers) = ask(Method::GET, "/services/Counter/handlers").await;
    assert_eq!(handlers["handlers"], counter["handlers"]);
    let (_, hidden) = ask(Method::GET, "/services/Counter/handlers/hidden").await;
    assert_eq!((&hidden["ty"], &hidden["public"]), (&json!("Shared"), &json!(false)));
    assert_eq!(hidden["documentation"], "About hidden.");
    for path in ["/services/Nobody", "/services/Nobody/handlers", "/services/Counter/handlers/nothing", "/nothing"] {
        let (status, body) = ask(Method::GET, path).await;
        assert_eq!(
            (status, &body["abide_code"], &body["restate_code"]),
            (404, &json!("AB0404"), &Value::Null),
            "{path}"
        );
    }
    assert_eq!(ask(Method::POST, "/services").await.0, 405);
}

#[tokio::test]
async fn services_say_what_holds_for_them() {
    let (_, signup) = ask(Method::GET, "/services/Signup").await;
    for (field, value) in [
        ("ty", json!("Workflow")),
        ("version", json!("v2")),
        ("workflow_completion_retention", json!("1d")),
        ("journal_retention", json!("1h")),
        ("rate", json!("5 per 1s")),
    ] {
        assert_eq!(signup[field], value, "{field}");
    }
    let (_, run) = ask(Method::GET, "/services/Signup/handlers/run").await;
    assert_eq!((&run["ty"], &run["idempotency_retention"]), (&json!("Workflow"), &Value::Null));
    assert_eq!(run["journal_retention"], "1h");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let request = |headers: &[(&str, &str)]| {
        let mut request = Request::builder().uri("/version");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    for headers in [
        &[("host", "evil.example")][..],
        &[("host", "evil.example:9070")],
        &[("host", "localhost.evil.example")],
        &[("host", "")],
        &[],
        &[("host", "localhost"), ("origin", "http://evil.example")],
        &[("host", "localhost"), ("origin", "null")],
        &[("host", "localhost:9070"), ("origin", "http://localhost:3000")],
    ] {
        let (status, body) = send(request(headers)).await;
        assert_eq!((status, &body["abide_code"]), (403, &json!("AB0400")), "{headers:?}");
    }
    for headers in [
        &[("host", "127.0.0.1:9070")][..],
        &[("host", "[::1]:1")],
        &[("host", "localhost:9070"), ("origin", "http://localhost:9070")],
    ] {
        assert_eq!(send(request(headers)).await.0, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn the_door_does_not_open_to_the_network_by_itself() {
    let open = |allow_remote: bool| async move {
        let listener = Listener::bind(([0, 0, 0, 0], 0).into(), "admin").unwrap();
        let mut config = Config::default();
        config.admin.allow_remote = allow_remote;
        let stop = Stop::default();
        stop.request();
        office().serve(listener, &config, stop, Duration::ZERO).await
    };
    let refused = open(false).await.unwrap_err();
    assert!(refused.to_string().contains("admin.allow_remote = true"));
    assert_eq!(open(true).await, Ok(Drained { cut: 0 }));
}
