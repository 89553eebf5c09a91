use super::*;
use crate::engine::Deployment;

#[tokio::test]
async fn orders_are_answered_by_their_code() {
    for verb in ["cancel", "kill", "pause", "resume", "purge", "purge-journal", "restart-as-new"] {
        for (unique, status, code) in [
            (0, 200, ""),
            (1, 202, ""),
            (2, 404, "AB0404"),
            (3, 409, "AB0419"),
            (4, 425, "AB0425"),
            (5, 429, "AB0429"),
            (7, 409, "AB0419"),
            (8, 410, "AB0411"),
            (9, 422, "AB0422"),
            (10, 400, "AB0400"),
        ] {
            let (answered, body) = ask(Method::PATCH, &format!("/v3/invocations/{}/{verb}", id(unique))).await;
            assert_eq!(answered, status, "{verb} {unique}");
            assert_eq!(body == json!(""), status < 300, "{verb} {unique}: {body}");
            assert_eq!(body["abide_code"].as_str().unwrap_or_default(), code, "{verb} {unique}");
        }
    }
    let (_, completed) = ask(Method::PATCH, &format!("/invocations/{}/kill", id(3))).await;
    assert_eq!(completed["message"], format!("The invocation '{}' was already completed.", id(3)));
    assert_eq!(ask(Method::PATCH, &format!("/invocations/{}/explode", id(0))).await.0, 404);
    assert_eq!(ask(Method::PATCH, "/invocations/inv_x/kill").await.0, 400);
    for (query, unique, status) in [
        ("", 0, 202),
        ("?mode=kill", 1, 202),
        ("?mode=purge", 0, 202),
        ("?mode=cancel", 3, 202),
        ("?mode=kill", 2, 404),
        ("?mode=purge", 7, 409),
        ("?mode=erase", 0, 400),
    ] {
        let path = format!("/invocations/{}{query}", id(unique));
        assert_eq!(ask(Method::DELETE, &path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn orders_carry_what_they_need() {
    let api = Api::new(Fake::default());
    for (order, expected) in [
        ("resume", Order::Resume { deployment: Deployment::Keep }),
        ("resume?deployment=keep", Order::Resume { deployment: Deployment::Keep }),
        ("resume?deployment=latest", Order::Resume { deployment: Deployment::Latest }),
        ("resume?deployment=dp_native", Order::Resume { deployment: Deployment::Latest }),
        ("resume?deployment=v%201", Order::Resume { deployment: Deployment::Version("v 1".into()) }),
        ("restart-as-new", Order::Restart { from: 0, deployment: Deployment::Latest }),
        ("restart-as-new?from=3&deployment=keep", Order::Restart { from: 3, deployment: Deployment::Keep }),
        ("reschedule?delay=10s", Order::Reschedule { at: NOW.plus(10_000) }),
        ("reschedule?at=2026-11-23T08:00:00%2B01:00", Order::Reschedule { at: Millis(1_795_417_200_000) }),
        ("reschedule?at=7", Order::Reschedule { at: Millis(7) }),
    ] {
        let (status, body) = api.send(Method::PATCH, &format!("/invocations/{}/{order}", id(0)), "").await;
        assert_eq!(status, 200, "{order}: {body}");
        assert_eq!(api.orders(), [(id(0), expected)], "{order}");
    }
    for order in [
        "resume?deployment=dp_1x",
        "resume?deployment=",
        "restart-as-new?from=first",
        "reschedule",
        "reschedule?at=1&delay=1s",
        "reschedule?at=soon",
        "reschedule?delay=soon",
    ] {
        let (status, body) = api.send(Method::PATCH, &format!("/invocations/{}/{order}", id(0)), "").await;
        assert_eq!((status, &body["abide_code"]), (400, &json!("AB0400")), "{order}");
        assert!(api.orders().is_empty());
    }
    let (status, created) = api.send(Method::PATCH, &format!("/invocations/{}/restart-as-new", id(6)), "").await;
    assert_eq!((status, created), (200, json!({ "new_invocation_id": id(60).to_string() })));
}
