//! Three nodes with three replicas beside one node, in one run on the same cores.
//!
//! Each row starts its nodes anew. The load goes to all nodes alike, so two thirds of the calls are passed on. CPU is that of
//! each node's process from `/proc` over all calls that were answered; with three nodes one of them, on average, leads a
//! third of the partitions, and all of them write everything.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use serde_json::{Value, json};

use crate::facts::{self, Machine};
use crate::load::report::Report;
use crate::node::{self, NodeProcess};
use crate::process::Reading;
use crate::role::{self, Role};
use crate::scrape::Page;

/// How long a cluster may take until its leaders are spread.
const PATIENCE: Duration = Duration::from_secs(90);
/// Partitions.
const PARTITIONS: u32 = 8;

/// Compares a cluster of three nodes with one node.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench-cluster")]
struct Args {
    /// Seconds of each row.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Runs of each row; the median one counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Writes all figures as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A load.
struct Row {
    name: &'static str,
    target: &'static str,
    outstanding: usize,
    keys: u64,
}

const ROWS: [Row; 5] = [
    Row { name: "turn, alone", target: "add", outstanding: 1, keys: 20_000 },
    Row { name: "turn, 256", target: "add", outstanding: 256, keys: 20_000 },
    Row { name: "three-step flow, alone", target: "three", outstanding: 1, keys: 20_000 },
    Row { name: "three-step flow, 256", target: "three", outstanding: 256, keys: 20_000 },
    Row { name: "read, 256", target: "get", outstanding: 256, keys: 20_000 },
];

/// What a row found.
struct Found {
    report: Report,
    /// CPU of each node per call, in µs.
    cpu_us: Vec<f64>,
    /// Syncs of all logs per call.
    fsyncs: f64,
}

/// The `main` of the comparison.
///
/// # Errors
/// When a cluster does not come about, or a load cannot be applied.
pub fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scratch = role::scratch()?;
    let mut lines = vec![
        "| load | nodes | /s | p50 ms | p90 ms | p99 ms | CPU per node per call, µs | syncs per call, all nodes | errors |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut figures = Vec::new();
    for row in &ROWS {
        for nodes in [1, 3] {
            let mut found = Vec::new();
            for _ in 0..args.runs.max(1) {
                found.push(run(row, nodes, args.seconds)?);
            }
            found.sort_by(|a, b| a.report.ops_per_second.total_cmp(&b.report.ops_per_second));
            let median = found.swap_remove(found.len() / 2);
            let line = line(row, nodes, &median);
            eprintln!("{line}");
            figures.push(json!({
                "load": row.name, "nodes": nodes, "report": &median.report,
                "cpu_us_per_node_per_call": &median.cpu_us, "fsyncs_per_call": median.fsyncs,
            }));
            lines.push(line);
        }
    }
    writeln!(std::io::stdout(), "{}", lines.join("\n"))?;
    if let Some(out) = &args.out {
        let facts: Value = json!({
            "machine": Machine::here(), "fsync_p50_us": facts::fsync_p50_us(&scratch)?, "rows": figures,
        });
        fs::write(out, format!("{facts:#}\n")).with_context(|| format!("writing {}", out.display()))?;
    }
    Ok(())
}

fn line(row: &Row, nodes: usize, found: &Found) -> String {
    let Found { report, cpu_us, fsyncs } = found;
    let latency = report.latency_us;
    let cpu: Vec<String> = cpu_us.iter().map(|us| format!("{us:.1}")).collect();
    format!(
        "| {} | {nodes} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {fsyncs:.3} | {} |",
        row.name,
        report.ops_per_second,
        latency.p50 / 1e3,
        latency.p90 / 1e3,
        latency.p99 / 1e3,
        cpu.join(" / "),
        report.errors,
    )
}

fn run(row: &Row, count: usize, seconds: f64) -> anyhow::Result<Found> {
    let data = tempfile::Builder::new().prefix("bench-cluster-").tempdir_in(role::scratch()?)?;
    let mut nodes: Vec<NodeProcess> = Vec::new();
    for number in 0..count {
        let join = nodes.first().map(|first| ["--join".to_owned(), first.peer.to_string()]);
        let more: Vec<String> = join.into_iter().flatten().collect();
        nodes.push(NodeProcess::start(&node::flags(&data.path().join(format!("n{number}")), PARTITIONS, &more))?);
    }
    wait_until_spread(&nodes)?;
    // A first one warms everything up, and is not counted.
    load(row, &nodes, 2.0)?;
    let before = look(&nodes)?;
    let report = load(row, &nodes, seconds)?;
    let after = look(&nodes)?;
    let calls = (report.ops_per_second * seconds).max(1.0);
    let cpu =
        |(before, after): (&(Reading, Page), &(Reading, Page))| (after.0.cpu_us() - before.0.cpu_us()) as f64 / calls;
    let syncs = |(before, after): (&(Reading, Page), &(Reading, Page))| {
        after.1.since(&before.1, "abide_log_fsync_seconds_count")
    };
    let cpu_us = before.iter().zip(&after).map(cpu).collect();
    let fsyncs = before.iter().zip(&after).map(syncs).sum::<f64>() / calls;
    Ok(Found { report, cpu_us, fsyncs })
}

fn look(nodes: &[NodeProcess]) -> anyhow::Result<Vec<(Reading, Page)>> {
    nodes.iter().map(|node| Ok((Reading::of(node.pid()), Page::fetch(node.admin)?))).collect()
}

/// Waits until every partition leads somewhere, and no node leads more than its share and one.
fn wait_until_spread(nodes: &[NodeProcess]) -> anyhow::Result<()> {
    let (until, groups) = (Instant::now() + PATIENCE, f64::from(PARTITIONS + 1));
    let share = (groups / nodes.len() as f64).ceil() + 1.0;
    loop {
        let mut leads = Vec::new();
        for node in nodes {
            leads.push(Page::fetch(node.admin)?.value("abide_partition_leader"));
        }
        if (leads.iter().sum::<f64>() - groups).abs() < 0.5 && leads.iter().all(|count| *count <= share) {
            return Ok(());
        }
        if Instant::now() > until {
            bail!("leaders are not spread: {leads:?}");
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Applies the load to all nodes, from another process.
fn load(row: &Row, nodes: &[NodeProcess], seconds: f64) -> anyhow::Result<Report> {
    let first = nodes.first().context("a cluster has a node")?;
    let mut command = Role::Load.command()?;
    command.args(["--target", row.target, "--outstanding", &row.outstanding.to_string(), "--warmup", "0"]);
    command.args(["--keys", &row.keys.to_string(), "--seconds", &seconds.to_string()]);
    command.args(["--to", &first.ingress.to_string(), "--admin", &first.admin.to_string()]);
    command.args(["--pid", &first.pid().to_string()]);
    for other in &nodes[1..] {
        command.args(["--also", &other.ingress.to_string()]);
    }
    let output = command.stderr(Stdio::inherit()).output().context("running the load generator")?;
    if !output.status.success() {
        bail!("the load generator ended with {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
