use abide_host::port::{Completion, Refusal};
use abide_model::command::{Access, Form, Outcome, Target};
use abide_model::id::{Millis, PartitionKey};
use abide_model::protocol::{Code, Failure, RawMessage, SignalId, SignalResult};
use abide_model::table::JournalRow;
use abide_sdk::service::{HandlerDescriptor, Kind, Options, RetryPolicy};
use axum::body::Body;
use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::backend::Pending;
use crate::engine::{Accepted, EngineError, InvocationDetails, InvokeRequest};
use crate::metrics::recorder;

/// Answers orders by the unique part of the id: 0 done, 1 appended, 2 unknown, 3 completed, 4 too early, 5 overloaded.
struct Fake;

impl Backend for Fake {
    fn call(&self, _: InvokeRequest) -> Result<(InvocationId, Pending), EngineError> {
        Err(EngineError::Refused(Refusal::Overloaded))
    }

    async fn send(&self, _: InvokeRequest) -> Result<Accepted, EngineError> {
        Err(EngineError::Refused(Refusal::Overloaded))
    }

    async fn attach(&self, id: InvocationId) -> Result<Completion, EngineError> {
        Err(EngineError::NotFound(id))
    }

    async fn output(&self, id: InvocationId) -> Result<Option<Completion>, EngineError> {
        Err(EngineError::NotFound(id))
    }

    async fn signal(&self, _: InvocationId, _: SignalId, _: SignalResult) -> Result<Verdict, EngineError> {
        Ok(Verdict::Done)
    }

    async fn control(&self, target: InvocationId, _: Verb) -> Result<Verdict, EngineError> {
        match target.unique {
            0 => Ok(Verdict::Done),
            1 => Ok(Verdict::Appended),
            2 => Ok(Verdict::NotFound),
            3 => Ok(Verdict::AlreadyCompleted),
            4 => Ok(Verdict::Refused(Failure::new(425, "not started yet"))),
            _ => Err(EngineError::Refused(Refusal::Overloaded)),
        }
    }

    async fn describe(&self, id: InvocationId) -> Result<Option<InvocationDetails>, EngineError> {
        let target = Target {
            service: "Counter".into(),
            handler: "add".into(),
            key: Some("k".into()),
            access: Access::Exclusive as i32,
            form: Form::Flow as i32,
            ..Target::default()
        };
        let input = RawMessage { code: Code::INPUT, payload: Bytes::from_static(b"12345") };
        Ok((id.unique != 2).then(|| InvocationDetails {
            id,
            status: "completed",
            target,
            created_at: Millis(0),
            modified_at: Millis(2_000),
            completed_at: Some(Millis(2_000)),
            attempt: 2,
            failures: 1,
            last_failure: Some(Failure::new(500, "once")),
            outcome: Some(Outcome::failure(Failure::new(409, "twice"))),
            idempotency_key: Some("i".into()),
            invoked_by: None,
            journal: vec![JournalRow::new(input, Millis(1_000))],
            next_retry_at: None,
            scheduled_at: None,
        }))
    }

    fn clock(&self) -> Millis {
        Millis(0)
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
    vec![ServiceDescriptor {
        name: "Counter".into(),
        kind: Kind::Object,
        version: String::new(),
        options: Options::default(),
        handlers,
        documentation: None,
    }]
}

fn office() -> Office<Fake> {
    let health = Health::default();
    health.enter(Phase::Ready);
    let ingress = SocketAddr::from(([127, 0, 0, 1], 8080));
    Office::new(Fake, services(), &Config::default(), ingress, recorder().clone(), health)
}

/// The router behind the guard, as it is served on 127.0.0.1.
fn guarded() -> Router {
    let rejections = Arc::new(Rejections::new("admin"));
    let hosts = Hosts::new(([127, 0, 0, 1], 9070).into(), &[], rejections, DoorMetrics::new("admin"));
    office().router().layer(middleware::from_fn_with_state(Arc::new(hosts), guard::check))
}

async fn send(request: Request<Body>) -> (u16, Value) {
    let response = guarded().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    assert!(response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (status, value)
}

async fn ask(method: Method, path: &str) -> (u16, Value) {
    send(Request::builder().method(method).uri(path).header("host", "localhost:9070").body(Body::empty()).unwrap())
        .await
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
async fn invocations_are_described_with_their_journal() {
    let (status, details) = ask(Method::GET, &format!("/invocations/{}", id(0))).await;
    assert_eq!(status, 200);
    for (field, value) in [
        ("id", json!(id(0).to_string())),
        ("status", json!("completed")),
        ("target", json!("Counter/k/add")),
        ("target_service_key", json!("k")),
        ("completed_at", json!("1970-01-01T00:00:02Z")),
        ("last_failure", json!({ "code": 500, "message": "once" })),
        ("outcome", json!({ "result": "failure", "failure": { "code": 409, "message": "twice" } })),
        ("idempotency_key", json!("i")),
        ("invoked_by", Value::Null),
        (
            "journal",
            json!([{ "index": 0, "code": "0400", "type": "Input", "appended_at": "1970-01-01T00:00:01Z", "bytes": 5 }]),
        ),
    ] {
        assert_eq!(details[field], value, "{field}");
    }
    let (status, unknown) = ask(Method::GET, &format!("/invocations/{}", id(2))).await;
    assert_eq!(status, 404);
    assert_eq!(unknown["message"], format!("The requested invocation '{}' does not exist", id(2)));
    let (status, malformed) = ask(Method::GET, "/invocations/inv_x").await;
    assert_eq!(status, 400);
    assert!(malformed["message"].as_str().unwrap().contains("'invocation_id' is invalid. Reason: bad format"));
}

#[tokio::test]
async fn orders_are_answered_by_their_code() {
    for verb in ["cancel", "kill", "resume"] {
        for (unique, status) in [(0, 200), (1, 202), (2, 404), (3, 409), (4, 425), (5, 429)] {
            let (answered, body) = ask(Method::PATCH, &format!("/v3/invocations/{}/{verb}", id(unique))).await;
            assert_eq!(answered, status, "{verb} {unique}");
            assert_eq!(body == json!(""), status < 300, "{verb} {unique}: {body}");
        }
    }
    let (_, completed) = ask(Method::PATCH, &format!("/invocations/{}/kill", id(3))).await;
    assert_eq!(completed["message"], format!("The invocation '{}' was already completed.", id(3)));
    assert_eq!(ask(Method::PATCH, &format!("/invocations/{}/resume?deployment=latest", id(0))).await.0, 200);
    assert_eq!(ask(Method::PATCH, &format!("/invocations/{}/resume?deployment=dp_1x", id(0))).await.0, 400);
    assert_eq!(ask(Method::PATCH, &format!("/invocations/{}/explode", id(0))).await.0, 404);
    assert_eq!(ask(Method::PATCH, "/invocations/inv_x/kill").await.0, 400);
    for (query, unique, status) in [
        ("", 0, 202),
        ("?mode=kill", 1, 202),
        ("?mode=cancel", 3, 202),
        ("?mode=kill", 2, 404),
        ("?mode=erase", 0, 400),
    ] {
        let path = format!("/invocations/{}{query}", id(unique));
        assert_eq!(ask(Method::DELETE, &path).await.0, status, "{path}");
    }
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
    ] {
        let (status, body) = send(request(headers)).await;
        assert_eq!((status, &body["abide_code"]), (403, &json!("AB0400")), "{headers:?}");
    }
    for headers in [
        &[("host", "127.0.0.1:9070")][..],
        &[("host", "[::1]:1")],
        &[("host", "localhost"), ("origin", "http://localhost:9070")],
    ] {
        assert_eq!(send(request(headers)).await.0, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn the_door_does_not_open_to_the_network_by_itself() {
    let open = |allow_remote: bool| async move {
        let listener = Listener::bind(([0, 0, 0, 0], 0).into(), "admin").await.unwrap();
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
