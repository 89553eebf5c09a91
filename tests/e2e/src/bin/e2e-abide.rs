//! The command `abide`, as a program that tests of this package can start.

use std::process::ExitCode;

fn main() -> ExitCode {
    abide_cli::main()
}
