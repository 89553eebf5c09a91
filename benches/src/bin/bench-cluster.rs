//! The measuring suite: a matrix of loads, a table beside the budgets, a JSON file. See `--help`.

use std::process::ExitCode;

use benches::role::{self, Role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    role::main(Role::Cluster)
}
