use abide_model::command::{Holder, Next, Priority};
use abide_model::protocol::{Call, Notification, NotificationId, NotificationResult, Sleep};
use abide_model::table::{Awaiting, FailedAttempt, Status};

use super::*;

fn target() -> Target {
    Target {
        service: "Counter".into(),
        handler: "add".into(),
        key: Some("k".into()),
        access: Access::Exclusive as i32,
        form: Form::Flow as i32,
        ..Target::default()
    }
}

pub(super) fn entries() -> Vec<JournalRow> {
    let value = |bytes: &'static [u8]| Content { content: Bytes::from_static(bytes) };
    let input = Input { value: Some(value(b"5")), ..Input::default() };
    let call = Call {
        service_name: "Account".into(),
        handler_name: "pay".into(),
        key: "a".into(),
        parameter: Bytes::from_static(b"{}"),
        invocation_id_notification_idx: 1,
        result_completion_id: 2,
        name: "first".into(),
        ..Call::default()
    };
    let sleep = Sleep { wake_up_time: 1_000, result_completion_id: 3, name: String::new() };
    let done = Notification {
        id: Some(NotificationId::Completion(2)),
        result: Some(NotificationResult::Value(value(b"\xff\x00"))),
    };
    [
        RawMessage::new(Code::INPUT, &input),
        RawMessage::new(Code::CALL, &call),
        RawMessage::new(Code::SLEEP, &sleep),
        RawMessage::new(Code::CALL_DONE, &done),
        RawMessage { code: Code::SLEEP, payload: Bytes::from_static(b"\xff") },
    ]
    .map(|message| JournalRow::new(message, Millis(1_000)))
    .into()
}

pub(super) fn active(id: InvocationId) -> InvocationDetails {
    let row = InvocationRow {
        target: Some(target()),
        status: Some(Status::Suspended(Awaiting { completions: vec![3], signals: vec![1], names: vec!["go".into()] })),
        version: Some("v1".into()),
        schedule: "nightly".into(),
        journal_len: 5,
        journal_retention_ms: 1_500,
        ..InvocationRow::default()
    };
    InvocationDetails::active(id, row)
}

pub(super) fn described(id: InvocationId) -> InvocationDetails {
    InvocationDetails {
        status: "completed",
        modified_at: Millis(2_000),
        completed_at: Some(Millis(2_000)),
        attempt: 2,
        failures: 1,
        last_failure: Some(Failure::new(500, "once")),
        outcome: Some(Outcome::failure(Failure::new(409, "twice"))),
        idempotency_key: Some("i".into()),
        journal: entries(),
        restarted_from: Some(super::id(99)),
        retention_ms: 86_400_000,
        expires_at: Some(Millis(3_000)),
        sinks: 3,
        chain: vec![Holder {
            service: "Account".into(),
            key: "a".into(),
            invocation: Bytes::copy_from_slice(&super::id(98).to_bytes()),
        }],
        attempts: vec![FailedAttempt {
            attempt: 1,
            at: 1_000,
            failure: Some(Failure::new(500, "once")),
            journal_len: 2,
            next: Some(Next::RetryAfter(500)),
        }],
        attempts_failed: 11,
        ..active(id)
    }
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
        ("expires_at", json!("1970-01-01T00:00:03Z")),
        ("completion_retention", json!("PT86400S")),
        ("journal_retention", json!("PT1.500S")),
        ("last_failure", json!({ "code": 500, "message": "once" })),
        ("outcome", json!({ "result": "failure", "failure": { "code": 409, "message": "twice" } })),
        ("completion_result", json!("failure")),
        ("completion_failure", json!("[409] twice")),
        ("idempotency_key", json!("i")),
        ("invoked_by", json!("restart_as_new")),
        ("restarted_from", json!(id(99).to_string())),
        ("version", json!("v1")),
        ("schedule", json!("nightly")),
        ("journal_size", json!(5)),
        ("waiting_for_result", json!(3)),
        ("attempts_failed", json!(11)),
        (
            "attempts",
            json!([{ "attempt": 1, "failed_at": "1970-01-01T00:00:01Z", "failure": { "code": 500, "message": "once" },
                     "journal_size": 2, "next": { "retry_after_ms": 500 } }]),
        ),
        ("chain", json!([{ "service": "Account", "key": "a", "invocation_id": id(98).to_string() }])),
    ] {
        assert_eq!(details[field], value, "{field}");
    }
    let at = "1970-01-01T00:00:01Z";
    assert_eq!(
        details["journal"],
        json!([
            { "index": 0, "code": "0400", "type": "Input", "appended_at": at, "bytes": 5, "headers": 0, "value": "5" },
            { "index": 1, "code": "040d", "type": "Call", "appended_at": at, "bytes": 32, "name": "first",
              "target": "Account/a/pay", "value": "{}", "invocation_id_completion_id": 1, "completion_id": 2 },
            { "index": 2, "code": "040c", "type": "Sleep", "appended_at": at, "bytes": 5,
              "wake_up_at": "1970-01-01T00:00:01Z", "completion_id": 3 },
            { "index": 3, "code": "800d", "type": "CallCompletion", "appended_at": at, "bytes": 8,
              "completion_id": 2, "value_base64": "/wA=" },
            { "index": 4, "code": "040c", "type": "Sleep", "appended_at": at, "bytes": 1 },
        ])
    );
    let (status, unknown) = ask(Method::GET, &format!("/invocations/{}", id(2))).await;
    assert_eq!(status, 404);
    assert_eq!(unknown["message"], format!("The requested invocation '{}' does not exist", id(2)));
    let (status, malformed) = ask(Method::GET, "/invocations/inv_x").await;
    assert_eq!(status, 400);
    assert!(malformed["message"].as_str().unwrap().contains("'invocation_id' is invalid. Reason: bad format"));
}

#[tokio::test]
async fn journals_have_pages() {
    let path = format!("/invocations/{}/journal", id(0));
    let (status, first) = ask(Method::GET, &format!("{path}?limit=2")).await;
    assert_eq!((status, &first["journal_size"], &first["next"]), (200, &json!(5), &json!(2)));
    let (_, last) = ask(Method::GET, &format!("{path}?from=3&limit=2")).await;
    assert_eq!((&last["journal"][0]["index"], &last["next"]), (&json!(3), &Value::Null));
    let (_, behind) = ask(Method::GET, &format!("{path}?from=9")).await;
    assert_eq!((&behind["journal"], &behind["next"]), (&json!([]), &Value::Null));
    assert_eq!(ask(Method::GET, &format!("{path}?from=x")).await.0, 400);
    assert_eq!(ask(Method::GET, &format!("/invocations/{}/journal", id(2))).await.0, 404);
}

#[tokio::test]
async fn lists_have_filters_and_pages() {
    let api = Api::new(Fake { listed: vec![1, 2, 3], ..Fake::default() });
    let path = "/invocations?filter=status%3Dsuspended+service%3DCounter&limit=2";
    let (status, first) = api.send(Method::GET, path, "").await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["invocations"].as_array().unwrap().len(), 2);
    let one = &first["invocations"][0];
    for (field, value) in [
        ("id", json!(id(1).to_string())),
        ("status", json!("suspended")),
        ("invoked_by", json!("schedule")),
        ("suspended_waiting_for_completions", json!([3])),
        ("suspended_waiting_for_signals", json!([1])),
        ("suspended_waiting_for_named_signals", json!(["go"])),
        ("journal", Value::Null),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    let next = first["next"].as_str().unwrap();
    let (_, last) = api.send(Method::GET, &format!("/invocations?limit=2&after={next}"), "").await;
    assert_eq!(last["invocations"][0]["id"], id(3).to_string());
    assert_eq!(last["next"], Value::Null);
    let filters = std::mem::take(&mut *api.engine().filters.lock().unwrap());
    assert_eq!(filters, [Filter::parse("status=suspended service=Counter").unwrap(), Filter::default()]);
    for (query, message) in [
        ("filter=status%3Dsuspended+colour%3Dred", "filter, at character 18, `colour=red`"),
        ("limit=0", "between 1 and 1000"),
        ("limit=1001", "between 1 and 1000"),
        ("after=x", "pass `next` of the page before"),
    ] {
        let (status, body) = api.send(Method::GET, &format!("/invocations?{query}"), "").await;
        assert_eq!((status, &body["abide_code"]), (400, &json!("AB0400")), "{query}");
        assert!(body["message"].as_str().unwrap().contains(message), "{body}");
    }
}

#[test]
fn a_priority_is_shown_unless_it_is_the_normal_one() {
    let shown = |priority: Priority| {
        let target = Some(Target { priority: priority as i32, ..target() });
        let row = InvocationRow { target, ..InvocationRow::default() };
        let id = InvocationId::workflow("Counter", "k");
        crate::admin::details::render(&InvocationDetails::active(id, row)).get("priority").cloned()
    };
    assert_eq!((shown(Priority::High), shown(Priority::Low)), (Some("high".into()), Some("low".into())));
    assert_eq!(shown(Priority::Normal), None);
}
