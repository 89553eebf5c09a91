use abide_model::command::FieldChange;

use super::*;

pub(super) fn stored(object: &ObjectId) -> ObjectState {
    if object.key == "none" {
        return ObjectState::default();
    }
    let fields = [("n", &b"5"[..]), ("big", b"123456789012345678901234567890"), ("raw", b"\xff\x00")];
    ObjectState {
        version: StateVersion { version: 4, writer: 3 },
        fields: fields.map(|(name, value)| (name.to_owned(), Bytes::from_static(value))).into(),
        expires_at: Some(Millis(1_000)),
        queued: 2,
    }
}

fn change(field: &str, value: Option<&'static [u8]>) -> FieldChange {
    FieldChange { field: field.to_owned(), value: value.map(Bytes::from_static) }
}

fn object(key: &str) -> ObjectId {
    ObjectId { service: "Counter".into(), key: key.into() }
}

#[tokio::test]
async fn state_is_read_as_it_is_stored() {
    let request = request(Method::GET, "/services/Counter/state/a%2Fb", "");
    let response = office().router().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        std::str::from_utf8(&body).unwrap(),
        "{\"service\":\"Counter\",\"key\":\"a/b\",\"version\":\"4.3\",\
         \"fields\":{\"big\":123456789012345678901234567890,\"n\":5},\"binary\":{\"raw\":\"/wA=\"},\
         \"expires_at\":\"1970-01-01T00:00:01Z\",\"queued\":2}"
    );
    let (status, none) = ask(Method::GET, "/services/Counter/state/none").await;
    assert_eq!(status, 200);
    assert_eq!(none, json!({ "service": "Counter", "key": "none", "version": "0.0", "fields": {}, "queued": 0 }));
    assert_eq!(ask(Method::GET, "/services/Nobody/state/a").await.0, 404);
    assert_eq!(ask(Method::GET, "/services/Greeter/state/a").await.0, 400);
}

#[tokio::test]
async fn keys_are_listed() {
    let (status, first) = ask(Method::GET, "/services/Signup/keys?prefix=a%20b&limit=7").await;
    assert_eq!((status, first), (200, json!({ "keys": ["Signup|a b|7|None"], "next": "p0.kx" })));
    let (_, last) = ask(Method::GET, "/services/Signup/keys?after=p0.kx").await;
    assert_eq!(last, json!({ "keys": ["Signup||100|Some(\"p0.kx\")"] }));
    assert_eq!(ask(Method::GET, "/services/Greeter/keys").await.0, 400);
    assert_eq!(ask(Method::GET, "/services/Nobody/keys").await.0, 404);
}

#[tokio::test]
async fn edits_say_what_is_meant() {
    let api = Api::new(Fake::default());
    let version = Some(StateVersion { version: 4, writer: 3 });
    for (method, path, body, status, edit) in [
        (
            Method::POST,
            "/services/Counter/state",
            "{\"object_key\":\"a\",\"new_state\":{\"n\":[53,255],\"e\":[]},\"version\":\"4.3\"}",
            202,
            StateEdit {
                expected: version,
                replace: true,
                changes: vec![change("e", Some(b"")), change("n", Some(b"5\xff"))],
            },
        ),
        (
            Method::POST,
            "/services/Counter/state",
            "{\"object_key\":\"a\",\"new_state\":{}}",
            202,
            StateEdit { expected: None, replace: true, changes: vec![] },
        ),
        (
            Method::PATCH,
            "/services/Counter/state/a",
            "{\"version\":\"4.3\",\"set\":{\"n\": {\"x\":1.50}},\"clear\":[\"m\"]}",
            200,
            StateEdit {
                expected: version,
                replace: false,
                changes: vec![change("n", Some(b"{\"x\":1.50}")), change("m", None)],
            },
        ),
        (
            Method::DELETE,
            "/services/Counter/state/a?version=4.3",
            "",
            200,
            StateEdit { expected: version, replace: true, changes: vec![] },
        ),
        (
            Method::DELETE,
            "/services/Counter/state/a",
            "",
            200,
            StateEdit { expected: None, replace: true, changes: vec![] },
        ),
    ] {
        let (answered, told) = api.send(method, path, body).await;
        assert_eq!(
            (answered, told),
            (status, json!({ "invocation_id": id(70).to_string(), "applied": true })),
            "{body}"
        );
        assert_eq!(api.edits(), [(object("a"), edit)], "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn edits_are_answered_by_what_became_of_them() {
    let api = Api::new(Fake::default());
    let (status, conflict) = api.send(Method::DELETE, "/services/Counter/state/fail?version=1.0", "").await;
    assert_eq!((status, &conflict["abide_code"]), (409, &json!("AB0419")));
    assert_eq!(conflict["message"], "the state is another one");
    let (status, queued) = api.send(Method::DELETE, "/services/Counter/state/queue", "").await;
    assert_eq!((status, queued), (202, json!({ "invocation_id": id(70).to_string(), "applied": false })));
    let (status, lost) = api.send(Method::DELETE, "/services/Counter/state/lost", "").await;
    assert_eq!((status, &lost["abide_code"]), (504, &json!("AB0504")));
}

#[tokio::test]
async fn malformed_edits_are_refused() {
    let api = Api::new(Fake::default());
    let long = "f".repeat(257);
    let large = format!("{{\"set\":{{\"a\":\"{}\"}}}}", "x".repeat(limits::STATE_VALUE_BYTES_MAX));
    for (method, path, body, status) in [
        (Method::POST, "/services/Counter/state", "{", 400),
        (Method::POST, "/services/Counter/state", "{\"object_key\":1,\"new_state\":{}}", 422),
        (Method::POST, "/services/Counter/state", "{\"object_key\":\"a\",\"new_state\":{\"n\":[256]}}", 422),
        (Method::POST, "/services/Counter/state", "{\"object_key\":\"a\",\"new_state\":{},\"scope\":\"s\"}", 400),
        (Method::POST, "/services/Nobody/state", "{\"object_key\":\"a\",\"new_state\":{}}", 404),
        (Method::POST, "/services/Greeter/state", "{\"object_key\":\"a\",\"new_state\":{}}", 400),
        (Method::PATCH, "/services/Counter/state/a", "{}", 400),
        (Method::PATCH, "/services/Counter/state/a", "{\"set\":{\"a\":1},\"clear\":[\"a\"]}", 400),
        (Method::PATCH, "/services/Counter/state/a", "{\"set\":{\"\":1}}", 400),
        (Method::PATCH, "/services/Counter/state/a", &format!("{{\"clear\":[\"{long}\"]}}"), 400),
        (Method::PATCH, "/services/Counter/state/a", &large, 413),
        (Method::PATCH, "/services/Counter/state/a", "{\"clear\":[\"a\"],\"version\":\"4\"}", 400),
        (Method::DELETE, "/services/Counter/state/a?version=x.y", "", 400),
    ] {
        let (answered, told) = api.send(method, path, body).await;
        assert_eq!(answered, status, "{told}");
        assert!(told["message"].is_string());
    }
    assert!(api.edits().is_empty());
}
