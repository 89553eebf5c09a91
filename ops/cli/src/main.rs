//! The command `abide`.

use std::process::ExitCode;

fn main() -> ExitCode {
    abide_cli::main()
}
