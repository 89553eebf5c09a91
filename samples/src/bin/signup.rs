//! The signup.

use std::process::ExitCode;

use samples::signup::{Letterbox, Signup};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    abide::Server::builder()
        .bind::<Signup>()
        .bind::<Letterbox>()
        .hint(|node| {
            let url = format!("http://{}", node.ingress());
            format!(
                "\nTry:\n  \
                 curl {url}/Signup/ada/run/send --json '\"ada@example.org\"'\n  \
                 curl {url}/Letterbox/ada@example.org/letters\n  \
                 curl {url}/Signup/ada/confirm --json '\"THE SECRET IN THE LETTER\"'\n  \
                 curl {url}/restate/workflow/Signup/ada/attach"
            )
        })
        .serve()
}
