use serde_json::json;

use super::*;

impl Fake {
    fn state(&self, node: u32) -> NodeState {
        self.cluster.wanted().nodes[&NodeId(node)].state()
    }

    fn refuse(&self, status: u32, code: ErrorCode) {
        *self.refusal.lock().unwrap() = Some(Failure::coded(status, code, "no"));
    }
}

#[tokio::test]
async fn a_node_is_emptied_used_again_and_removed() {
    let fake = three();
    let (status, drained) = fake.post("/cluster/nodes/n3/drain").await;
    assert_eq!((status, &drained["state"], &drained["left"]), (200, &json!("draining"), &json!(["p0", "p1", "p2"])));
    assert!(
        drained["note"].as_str().unwrap().contains("their groups have 3 votes, and 2 other nodes are"),
        "{drained}"
    );
    let (status, refused) = fake.post("/cluster/nodes/n3/remove").await;
    assert_eq!((status, code(&refused)), (409, "AB0419"));
    assert!(refused["message"].as_str().unwrap().contains("Let another node join"), "{refused}");
    assert_eq!(fake.post("/cluster/nodes/n3/remove?force=true").await.0, 409, "it is alive");
    assert_eq!(fake.post("/cluster/nodes/n3/replace").await.0, 409, "it is alive");
    let (status, active) = fake.post("/cluster/nodes/n3/activate").await;
    assert_eq!((status, &active["state"], &active["left"]), (200, &json!("active"), &Value::Null));
    let (_, refused) = fake.post("/cluster/nodes/n3/remove").await;
    assert!(refused["message"].as_str().unwrap().contains("drain it first"), "{refused}");

    // Its groups let it go.
    fake.want(|wanted| {
        for (_, row) in wanted.placements.iter_mut().filter(|(partition, _)| **partition != PartitionId::META) {
            row.replicas = vec![1, 2];
        }
    });
    fake.tell(3, |status| status.replicas.retain(|of| of.partition == PartitionId::META.0));
    for node in [1, 2] {
        fake.tell(node, |status| {
            for replica in status.replicas.iter_mut().filter(|of| of.partition < 3) {
                *replica = replica_status(replica.partition, replica.replica, 1, 6);
                replica.members = replica.leads.then(|| Members::of([1, 2]));
            }
        });
    }
    let nodes = fake.get("/cluster/nodes").await;
    assert_eq!((&nodes["nodes"][2]["empty"], &nodes["nodes"][1]["empty"]), (&json!(true), &json!(false)));
    let (status, removed) = fake.post("/cluster/nodes/n3/remove").await;
    assert_eq!((status, &removed["state"]), (200, &json!("removed")));
    assert_eq!(fake.post("/cluster/nodes/n3/remove").await.0, 200);
    assert_eq!(fake.post("/cluster/nodes/n3/replace").await.0, 200);
    assert_eq!(fake.post("/cluster/nodes/n9/remove").await.0, 404);
    assert_eq!(fake.post("/cluster/nodes/n1/remove?force=maybe").await.0, 400);
}

#[tokio::test]
async fn a_dead_node_is_replaced_or_given_up() {
    let fake = three();
    fake.die(3);
    let (status, refused) = fake.post("/cluster/nodes/n3/remove").await;
    assert_eq!(status, 409);
    assert!(refused["message"].as_str().unwrap().contains("force=true"), "{refused}");
    let (status, replaced) = fake.post("/cluster/nodes/n3/replace").await;
    assert_eq!((status, &replaced["state"]), (202, &json!("draining")));
    assert_eq!(replaced["left"], json!(["p0", "p1", "p2"]));
    assert_eq!(fake.post("/cluster/nodes/n3/replace").await.0, 202);
    let (status, removed) = fake.post("/cluster/nodes/n3/remove?force=true").await;
    assert_eq!((status, &removed["state"]), (200, &json!("removed")), "{removed}");
    assert_eq!(fake.cluster.wanted().placements[&PartitionId(0)].replicas, [1, 2]);

    // What nobody leads is not given up.
    let fake = three();
    fake.die(2);
    fake.cluster.silent(NodeId(3));
    let (status, refused) = fake.post("/cluster/nodes/n3/remove?force=true").await;
    assert_eq!((status, fake.state(3)), (409, NodeState::Active), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("partition p2 without a leader"), "{refused}");
}

#[tokio::test]
async fn the_meta_group_has_the_last_say() {
    let fake = three();
    for (status, code, expected) in [
        (409, error::CONFLICT, (409, "AB0419")),
        (410, error::NODE_REMOVED, (410, "AB0480")),
        (404, error::NOT_FOUND, (404, "AB0404")),
    ] {
        fake.refuse(status, code);
        let (status, refused) = fake.post("/cluster/nodes/n3/drain").await;
        assert_eq!((status, super::code(&refused)), expected);
    }
}

#[tokio::test]
async fn leaders_are_moved_pinned_and_freed() {
    let fake = three();
    let to = |node: &str| json!({ "node": node }).to_string();
    let (status, moved) = fake.ask(Method::POST, "/cluster/partitions/p0/leader", &to("n2")).await;
    assert_eq!(
        (status, &moved["leader"], &moved["from"], &moved["term"]),
        (200, &json!("n2"), &json!("n1"), &json!(6))
    );
    assert_eq!(fake.wishes.lock().unwrap()[0].0, NodeId(1));
    // It leads already.
    assert_eq!(fake.ask(Method::POST, "/cluster/partitions/p0/leader", &to("n2")).await.0, 200);
    assert_eq!(fake.wishes.lock().unwrap().len(), 1);
    let (status, pinned) = fake.ask(Method::PUT, "/cluster/partitions/p0/pin", &to("n2")).await;
    assert_eq!((status, &pinned["pinned"]), (200, &json!("n2")));
    let refused = |body: &Value| body["message"].as_str().unwrap_or_default().to_owned();
    let (status, body) = fake.ask(Method::POST, "/cluster/partitions/p0/leader", &to("n3")).await;
    assert!(status == 409 && refused(&body).contains("pinned to n2"), "{body}");
    let (status, freed) = fake.ask(Method::DELETE, "/cluster/partitions/p0/pin", "").await;
    assert_eq!((status, &freed["pinned"]), (200, &Value::Null));

    // The leader of p1 is n2; its followers lag, have no vote, are away, or are to be emptied.
    let leader = |change: fn(&mut ReplicaStatus)| {
        move |status: &mut NodeStatus| change(status.replicas.iter_mut().find(|of| of.partition == 1).unwrap())
    };
    fake.tell(2, leader(|replica| replica.last = 5_000));
    let (status, body) = fake.ask(Method::POST, "/cluster/partitions/p1/leader", &to("n3")).await;
    assert!(status == 409 && refused(&body).contains("not caught up"), "{body}");
    fake.tell(2, leader(|replica| replica.members = Some(Members { learners: vec![3], ..Members::of([1, 2]) })));
    let (_, body) = fake.ask(Method::POST, "/cluster/partitions/p1/leader", &to("n3")).await;
    assert!(refused(&body).contains("no vote yet"), "{body}");
    fake.tell(2, leader(|replica| replica.members = Some(Members::of([1, 2]))));
    let (_, body) = fake.ask(Method::POST, "/cluster/partitions/p1/leader", &to("n3")).await;
    assert!(refused(&body).contains("no replica there"), "{body}");
    fake.post("/cluster/nodes/n1/drain").await;
    let (_, body) = fake.ask(Method::POST, "/cluster/partitions/p1/leader", &to("n1")).await;
    assert!(refused(&body).contains("it is draining"), "{body}");
    for (path, body, expected) in [
        ("p9/leader", to("n1"), 404),
        ("p0/leader", to("n9"), 404),
        ("p0/leader", to("9"), 400),
        ("p0/leader", "{}".into(), 422),
        ("9/leader", to("n1"), 400),
    ] {
        assert_eq!(
            fake.ask(Method::POST, &format!("/cluster/partitions/{path}"), &body).await.0,
            expected,
            "{path} {body}"
        );
    }
}

#[tokio::test]
async fn leaders_are_spread_at_once() {
    let fake = three();
    assert_eq!(fake.post("/cluster/leaders/balance").await, (200, json!({ "transfers": [] })));
    for partition in [1, 2] {
        fake.wish(NodeId(partition + 1), Wish { partition, transfer_to: 1, ..Wish::default() });
    }
    fake.wishes.lock().unwrap().clear();
    let (_, spread) = fake.post("/cluster/leaders/balance").await;
    assert_eq!(spread["transfers"].as_array().unwrap().len(), fake.wishes.lock().unwrap().len());
    assert_eq!(spread["transfers"][0]["from"], "n1");
    let led: Vec<_> = fake.get("/cluster/nodes").await["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["leaders"].clone())
        .collect();
    assert!(led.iter().all(|led| led.as_u64() < Some(3)), "{led:?}");
}

#[tokio::test]
async fn settings_are_set_and_taken_back() {
    let fake = three();
    let list = fake.get("/cluster/settings").await;
    assert_eq!(
        list["settings"][0],
        json!({
            "name": "replication_factor", "value": "3", "default": "3", "set": false, "expected": "a number from 1 to 7",
            "what": "replicas of a partition when there are enough nodes; of an even number one has no vote",
        })
    );
    let put = |name: &str, value: Value| {
        let (fake, path) = (fake.clone(), format!("/cluster/settings/{name}"));
        async move { fake.ask(Method::PUT, &path, &json!({ "value": value }).to_string()).await }
    };
    let (status, set) = put("log_level", json!("debug")).await;
    assert_eq!((status, &set["value"], &set["set"]), (200, &json!("debug"), &json!(true)));
    assert_eq!(put("replication_factor", json!(5)).await.1["value"], "5");
    assert_eq!(fake.get("/cluster").await["settings"]["replication_factor"], "5");
    let (status, unset) = fake.ask(Method::DELETE, "/cluster/settings/log_level", "").await;
    assert_eq!((status, &unset["value"], &unset["set"]), (200, &Value::Null, &json!(false)));
    assert_eq!(put("colour", json!("red")).await.0, 404);
    assert_eq!(put("log_level", json!(true)).await.0, 400);
    fake.refuse(400, error::INVALID_REQUEST);
    assert_eq!(put("log_level", json!("loud")).await.0, 400);
    assert_eq!(fake.get("/cluster/settings/snapshot_keep").await["value"], "3");
}
