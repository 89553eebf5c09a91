//! What is left of a million results once they have expired: time, memory and disk.
//!
//! Idempotent requests leave a result each, which is kept for `retention` and then forgotten through the expiry index.
//! The measurement ends when the last one is gone, and again after the database has had time to compact.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use abide::prelude::*;
use abide_node::config::{Config, Parsed};
use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::json;

use crate::app::{self, Counter};

/// How long to wait for the database to compact what was deleted.
const COMPACTION_TIME: Duration = Duration::from_secs(60);
/// Time after which results that are still there are taken for a fault.
const PATIENCE: Duration = Duration::from_secs(600);

/// Settings of the measurement.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-expiry", about = "Completes many idempotent requests, and watches their results expire")]
pub struct Args {
    /// How many requests.
    #[arg(long, default_value_t = 1_000_000)]
    results: u64,
    /// How long each result is kept, in seconds.
    #[arg(long, default_value_t = 45)]
    retention: u64,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 256)]
    outstanding: u64,
    /// Settings of the node, behind `--`, such as `-- --storage.overlay_bytes 16MiB`.
    #[arg(last = true)]
    node: Vec<String>,
}

/// Runs the measurement and prints a JSON object.
///
/// # Errors
/// When the node does not start, a request fails, or results outlive their time.
pub async fn run(args: Args) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut more = vec!["--retention.completed".into(), format!("{}s", args.retention)];
    more.extend(args.node);
    let flags = crate::node::flags(&data, 8, &more);
    let parsed = Config::parse(flags.into_iter().map(Into::into), std::iter::empty())?;
    let Parsed::Run(config) = parsed else { bail!("the flags ask for something else than a run") };
    let running = app::bind(abide::Server::builder()).config(*config).start().await?;
    let begun = Instant::now();
    let client = running.client();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..args.outstanding {
        let (client, results, step) = (client.clone(), args.results, args.outstanding);
        workers.spawn(async move {
            for number in (worker..results).step_by(usize::try_from(step).unwrap_or(1)) {
                let counter = client.object::<Counter>(format!("k{}", number % 10_000));
                counter.add(1).idempotency_key(format!("i{number}")).call().await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended?.map_err(anyhow::Error::msg).context("a request failed")?;
    }
    let accepted = begun.elapsed();
    let full = (disk_bytes(&data)?, resident_mib());
    let last = InvocationId::idempotent(
        "Counter",
        Some(&format!("k{}", (args.results - 1) % 10_000)),
        "add",
        &format!("i{}", args.results - 1),
    );
    let mut largest = full;
    loop {
        if begun.elapsed() > PATIENCE {
            bail!("the last result is still there after {PATIENCE:?}");
        }
        let output: Result<Option<i64>, _> = client.invocation(last).output().await;
        largest = (largest.0.max(disk_bytes(&data)?), largest.1.max(resident_mib()));
        if output.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let gone = begun.elapsed();
    let after = (disk_bytes(&data)?, resident_mib());
    tokio::time::sleep(COMPACTION_TIME).await;
    let settled = (disk_bytes(&data)?, resident_mib());
    running.stop().await;
    let stopped = disk_bytes(&data)?;
    let mib = |bytes: u64| bytes / (1 << 20);
    let report = json!({
        "results": args.results,
        "retention_s": args.retention,
        "accepted_after_s": accepted.as_secs_f64(),
        "requests_per_s": args.results as f64 / accepted.as_secs_f64(),
        "last_gone_after_s": gone.as_secs_f64(),
        "last_gone_late_s": (gone.as_secs_f64() - accepted.as_secs_f64() - args.retention as f64).max(0.0),
        "disk_mib": {"full": mib(full.0), "largest": mib(largest.0), "gone": mib(after.0), "settled": mib(settled.0), "stopped": mib(stopped)},
        "resident_mib": {"full": full.1, "largest": largest.1, "gone": after.1, "settled": settled.1},
    });
    Ok(serde_json::to_string_pretty(&report)?)
}

/// Bytes of all files below `folder`.
fn disk_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        // Files come and go while the database compacts.
        let Ok(entry) = entry else { continue };
        let Ok(facts) = entry.metadata() else { continue };
        bytes += if facts.is_dir() { disk_bytes(&entry.path()).unwrap_or(0) } else { facts.len() };
    }
    Ok(bytes)
}

/// Memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
