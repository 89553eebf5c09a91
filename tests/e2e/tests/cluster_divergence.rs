//! A replica that says something else than the others is found out, stops, leaves evidence, and is built anew from them.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use abide_model::id::{PartitionId, PartitionKey};
use e2e::cluster::Plan;
use e2e::{Cli, Cluster, damage, wait};
use serde_json::{Value, json};

const PARTITIONS: u32 = 2;
/// The node that it befalls. It is not the one that is asked.
const VICTIM: usize = 2;
/// Enough entries for a point at which replicas are compared; these are 64 entries apart.
const ENTRIES: u64 = 70;
/// What the damaged replica says.
const LIE: u64 = 1_000_000_000;

/// The first object of a partition whose name begins so.
fn object(prefix: &str, partition: u32) -> String {
    let mut names = (0..).map(|number| format!("{prefix}{number}"));
    names.find(|name| PartitionId::of(PartitionKey::of(name), PARTITIONS) == PartitionId(partition)).unwrap()
}

/// Changes each object so often. What comes together is one entry, so they come one after another.
async fn change(cluster: &Cluster, keys: &[String]) {
    let clients = keys.iter().map(|key| {
        let (http, path) = (cluster.node(0).ingress.clone(), format!("/Register/{key}/increment"));
        tokio::spawn(async move {
            for operation in 0..ENTRIES {
                http.json(&path, operation).ok::<Value>().await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// What each node's own replica says is `value`.
async fn agree(cluster: &Cluster, keys: &[String], value: u64) {
    for key in keys {
        for door in cluster.doors() {
            for how in ["linear", "stale"] {
                let read = door.get(&format!("/Register/{key}/read")).header("x-abide-read", how);
                assert_eq!(read.ok::<Value>().await["value"], json!(value), "{key}: {how} at {}", door.base());
            }
        }
    }
}

fn of<'a>(checked: &'a Value, partition: &str) -> &'a Value {
    let all = checked["partitions"].as_array().unwrap();
    all.iter().find(|of| of["partition"] == partition).unwrap_or(&Value::Null)
}

/// Waits until the replicas of both partitions are compared and equal; who they are.
async fn equal(cli: &Cli) -> [Value; 2] {
    wait::until("all replicas are equal", || async {
        let told = cli.run("cluster hash check");
        let compared = ["p0", "p1"].map(|partition| of(&told.document, partition).clone());
        let all = compared.iter().all(|of| of["verdict"] == "equal" && of["compared"].as_array().unwrap().len() == 3);
        if told.code == 0 && all { Ok(compared.map(|of| of["compared"].clone())) } else { Err(told) }
    })
    .await
}

/// How often a node has found a replica to be wrong.
async fn found(cluster: &Cluster, place: usize, partition: &str) -> u64 {
    let metrics = cluster.node(place).admin.get("/metrics").expect().await.text();
    let name = format!("abide_replica_divergence_total{{partition=\"{partition}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
}

fn evidence(cluster: &Cluster) -> Vec<PathBuf> {
    let folders = fs::read_dir(cluster.node(VICTIM).data().join("evidence"));
    folders.map_or_else(|_| Vec::new(), |folders| folders.map(|entry| entry.unwrap().path()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_differs_is_built_anew() {
    let plan = Plan::new(env!("CARGO_BIN_EXE_e2e-register")).env("ABIDE_PARTITIONS", PARTITIONS.to_string());
    let mut cluster = plan.start(3).await;
    let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &cluster.node(0).admin, &cluster.node(0).ingress);
    let keys: Vec<_> = (0..PARTITIONS).map(|partition| object("busy", partition)).collect();
    // Nobody changes it, so that the damage stays.
    let quiet = [object("quiet", 0)];
    let written = json!({ "operation": 1, "value": 7 });
    cluster.node(0).ingress.json(&format!("/Register/{}/write", quiet[0]), written).ok::<Value>().await;
    change(&cluster, &keys).await;
    let before = equal(&cli).await;
    let victim = cluster.id(&cluster.status().await, VICTIM).unwrap();

    cluster.stop(VICTIM);
    let struck = damage::diverge(&cluster.node(VICTIM).data(), 0, "Register", "value", &LIE.to_string());
    assert_eq!(struck, 2, "a busy object and a quiet one");
    change(&cluster, &keys).await;
    cluster.restart(VICTIM);

    // While it lasts it is told, and whoever asks this replica is told a lie. That may be over before anybody looks.
    let look = async {
        loop {
            let told: Value = cluster.node(0).admin.get("/cluster/hashes").ok().await;
            if of(&told, "p0")["verdict"] == "different" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let saved = wait::until("the evidence is there", || async {
        let found = evidence(&cluster);
        if found.is_empty() { Err(found) } else { Ok(()) }
    });
    let seen = tokio::select! {
        () = look => true,
        () = saved => false,
    };
    if seen {
        // It sleeps for a moment, so that it does not go on before the command has asked.
        cluster.pause(VICTIM);
        let told = cli.run("cluster hash check");
        cluster.resume(VICTIM);
        assert_eq!(told.code, 1, "{told:?}");
        assert_eq!(of(&told.document, "p0")["different"], json!([victim]), "{told:?}");
        assert!(told.stderr.contains("replicas of p0 differ"), "{told:?}");
        assert_ne!(of(&told.document, "p1")["verdict"], "different");
    }

    // It stops, and what it had is kept for people.
    let folder = wait::until("the evidence is complete", || async {
        let found = evidence(&cluster);
        let complete = |folder: &&PathBuf| ["rows.txt", "entries.txt"].iter().all(|name| folder.join(name).is_file());
        let folder =
            found.iter().find(complete).filter(|_| cluster.node(VICTIM).log().contains("the evidence is saved"));
        folder.cloned().ok_or(found)
    })
    .await;
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("p0-{victim}-")), "{name}");
    let hex: String = LIE.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
    let rows = fs::read_to_string(folder.join("rows.txt")).unwrap();
    assert!(rows.lines().any(|row| row.contains(&hex)), "the wrong value is not among {rows}");
    let entries = fs::read_to_string(folder.join("entries.txt")).unwrap();
    assert!(entries.lines().count() > 64, "{entries}");
    // More than once when it was seen before the third node had told what it has.
    assert!(found(&cluster, VICTIM, "p0").await >= 1);
    for place in 0..cluster.len() {
        assert_eq!(found(&cluster, place, "p1").await, 0, "{place}");
        let stopped = cluster.node(place).log().contains("this replica differs from the majority");
        assert_eq!(stopped, place == VICTIM, "{place}");
    }

    // Another one takes its place, of that partition only, and says what the others say.
    wait::until("another replica has taken its place", || async {
        let status = cluster.status_of(0).await.map_err(|error| vec![error])?;
        let p0 = status.partitions.into_iter().find(|partition| partition.id == "p0").unwrap();
        let anew = p0.members.voters.iter().any(|voter| voter.starts_with(&format!("{victim}.")));
        if anew && p0.members.voters.len() == 3 { Ok(()) } else { Err(p0.members.voters) }
    })
    .await;
    cluster.wait_healthy().await;
    agree(&cluster, &keys, 2 * ENTRIES).await;
    change(&cluster, &keys).await;
    let after = equal(&cli).await;
    assert!(before[0] != after[0] && before[1] == after[1], "{before:?} {after:?}");
    agree(&cluster, &keys, 3 * ENTRIES).await;
    agree(&cluster, &quiet, 7).await;

    // And it stays.
    cluster.stop(VICTIM);
    cluster.restart(VICTIM);
    cluster.wait_healthy().await;
    assert_eq!((found(&cluster, VICTIM, "p0").await, evidence(&cluster).len()), (0, 1));
    agree(&cluster, &keys, 3 * ENTRIES).await;
    agree(&cluster, &quiet, 7).await;
    e2e::report(&format!("cluster_divergence: the command told of it while it lasted: {seen}"));
    cluster.end();
}
