//! All nodes are killed at once and started again: everything that was acknowledged is there.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cluster, verdict};

const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_killed_at_once() {
    let mut random = Random::from_environment();
    let mut cluster = Cluster::start(env!("CARGO_BIN_EXE_e2e-register"), 3).await;
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(1_000 + random.below(1_000))).await;
        let from = load.recorder().now();
        for place in 0..cluster.len() {
            cluster.kill(place);
        }
        let serving = cluster.restart_at_once(&[0, 1, 2]);
        let healthy = cluster.wait_healthy().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let measure = load.recorder().history().measure(from, load.recorder().now());
        e2e::report(&format!("cluster_restart: serving after {serving:?}, healthy {healthy:?} later; {measure:?}"));
    }
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    e2e::report(&format!("{}\n{:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good());
    assert!(verdict.acknowledged > 200, "too little to tell anything");
    cluster.end();
}
