//! The bank of the samples, as a program that tests of this package can start.

use std::process::ExitCode;

use samples::bank::Account;

fn main() -> ExitCode {
    abide::Server::builder().bind::<Account>().serve()
}
