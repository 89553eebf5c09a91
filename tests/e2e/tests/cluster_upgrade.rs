//! A cluster is upgraded node by node under load: both builds run side by side, what only the new one writes is written
//! when every node reads it, and an old build is refused from then on.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cluster, verdict};

/// The newer build, if it was made: it needs the feature `next`.
fn next() -> Option<String> {
    let exe = PathBuf::from(concat!(env!("CARGO_BIN_EXE_e2e-register"), "-next"));
    if exe.exists() {
        return Some(exe.display().to_string());
    }
    assert!(!e2e::in_ci(), "build it before: cargo build -p e2e --features next --bin e2e-register-next");
    e2e::report("skipped: the newer build is not there (cargo build -p e2e --features next --bin e2e-register-next)");
    None
}

async fn features(cluster: &Cluster) -> u64 {
    let told: serde_json::Value = cluster.node(0).admin.get("/cluster").ok().await;
    told["features"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_upgraded_one_by_one() {
    let Some(next) = next() else { return };
    let mut random = Random::from_environment();
    let mut cluster = Cluster::start(env!("CARGO_BIN_EXE_e2e-register"), 3).await;
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    assert_eq!(features(&cluster).await, 1);
    for place in 0..3 {
        cluster.stop(place);
        cluster.set_exe(place, &next);
        cluster.restart(place);
        cluster.wait_healthy().await;
        if place < 2 {
            assert_eq!(features(&cluster).await, 1, "an old build is still there");
        }
    }
    let until = Instant::now() + Duration::from_secs(20);
    while features(&cluster).await != 2 {
        assert!(Instant::now() < until, "the new features are not in force");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Entries of the newer format.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    e2e::report(&format!("cluster_upgrade: {}; {:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good(), "{}", verdict.summary());
    cluster.end();
}
