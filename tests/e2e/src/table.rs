//! What faults cost, as a table: fault by fault, what clients noticed and what the verdict is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::history::Measure;
use crate::verdict::Verdict;

/// One fault, struck a number of times.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub fault: String,
    /// What clients noticed each time, from the strike until everything was well again.
    pub runs: Vec<Measure>,
    /// How long it took each time from the end of the fault until everything was well.
    pub recoveries: Vec<Duration>,
    /// What is wrong with the history of all of them.
    pub verdict: Verdict,
    /// What clients saw when they had to ask again, and how often.
    pub failures: BTreeMap<String, usize>,
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// How it was made.
    pub notes: Vec<String>,
    /// Faults that struck.
    pub rows: Vec<Row>,
    /// Faults that could not, and why.
    pub skipped: Vec<(String, String)>,
}

impl Row {
    fn latencies(&self) -> Vec<Duration> {
        self.runs.iter().map(|run| run.latency_max).collect()
    }

    fn gaps(&self) -> Vec<Duration> {
        self.runs.iter().map(|run| run.gap_max).collect()
    }

    fn sum(&self, of: impl Fn(&Measure) -> usize) -> usize {
        self.runs.iter().map(of).sum()
    }

    fn errors(&self) -> usize {
        self.sum(|run| run.given_up)
    }

    /// One line, for those who watch.
    #[must_use]
    pub fn line(&self) -> String {
        let (latency, gap, recovery) = (spread(self.latencies()), spread(self.gaps()), spread(self.recoveries.clone()));
        format!(
            "{}: {} runs; max latency {latency}, gap {gap}, recovery {recovery}; {} errors; {}",
            self.fault,
            self.runs.len(),
            self.errors(),
            self.verdict.summary()
        )
    }
}

impl Table {
    /// For people.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("# What faults cost a cluster of three\n\n");
        for note in &self.notes {
            let _ = writeln!(text, "* {note}");
        }
        text.push_str(
            "\nTimes are *median / worst* over the runs, in milliseconds. An operation's latency contains all its attempts.\n\
             A gap is a time in which no client got any answer. Asked again: attempts that were not accepted, and those whose\n\
             outcome nobody knew. Errors: operations given up without a definite answer.\n\n\
             | fault | runs | operations | max client latency | longest gap without a completion | recovery after the fault | \
             asked again | errors | lost acknowledged | double effects | otherwise wrong |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} + {} | {} | {} | {} | {} |",
                row.fault,
                row.runs.len(),
                row.verdict.acknowledged,
                spread(row.latencies()),
                spread(row.gaps()),
                spread(row.recoveries.clone()),
                row.sum(|run| run.not_accepted),
                row.sum(|run| run.unknown),
                row.errors(),
                row.verdict.lost.len(),
                row.verdict.doubled.len(),
                row.verdict.wrong.len(),
            );
        }
        for (fault, why) in &self.skipped {
            let _ = writeln!(text, "\nNot run: {fault}: {why}.");
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let runs = row.runs.iter().zip(&row.recoveries).map(|(run, recovery)| {
                json!({
                    "operations": run.operations,
                    "latency_max_ms": millis(run.latency_max),
                    "gap_max_ms": millis(run.gap_max),
                    "recovery_ms": millis(*recovery),
                    "not_accepted": run.not_accepted,
                    "unknown": run.unknown,
                    "errors": run.given_up,
                })
            });
            json!({
                "fault": row.fault,
                "runs": runs.collect::<Vec<_>>(),
                "acknowledged": row.verdict.acknowledged,
                "lost": row.verdict.lost,
                "doubled": row.verdict.doubled,
                "wrong": row.verdict.wrong,
                "histories_searched": row.verdict.searched,
                "histories_too_large": row.verdict.gave_up,
                "executed_again": row.verdict.executed_again,
                "failures": row.failures,
            })
        };
        let skipped: BTreeMap<_, _> = self.skipped.iter().cloned().collect();
        json!({ "notes": self.notes, "rows": self.rows.iter().map(row).collect::<Vec<_>>(), "skipped": skipped })
    }

    /// Writes both into `tests/results`.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn save(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../results");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.md")), self.markdown()).unwrap();
        let json = serde_json::to_string_pretty(&self.json()).unwrap();
        std::fs::write(folder.join(format!("{name}.json")), json + "\n").unwrap();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// Median and worst.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    match times.last() {
        None => "–".to_owned(),
        Some(worst) => format!("{} / {}", millis(times[times.len() / 2]), millis(*worst)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_median_and_worst() {
        let run = |latency, not_accepted| Measure {
            latency_max: Duration::from_millis(latency),
            gap_max: Duration::from_millis(latency / 2),
            not_accepted,
            ..Measure::default()
        };
        let verdict = Verdict { acknowledged: 9, lost: vec!["one".to_owned()], ..Verdict::default() };
        let recoveries = vec![Duration::from_millis(5); 3];
        let (fault, runs) = ("kill".to_owned(), vec![run(900, 1), run(100, 0), run(300, 2)]);
        let row = Row { fault, runs, recoveries, verdict, failures: BTreeMap::new() };
        let skipped = vec![("isolate".to_owned(), "no namespaces".to_owned())];
        let table = Table { notes: vec!["A note.".to_owned()], rows: vec![row], skipped };
        let markdown = table.markdown();
        assert!(
            markdown.contains("| kill | 3 | 9 | 300 / 900 | 150 / 450 | 5 / 5 | 3 + 0 | 0 | 1 | 0 | 0 |"),
            "{markdown}"
        );
        assert!(markdown.contains("Not run: isolate: no namespaces."), "{markdown}");
        assert_eq!(table.json()["rows"][0]["runs"][0]["latency_max_ms"], 900);
    }
}
