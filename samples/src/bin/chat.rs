//! The chat.

use std::process::ExitCode;

use samples::chat::{Inbox, Room};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abide::Server::builder()
        .bind::<Room>()
        .bind::<Inbox>()
        .hint(|node| {
            let url = format!("http://{}", node.ingress());
            format!(
                "\nTry:\n  \
                 curl {url}/Room/lobby/join --json '\"ada\"'\n  \
                 curl {url}/Room/lobby/join --json '\"bob\"'\n  \
                 curl {url}/Room/lobby/say --json '{{\"from\":\"ada\",\"text\":\"hello\"}}'\n  \
                 curl {url}/Inbox/bob/read -X POST"
            )
        })
        .serve()
}
