//! The register as a build that is yet to come: `cargo build -p e2e --features next --bin e2e-register-next`.

use std::process::ExitCode;

#[path = "e2e-register.rs"]
mod register;

fn main() -> ExitCode {
    register::main()
}
