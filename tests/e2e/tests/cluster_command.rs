//! The command `abide cluster` against real nodes: everything is seen and moved by it, from one node to four and back.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::{Duration, Instant};

use e2e::cluster::Plan;
use e2e::{Cli, Cluster};
use serde_json::{Value, json};

/// So long may replicas take to be where they are wanted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command again and again until what it tells is as it should be.
async fn tells(cli: &Cli, line: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let told = cli.run(line);
        if told.code == 0 && is(&told.document) {
            return told.document;
        }
        assert!(begun.elapsed() < PATIENCE, "`abide {line}` never tells it: {told:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn list<'a>(document: &'a Value, name: &str) -> &'a [Value] {
    document[name].as_array().map_or(&[], Vec::as_slice)
}

fn partition<'a>(document: &'a Value, id: &str) -> &'a Value {
    list(document, "partitions").iter().find(|partition| partition["id"] == id).unwrap_or(&Value::Null)
}

fn node<'a>(document: &'a Value, id: &str) -> &'a Value {
    list(document, "nodes").iter().find(|node| node["id"] == id).unwrap_or(&Value::Null)
}

/// Enough requests that every partition has points at which hashes can be compared. What arrives together is one entry of
/// the log, so they come one after another.
async fn load(cluster: &Cluster) {
    let clients = (0..4_u64).map(|client| {
        let http = cluster.node(0).ingress.clone();
        tokio::spawn(async move {
            for number in 0..100 {
                let answer =
                    http.json(&format!("/Register/k{client}-{}/increment", number % 10), number).expect().await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_operated_by_the_command() {
    let plan = Plan::new(env!("CARGO_BIN_EXE_e2e-register")).env("ABIDE_PARTITIONS", "2");
    let mut cluster = plan.start(3).await;
    let at = |place: usize| {
        let node = cluster.node(place);
        Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &node.admin, &node.ingress)
    };
    let (first, second) = (at(0), at(1));

    // Everybody tells of everybody.
    for cli in [&first, &second] {
        let status = tells(cli, "cluster status", |status| list(status, "problems").is_empty()).await;
        assert_eq!((list(&status, "nodes").len(), list(&status, "partitions").len()), (3, 3), "{status}");
        assert!(list(&status, "nodes").iter().all(|node| node["alive"] == true && node["replicas"] == 2), "{status}");
        let p0 = partition(&status, "p0");
        assert_eq!((list(&p0["members"], "voters").len(), list(p0, "replicas").len()), (3, 3), "{p0}");
    }

    // Leaders go where they are told to, and are kept there.
    let partitions = first.ok("cluster partitions");
    let leader = partition(&partitions, "p0")["leader"].as_str().unwrap().to_owned();
    let other = ["n1", "n2", "n3"].into_iter().find(|node| *node != leader).unwrap();
    let moved = second.ok(&format!("cluster leader transfer p0 {other}"));
    assert_eq!((&moved["leader"], &moved["from"]), (&json!(other), &json!(leader)), "{moved}");
    tells(&first, "cluster partitions", |told| partition(told, "p0")["leader"] == other).await;
    let pinned = first.ok(&format!("cluster leader pin p0 {other}"));
    assert_eq!(pinned["pinned"], other);
    let refused = first.run(&format!("cluster leader transfer p0 {leader}"));
    assert_eq!(refused.code, 4, "{refused:?}");
    first.ok("cluster leader unpin p0");
    assert_eq!(first.run("cluster leader transfer p0 n9").code, 3);

    // Settings hold everywhere, and are seen at once by whoever changed them.
    let set = first.ok("cluster config set log_level debug");
    assert_eq!((&set["value"], &set["set"]), (&json!("debug"), &json!(true)));
    tells(&second, "cluster config get log_level", |setting| setting["value"] == "debug").await;
    e2e::wait::until("the other node logs more", || async {
        let log = cluster.node(1).log();
        if log.contains("the log level of the cluster") { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(first.ok("cluster config unset log_level")["set"], false);
    assert_eq!(first.run("cluster config set replication_factor 9").code, 2);
    assert_eq!(first.run("cluster config get colour").code, 3);

    // Replicas are the same.
    load(&cluster).await;
    let checked = tells(&first, "cluster hash check", |checked| checked["verdict"] != "waiting").await;
    for id in ["p0", "p1"] {
        let of = list(&checked, "partitions").iter().find(|of| of["partition"] == id).unwrap();
        assert_eq!(of["verdict"], "equal", "{checked}");
        assert_eq!(list(of, "compared").len(), 3, "{checked}");
    }

    // Of three nodes none can be emptied, and that is said.
    let stuck = first.ok("cluster nodes drain n3");
    assert!(stuck["note"].as_str().unwrap().contains("another node join"), "{stuck}");
    let waited = first.run("cluster nodes drain n3 --wait --timeout 1s");
    assert_eq!(waited.code, 4, "{waited:?}");
    assert_eq!(first.run("cluster nodes remove n3 --yes").code, 4);

    // With a fourth one it can.
    cluster.grow();
    let drained = first.run("cluster nodes drain n3 --wait --timeout 60s");
    assert_eq!((drained.code, &drained.document["empty"]), (0, &json!(true)), "{drained:?}");
    assert_eq!(drained.document["leaders"], 0);
    assert_eq!(first.run("cluster nodes remove n3").code, 2, "nobody can be asked");
    assert_eq!(first.ok("cluster nodes remove n3 --yes")["state"], "removed");
    let status = tells(&second, "cluster status", |status| {
        node(status, "n3")["state"] == "removed"
            && list(status, "partitions").iter().all(|partition| {
                let voters = list(&partition["members"], "voters");
                voters.len() == 3 && !voters.contains(&json!("n3"))
            })
    })
    .await;
    assert!(list(&status, "nodes").iter().any(|node| node["id"] == "n4" && node["replicas"] == 2), "{status}");
    load(&cluster).await;
}
