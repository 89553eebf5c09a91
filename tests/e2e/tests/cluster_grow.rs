//! One node with data becomes a cluster of three while it is asked, and nobody notices.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::{Duration, Instant};

use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cluster, verdict};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_grows_to_three_without_a_failed_request() {
    let mut random = Random::from_environment();
    let mut cluster = Cluster::start(env!("CARGO_BIN_EXE_e2e-register"), 1).await;
    // What is there before, and comes along.
    let before = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (history, verdict) = verdict::conclude(before, &cluster.node(0).ingress, &cluster.ledger()).await;
    assert!(verdict.is_good(), "{}", verdict.summary());
    let finals_before = history;

    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let from = load.recorder().now();
    let begun = Instant::now();
    cluster.grow();
    cluster.grow();
    cluster.wait_healthy().await;
    let (took, to) = (begun.elapsed(), load.recorder().now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let recorder_end = load.recorder().now();
    let (history, verdict) = verdict::conclude(load, &cluster.node(1).ingress, &cluster.ledger()).await;
    e2e::report(&format!(
        "cluster_grow: from one to three in {took:?}; while it grew {:?}; afterwards {:?}; {}",
        history.measure(from, to),
        history.measure(to, recorder_end),
        verdict.summary()
    ));
    assert!(verdict.is_good(), "{}", verdict.summary());
    assert!(history.failures.is_empty(), "{:#?}", history.failures_by_kind());

    // The new ones have it all: what was there before is there without the first one.
    cluster.kill(0);
    let accounts = Vec::new();
    let finals = verdict::finals(&cluster.node(2).ingress, &finals_before, &accounts).await;
    let lines = verdict::Lines::read(&cluster.ledger());
    let transfers =
        |operation: &e2e::history::Operation| !matches!(operation.action, e2e::history::Action::Transfer { .. });
    let mut without_bank = finals_before;
    without_bank.operations.retain(transfers);
    let verdict = verdict::judge(&without_bank, &finals, &lines);
    assert!(verdict.is_good(), "without the first node: {}", verdict.summary());
    cluster.restart(0);
    cluster.wait_healthy().await;
    cluster.end();
}
