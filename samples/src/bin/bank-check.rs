//! Moves money between the accounts of a running bank, through any of its nodes, and checks that none is lost or made:
//! whatever is killed meanwhile, the sum stays what it was and nobody is below zero.
//!
//! ```sh
//! cargo run --release --bin bank-check -- http://127.0.0.1:8080 http://127.0.0.1:8082 http://127.0.0.1:8083
//! ```
//!
//! Runs for a minute (`--seconds N`), prints a line a second, and ends with `GREEN` and 0, or with `RED`, why, and 1.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let (mut doors, mut seconds) = (Vec::new(), 60);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument != "--seconds" {
            doors.push(argument);
        } else if let Some(number) = arguments.next().and_then(|text| text.parse().ok()) {
            seconds = number;
        } else {
            say("--seconds needs a number");
            return ExitCode::from(2);
        }
    }
    if doors.is_empty() {
        doors.push("http://127.0.0.1:8080".to_owned());
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(samples::bank::check::check(&doors, Duration::from_secs(seconds), say)) {
        Ok(()) => {
            say("GREEN: every account is at or above zero, and the sum is what it was");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            say(&format!("RED: {reason}"));
            ExitCode::FAILURE
        }
    }
}

/// A reader that went away is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
