//! The load generator; one JSON object on standard output. See `--help`.

use std::process::ExitCode;

use benches::role::{self, Role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    role::main(Role::Load)
}
