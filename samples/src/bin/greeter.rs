//! The greeter.

use std::process::ExitCode;

use samples::greeter::Greeter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abide::Server::builder()
        .bind::<Greeter>()
        .hint(|node| format!("\nTry:\n  curl http://{}/Greeter/greet --json '\"Ada\"'", node.ingress()))
        .serve()
}
