//! The checkout.

use std::path::PathBuf;
use std::process::ExitCode;

use samples::checkout::{Order, Payments, Stock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The provider declines charges above this many cents.
const LIMIT: u64 = 100_000;

fn main() -> ExitCode {
    let book =
        std::env::var_os("CHECKOUT_PAYMENTS").map_or_else(|| PathBuf::from("checkout-payments.log"), PathBuf::from);
    abide::Server::builder()
        .bind::<Stock>()
        .bind::<Order>()
        .bind_with(move || Payments::new(book.clone(), LIMIT))
        .hint(|node| {
            let url = format!("http://{}", node.ingress());
            format!(
                "\nTry:\n  \
                 curl {url}/Stock/lamp/restock --json '{{\"quantity\":5,\"price\":1999}}'\n  \
                 curl {url}/Order/o-1/place/send --json '{{\"lines\":[{{\"item\":\"lamp\",\"quantity\":2}}]}}'\n  \
                 curl {url}/Order/o-1/status"
            )
        })
        .serve()
}
