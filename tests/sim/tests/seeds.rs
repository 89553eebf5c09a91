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
        total += sim::run(seed, None, false).counts;
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
        (total.led, "leaders"),
        (total.lost, "lost messages"),
        (total.old_boots, "messages of earlier processes"),
        (total.cuts, "cuts"),
        (total.pauses, "stopped processes"),
        (total.wipes, "lost disks"),
        (total.changes, "changes of members"),
        (total.transfers, "handed over leaderships"),
        (total.restored, "installed snapshots"),
        (total.fetches, "entries that were read again for a follower"),
        (total.retries, "repeated requests"),
        (total.recent_done, "requests that were answered from recent results"),
        (total.attached, "repeated requests that were found under way"),
        (total.reads, "reads"),
        (total.saved, "snapshots in the object store"),
        (total.unsaved, "snapshots that were not made"),
        (total.rounds_cut, "deaths in the middle of saving"),
        (total.parts_reused, "parts that were there already"),
        (total.snapshots_removed, "snapshots that were removed"),
        (total.parts_removed, "parts that were removed"),
        (total.store_failures, "failures of the object store"),
        (total.store_outages, "times without the object store"),
        (total.store_damaged, "damaged objects"),
        (total.rehearsals, "restored clusters"),
    ] {
        assert!(count > 0, "no {what} among {SEEDS:?}");
    }
}
