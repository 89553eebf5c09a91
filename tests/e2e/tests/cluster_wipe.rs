//! A node whose disk is gone comes back as a new node. The old one is replaced by the command.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cli, Cluster, verdict, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_joins_as_a_new_one() {
    let mut random = Random::from_environment();
    let mut cluster = Cluster::start(env!("CARGO_BIN_EXE_e2e-register"), 3).await;
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = cluster.status().await;
    let old = cluster.id(&status, 2).unwrap();
    cluster.stop(2);
    cluster.wipe(2);
    cluster.restart(2);
    let new = wait::until("the wiped node is a new one", || async {
        let status = cluster.status_of(0).await?;
        cluster.id(&status, 2).filter(|id| *id != old).ok_or(format!("{:?}", status.nodes))
    })
    .await;
    let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &cluster.node(0).admin, &cluster.node(0).ingress);
    cli.ok(&format!("cluster nodes replace {old} --wait --yes"));
    let healthy = cluster.wait_healthy().await;
    let status = cluster.status().await;
    assert!(status.nodes.iter().all(|node| node.id != old || node.is_removed()), "{:?}", status.nodes);
    for partition in &status.partitions {
        assert!(partition.members.voters.contains(&new), "{partition:?}");
        assert!(!partition.members.voters.contains(&old), "{partition:?}");
    }
    e2e::report(&format!("cluster_wipe: {old} became {new}; complete {healthy:?} after the old one was replaced"));
    // The new one counts: with another node gone it is one of the two that are needed.
    cluster.kill(1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.restart(1);
    cluster.wait_healthy().await;
    let (history, verdict) = verdict::conclude(load, &cluster.node(2).ingress, &cluster.ledger()).await;
    e2e::report(&format!("{}\n{:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good());
    cluster.end();
}
