//! The node under load: `Counter/{key}/add`, `Counter/{key}/get`, `Flow/echo`, `Flow/three`. Flags as any node, see `--help`.

use std::process::ExitCode;

use benches::role::{self, Role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    role::main(Role::Node)
}
