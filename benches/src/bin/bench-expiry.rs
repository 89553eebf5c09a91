//! Watches a million results expire. See `--help`.

use std::process::ExitCode;

use benches::expiry::{self, Args};
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[expect(clippy::print_stdout, reason = "the report is what the program is for")]
fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("the operating system gives threads");
    match runtime.block_on(expiry::run(Args::parse())) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-expiry: {error:#}");
            ExitCode::FAILURE
        }
    }
}
