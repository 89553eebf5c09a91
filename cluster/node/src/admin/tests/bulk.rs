use super::*;
use crate::engine::Deployment;

const PATH: &str = "/internal/invocations_batch_operations";

#[tokio::test]
async fn ids_are_ordered_one_by_one() {
    let api = Api::new(Fake::default());
    let ids: Vec<_> = (0..4).map(|unique| id(unique).to_string()).collect();
    let body = json!({ "invocation_ids": ids }).to_string();
    let (status, answer) = api.send(Method::POST, &format!("/v3{PATH}/kill"), &body).await;
    assert_eq!(status, 200);
    assert_eq!(answer["succeeded"], json!([ids[0], ids[1]]));
    assert_eq!(answer["failed"][0]["invocation_id"], json!(ids[2]));
    assert_eq!(answer["failed"][1]["error"], json!(format!("The invocation '{}' was already completed.", id(3))));
    assert_eq!(api.orders().len(), 4);
    let body = json!({ "invocation_ids": [id(6).to_string()], "from": 1, "deployment": "keep" }).to_string();
    let (_, answer) = api.send(Method::POST, &format!("{PATH}/restart-as-new"), &body).await;
    let pair = json!({ "old_invocation_id": id(6).to_string(), "new_invocation_id": id(60).to_string() });
    assert_eq!(answer["succeeded"], json!([pair]));
    assert_eq!(api.orders(), [(id(6), Order::Restart { from: 1, deployment: Deployment::Keep })]);
}

#[tokio::test]
async fn a_filter_is_tried_and_carried_out() {
    let api = Api::new(Fake { listed: vec![0, 1, 2, 10], ..Fake::default() });
    let ask = |limit: u32, dry_run: bool| {
        json!({ "filter": "status=paused older=1h", "dry_run": dry_run, "limit": limit }).to_string()
    };
    let (status, tried) = api.send(Method::POST, &format!("{PATH}/resume"), &ask(3, true)).await;
    assert_eq!(status, 200);
    let ids: Vec<_> = [0, 1, 2].map(|unique| id(unique).to_string()).into();
    let expected =
        json!({ "matched": 3, "dry_run": true, "more": true, "invocation_ids": ids, "succeeded": [], "failed": [] });
    assert_eq!(tried, expected);
    assert!(api.orders().is_empty(), "a dry run gives no order");
    let (_, done) = api.send(Method::POST, &format!("{PATH}/resume"), &ask(4, false)).await;
    assert_eq!((&done["matched"], &done["more"], &done["dry_run"]), (&json!(4), &json!(false), &json!(false)));
    assert_eq!(done["succeeded"], json!(ids[..2]));
    assert_eq!(done["failed"].as_array().unwrap().len(), 2);
    assert_eq!(api.orders().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_whole() {
    let api = Api::new(Fake { listed: vec![0], ..Fake::default() });
    let many = json!({ "invocation_ids": vec![id(0).to_string(); 1_001] }).to_string();
    for (verb, body, status) in [
        ("kill", "{", 400),
        ("kill", "[]", 422),
        ("kill", "{\"ids\":[]}", 422),
        ("kill", "{}", 400),
        ("kill", "{\"invocation_ids\":[],\"filter\":\"key=a\"}", 400),
        ("kill", "{\"invocation_ids\":[\"inv_x\"]}", 400),
        ("kill", "{\"filter\":\" \"}", 400),
        ("kill", "{\"filter\":\"colour=red\"}", 400),
        ("kill", "{\"filter\":\"key=a\",\"limit\":0}", 400),
        ("kill", &many, 400),
        ("explode", "{\"filter\":\"key=a\"}", 404),
        ("reschedule", "{\"filter\":\"key=a\"}", 400),
    ] {
        let (answered, body) = api.send(Method::POST, &format!("{PATH}/{verb}"), body).await;
        assert_eq!(answered, status, "{body}");
    }
    assert!(api.orders().is_empty());
}
