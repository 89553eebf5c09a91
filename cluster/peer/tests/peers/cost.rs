//! What frames and requests cost. Not a test: prints.
//!
//! `cargo test --release -p abide-peer --test peers cost -- --ignored --nocapture`

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::support::{SOON, pair};

/// CPU time of the process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints what things cost"]
#[allow(clippy::print_stdout)]
async fn cost() {
    let (one, two) = pair().await;
    for node in [&one, &two] {
        node.seen.forgets.store(true, Ordering::Relaxed);
    }
    for (bytes, count) in [(64, 2_000_000_usize), (1_024, 1_000_000), (65_536, 40_000)] {
        let frame = Bytes::from(vec![1; bytes]);
        two.seen.received.store(0, Ordering::Relaxed);
        two.seen.batches.store(0, Ordering::Relaxed);
        let (began, busy) = (Instant::now(), cpu());
        for _ in 0..count {
            while one.peers.send(2, frame.clone()).is_err() {
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        }
        while two.seen.received.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (time, busy) = (began.elapsed().as_secs_f64(), (cpu() - busy).as_secs_f64());
        println!(
            "frames of {bytes} B: {:.0}/s, {:.0} MB/s, {:.2} us CPU each, {:.0} per batch",
            count as f64 / time,
            (count * bytes) as f64 / time / 1e6,
            busy * 1e6 / count as f64,
            count as f64 / two.seen.batches.load(Ordering::Relaxed) as f64,
        );
    }
    for callers in [1, 16, 256] {
        let count = if callers == 1 { 10_000 } else { 60_000 };
        let (began, busy) = (Instant::now(), cpu());
        let peers = Arc::new(one.peers.clone());
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let peers = peers.clone();
                tokio::spawn(async move {
                    let request = Bytes::from(vec![1; 200]);
                    for _ in 0..count / callers {
                        peers.ask(2, request.clone(), SOON).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let (time, busy) = (began.elapsed().as_secs_f64(), (cpu() - busy).as_secs_f64());
        println!(
            "asks by {callers} callers: {:.0}/s, {:.0} us each, {:.1} us CPU each (both ends)",
            f64::from(count) / time,
            time * 1e6 / f64::from(count) * f64::from(callers),
            busy * 1e6 / f64::from(count),
        );
    }
}
