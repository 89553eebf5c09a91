//! One node that is killed: what clients saw of it can be explained, and it is what the objects and the ledger say.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::net::TcpListener;
use std::time::Duration;

use e2e::load::{Load, Mix};
use e2e::random::Random;
use e2e::{Http, Program, verdict};

/// `E2E_KILLS` is the number of kills, 8 by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_keeps_its_word() {
    let kills: usize = std::env::var("E2E_KILLS").map_or(8, |kills| kills.parse().expect("E2E_KILLS is a number"));
    let mut random = Random::from_environment();
    // Clients know an address, so it stays. Nobody else takes a port of 127.9.x.x in between.
    let address = format!("127.9.{}.1:{}", 1 + std::process::id() % 250, 8080);
    drop(TcpListener::bind(&address).unwrap());
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-register")).env("ABIDE_INGRESS", address);
    let mut process = program.start();
    let door = Http::new(process.ingress.base().to_owned());
    let load = Load::start(vec![door.clone()], Mix::default(), &mut random).await;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(300 + random.below(700))).await;
        process.kill();
        process = tokio::task::block_in_place(|| program.start());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (history, verdict) = verdict::conclude(load, &door, &program.ledger()).await;
    let measure = history.measure(0, u64::MAX >> 1);
    e2e::report(&format!("history: {kills} kills; {}; latency at most {:?}", verdict.summary(), measure.latency_max));
    e2e::report(&format!("{:#?}", history.failures_by_kind()));
    assert!(verdict.is_good());
    assert!(verdict.acknowledged > 100 && verdict.searched > 3, "too little to tell anything");
    process.stop();
}
