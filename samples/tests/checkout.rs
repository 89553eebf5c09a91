//! The checkout: an order goes through as a whole, or nothing of it is left.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::path::Path;
use std::time::Instant;

use abide::prelude::*;
use abide::testing::{World, WorldBuilder, crash_at_every_commit};
use abide::{Running, Server};
use samples::checkout::StockError;
use samples::checkout::{Cart, CheckoutError, Confirmation, Delivery, Levels, Line, Order, Payments, Status, Stock};

const LIMIT: u64 = 10_000;

fn cart(lines: &[(&str, u32)]) -> Cart {
    Cart { lines: lines.iter().map(|&(item, quantity)| Line { item: item.to_owned(), quantity }).collect() }
}

fn book(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("book")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn levels(client: &Client, item: &str) -> (u32, u32) {
    let Levels { available, reserved } = client.object::<Stock>(item).levels().await.unwrap();
    (available, reserved)
}

async fn status(client: &Client, order: &str) -> Status {
    client.object::<Order>(order).status().await.unwrap()
}

/// Waits until the order is paid; answers the warehouse's ticket.
async fn ticket(client: &Client, order: &str) -> String {
    let begun = Instant::now();
    loop {
        match status(client, order).await {
            Status::Packing { ticket } => return ticket,
            other => assert!(begun.elapsed() < Duration::from_secs(10), "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The order's own error, of a client that knows the order only by its invocation.
fn ended_with(error: CallError<serde_json::Value>) -> CheckoutError {
    match error {
        CallError::Domain(error) => serde_json::from_value(error).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The warehouse, as a part of the order's own program: it completes tickets.
#[service]
struct Warehouse;

#[handlers]
impl Warehouse {
    async fn packed(&self, cx: &mut Flow, ticket: String) -> Result<(), Terminal> {
        let ticket = ticket.parse().map_err(|_| Terminal::new(400, "no ticket"))?;
        cx.resolve_awakeable(ticket, &"parcel-7")
    }

    async fn lost(&self, cx: &mut Flow, ticket: String) -> Result<(), Terminal> {
        let ticket = ticket.parse().map_err(|_| Terminal::new(400, "no ticket"))?;
        cx.reject_awakeable(ticket, "the lamp fell off the shelf");
        Ok(())
    }

    async fn cancel(&self, cx: &mut Flow, invocation: String) -> Result<(), Terminal> {
        cx.cancel(invocation.parse().map_err(|_| Terminal::new(400, "no invocation"))?);
        Ok(())
    }
}

async fn start(dir: &Path) -> Running {
    let book = dir.join("book");
    let server = Server::builder().bind::<Stock>().bind::<Order>().bind::<Warehouse>();
    let shop = common::start(server.bind_with(move || Payments::new(book.clone(), LIMIT)), dir).await;
    for (item, quantity, price) in [("lamp", 5, 2_000), ("chair", 3, 500)] {
        shop.client().object::<Stock>(item).restock(Delivery { quantity, price }).idempotency_key("d").await.unwrap();
    }
    shop
}

#[tokio::test]
async fn an_order_goes_through_also_when_the_program_is_restarted_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let shop = start(dir.path()).await;
    let client = shop.client();
    let placed = client.object::<Order>("o-1").place(cart(&[("lamp", 2), ("chair", 1)])).send().await.unwrap();
    let ticket = ticket(&client, "o-1").await;
    assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((3, 2), (2, 1)));
    assert_eq!(book(dir.path()), ["charge o-1 4500"]);
    shop.stop().await;

    let shop = start(dir.path()).await;
    let client = shop.client();
    client.service::<Warehouse>().packed(ticket).await.unwrap();
    let confirmation: Confirmation = client.invocation(placed.id).attach().await.unwrap();
    assert_eq!(confirmation, Confirmation { charged: 4_500, tracking: "parcel-7".to_owned() });
    assert_eq!(status(&client, "o-1").await, Status::Shipped { tracking: "parcel-7".to_owned() });
    let begun = Instant::now();
    while (levels(&client, "lamp").await, levels(&client, "chair").await) != ((3, 0), (2, 0)) {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(book(dir.path()), ["charge o-1 4500"]);
    let again = client.object::<Order>("o-1").place(cart(&[("lamp", 1)])).await.unwrap_err();
    assert!(matches!(again, CallError::Domain(CheckoutError::PlacedBefore)), "{again:?}");
    shop.stop().await;
}

#[tokio::test]
async fn what_was_reserved_is_released_when_a_later_item_is_sold_out() {
    let dir = tempfile::tempdir().unwrap();
    let shop = start(dir.path()).await;
    let client = shop.client();
    let refused = client.object::<Order>("o-2").place(cart(&[("lamp", 2), ("chair", 4)])).await.unwrap_err();
    let sold_out = StockError::SoldOut { item: "chair".to_owned(), available: 3, wanted: 4 };
    assert!(matches!(&refused, CallError::Domain(CheckoutError::Stock(error)) if *error == sold_out), "{refused:?}");
    assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((5, 0), (3, 0)));
    assert!(matches!(status(&client, "o-2").await, Status::Undone { .. }));
    assert!(book(dir.path()).is_empty());
    shop.stop().await;
}

#[tokio::test]
async fn what_was_reserved_is_released_when_the_payment_is_declined() {
    let dir = tempfile::tempdir().unwrap();
    let shop = start(dir.path()).await;
    let client = shop.client();
    client.object::<Stock>("lamp").restock(Delivery { quantity: 5, price: 2_000 }).await.unwrap();
    let refused = client.object::<Order>("o-3").place(cart(&[("chair", 1), ("lamp", 6)])).await.unwrap_err();
    assert_eq!(refused.code(), 402, "{refused:?}");
    assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((10, 0), (3, 0)));
    assert!(book(dir.path()).is_empty());
    shop.stop().await;
}

#[tokio::test]
async fn a_parcel_that_cannot_be_packed_is_refunded() {
    let dir = tempfile::tempdir().unwrap();
    let shop = start(dir.path()).await;
    let client = shop.client();
    let placed = client.object::<Order>("o-4").place(cart(&[("lamp", 2)])).send().await.unwrap();
    let ticket = ticket(&client, "o-4").await;
    client.service::<Warehouse>().lost(ticket).await.unwrap();
    let failed = client.invocation(placed.id).attach::<Confirmation>().await.unwrap_err();
    let lost = Terminal::new(500, "the lamp fell off the shelf");
    assert_eq!(ended_with(failed), CheckoutError::Terminal(lost));
    assert_eq!(levels(&client, "lamp").await, (5, 0));
    assert_eq!(book(dir.path()), ["charge o-4 4000", "refund o-4 4000"]);
    shop.stop().await;
}

#[tokio::test]
async fn a_cancelled_order_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let shop = start(dir.path()).await;
    let client = shop.client();
    let placed = client.object::<Order>("o-5").place(cart(&[("lamp", 2), ("chair", 2)])).send().await.unwrap();
    ticket(&client, "o-5").await;
    client.service::<Warehouse>().cancel(placed.id.to_string()).await.unwrap();
    let cancelled = client.invocation(placed.id).attach::<Confirmation>().await.unwrap_err();
    assert_eq!(ended_with(cancelled), CheckoutError::Terminal(Terminal::cancelled()));
    assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((5, 0), (3, 0)));
    assert_eq!(book(dir.path()), ["charge o-5 5000", "refund o-5 5000"]);
    assert!(matches!(status(&client, "o-5").await, Status::Undone { .. }));
    shop.stop().await;
}

/// The shop in a world. Its book is a real file: what is written there is not undone by a crash, as in life.
fn shop(dir: &Path) -> WorldBuilder {
    let book = dir.join("book");
    World::builder().bind::<Stock>().bind::<Order>().bind_with(move || Payments::new(book.clone(), LIMIT))
}

/// Fills the shelves of a new world, and closes the book of the one before.
async fn open(world: &World, dir: &Path) -> Client {
    let _ = std::fs::remove_file(dir.join("book"));
    let client = world.client();
    for (item, quantity, price) in [("lamp", 5, 2_000), ("chair", 3, 500)] {
        client.object::<Stock>(item).restock(Delivery { quantity, price }).await.unwrap();
    }
    client
}

/// Lets an order get to where it waits for the warehouse; answers the ticket.
async fn packing(client: &Client, world: &World, order: &str) -> AwakeableId {
    world.advance(Duration::from_secs(60)).await;
    match status(client, order).await {
        Status::Packing { ticket } => ticket.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_goes_through_whatever_crashes() {
    let dir = tempfile::tempdir().unwrap();
    crash_at_every_commit(
        || shop(dir.path()),
        async |world| {
            let client = open(&world, dir.path()).await;
            let placed = client.object::<Order>("o-1").place(cart(&[("lamp", 2), ("chair", 1)])).send().await.unwrap();
            let ticket = packing(&client, &world, "o-1").await;
            assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((3, 2), (2, 1)));
            world.resolve_awakeable(ticket, &"parcel-7").await.unwrap();
            let confirmation: Confirmation = client.invocation(placed.id).attach().await.unwrap();
            assert_eq!(confirmation, Confirmation { charged: 4_500, tracking: "parcel-7".to_owned() });
            world.advance(Duration::from_secs(60)).await;
            assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((3, 0), (2, 0)));
            assert_eq!(book(dir.path()), ["charge o-1 4500"]);
        },
    );
}

#[test]
fn a_cancelled_order_is_undone_whatever_crashes() {
    let dir = tempfile::tempdir().unwrap();
    crash_at_every_commit(
        || shop(dir.path()),
        async |world| {
            let client = open(&world, dir.path()).await;
            let placed = client.object::<Order>("o-2").place(cart(&[("lamp", 2), ("chair", 1)])).send().await.unwrap();
            packing(&client, &world, "o-2").await;
            client.invocation(placed.id).cancel().await.unwrap();
            let cancelled = client.invocation(placed.id).attach::<Confirmation>().await.unwrap_err();
            assert_eq!(ended_with(cancelled), CheckoutError::Terminal(Terminal::cancelled()));
            assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((5, 0), (3, 0)));
            assert_eq!(book(dir.path()), ["charge o-2 4500", "refund o-2 4500"]);
        },
    );
}

/// Orders that cannot be had, and one that nobody packs for three days.
#[test]
fn what_does_not_go_through_leaves_nothing_behind_whatever_crashes() {
    let dir = tempfile::tempdir().unwrap();
    crash_at_every_commit(
        || shop(dir.path()),
        async |world| {
            let client = open(&world, dir.path()).await;
            let order = |number: &str| client.object::<Order>(number);
            let sold_out = order("o-3").place(cart(&[("lamp", 2), ("chair", 4)])).await.unwrap_err();
            assert_eq!(sold_out.code(), 409, "{sold_out:?}");
            client.object::<Stock>("lamp").restock(Delivery { quantity: 5, price: 2_000 }).await.unwrap();
            let declined = order("o-4").place(cart(&[("chair", 1), ("lamp", 6)])).await.unwrap_err();
            assert_eq!(declined.code(), 402, "{declined:?}");
            let forgotten = order("o-5").place(cart(&[("chair", 1)])).await.unwrap_err();
            assert!(matches!(forgotten, CallError::Domain(CheckoutError::NotPacked)), "{forgotten:?}");
            assert!(world.elapsed() >= Duration::from_secs(3 * 24 * 60 * 60));
            assert_eq!((levels(&client, "lamp").await, levels(&client, "chair").await), ((10, 0), (3, 0)));
            assert_eq!(book(dir.path()), ["charge o-5 500", "refund o-5 500"]);
            assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
        },
    );
}
