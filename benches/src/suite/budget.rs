//! What the product may cost, and what it costs.

use serde::{Deserialize, Serialize};

use super::Found;
use crate::load::report::Report;

/// How a budget stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// What is bounded.
    pub what: String,
    /// The bound, in words.
    pub budget: String,
    /// What was found, in words.
    pub found: String,
    /// `met`, `not met`, or `met, later not` when only the first of two bounds holds.
    pub verdict: String,
}

/// A bound of one figure.
struct Budget {
    what: &'static str,
    /// The row it is about; all HTTP rows when empty.
    row: &'static str,
    figure: fn(&Report) -> f64,
    unit: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    Least(f64),
    /// Now, and later.
    LeastThen(f64, f64),
    Most(f64),
}

const ADD_256: &str = "http add, 256, random keys";

const BUDGETS: &[Budget] = &[
    Budget {
        what: "HTTP front, CPU of its thread per request (reads, 256 connections)",
        row: "http get, 256, random keys",
        figure: |report| report.threads_us_per_op.get("abide-doors").copied().unwrap_or(f64::NAN),
        unit: "µs",
        bound: Bound::Most(12.0),
    },
    Budget {
        what: "durable turn, in process, 256 outstanding",
        row: "in-process add, 256, random keys",
        figure: |report| report.ops_per_second,
        unit: "/s",
        bound: Bound::Least(50_000.0),
    },
    Budget {
        what: "durable turn over HTTP, 256 connections",
        row: ADD_256,
        figure: |report| report.ops_per_second,
        unit: "/s",
        bound: Bound::LeastThen(25_000.0, 40_000.0),
    },
    Budget {
        what: "one hot key over HTTP, 256 connections",
        row: "http add, 256, one key",
        figure: |report| report.ops_per_second,
        unit: "/s",
        bound: Bound::Least(15_000.0),
    },
    Budget {
        what: "three-step flow over HTTP, 256 connections",
        row: "http three, 256",
        figure: |report| report.ops_per_second,
        unit: "/s",
        bound: Bound::LeastThen(10_000.0, 17_000.0),
    },
    Budget {
        what: "one turn alone over HTTP, p50",
        row: "http add, 1, random keys",
        figure: |report| report.latency_us.p50 / 1e3,
        unit: "ms",
        bound: Bound::Most(1.0),
    },
    Budget {
        what: "three-step flow alone over HTTP, p50",
        row: "http three, 1",
        figure: |report| report.latency_us.p50 / 1e3,
        unit: "ms",
        bound: Bound::Most(3.0),
    },
    Budget {
        what: "memory under load, highest of all HTTP rows",
        row: "",
        figure: |report| report.peak_rss_bytes.map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20)),
        unit: "MiB",
        bound: Bound::Most(256.0),
    },
    Budget {
        what: "start with an empty folder until it serves, slowest of all HTTP rows",
        row: "",
        figure: |report| report.start_ms.unwrap_or(f64::NAN),
        unit: "ms",
        bound: Bound::Most(300.0),
    },
];

/// How the budgets stand whose rows were run.
pub(super) fn verdicts(found: &[Found]) -> Vec<Verdict> {
    BUDGETS.iter().filter_map(|budget| budget.verdict(found)).collect()
}

impl Budget {
    fn verdict(&self, found: &[Found]) -> Option<Verdict> {
        let is_meant = |name: &str| if self.row.is_empty() { name.starts_with("http") } else { name == self.row };
        let figures = found.iter().filter(|found| is_meant(&found.name)).map(|found| (self.figure)(&found.median));
        let figure = figures.reduce(f64::max)?;
        let unit = self.unit;
        let (budget, verdict) = match self.bound {
            Bound::Least(bound) => (format!("≥ {}", number(bound, unit)), met(figure >= bound)),
            Bound::Most(bound) => (format!("≤ {}", number(bound, unit)), met(figure <= bound)),
            Bound::LeastThen(now, later) => {
                let verdict = if figure >= now && figure < later { "met, later not" } else { met(figure >= later) };
                (format!("≥ {}, then ≥ {}", number(now, unit), number(later, unit)), verdict)
            }
        };
        Some(Verdict { what: self.what.into(), budget, found: number(figure, unit), verdict: verdict.into() })
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "not met" }
}

fn number(value: f64, unit: &str) -> String {
    match unit {
        "/s" => format!("{}/s", super::table::thousands(value)),
        "MiB" => format!("{value:.0} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::matrix;

    #[test]
    fn every_budget_has_its_row() {
        let rows = matrix::rows(false);
        for budget in BUDGETS {
            assert!(budget.row.is_empty() || rows.iter().any(|row| row.name == budget.row), "{}", budget.row);
        }
    }
}
