//! What a run found.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::args::Args;
use super::probe::Snapshot;
use crate::facts::Machine;
use crate::process::Reading;

/// One run. Times are in µs; what is "per op" is per answered call, whatever it answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was asked for.
    pub config: Args,
    /// HTTP connections.
    pub connections: usize,
    /// Where it ran.
    pub machine: Machine,
    /// Right answers in a second.
    pub ops_per_second: f64,
    /// Latencies of right answers.
    pub latency_us: Latency,
    /// Calls without a right answer.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
    /// Calls of an open loop that were due and never made; their latencies count as at least what they waited.
    pub never_made: u64,
    /// From the start of the node until it served, in ms.
    pub start_ms: Option<f64>,
    /// Highest resident memory of the node; with the generator when they share a process.
    pub peak_rss_bytes: Option<u64>,
    /// CPU of the node's process; with the generator when they share it.
    pub node_cpu_us_per_op: Option<Cpu>,
    /// CPU of the generator's process; with the node when they share it.
    pub generator_cpu_us_per_op: Cpu,
    /// CPU of the threads of the node's process by name.
    pub threads_us_per_op: BTreeMap<String, f64>,
    /// How often a thread of the node's process went to sleep.
    pub waits_per_op: Option<f64>,
    /// Bytes that the node's process caused to be written.
    pub written_bytes_per_op: Option<f64>,
    /// Bytes that reached the disk of the data folder, from everyone on the machine.
    pub device_bytes_per_op: Option<f64>,
    /// Syncs of the log.
    pub fsyncs_per_op: f64,
    /// Commands that a sync of the log made durable, on average.
    pub commands_per_fsync: f64,
    /// Mean time of a write of the log with its sync.
    pub fsync_us: f64,
    /// Log entries.
    pub entries_per_op: f64,
}

/// CPU time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cpu {
    /// In user mode and in the kernel.
    pub total: f64,
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

/// A distribution of latencies.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Number of values.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90 % are not above.
    pub p90: f64,
    /// 99 % are not above.
    pub p99: f64,
    /// 99.9 % are not above.
    pub p999: f64,
    /// Highest.
    pub max: f64,
}

impl Latency {
    pub(super) fn of(ns: &Histogram<u64>) -> Self {
        let at = |quantile| ns.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: ns.len(),
            mean: ns.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ns.max() as f64 / 1e3,
        }
    }
}

impl Report {
    pub(super) fn new(
        args: &Args,
        connections: usize,
        before: &Snapshot,
        after: &Snapshot,
        latency_us: Latency,
    ) -> Self {
        let ops = (after.done - before.done).max(1) as f64;
        let node = before.node.as_ref().zip(after.node.as_ref());
        let grown = |name: &str| after.page.since(&before.page, name);
        let fsyncs = grown("abide_log_fsync_seconds_count");
        let device = before.device_bytes.zip(after.device_bytes);
        Self {
            config: args.clone(),
            connections,
            machine: Machine::here(),
            ops_per_second: ops / (after.at - before.at).as_secs_f64(),
            latency_us,
            errors: 0,
            first_error: None,
            never_made: 0,
            start_ms: None,
            peak_rss_bytes: None,
            node_cpu_us_per_op: node.map(|(before, after)| cpu(before, after, ops)),
            generator_cpu_us_per_op: cpu(&before.generator, &after.generator, ops),
            threads_us_per_op: node.map(|(before, after)| threads(before, after, ops)).unwrap_or_default(),
            waits_per_op: node.map(|(before, after)| after.waits.saturating_sub(before.waits) as f64 / ops),
            written_bytes_per_op: node.map(|(before, after)| (after.write_bytes - before.write_bytes) as f64 / ops),
            device_bytes_per_op: device.map(|(before, after)| (after - before) as f64 / ops),
            fsyncs_per_op: fsyncs / ops,
            commands_per_fsync: grown("abide_log_fsync_commands_sum") / fsyncs.max(1.0),
            fsync_us: grown("abide_log_fsync_seconds_sum") * 1e6 / fsyncs.max(1.0),
            entries_per_op: grown("abide_log_entries_proposed_total") / ops,
        }
    }
}

fn cpu(before: &Reading, after: &Reading, ops: f64) -> Cpu {
    let (user, system) = (after.user_us - before.user_us, after.system_us - before.system_us);
    Cpu { total: (user + system) as f64 / ops, user: user as f64 / ops, system: system as f64 / ops }
}

/// Threads that took at least a tenth of a microsecond.
fn threads(before: &Reading, after: &Reading, ops: f64) -> BTreeMap<String, f64> {
    let used = after.threads.iter().map(|(name, ns)| {
        let ns = ns.saturating_sub(before.threads.get(name).copied().unwrap_or(0));
        (name.clone(), ns as f64 / 1e3 / ops)
    });
    used.filter(|(_, us)| *us >= 0.1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_microseconds() {
        let mut ns = Histogram::new_with_bounds(100, 1_000_000_000, 3).unwrap();
        (1..=1000_u64).for_each(|us| ns.record(us * 1000).unwrap());
        let latency = Latency::of(&ns);
        assert_eq!(latency.count, 1000);
        assert!((latency.p50 - 500.0).abs() < 1.0 && (latency.p99 - 990.0).abs() < 2.0);
        assert!((latency.max - 1000.0).abs() < 1.0);
    }
}
