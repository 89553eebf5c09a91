//! The table of what faults cost: `cargo test -p e2e --release --test cluster_faults -- --ignored --nocapture`.
//!
//! `E2E_RUNS` is how often each fault strikes; without it the leader is killed and isolated 20 times, and the others strike less
//! often.
//! `E2E_FAULTS=kill-leader,isolate-leader` strikes only these; then the table is printed and not written.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::time::Duration;

use e2e::cluster::Plan;
use e2e::load::{Load, Mix};
use e2e::nemesis::Fault;
use e2e::netns::{self, Network, Place};
use e2e::random::Random;
use e2e::table::{Row, Table};
use e2e::{Cli, Cluster, verdict};

const NODES: usize = 3;

fn runs(fault: Fault) -> usize {
    let told = std::env::var("E2E_RUNS").ok().map(|runs| runs.parse().expect("E2E_RUNS is a number"));
    told.unwrap_or(match fault {
        Fault::KillLeader | Fault::Isolate => 20,
        Fault::KillAny | Fault::Pause => 10,
        Fault::Deafen | Fault::Mute => 6,
        Fault::SlowDisk | Fault::RollingRestart => 4,
        Fault::BucketDown => 2,
    })
}

#[test]
#[ignore = "it takes a quarter of an hour"]
fn the_table_of_faults() {
    let place = netns::enter("the_table_of_faults");
    if place == Place::Done {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut plan = Plan::new(env!("CARGO_BIN_EXE_e2e-register")).slow_disks();
        if place == Place::Inside {
            plan = plan.network(Network::new(NODES));
        }
        make(plan).await;
    });
}

async fn make(plan: Plan) {
    let mut random = Random::from_environment();
    let chosen = std::env::var("E2E_FAULTS").ok();
    let chosen = |fault: Fault| chosen.as_ref().is_none_or(|chosen| chosen.split(',').any(|name| name == fault.name()));
    let mix = Mix::default();
    let mut table = Table::default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    table.notes.push(format!(
        "{NODES} nodes, their clients and the checkers on one machine with {cores} cores; {build} build."
    ));
    let (registers, ledgers, bankers) = (mix.registers, mix.ledgers, mix.bankers);
    table.notes.push(format!(
        "{} clients, {registers} of registers, {ledgers} of ledgers and {bankers} of the bank, each with one operation at a \
         time and up to {:?} of rest. A node that does not answer within {:?} is given up for the next one: that is in the \
         latency of every operation that was with a node that neither answers nor refuses.",
        registers + ledgers + bankers,
        mix.rest,
        mix.attempt,
    ));
    let lasting = Fault::ALL.iter().filter(|fault| !fault.duration().is_zero());
    let lasting: Vec<_> = lasting.map(|fault| format!("{} {:?}", fault.name(), fault.duration())).collect();
    table.notes.push(format!("Faults last: {}.", lasting.join(", ")));
    let mut cluster = plan.start(NODES).await;
    for fault in Fault::ALL.into_iter().filter(|fault| chosen(*fault)) {
        if fault == Fault::BucketDown {
            // On this machine's own addresses, where the bucket is.
            let mut cluster = Plan::new(env!("CARGO_BIN_EXE_e2e-register")).bucket().start(NODES).await;
            // So often that snapshots are due while the bucket does not answer.
            let node = cluster.node(0);
            let cli = Cli::at(env!("CARGO_BIN_EXE_e2e-abide"), &node.admin, &node.ingress);
            cli.ok("cluster config set snapshot_interval 2000");
            table.rows.push(strike(&mut cluster, fault, mix, &mut random).await);
            e2e::report(&table.rows[table.rows.len() - 1].line());
            cluster.end();
            continue;
        }
        if !fault.is_possible(&cluster) {
            let why = "network namespaces or a C compiler are missing where this was made".to_owned();
            e2e::report(&format!("skipped: {}: {why}", fault.name()));
            table.skipped.push((fault.name().to_owned(), why));
            continue;
        }
        let row = strike(&mut cluster, fault, mix, &mut random).await;
        e2e::report(&row.line());
        e2e::report(&format!("{:#?}", row.failures));
        table.rows.push(row);
    }
    cluster.end();
    e2e::report(&table.markdown());
    if std::env::var_os("E2E_FAULTS").is_none() {
        table.save("cluster-faults");
    }
    for row in &table.rows {
        assert!(row.verdict.is_good(), "{}", row.line());
    }
}

async fn strike(cluster: &mut Cluster, fault: Fault, mix: Mix, random: &mut Random) -> Row {
    let load = Load::start(cluster.doors(), mix, random).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut windows, mut recoveries) = (Vec::new(), Vec::new());
    for run in 0..runs(fault) {
        let from = load.recorder().now();
        let blow = fault.strike(cluster, random).await;
        // Who was still asking when the cluster was well again is heard.
        tokio::time::sleep(Duration::from_millis(500)).await;
        windows.push((from, load.recorder().now()));
        recoveries.push(blow.recovery);
        e2e::report(&format!("{} {run}: {blow:?}", fault.name()));
    }
    let (history, verdict) = verdict::conclude(load, &cluster.node(0).ingress, &cluster.ledger()).await;
    let runs = windows.into_iter().map(|(from, to)| history.measure(from, to)).collect();
    Row { fault: fault.name().to_owned(), runs, recoveries, verdict, failures: history.failures_by_kind() }
}
