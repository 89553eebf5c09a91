//! The simulator itself: the same seed gives the same run, in whatever process.

use std::process::Command;

fn output(seed: u64) -> Vec<u8> {
    let seed = seed.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(["--seed", &seed, "--verbose"]).output();
    let output = output.expect("the simulator starts");
    assert!(output.status.success());
    // The last two lines tell how long it took.
    let lines: Vec<_> = output.stdout.split(|byte| *byte == b'\n').collect();
    let end = lines.iter().position(|line| line.starts_with(b"trace ")).expect("the trace hash is printed");
    lines[..=end].join(&b'\n')
}

#[test]
fn one_seed_gives_one_trace_in_two_processes() {
    for seed in [1, 7, 8, 12, 20, 23] {
        assert!(output(seed) == output(seed), "seed {seed} gave two traces");
    }
}

#[test]
fn seeds_differ() {
    assert_ne!(sim::run(1, None, false).trace_hash, sim::run(2, None, false).trace_hash);
}
