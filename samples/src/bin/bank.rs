//! The bank. Run it, try the three lines it prints, stop it, run it again: everything is as it was.

use std::process::ExitCode;

use samples::bank::Account;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abide::Server::builder()
        .bind::<Account>()
        .hint(|bank| {
            let url = format!("http://{}", bank.ingress());
            format!(
                "\nTry:\n  \
                 curl {url}/Account/alice/deposit --json 100\n  \
                 curl {url}/Account/alice/transfer --json '{{\"to\":\"bob\",\"amount\":30}}'\n  \
                 curl {url}/Account/bob/balance"
            )
        })
        .serve()
}
