//! The matrix of loads, and how its figures stand to the budgets.

mod budget;
mod matrix;
mod table;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::facts::{self, Machine};
use crate::load::report::Report;
use crate::role::{self, Role};
use budget::Verdict;
use matrix::Row;

/// Runs the matrix of loads and prints a Markdown table beside the budgets.
#[derive(Debug, Parser)]
#[command(name = "bench-suite")]
struct Args {
    /// A third of the time: one run of a second for each row, a fifth of the keys.
    #[arg(long)]
    quick: bool,
    /// Runs of each row, of which the median counts, of an even number the lower one. Default 3, with `--quick` 1.
    #[arg(long)]
    runs: Option<usize>,
    /// Seconds of each run. Default 2, with `--quick` 1.
    #[arg(long)]
    seconds: Option<f64>,
    /// Only rows whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Where data folders go; default: beside this program.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// Write everything as JSON to this file, too.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What a suite found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Suite {
    /// Version of the product.
    pub version: String,
    /// Where it ran.
    pub machine: Machine,
    /// Median time in µs of syncing one 200-byte record, over all runs.
    pub fsync_p50_us: f64,
    /// Runs of each row.
    pub runs: usize,
    /// The rows.
    pub rows: Vec<Found>,
    /// The budgets.
    pub budgets: Vec<Verdict>,
}

/// What the runs of a row found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// Which row.
    pub name: String,
    /// Calls per second of each run, in order of size.
    pub ops_per_second: Vec<f64>,
    /// The run in the middle of them.
    pub median: Report,
}

/// The `main` of the suite.
///
/// # Errors
/// When a run fails or the file cannot be written. A budget that is not met is not an error.
pub fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runs = args.runs.unwrap_or(if args.quick { 1 } else { 3 }).max(1);
    let rows: Vec<Row> = matrix::rows(args.quick)
        .into_iter()
        .filter(|row| args.only.as_ref().is_none_or(|only| row.name.contains(only.as_str())))
        .collect();
    let scratch = args.scratch.clone().map_or_else(role::scratch, Ok)?;
    let machine = Machine::here();
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); rows.len()];
    let mut fsyncs = Vec::new();
    for run in 0..runs {
        let folder = tempfile::Builder::new().prefix("bench-fsync-").tempdir_in(&scratch)?;
        fsyncs.push(facts::fsync_p50_us(folder.path())?);
        for (row, found) in rows.iter().zip(&mut reports) {
            let report = load(&args, row).with_context(|| row.name.clone())?;
            let (ops, p50) = (report.ops_per_second, report.latency_us.p50);
            eprintln!("{}/{runs} {}: {ops:.0}/s, p50 {p50:.0} µs, {} errors", run + 1, row.name, report.errors);
            found.push(report);
        }
    }
    fsyncs.sort_by(f64::total_cmp);
    let found: Vec<Found> = rows.iter().zip(reports).map(|(row, reports)| Found::of(row, reports)).collect();
    let suite = Suite {
        version: env!("CARGO_PKG_VERSION").into(),
        machine,
        fsync_p50_us: fsyncs[fsyncs.len() / 2],
        runs,
        budgets: budget::verdicts(&found),
        rows: found,
    };
    write!(std::io::stdout(), "{}", table::markdown(&suite))?;
    if let Some(out) = args.out {
        let json = serde_json::to_string_pretty(&suite)?;
        std::fs::write(&out, json + "\n").with_context(|| format!("writing {}", out.display()))?;
    }
    Ok(())
}

impl Found {
    fn of(row: &Row, mut reports: Vec<Report>) -> Self {
        reports.sort_by(|a, b| a.ops_per_second.total_cmp(&b.ops_per_second));
        let ops_per_second = reports.iter().map(|report| report.ops_per_second).collect();
        Self { name: row.name.clone(), ops_per_second, median: reports.swap_remove((reports.len() - 1) / 2) }
    }
}

/// One run, in a process of its own: memory and caches begin anew.
fn load(args: &Args, row: &Row) -> anyhow::Result<Report> {
    let seconds = args.seconds.unwrap_or(if args.quick { 1.0 } else { 2.0 });
    let mut command = Role::Load.command()?;
    command.args(&row.flags).args(["--warmup", "0.5", "--seconds", &seconds.to_string()]);
    if let Some(scratch) = &args.scratch {
        command.arg("--scratch").arg(scratch);
    }
    let output = command.stderr(Stdio::inherit()).output().context("starting the load generator")?;
    if !output.status.success() {
        bail!("the load generator ended with {}", output.status);
    }
    let report: Report = serde_json::from_slice(&output.stdout).context("the report of the load generator")?;
    if let Some(error) = &report.first_error {
        eprintln!("  first error: {error}");
    }
    Ok(report)
}
