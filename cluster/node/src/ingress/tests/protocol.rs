//! Paths, headers, codes and bodies of service protocol §4.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::client::{Client, get, post, request};
use super::*;

#[tokio::test]
async fn a_call_is_answered_with_the_output() {
    let door = Door::open(settings());
    let reply = request(
        door.addr,
        "POST /Counter/a%20b/add?x=1",
        &[
            ("content-type", "application/json"),
            ("idempotency-key", "tx"),
            ("x-own", "1"),
            ("Connection", "keep-alive"),
        ],
        "42",
    )
    .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "42"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("x-restate-id").unwrap(), some_id().to_string().to_ascii_lowercase());
    assert_eq!(reply.header("idempotency-expires"), None);
    assert_eq!(reply.header("x-restate-error-source"), None);
    let asked = door.engine.last_request();
    assert_eq!((asked.service.as_str(), asked.key.as_deref(), asked.handler.as_str()), ("Counter", Some("a b"), "add"));
    assert_eq!(asked.idempotency_key.as_deref(), Some("tx"));
    let headers: Vec<_> = asked.headers.iter().map(|header| format!("{}={}", header.key, header.value)).collect();
    assert_eq!(
        headers,
        [
            "x-restate-ingress-path=/Counter/a%20b/add?x=1",
            "content-length=2",
            "content-type=application/json",
            "x-own=1"
        ]
    );
}

#[tokio::test]
async fn an_empty_output_has_no_content_type() {
    let door = Door::open(settings());
    let reply = get(door.addr, "/restate/call/Greeter/echo/").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert_eq!(reply.header("content-type"), None);
    assert_eq!(door.engine.last_request().key, None);
}

#[tokio::test]
async fn a_result_from_the_record_says_until_when_it_is_kept() {
    let door = Door::open(settings());
    let reply = post(door.addr, "/Greeter/again", "1").await;
    assert_eq!(reply.header("idempotency-expires"), Some("2026-11-23t06:47:12.191000000z"));
}

#[tokio::test]
async fn sends_are_accepted() {
    let door = Door::open(settings());
    let id = some_id().to_string();
    let reply = post(door.addr, "/Greeter/echo/send", "1").await;
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json(), json!({ "invocationId": id, "status": "Accepted" }));
    assert_eq!(reply.header("x-restate-id").unwrap(), id.to_ascii_lowercase());
    assert_eq!(door.engine.last_request().execute_at, None);

    let delayed = post(door.addr, "/restate/send/Counter/k/add?delay=PT60S", "1").await.json();
    assert_eq!(
        delayed,
        json!({ "invocationId": id, "status": "Accepted", "executionTime": "2026-11-23T06:48:12.191000000Z" })
    );
    assert_eq!(door.engine.last_request().execute_at, Some(NOW.plus(60_000)));

    let headers = [("idempotency-key", "known"), ("content-type", "application/json")];
    let known = request(door.addr, "POST /Greeter/echo/send?delay=0", &headers, "1").await;
    assert_eq!(known.json()["status"], "PreviouslyAccepted");
}

#[tokio::test]
async fn priorities_are_checked_and_handed_on() {
    let door = Door::open(settings());
    for word in ["high", "normal", "low"] {
        let headers = [("x-abide-priority", word), ("content-type", "application/json")];
        let reply = request(door.addr, "POST /Counter/k/add", &headers, "1").await;
        assert_eq!(reply.status, 200);
        let headers = door.engine.last_request().headers;
        assert_eq!(Priority::of_headers(&headers).unwrap().unwrap().word(), word);
    }
    for line in ["POST /Counter/k/add", "POST /Counter/k/add/send"] {
        let reply = request(door.addr, line, &[("x-abide-priority", "urgent")], "").await;
        let body = reply.json();
        assert_eq!((reply.status, &body["abide_code"]), (400, &"AB0400".into()));
        assert!(body["message"].as_str().unwrap().contains("write `high`, `normal` or `low`"), "{body}");
    }
    assert_eq!(door.engine.asked(|asked| asked.requests.len()), 3);
}

/// Every error that the ingress makes: status, code of the body, stable code, source.
#[tokio::test]
async fn errors_of_the_ingress() {
    let door = Door::open(settings());
    for (line, status, code, message) in [
        ("GET /", 400, "AB0400", "bad path"),
        ("POST /Counter/add", 400, "AB0400", "expected /{object}/{key}/{handler}"),
        ("POST /Nobody/hi", 404, "AB0404", "`Nobody`"),
        ("POST /Counter/k/nothing", 404, "AB0404", "service `Counter` exists, but has no handler `nothing`"),
        ("POST /Counter/k/hidden", 400, "AB0400", "the invoked service is not public"),
        ("PUT /Counter/k/add", 405, "AB0400", "GET, POST"),
        ("DELETE /Counter/k/hidden", 405, "AB0400", "GET, POST"),
        ("POST /restate/health", 405, "AB0400", "GET"),
        ("GET /restate/lookup", 405, "AB0400", "POST"),
        ("POST /Counter/k/add?delay=1s", 400, "AB0400", "only sends can be delayed"),
        ("POST /Counter/k/add/send?delay=soon", 400, "AB0400", "bad delay"),
        ("POST /Counter/k/add?at=1", 400, "AB0400", "only sends can be delayed"),
        ("POST /Counter/k/add/send?at=soon", 400, "AB0400", "RFC 3339"),
        ("POST /Counter/k/add/send?at=1&delay=1s", 400, "AB0400", "exclude each other"),
        ("GET /restate/invocation/inv_x/signal/go", 405, "AB0400", "POST"),
        ("POST /restate/invocation/inv_x/signal/go", 400, "AB0400", "bad invocation id"),
        ("POST /Greeter/limited", 429, "AB0431", "a rate limit is reached"),
        ("GET /restate/invocation/inv_x/attach", 400, "AB0400", "bad invocation id"),
        ("POST /restate/a/sign_x/resolve", 400, "AB0400", "bad awakeable id"),
        ("POST /restate/attach", 400, "AB0400", "bad target"),
        ("GET /restate/invocation/Nobody/h/i/attach", 404, "AB0404", "`Nobody`"),
        ("GET /restate/invocation/Greeter/nothing/i/attach", 404, "AB0404", "`nothing`"),
        ("GET /restate/invocation/Counter/add/i/attach", 400, "AB0400", "name one"),
        ("GET /restate/workflow/Nobody/k/attach", 404, "AB0404", "`Nobody`"),
        ("GET /restate/workflow/Counter/k/output", 400, "AB0400", "not a workflow"),
        ("POST /Greeter/refuse", 429, "AB0429", "try again later"),
        ("POST /Greeter/full", 429, "AB0430", "mailbox is full"),
        ("POST /Greeter/stop", 503, "AB0503", "shutting down"),
        ("POST /Greeter/lost", 504, "AB0504", "same idempotency key"),
        ("POST /Greeter/vanish", 504, "AB0504", &*format!("ask for the result of `{}`", some_id())),
        ("POST /Greeter/invalid", 409, "AB0419", "not like that"),
    ] {
        let reply = request(door.addr, line, &[], "").await;
        let body = reply.json();
        assert_eq!(reply.status, status, "{line}: {reply:?}");
        assert_eq!(body["code"], status, "{line}");
        assert_eq!(body["source"], "ingress", "{line}");
        assert_eq!(body["abide_code"], code, "{line}");
        assert!(body["message"].as_str().unwrap().contains(message), "{line}: {body}");
        assert_eq!(reply.header("x-restate-error-source"), Some("ingress"), "{line}");
        assert_eq!(reply.header("retry-after").is_some(), matches!(status, 429 | 503), "{line}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{line}");
        let id_is_known = status >= 409 && !line.contains("refuse") && !line.contains("limited");
        assert_eq!(reply.header("x-restate-id").is_some(), id_is_known, "{line}");
    }
}

#[tokio::test]
async fn the_failure_of_an_invocation_is_its_own() {
    let door = Door::open(settings());
    let reply = post(door.addr, "/Greeter/fail", "1").await;
    assert_eq!(reply.status, 418);
    assert_eq!(
        reply.json(),
        json!({ "code": 418, "message": "no coffee", "source": "invocation", "metadata": { "abide-error": "{}" } })
    );
    assert_eq!(reply.header("x-restate-error-source"), Some("invocation"));
    assert!(reply.header("x-restate-id").is_some());
}

#[tokio::test]
async fn native_handlers_take_json() {
    let door = Door::open(settings());
    for (content_type, body, status) in [
        (Some("application/json"), "1", 200),
        (Some("application/json; charset=utf-8"), "", 200),
        (None, "", 200),
        (None, "1", 400),
        (Some("text/plain"), "1", 400),
        (Some("text/plain"), "", 400),
    ] {
        let headers: Vec<_> = content_type.iter().map(|value| ("content-type", *value)).collect();
        let reply = request(door.addr, "POST /Greeter/echo", &headers, body).await;
        assert_eq!(reply.status, status, "{content_type:?} {body}");
        if status == 400 {
            assert_eq!(reply.json()["abide_code"], "AB0415");
            assert!(reply.json()["message"].as_str().unwrap().starts_with("input validation error: "));
        }
    }
}

#[tokio::test]
async fn results_are_found_by_every_name() {
    let door = Door::open(settings());
    let idempotent = InvocationId::idempotent("Counter", Some("k"), "add", "i");
    let running = some_id();
    door.engine.asked(|asked| {
        asked.results.insert(idempotent, Some(completed(idempotent, Outcome::success("7".into()))));
        asked.results.insert(running, None);
    });
    let body =
        r#"{"target":"idempotentInvocation","service":"Counter","key":"k","handler":"add","idempotencyKey":"i"}"#;
    for verb in ["attach", "output"] {
        for reply in [
            get(door.addr, &format!("/restate/invocation/{idempotent}/{verb}")).await,
            get(door.addr, &format!("/restate/invocation/Counter/k/add/i/{verb}")).await,
            get(door.addr, &format!("/restate/{verb}/{idempotent}")).await,
            post(door.addr, &format!("/restate/{verb}"), body).await,
            post(
                door.addr,
                &format!("/restate/{verb}"),
                &json!({ "target": "invocation", "invocationId": idempotent.to_string() }).to_string(),
            )
            .await,
        ] {
            assert_eq!((reply.status, reply.body.as_str()), (200, "7"), "{reply:?}");
            assert_eq!(reply.header("x-restate-id").unwrap(), idempotent.to_string().to_ascii_lowercase());
        }
    }
    let lookup = post(door.addr, "/restate/lookup", body).await;
    assert_eq!((lookup.status, lookup.json()), (200, json!({ "invocationId": idempotent.to_string() })));

    let not_ready = get(door.addr, &format!("/restate/output/{running}")).await;
    assert_eq!(not_ready.status, 470);
    assert_eq!(
        not_ready.json(),
        json!({ "code": 470, "message": "the invocation exists but has not completed yet", "source": "ingress" })
    );
    let unknown = InvocationId::idempotent("Counter", Some("k"), "add", "other");
    let output = get(door.addr, &format!("/restate/output/{unknown}")).await;
    assert_eq!((output.status, &output.json()["message"]), (404, &Value::from("invocation not found")));
    assert_eq!(output.header("x-restate-error-source"), Some("ingress"));
    let attach = get(door.addr, &format!("/restate/attach/{unknown}")).await;
    assert_eq!((attach.status, &attach.json()["message"]), (404, &Value::from("not found")));
    assert_eq!(attach.header("x-restate-error-source"), Some("invocation"));
    assert_eq!(attach.header("x-restate-id").unwrap(), unknown.to_string().to_ascii_lowercase());
}

#[tokio::test]
async fn awakeables_are_completed() {
    let door = Door::open(settings());
    let id = AwakeableId { invocation: some_id(), signal: 17 };
    let elsewhere = InvocationId { unique: 8, ..some_id() };
    let done = AwakeableId { invocation: elsewhere, signal: 18 };
    for (path, body) in [
        (format!("/restate/awakeables/{id}/resolve"), "\"yes\""),
        (format!("/restate/a/{id}/reject"), "no luck"),
        (format!("/restate/a/{done}/resolve"), ""),
    ] {
        let reply = request(door.addr, &format!("POST {path}"), &[("content-type", "text/odd")], body).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{path}");
    }
    let signals = door.engine.asked(|asked| std::mem::take(&mut asked.signals));
    let value =
        |content: &'static str| SignalResult::Value(abide_model::protocol::Value { content: Bytes::from(content) });
    assert_eq!(
        signals,
        [
            (some_id(), SignalId::Index(17), value("\"yes\"")),
            (some_id(), SignalId::Index(17), SignalResult::Failure(Failure::new(500, "no luck"))),
            (elsewhere, SignalId::Index(18), value("")),
        ]
    );
    let cancel = AwakeableId { invocation: some_id(), signal: 1 };
    let refused = post(door.addr, &format!("/restate/a/{cancel}/resolve"), "").await;
    assert_eq!(refused.status, 400);
    assert!(door.engine.asked(|asked| asked.signals.is_empty()));
}

#[tokio::test]
async fn sends_start_at_a_time() {
    let door = Door::open(settings());
    for (at, expected) in [
        ("2026-11-23T06:48:12.191Z", Some(NOW.plus(60_000))),
        ("2026-11-23T07:48:12.191+01:00", Some(NOW.plus(60_000))),
        ("1795416432192", Some(NOW.plus(1))),
        ("1795416432191", None),
        ("0", None),
    ] {
        let reply = post(door.addr, &format!("/Counter/k/add/send?at={at}"), "1").await;
        assert_eq!(reply.status, 202, "{at}");
        assert_eq!(door.engine.last_request().execute_at, expected, "{at}");
    }
}

#[tokio::test]
async fn a_refusal_by_rate_says_when_to_come_again() {
    let door = Door::open(settings());
    let reply = post(door.addr, "/Greeter/limited", "1").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("3")));
}

#[tokio::test]
async fn workflows_have_paths_of_their_own() {
    let door = Door::open(settings());
    let run = InvocationId::workflow("Signup", "a b");
    door.engine.asked(|asked| asked.results.insert(run, Some(completed(run, Outcome::success("7".into())))));
    for verb in ["attach", "output"] {
        let by_path = get(door.addr, &format!("/restate/workflow/Signup/a%20b/{verb}")).await;
        let body = r#"{"target":"workflow","workflowName":"Signup","workflowKey":"a b"}"#;
        let by_body = post(door.addr, &format!("/restate/{verb}"), body).await;
        for reply in [by_path, by_body] {
            assert_eq!((reply.status, reply.body.as_str()), (200, "7"), "{reply:?}");
        }
        let lookup = post(door.addr, "/restate/lookup", body).await;
        assert_eq!(lookup.json(), json!({ "invocationId": run.to_string() }));
    }
    let sent = post(door.addr, "/Signup/a%20b/echo/send", "1").await;
    assert_eq!(sent.status, 202);
    let asked = door.engine.last_request();
    assert_eq!((asked.key.as_deref(), asked.handler.as_str()), (Some("a b"), "echo"));
    assert_eq!(post(door.addr, "/Signup/echo", "1").await.status, 400);
    // That it has run is told by the run; others are refused by the ingress.
    let again = post(door.addr, "/Signup/a/run", "1").await;
    assert_eq!((again.status, again.header("x-restate-error-source")), (409, Some("invocation")));
    assert!(again.header("x-restate-id").is_some());
    let refused = post(door.addr, "/Signup/a/invalid", "1").await;
    assert_eq!((refused.status, refused.header("x-restate-error-source")), (409, Some("ingress")));
}

#[tokio::test]
async fn named_signals_are_delivered() {
    let door = Door::open(settings());
    let path = format!("/restate/invocation/{}/signal", some_id());
    for (name, body) in [("go", "{\"x\":1}"), ("a%20b", "")] {
        let reply = post(door.addr, &format!("{path}/{name}"), body).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{name}");
    }
    let signals = door.engine.asked(|asked| std::mem::take(&mut asked.signals));
    let value = SignalResult::Value(abide_model::protocol::Value { content: Bytes::from("{\"x\":1}") });
    assert_eq!(
        signals,
        [
            (some_id(), SignalId::Name("go".into()), value),
            (some_id(), SignalId::Name("a b".into()), SignalResult::Void(abide_model::protocol::Void {})),
        ]
    );
    let unknown = InvocationId { unique: 8, ..some_id() };
    let over = InvocationId { unique: 9, ..some_id() };
    for (path, body, status, code) in [
        (format!("{path}/go"), "not json", 400, "AB0400"),
        (format!("{path}/{}", "n".repeat(257)), "1", 400, "AB0400"),
        (format!("/restate/invocation/{unknown}/signal/go"), "1", 404, "AB0404"),
        (format!("/restate/invocation/{over}/signal/go"), "1", 409, "AB0419"),
    ] {
        let reply = post(door.addr, &path, body).await;
        assert_eq!((reply.status, &reply.json()["abide_code"]), (status, &Value::from(code)), "{path}");
    }
}

#[tokio::test]
async fn health_follows_the_node() {
    let door = Door::open(settings());
    let reply = get(door.addr, "/restate/health").await;
    assert_eq!((reply.status, reply.json()), (200, json!({ "services": ["Counter", "Greeter", "Signup"] })));
    door.health.enter(Phase::Stopping);
    let stopping = get(door.addr, "/restate/health").await;
    assert_eq!((stopping.status, &stopping.json()["message"]), (503, &Value::from("the node is stopping")));
}

#[tokio::test]
async fn pages_of_any_origin_are_served_without_credentials() {
    let door = Door::open(settings());
    let headers = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, idempotency-key"),
    ];
    let preflight = request(door.addr, "OPTIONS /Greeter/echo", &headers, "").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("get, post"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, idempotency-key"));
    for line in ["GET /Greeter/echo", "GET /nothing"] {
        let reply = request(door.addr, line, &[("origin", "https://a.example")], "").await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{line}");
        assert_eq!(reply.header("access-control-expose-headers"), Some("*"), "{line}");
        assert_eq!(reply.header("access-control-allow-credentials"), None, "{line}");
    }
    let elsewhere = get(door.addr, "/Greeter/echo").await;
    assert_eq!(elsewhere.header("access-control-allow-origin"), None);
    assert!(elsewhere.header("vary").unwrap().starts_with("origin"));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let door = Door::open(settings());
    let mut client = Client::connect(door.addr).await;
    let one = "POST /Greeter/echo HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n7";
    // Pipelined: answers come in order.
    client.write(one.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(client.read().await.unwrap().body, "7");
    }
    client.write("GET /nothing HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 400);
    client.write(one).await;
    assert_eq!(client.read().await.unwrap().status, 200);
}

#[tokio::test]
async fn the_same_port_speaks_http_2() {
    let door = Door::open(settings());
    let stream = TcpStream::connect(door.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let requests = (0..20).map(|n| {
        let request = Request::post(format!("http://{}/Counter/k{n}/echo", door.addr))
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(n.to_string()))
            .unwrap();
        sender.send_request(request)
    });
    for (n, response) in requests.collect::<Vec<_>>().into_iter().enumerate() {
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, n.to_string());
    }
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_takes_no_new_connections() {
    let mut door = Door::open(settings());
    let mut idle = Client::connect(door.addr).await;
    let mut busy = Client::connect(door.addr).await;
    busy.write("GET /Greeter/wait HTTP/1.1\r\nhost: t\r\n\r\n").await;
    while door.engine.asked(|asked| asked.waiting.is_empty()) {
        tokio::task::yield_now().await;
    }
    door.stop.request();
    assert!(idle.closed().await);
    let (id, responder) = door.engine.asked(|asked| asked.waiting.pop()).unwrap();
    responder.send(Ok(completed(id, Outcome::success("1".into())))).unwrap();
    assert_eq!(busy.read().await.unwrap().body, "1");
    assert_eq!((&mut door.served).await.unwrap(), Drained { cut: 0 });
    assert!(TcpStream::connect(door.addr).await.is_err());
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_finish_in_time() {
    let mut door = Door::open_with(settings(), Duration::from_millis(50));
    let mut busy = Client::connect(door.addr).await;
    busy.write("GET /Greeter/wait HTTP/1.1\r\nhost: t\r\n\r\n").await;
    while door.engine.asked(|asked| asked.waiting.is_empty()) {
        tokio::task::yield_now().await;
    }
    door.stop.request();
    assert_eq!((&mut door.served).await.unwrap(), Drained { cut: 1 });
    assert!(busy.read().await.is_none());
}
