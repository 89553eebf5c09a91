use super::*;

pub(super) fn letter(seq: u64) -> Letter {
    let row = LetterRow {
        invocation: Bytes::copy_from_slice(&id(5).to_bytes()),
        target: Some(Target { service: "Mail".into(), handler: "send".into(), ..Target::default() }),
        input: Bytes::from_static(b"\"hi\""),
        headers: vec![abide_model::protocol::Header { key: "x".into(), value: "1".into() }],
        failure: Some(Failure::new(500, "no route")),
        created_at: 1_000,
        failed_at: 2_000,
        attempt: 3,
        ..LetterRow::default()
    };
    Letter { at: LetterAddress { service: "Mail".into(), partition: PartitionId(3), seq }, input_len: 4, row }
}

pub(super) fn stored(service: Option<&str>, limit: usize, after: Option<&str>) -> Page<Letter, String> {
    if service == Some("Nobody") {
        return Page { items: Vec::new(), next: None };
    }
    let first = after.map_or(0, |_| 1);
    let items: Vec<_> = (first..3).map(letter).take(limit).collect();
    let next = (items.len() == limit).then(|| "p3.0.Mail".to_owned());
    Page { items, next }
}

#[tokio::test]
async fn letters_are_listed_and_read() {
    let (status, list) = ask(Method::GET, "/deadletters?service=Mail&limit=1").await;
    assert_eq!((status, &list["next"]), (200, &json!("p3.0.Mail")));
    let first = json!({
        "service": "Mail", "partition": "p3", "seq": 0, "invocation_id": id(5).to_string(), "target": "Mail/send",
        "target_service_name": "Mail", "target_handler_name": "send",
        "failure": { "code": 500, "message": "no route" }, "created_at": "1970-01-01T00:00:01Z",
        "failed_at": "1970-01-01T00:00:02Z", "attempt": 3, "input_bytes": 4,
    });
    assert_eq!(list["deadletters"], json!([first]));
    let (_, all) = ask(Method::GET, "/deadletters?after=p3.0.Mail").await;
    assert_eq!((all["deadletters"].as_array().unwrap().len(), &all["next"]), (2, &Value::Null));
    for partition in ["p3", "3"] {
        let (status, one) = ask(Method::GET, &format!("/deadletters/Mail/{partition}/7")).await;
        assert_eq!((status, &one["input"], &one["seq"]), (200, &json!("\"hi\""), &json!(7)));
        assert_eq!(one["headers"], json!([{ "key": "x", "value": "1" }]));
    }
    let (status, unknown) = ask(Method::GET, "/deadletters/Mail/p3/2").await;
    assert_eq!(status, 404);
    assert_eq!(unknown["message"], "The requested dead letter 'Mail/p3/2' does not exist");
    for path in ["/deadletters/Mail/x/1", "/deadletters/Mail/p3/x", "/deadletters?limit=x"] {
        assert_eq!(ask(Method::GET, path).await.0, 400, "{path}");
    }
}

#[tokio::test]
async fn letters_are_redriven_and_dropped() {
    let (status, created) = ask(Method::POST, "/deadletters/Mail/p3/6/redrive").await;
    assert_eq!((status, created), (200, json!({ "new_invocation_id": id(60).to_string() })));
    assert_eq!(ask(Method::DELETE, "/deadletters/Mail/p3/0").await, (200, "".into()));
    for (seq, status) in [(2, 404), (9, 422), (5, 429)] {
        assert_eq!(ask(Method::POST, &format!("/deadletters/Mail/p3/{seq}/redrive")).await.0, status);
        assert_eq!(ask(Method::DELETE, &format!("/deadletters/Mail/p3/{seq}")).await.0, status);
    }
    let (status, all) = ask(Method::POST, "/deadletters/Mail/redrive?limit=3").await;
    assert_eq!((status, &all["matched"], &all["more"]), (200, &json!(3), &json!(true)));
    assert_eq!(all["succeeded"].as_array().unwrap().len(), 2);
    assert_eq!(all["failed"][0]["abide_code"], "AB0404");
    let (_, none) = ask(Method::POST, "/deadletters/Nobody/redrive").await;
    assert_eq!(none, json!({ "matched": 0, "succeeded": [], "failed": [], "more": false }));
}
