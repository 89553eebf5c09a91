//! The admin API over a real engine on model disks.

use abide_model::protocol::{SignalId, SignalResult};

use super::*;
use crate::backend::Requests;
use crate::driver::tests::World;
use crate::engine::Engine;

/// Asks the API of an engine.
async fn ask(engine: &Engine, method: Method, path: &str, body: &str) -> (u16, Value) {
    let services = engine.registry().services().map(|service| service.descriptor().clone()).collect();
    let health = Health::default();
    let ingress = SocketAddr::from(([127, 0, 0, 1], 8080));
    let office = Office::new(engine.clone(), services, &Config::default(), ingress, recorder().clone(), health);
    send_to(office.router(), request(method, path, body)).await
}

/// Asks for a list until it has `count` invocations, and returns their ids.
async fn listed(engine: &Engine, filter: &str, count: usize) -> Vec<String> {
    for _ in 0..500 {
        let query = filter.replace('=', "%3D").replace(' ', "+");
        let (status, list) = ask(engine, Method::GET, &format!("/invocations?filter={query}"), "").await;
        assert_eq!(status, 200, "{list}");
        let found = list["invocations"].as_array().unwrap();
        if found.len() == count {
            return found.iter().map(|invocation| invocation["id"].as_str().unwrap().to_owned()).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are never {count} invocations with {filter}");
}

#[tokio::test]
async fn waiting_flows_are_found_signalled_and_killed() {
    let world = World::new();
    let engine = &world.engine;
    let mut ids = Vec::new();
    for n in 0..10 {
        let accepted = engine.send(World::request(&format!("k{n}"), "wait", "", None)).await.unwrap();
        ids.push(accepted.invocation);
    }
    listed(engine, "service=Counter handler=wait status=running,suspended", 10).await;
    assert_eq!(listed(engine, "key=k3", 1).await, [ids[3].to_string()]);
    assert_eq!(listed(engine, &format!("id={}", ids[4]), 1).await, [ids[4].to_string()]);
    assert_eq!(listed(engine, "older=1h", 0).await, [""; 0]);

    let value = SignalResult::Value(Content { content: Bytes::from_static(b"\"now\"") });
    Requests::signal(engine, ids[3], SignalId::Name("go".into()), value).await.unwrap();
    let done = engine.attach(ids[3]).await.unwrap();
    assert_eq!(done.outcome, Outcome::success("\"now\"".into()));
    let (_, details) = ask(engine, Method::GET, &format!("/invocations/{}", ids[3]), "").await;
    assert_eq!((&details["status"], &details["outcome"]["value"]), (&json!("completed"), &json!("\"now\"")));

    let path = "/internal/invocations_batch_operations/kill";
    let tried = json!({ "filter": "handler=wait status=running,suspended", "limit": 4, "dry_run": true }).to_string();
    let (_, tried) = ask(engine, Method::POST, path, &tried).await;
    assert_eq!((&tried["matched"], &tried["more"]), (&json!(4), &json!(true)));
    let kill = json!({ "filter": "handler=wait status=running,suspended" }).to_string();
    let (_, killed) = ask(engine, Method::POST, path, &kill).await;
    assert_eq!((killed["succeeded"].as_array().unwrap().len(), &killed["failed"]), (9, &json!([])));
    listed(engine, "handler=wait status=running,suspended", 0).await;
    world.stop().unwrap();
}

#[tokio::test]
async fn a_paused_flow_is_seen_and_resumed() {
    let world = World::new();
    let engine = &world.engine;
    let id = engine.send(World::request("a", "stumble", "", None)).await.unwrap().invocation;
    listed(engine, "status=paused", 1).await;
    let (_, details) = ask(engine, Method::GET, &format!("/invocations/{id}"), "").await;
    assert!(details["last_failure"]["message"].as_str().unwrap().contains("no ground"), "{details}");
    let (_, journal) = ask(engine, Method::GET, &format!("/invocations/{id}/journal"), "").await;
    assert_eq!(journal["journal"][0]["type"], "Input");
    let path = format!("/invocations/{id}/resume");
    assert_eq!(ask(engine, Method::PATCH, &format!("{path}?deployment=no-such-version"), "").await.0, 400);
    assert_eq!(ask(engine, Method::PATCH, &path, "").await.0, 200);
    listed(engine, "status=paused", 1).await;
    assert_eq!(ask(engine, Method::PATCH, &format!("/invocations/{id}/kill"), "").await.0, 200);
    assert_eq!(ask(engine, Method::PATCH, &format!("/invocations/{}/kill", super::id(1)), "").await.0, 404);
    world.stop().unwrap();
}

#[tokio::test]
async fn state_and_its_keys_are_read() {
    let world = World::new();
    let engine = &world.engine;
    for n in 0..20 {
        let (_, added) = engine.call(World::request(&format!("k{n:02}"), "add", &n.to_string(), None)).unwrap();
        added.await.unwrap().unwrap();
    }
    let (_, state) = ask(engine, Method::GET, "/services/Counter/state/k07", "").await;
    assert_eq!(state["fields"], json!({ "value": 7 }));
    assert!(state["version"].as_str().unwrap().starts_with("1."), "{state}");
    let (mut keys, mut query) = (Vec::new(), String::new());
    loop {
        let (_, page) = ask(engine, Method::GET, &format!("/services/Counter/keys?limit=3{query}"), "").await;
        keys.extend(page["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("&after={next}");
    }
    keys.sort();
    assert_eq!(keys, (0..20).map(|n| format!("k{n:02}")).collect::<Vec<_>>());
    let (_, some) = ask(engine, Method::GET, "/services/Counter/keys?prefix=k1", "").await;
    assert_eq!(some["keys"].as_array().unwrap().len(), 10);
    for path in ["keys?after=p99.s", "keys?after=x"] {
        assert_eq!(ask(engine, Method::GET, &format!("/services/Counter/{path}"), "").await.0, 400, "{path}");
    }
    let (_, letters) = ask(engine, Method::GET, "/deadletters?service=Counter", "").await;
    assert_eq!(letters, json!({ "deadletters": [] }));
    assert_eq!(ask(engine, Method::POST, "/deadletters/Counter/p1/1/redrive", "").await.0, 404);
    assert_eq!(ask(engine, Method::DELETE, "/deadletters/Counter/p99/1", "").await.0, 404);
    world.stop().unwrap();
}

#[tokio::test]
async fn scheduled_ones_come_in_their_order() {
    let world = World::new();
    let engine = &world.engine;
    let mut ids = Vec::new();
    for seconds in [30, 10, 20] {
        let mut request = World::request("same", "add", "1", None);
        request.execute_at = Some(engine.clock().plus(seconds * 1_000));
        ids.push(engine.send(request).await.unwrap().invocation.to_string());
    }
    assert_eq!(listed(engine, "status=scheduled", 3).await, [ids[1].as_str(), &ids[2], &ids[0]]);
    assert_eq!(ask(engine, Method::PATCH, &format!("/invocations/{}/cancel", ids[1]), "").await.0, 200);
    listed(engine, "status=scheduled", 2).await;
    world.stop().unwrap();
}
