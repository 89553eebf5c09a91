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

#[tokio::test]
async fn state_is_edited_between_turns() {
    let world = World::new();
    let engine = &world.engine;
    let path = "/services/Counter/state/a";
    let (_, added) = engine.call(World::request("a", "add", "5", None)).unwrap();
    added.await.unwrap().unwrap();
    let (_, before) = ask(engine, Method::GET, path, "").await;
    let change = json!({ "version": before["version"], "set": { "value": 40 } }).to_string();
    let (status, changed) = ask(engine, Method::PATCH, path, &change).await;
    assert_eq!((status, &changed["applied"]), (200, &json!(true)), "{changed}");
    let (status, conflict) = ask(engine, Method::PATCH, path, &change).await;
    assert_eq!((status, &conflict["abide_code"]), (409, &json!("AB0419")), "{conflict}");
    assert_eq!(world_add(engine, "a", 2).await, "42");
    let replace = json!({ "object_key": "a", "new_state": { "value": b"7".to_vec() } }).to_string();
    assert_eq!(ask(engine, Method::POST, "/services/Counter/state", &replace).await.0, 202);
    assert_eq!(world_add(engine, "a", 1).await, "8");
    assert_eq!(ask(engine, Method::DELETE, &format!("{path}?version=1.1"), "").await.0, 409);
    assert_eq!(ask(engine, Method::DELETE, path, "").await.0, 200);
    let (_, cleared) = ask(engine, Method::GET, path, "").await;
    assert_eq!(cleared["fields"], json!({}));
    assert_eq!(world_add(engine, "a", 1).await, "1");
    // A key that nobody ever used gets a state as well.
    let fresh = json!({ "version": "0.0", "set": { "value": 3 } }).to_string();
    assert_eq!(ask(engine, Method::PATCH, "/services/Counter/state/new", &fresh).await.0, 200);
    assert_eq!(world_add(engine, "new", 1).await, "4");
    world.stop().unwrap();
}

async fn world_add(engine: &Engine, key: &str, amount: i64) -> String {
    let (_, added) = engine.call(World::request(key, "add", &amount.to_string(), None)).unwrap();
    match added.await.unwrap().unwrap().outcome.kind {
        Some(abide_model::command::OutcomeKind::Success(value)) => String::from_utf8(value.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Asks for the dead letters of the counter until there are `count`.
async fn letters(engine: &Engine, count: usize) -> Vec<Value> {
    for _ in 0..500 {
        let (_, list) = ask(engine, Method::GET, "/deadletters?service=Counter", "").await;
        let found = list["deadletters"].as_array().unwrap();
        if found.len() == count {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("there are never {count} dead letters");
}

#[tokio::test]
async fn failed_sends_are_dead_letters_until_they_are_driven_again() {
    let world = World::new();
    let engine = &world.engine;
    for key in ["a", "b", "c"] {
        engine.send(World::request(key, "refuse", "\"not today\"", None)).await.unwrap();
    }
    let (_, called) = engine.call(World::request("d", "refuse", "\"at once\"", None)).unwrap();
    called.await.unwrap().unwrap();
    let found = letters(engine, 3).await;
    let place =
        |letter: &Value| format!("/deadletters/Counter/{}/{}", letter["partition"].as_str().unwrap(), letter["seq"]);
    let (status, one) = ask(engine, Method::GET, &place(&found[0]), "").await;
    assert_eq!((status, &one["input"]), (200, &json!("\"not today\"")));
    assert_eq!(one["failure"]["code"], 418);
    let (status, again) = ask(engine, Method::POST, &format!("{}/redrive", place(&found[0])), "").await;
    assert_eq!(status, 200, "{again}");
    let new: InvocationId = again["new_invocation_id"].as_str().unwrap().parse().unwrap();
    assert_ne!(again["new_invocation_id"], one["invocation_id"]);
    // It fails again, and leaves a letter again, of the new invocation.
    engine.attach(new).await.ok();
    let found = letters(engine, 3).await;
    assert!(found.iter().any(|letter| letter["invocation_id"] == new.to_string()), "{found:?}");
    let (_, all) = ask(engine, Method::POST, "/deadletters/Counter/redrive?limit=1000", "").await;
    assert_eq!((&all["matched"], &all["failed"], &all["more"]), (&json!(3), &json!([]), &json!(false)));
    for letter in letters(engine, 3).await {
        assert_eq!(ask(engine, Method::DELETE, &place(&letter), "").await.0, 200);
        assert_eq!(ask(engine, Method::DELETE, &place(&letter), "").await.0, 404);
    }
    letters(engine, 0).await;
    world.stop().unwrap();
}

#[tokio::test]
async fn a_completed_flow_is_repeated_and_forgotten() {
    let world = World::new();
    let engine = &world.engine;
    let order = |id: &str, order: &str| format!("/invocations/{id}/{order}");
    let id = engine.send(World::request("a", "kept", "3", None)).await.unwrap().invocation;
    assert_eq!(engine.attach(id).await.unwrap().outcome, Outcome::success("3".into()));
    let id = id.to_string();
    let (_, details) = ask(engine, Method::GET, &format!("/invocations/{id}"), "").await;
    let kinds: Vec<_> = details["journal"].as_array().unwrap().iter().map(|entry| entry["type"].clone()).collect();
    assert!(kinds.contains(&json!("Run")) && kinds.contains(&json!("RunCompletion")), "{kinds:?}");
    for query in ["", "?from=2&deployment=keep"] {
        let (status, restarted) = ask(engine, Method::PATCH, &order(&id, &format!("restart-as-new{query}")), "").await;
        assert_eq!(status, 200, "{restarted}");
        let new = restarted["new_invocation_id"].as_str().unwrap();
        engine.attach(new.parse().unwrap()).await.unwrap();
        let (_, new) = ask(engine, Method::GET, &format!("/invocations/{new}"), "").await;
        assert_eq!((&new["restarted_from"], &new["invoked_by"]), (&json!(id), &json!("restart_as_new")));
    }
    assert_eq!(ask(engine, Method::PATCH, &order(&id, "restart-as-new?from=99"), "").await.0, 400);
    assert_eq!(ask(engine, Method::PATCH, &order(&id, "cancel"), "").await.0, 409);
    assert_eq!(ask(engine, Method::PATCH, &order(&id, "purge-journal"), "").await.0, 200);
    let (status, gone) = ask(engine, Method::PATCH, &order(&id, "restart-as-new"), "").await;
    assert_eq!((status, &gone["abide_code"]), (410, &json!("AB0411")), "{gone}");
    assert!(engine.output(id.parse().unwrap()).await.unwrap().is_some());
    assert_eq!(ask(engine, Method::PATCH, &order(&id, "purge"), "").await.0, 200);
    assert_eq!(ask(engine, Method::GET, &format!("/invocations/{id}"), "").await.0, 404);
    world.stop().unwrap();
}

#[tokio::test]
async fn waiting_flows_are_paused_and_scheduled_ones_moved() {
    let world = World::new();
    let engine = &world.engine;
    let id = engine.send(World::request("a", "wait", "", None)).await.unwrap().invocation;
    listed(engine, "status=running", 1).await;
    let (status, _) = ask(engine, Method::PATCH, &format!("/invocations/{id}/pause"), "").await;
    assert!(matches!(status, 200 | 202), "{status}");
    assert_eq!(listed(engine, "status=paused", 1).await, [id.to_string()]);
    assert_eq!(ask(engine, Method::PATCH, &format!("/invocations/{id}/pause"), "").await.0, 200);
    let (status, running) = ask(engine, Method::PATCH, &format!("/invocations/{id}/purge"), "").await;
    assert_eq!((status, &running["abide_code"]), (409, &json!("AB0419")), "{running}");
    assert_eq!(ask(engine, Method::PATCH, &format!("/invocations/{id}/resume"), "").await.0, 200);
    let value = SignalResult::Value(Content { content: Bytes::from_static(b"\"go\"") });
    Requests::signal(engine, id, SignalId::Name("go".into()), value).await.unwrap();
    engine.attach(id).await.unwrap();

    let mut later = World::request("b", "add", "1", None);
    later.execute_at = Some(engine.clock().plus(3_600_000));
    let id = engine.send(later).await.unwrap().invocation;
    let (status, early) = ask(engine, Method::PATCH, &format!("/invocations/{id}/resume"), "").await;
    assert_eq!((status, &early["abide_code"]), (425, &json!("AB0425")), "{early}");
    let (status, moved) = ask(engine, Method::PATCH, &format!("/invocations/{id}/reschedule?delay=0s"), "").await;
    assert_eq!(status, 200, "{moved}");
    assert_eq!(engine.attach(id).await.unwrap().outcome, Outcome::success("1".into()));
    world.stop().unwrap();
}

#[tokio::test]
async fn a_workflow_runs_once() {
    let world = World::new();
    let engine = &world.engine;
    let run =
        || crate::engine::InvokeRequest { service: "Signup".into(), ..World::request("anna", "run", "\"a@b\"", None) };
    let first = engine.send(run()).await.unwrap();
    assert_eq!((first.invocation, first.known), (InvocationId::workflow("Signup", "anna"), false));
    assert_eq!(engine.attach(first.invocation).await.unwrap().outcome, Outcome::success("3".into()));
    assert!(engine.send(run()).await.unwrap().known);
    let (_, again) = engine.call(run()).unwrap();
    let refused = again.await.unwrap().unwrap_err();
    assert!(matches!(&refused, Refusal::Invalid(failure) if failure.code == 409), "{refused:?}");
    let (_, state) = ask(engine, Method::GET, "/services/Signup/state/anna", "").await;
    assert_eq!(state["fields"], json!({ "email": "a@b" }));
    let set = json!({ "set": { "email": "c@d" } }).to_string();
    assert_eq!(ask(engine, Method::PATCH, "/services/Signup/state/anna", &set).await.0, 200);
    let email = crate::engine::InvokeRequest { service: "Signup".into(), ..World::request("anna", "email", "", None) };
    let (_, email) = engine.call(email).unwrap();
    assert_eq!(email.await.unwrap().unwrap().outcome, Outcome::success("\"c@d\"".into()));
    let path = format!("/invocations/{}", first.invocation);
    assert_eq!(ask(engine, Method::PATCH, &format!("{path}/restart-as-new"), "").await.0, 422);
    assert_eq!(ask(engine, Method::DELETE, &format!("{path}?mode=purge"), "").await.0, 202);
    assert!(!engine.send(run()).await.unwrap().known);
    world.stop().unwrap();
}
