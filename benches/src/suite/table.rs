//! The suite as Markdown.

use std::fmt::Write as _;

use super::{Found, Suite};

/// Facts, budgets, and all rows.
pub(super) fn markdown(suite: &Suite) -> String {
    let mut out = String::new();
    let machine = &suite.machine;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} cores ({}), {} MiB, Linux {}, load {} at the start; sync of one 200-byte record: p50 {:.0} µs. Median of {} \
         runs.\n",
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.load_average,
        suite.fsync_p50_us,
        suite.runs
    );
    out.push_str("| budget | bound | found | |\n|---|---|---|---|\n");
    for budget in &suite.budgets {
        let _ = writeln!(out, "| {} | {} | {} | {} |", budget.what, budget.budget, budget.found, budget.verdict);
    }
    out.push_str(
        "\n| row | /s (min..max) | p50 ms | p99 ms | node CPU µs | generator CPU µs | syncs per op | commands per sync \
         | bytes written per op | peak MiB | errors |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for found in &suite.rows {
        row(&mut out, found);
    }
    out
}

fn row(out: &mut String, found: &Found) {
    let report = &found.median;
    let (low, high) = (found.ops_per_second.first(), found.ops_per_second.last());
    let shares = report.config.mode == crate::load::args::Mode::InProcess;
    // In one process they are told apart by their threads.
    let own = report.threads_us_per_op.iter().filter(|(name, _)| name.starts_with("bench-")).map(|(_, us)| us);
    let generator = if shares { own.sum() } else { report.generator_cpu_us_per_op.total };
    let _ = writeln!(
        out,
        "| {} | {} ({}..{}) | {:.2} | {:.2} | {:.1} | {:.1} | {:.3} | {:.1} | {:.0} | {:.0} | {} |",
        found.name,
        thousands(report.ops_per_second),
        thousands(low.copied().unwrap_or_default()),
        thousands(high.copied().unwrap_or_default()),
        report.latency_us.p50 / 1e3,
        report.latency_us.p99 / 1e3,
        report.node_cpu_us_per_op.unwrap_or_default().total,
        generator,
        report.fsyncs_per_op,
        report.commands_per_fsync,
        report.written_bytes_per_op.unwrap_or_default(),
        report.peak_rss_bytes.unwrap_or_default() as f64 / f64::from(1 << 20),
        report.errors,
    );
}

/// A whole number with separated thousands.
pub(super) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        for (text, value) in [("0", 0.0), ("999", 999.4), ("1,000", 1000.0), ("1,234,567", 1_234_567.0)] {
            assert_eq!(thousands(value), text);
        }
    }
}
