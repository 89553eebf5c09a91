//! A leader whose disk has become slow hands over while it is, also when a sync hangs for seconds, and nothing is lost.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::cluster::Plan;
use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Cluster, verdict, wait};

/// What disks do: syncs that take long, one after the other, and one that hangs.
const DELAYS: [Duration; 2] = [Duration::from_millis(600), Duration::from_secs(3)];

/// Partitions that a node leads, as another one says.
async fn led_by(cluster: &Cluster, place: usize) -> Vec<String> {
    let status = cluster.status_of((place + 1) % cluster.len()).await.unwrap();
    let led = status.partitions.iter().filter(|partition| {
        let leader = partition.leader.as_deref();
        // Between two leaders the old one may lead on.
        leader.is_none_or(|leader| cluster.place(&status, leader) == Some(place))
    });
    led.map(|partition| partition.id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_leave_a_slow_disk() {
    let mut cluster = Plan::new(env!("CARGO_BIN_EXE_e2e-register")).slow_disks().start(3).await;
    if !cluster.slow_disk(0, Duration::ZERO) {
        return e2e::report("skipped: no C compiler");
    }
    let mut random = Random::from_environment();
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut blows = Vec::new();
    for delay in DELAYS {
        let victim = cluster.leader_of("p0").await;
        let from = load.recorder().now();
        assert!(cluster.slow_disk(victim, delay));
        wait::until("others lead", || async {
            let led = led_by(&cluster, victim).await;
            if led.is_empty() { Ok(()) } else { Err(led) }
        })
        .await;
        // It stays so, and nobody waits for who only follows.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(led_by(&cluster, victim).await, Vec::<String>::new(), "{delay:?}");
        assert!(cluster.slow_disk(victim, Duration::ZERO));
        cluster.wait_healthy().await;
        blows.push((delay, from, load.recorder().now()));
    }
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    for (delay, from, to) in blows {
        e2e::report(&format!("{delay:?}: {:?}", history.measure(from, to)));
    }
    e2e::report(&format!("{}\n{:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good());
    assert!(verdict.acknowledged > 100, "too little to tell anything");
    cluster.end();
}
