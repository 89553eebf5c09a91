use std::time::Duration;

use serde_json::json;

use super::*;

#[tokio::test]
async fn all_is_told_at_once() {
    let fake = three();
    let all = fake.get("/cluster").await;
    assert_eq!((&all["cluster_id"], &all["features"], &all["problems"]), (&json!("cl_1"), &json!(1), &json!([])));
    assert_eq!(all["settings"]["replication_factor"], "3");
    assert_eq!(all["settings"]["log_level"], Value::Null);
    assert_eq!(
        all["nodes"][1],
        json!({
            "id": "n2", "address": "10.0.0.2:5122", "ingress": "10.0.0.2:8080", "admin": "10.0.0.2:9070", "zone": "z2",
            "state": "active", "alive": true, "silent_ms": null, "stopping": false, "slow_disk_ms": null, "build": "0.1.0",
            "features": 1, "boot": 9, "joined_at": "2026-11-23T06:47:12.191000000Z", "leaders": 1, "leads": ["p1"], "replicas": 3,
            "empty": false,
        })
    );
    let p1 = &all["partitions"][1];
    assert_eq!((&p1["id"], &p1["leader"], &p1["term"]), (&json!("p1"), &json!("n2"), &json!(5)));
    assert_eq!(p1["members"], json!({ "voters": ["n1", "n2", "n3"], "learners": [], "outgoing": [] }));
    assert_eq!((&p1["wanted"], &p1["pinned"]), (&json!(["n1", "n2", "n3"]), &Value::Null));
    assert_eq!(
        p1["replicas"][0],
        json!({
            "node": "n1", "replica": "n1", "leads": false, "term": 5, "first": 1, "last": 100, "committed": 100,
            "applied": 98, "durable": 90, "lag": 2, "alive": true, "snapshot_in_progress": false,
        })
    );
    assert_eq!(all["partitions"][3]["id"], "meta");
    assert_eq!(fake.get("/cluster/nodes").await["nodes"], all["nodes"]);
    assert_eq!(fake.get("/cluster/partitions").await["partitions"], all["partitions"]);
    assert_eq!(fake.get("/cluster/nodes/n2").await["id"], "n2");
    assert_eq!(fake.ask(Method::GET, "/cluster/nodes/n9", "").await.0, 404);
    assert_eq!(fake.ask(Method::GET, "/cluster/nodes/9", "").await.0, 400);
}

#[tokio::test]
async fn a_node_that_has_just_joined_tells_what_it_knows() {
    let cluster = Cluster::new(NodeId(4));
    cluster.told(NodeId(4), NodeStatus::default());
    let fake = Fake { cluster, ..three() };
    let all = fake.get("/cluster").await;
    assert_eq!((&all["cluster_id"], &all["partitions"]), (&Value::Null, &json!([])));
    assert_eq!((&all["nodes"][0]["id"], &all["nodes"][0]["state"]), (&json!("n4"), &Value::Null));
    assert!(all["problems"][0]["text"].as_str().unwrap().contains("does not know the cluster yet"), "{all}");
}

fn texts(all: &Value) -> Vec<String> {
    let problems = all["problems"].as_array().unwrap().iter();
    problems.map(|of| format!("{}: {}", of["severity"].as_str().unwrap(), of["text"].as_str().unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_in_words() {
    let fake = three();
    fake.die(3);
    let text = texts(&fake.get("/cluster").await);
    assert!(
        text[0].starts_with("bad: n3 has not been heard of for 0s; its replicas are made anew on others 10m"),
        "{text:?}"
    );
    assert_eq!(text[1], "warning: p0, p1, p2, meta: 2 of 3 voters answer; with one less it stands still");

    let fake = three();
    tokio::time::advance(Duration::from_secs(12)).await;
    let all = fake.get("/cluster").await;
    assert_eq!((&all["nodes"][0]["alive"], &all["nodes"][2]["alive"]), (&json!(true), &json!(false)));
    assert_eq!(all["nodes"][2]["silent_ms"], 12_000);
    let text = texts(&all);
    assert!(text.iter().any(|text| text.starts_with("bad: n3 has not been heard of for 12s")), "{text:?}");
    assert!(text.contains(&"bad: p1, p2: no leader, and n2, n3 away".to_owned()), "{text:?}");

    let fake = three();
    fake.tell(3, |status| status.disk_delay_ms = 640);
    let all = fake.get("/cluster").await;
    assert_eq!((&all["nodes"][2]["slow_disk_ms"], &all["nodes"][1]["slow_disk_ms"]), (&json!(640), &Value::Null));
    let text =
        "warning: the disk of n3 is slow (640ms a sync): it still leads 1 of the partitions, and their requests wait";
    assert!(texts(&all)[0].starts_with(text), "{all}");
    fake.die(3);
    assert_eq!(fake.get("/cluster").await["nodes"][2]["slow_disk_ms"], Value::Null, "nobody knows");

    let fake = three();
    fake.want(|wanted| {
        wanted.placements.get_mut(&PartitionId(0)).unwrap().pinned = 3;
        wanted.nodes.get_mut(&NodeId(2)).unwrap().info.as_mut().unwrap().features = 2;
    });
    fake.tell(2, |status| {
        let leader = status.replicas.iter_mut().find(|of| of.partition == 1).unwrap();
        (leader.committed, leader.applied) = (5_000, 5_000);
        leader.members.as_mut().unwrap().voters_outgoing = vec![1, 2];
        status.replicas[2].hashes[0].hash = 8;
    });
    let text = texts(&fake.get("/cluster").await);
    for expected in [
        "bad: p2: the state of n2 differs from that of the others",
        "warning: p1: n1 is 4902 entries behind",
        "note: p1: its members are changing",
        "note: p0: pinned to n3, led by n1: it is on its way",
        "note: features of level 2 wait for newer builds on n1, n3; level 1 is in force",
    ] {
        assert!(text.contains(&expected.to_owned()), "{expected}: {text:?}");
    }
    fake.want(|wanted| {
        wanted.nodes.get_mut(&NodeId(3)).unwrap().state = NodeState::Draining as i32;
    });
    let drained = texts(&fake.get("/cluster").await);
    for expected in [
        "warning: 2 nodes are active of the 3 that `replication_factor` asks for",
        "note: p0: pinned to n3, led by n1: that node is being emptied",
    ] {
        assert!(drained.contains(&expected.to_owned()), "{expected}: {drained:?}");
    }
    assert!(text[0].starts_with("bad") && text.last().unwrap().starts_with("note"), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn hashes_are_compared_where_several_tell_them() {
    let verdicts = |answer: &Value| -> Vec<String> {
        let partitions = answer["partitions"].as_array().unwrap().iter();
        partitions.map(|of| of["verdict"].as_str().unwrap().to_owned()).collect()
    };
    let fake = three();
    let (status, checked) = fake.post("/cluster/hashes/check").await;
    assert_eq!((status, &checked["verdict"]), (200, &json!("equal")));
    assert_eq!(checked["partitions"][0]["replicas"][0]["points"], json!([{ "index": 64, "hash": "0000000000000007" }]));

    fake.tell(3, |status| status.replicas[0].hashes[0].hash = 8);
    fake.tell(3, |status| status.replicas[1].hashes[0].index = 128);
    fake.tell(3, |status| status.replicas[2].hashes.clear());
    let looked = fake.get("/cluster/hashes").await;
    assert_eq!(verdicts(&looked), ["different", "waiting", "waiting", "equal"]);
    let p0 = &looked["partitions"][0];
    assert_eq!((&p0["index"], &p0["different"], &p0["waiting"]), (&json!(64), &json!(["n3"]), &json!([])));
    assert_eq!(looked["partitions"][1]["waiting"], json!(["n3"]));
    assert_eq!((&looked["verdict"], &looked["partitions"][2]["compared"]), (&json!("different"), &json!(["n1", "n2"])));

    // Two that differ, and no third to tell who is right.
    fake.tell(1, |status| status.replicas[0].hashes.clear());
    let looked = fake.get("/cluster/hashes").await;
    assert_eq!(looked["partitions"][0]["different"], json!(["n2", "n3"]));
}
