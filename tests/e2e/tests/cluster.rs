//! Three nodes under load: a leader is killed, killed again, paused, and every node is restarted. Nothing acknowledged is
//! lost, nothing happens twice, and what clients saw can be explained. The long version of this is `cluster_faults`.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::load::{Load, Mix};
use e2e::nemesis::Fault;
use e2e::netns::{self, Network};
use e2e::random::Random;
use e2e::{Cluster, cluster, verdict};

const FAULTS: [Fault; 4] = [Fault::KillLeader, Fault::KillLeader, Fault::Pause, Fault::RollingRestart];
const NETWORK_FAULTS: [Fault; 3] = [Fault::Isolate, Fault::Deafen, Fault::Mute];

async fn keeps_its_word(mut cluster: Cluster, faults: &[Fault]) {
    let mut random = Random::from_environment();
    let load = Load::start(cluster.doors(), Mix::default(), &mut random).await;
    let mut blows = Vec::new();
    for fault in faults {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let from = load.recorder().now();
        let blow = fault.strike(&mut cluster, &mut random).await;
        blows.push((fault, blow, from, load.recorder().now()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    for (fault, blow, from, to) in blows {
        e2e::report(&format!("{}: {blow:?}; {:?}", fault.name(), history.measure(from, to)));
    }
    e2e::report(&format!("{}\n{:#?}", verdict.summary(), history.failures_by_kind()));
    assert!(verdict.is_good());
    assert!(verdict.acknowledged > 300 && verdict.searched > 3, "too little to tell anything");
    cluster.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_keep_their_word() {
    keeps_its_word(Cluster::start(env!("CARGO_BIN_EXE_e2e-register"), 3).await, &FAULTS).await;
}

/// The same, where nodes do not hear each other.
#[test]
fn three_nodes_keep_their_word_in_a_broken_network() {
    if netns::enter("three_nodes_keep_their_word_in_a_broken_network") != netns::Place::Inside {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let plan = cluster::Plan::new(env!("CARGO_BIN_EXE_e2e-register")).network(Network::new(3));
        keeps_its_word(plan.start(3).await, &NETWORK_FAULTS).await;
    });
}
