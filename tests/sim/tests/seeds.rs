//! A fixed range of seeds, small enough for a debug build. `.ci/run` runs a larger one in release.

/// First seed and number of seeds.
const SEEDS: std::ops::Range<u64> = 0..30;

#[test]
fn no_promise_is_broken() {
    for seed in SEEDS {
        let report = sim::run(seed, None, false);
        assert!(
            report.violation.is_none(),
            "seed {seed}, trace {:016x}: {}\n{}",
            report.trace_hash,
            report.violation.expect("checked"),
            report.config
        );
    }
}

/// The runs are worth something: every fault class and every kind of work occurs among them.
#[test]
fn everything_happens_somewhere() {
    let mut total = sim::Counts::default();
    for seed in SEEDS {
        let counts = sim::run(seed, None, false).counts;
        total.crashes += counts.crashes;
        total.exits += counts.exits;
        total.rejected += counts.rejected;
        total.fenced += counts.fenced;
        total.timers += counts.timers;
        total.checkpoints += counts.checkpoints;
        total.executions += counts.executions;
        total.unknown += counts.unknown;
        total.compared += counts.compared;
        total.scheduled += counts.scheduled;
        total.forgotten += counts.forgotten;
        total.letters += counts.letters;
        total.promises += counts.promises;
        total.deadlocks += counts.deadlocks;
        total.edits += counts.edits;
        total.repeated += counts.repeated;
    }
    for (count, what) in [
        (total.crashes, "crashes"),
        (total.exits, "exits after an error of a disk"),
        (total.rejected, "turns on a void state"),
        (total.fenced, "late records of old attempts"),
        (total.timers, "timers"),
        (total.checkpoints, "checkpoints"),
        (total.executions, "steps of flows"),
        (total.unknown, "unknown outcomes"),
        (total.compared, "comparisons with the model"),
        (total.scheduled, "runs of schedules"),
        (total.forgotten, "things that were forgotten"),
        (total.letters, "dead letters"),
        (total.promises, "completed promises"),
        (total.deadlocks, "calls that would wait for themselves"),
        (total.edits, "edits of states"),
        (total.repeated, "restarted and redriven invocations"),
    ] {
        assert!(count > 0, "no {what} among {SEEDS:?}");
    }
}
