//! The simulator's command line: `sim --seeds N [--start S] [--canary NAME]`, or `sim --seed S --verbose`.

#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sim::{Canary, Counts, Report, run};

/// What the command line says.
#[derive(Default)]
struct Arguments {
    seeds: u64,
    start: u64,
    canary: Option<Canary>,
    verbose: bool,
    /// Go on after a failure, and tell all of them.
    all: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            println!("{text}\nusage: sim [--seeds N] [--start S] [--canary NAME] [--all] | --seed S [--verbose]");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let (total, failure) = run_all(&arguments);
    if let Some(report) = failure {
        print_failure(&report, arguments.canary);
        return ExitCode::FAILURE;
    }
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = arguments.seeds as f64 / seconds;
    println!(
        "{} seeds in {seconds:.1} s, {rate:.0} seeds/s, {} s simulated",
        arguments.seeds,
        total.simulated_ms / 1000
    );
    println!("{total:?}");
    ExitCode::SUCCESS
}

/// Runs all seeds on all cores; the failure is that of the lowest seed. A seed's run is on one thread.
fn run_all(arguments: &Arguments) -> (Counts, Option<Report>) {
    let (next, failed) = (AtomicU64::new(arguments.start), AtomicU64::new(u64::MAX));
    let worker = || {
        let (mut total, mut failure) = (Counts::default(), None);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= arguments.start + arguments.seeds || seed > failed.load(Ordering::Relaxed) {
                return (total, failure);
            }
            let report = run(seed, arguments.canary, arguments.verbose);
            if report.violation.is_some() {
                if arguments.all {
                    print_failure(&report, arguments.canary);
                } else {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
                failure = Some(report);
                continue;
            }
            total += report.counts;
            if arguments.seeds == 1 {
                println!("seed {seed}\nconfig {}\ntrace {:016x}", report.config, report.trace_hash);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let mut total = Counts::default();
        let mut failures = Vec::new();
        for worker in workers {
            let (counts, failure) = worker.join().expect("a run's panics are caught inside");
            total += counts;
            failures.extend(failure);
        }
        (total, failures.into_iter().min_by_key(|report| report.seed))
    })
}

fn print_failure(report: &Report, canary: Option<Canary>) {
    if let Some(violation) = &report.violation {
        println!("VIOLATION {violation}");
    }
    println!("config {}\ntrace {:016x}", report.config, report.trace_hash);
    let canary = canary.map_or_else(String::new, |canary| format!(" --canary {}", canary.name()));
    println!("replay: cargo run -p sim --release -- --seed {}{canary} --verbose", report.seed);
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 100, ..Arguments::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is not a number"));
        match word.as_str() {
            "--seeds" => arguments.seeds = number(value()?)?,
            "--start" => arguments.start = number(value()?)?,
            "--seed" => (arguments.start, arguments.seeds) = (number(value()?)?, 1),
            "--canary" => arguments.canary = Some(value()?.parse()?),
            "--verbose" => arguments.verbose = true,
            "--all" => arguments.all = true,
            _ => return Err(format!("`{word}` is not an argument")),
        }
    }
    Ok(arguments)
}
