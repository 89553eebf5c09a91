//! The simulator's command line: `sim --seeds N [--start S] [--canary NAME]`, or `sim --seed S --verbose`.

#![expect(clippy::print_stdout, reason = "a command line prints")]

use std::process::ExitCode;
use std::time::Instant;

use sim::{Canary, Counts, Report, run};

/// What the command line says.
#[derive(Default)]
struct Arguments {
    seeds: u64,
    start: u64,
    canary: Option<Canary>,
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            println!("{text}\nusage: sim [--seeds N] [--start S] [--canary NAME] | --seed S [--verbose]");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let mut total = Counts::default();
    for seed in arguments.start..arguments.start + arguments.seeds {
        let report = run(seed, arguments.canary, arguments.verbose);
        if report.violation.is_some() {
            print_failure(&report, arguments.canary);
            return ExitCode::FAILURE;
        }
        add(&mut total, &report.counts);
        if arguments.seeds == 1 {
            println!("seed {seed}\nconfig {}\ntrace {:016x}", report.config, report.trace_hash);
        }
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
            _ => return Err(format!("`{word}` is not an argument")),
        }
    }
    Ok(arguments)
}

fn add(total: &mut Counts, one: &Counts) {
    total.requests += one.requests;
    total.acknowledged += one.acknowledged;
    total.unknown += one.unknown;
    total.refused += one.refused;
    total.entries += one.entries;
    total.commands += one.commands;
    total.rejected += one.rejected;
    total.timers += one.timers;
    total.checkpoints += one.checkpoints;
    total.crashes += one.crashes;
    total.exits += one.exits;
    total.compared += one.compared;
    total.executions += one.executions;
    total.fenced += one.fenced;
    total.scheduled += one.scheduled;
    total.forgotten += one.forgotten;
    total.letters += one.letters;
    total.dropped += one.dropped;
    total.promises += one.promises;
    total.deadlocks += one.deadlocks;
    total.edits += one.edits;
    total.repeated += one.repeated;
    total.events += one.events;
    total.simulated_ms += one.simulated_ms;
}
