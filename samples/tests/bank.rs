//! The bank: money moves, stays, and is never less than nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod common;

use std::time::{Duration, Instant};

use abide::testing::{Crashes, World};
use abide::{CallError, Client, Server};
use samples::bank::{Account, BankError, Receipt, Transfer};

async fn balance(client: &Client, account: &str) -> i64 {
    client.object::<Account>(account).balance().await.unwrap()
}

async fn balance_becomes(client: &Client, account: &str, expected: i64) {
    let begun = Instant::now();
    while balance(client, account).await != expected {
        assert!(begun.elapsed() < Duration::from_secs(10), "{account} has {}", balance(client, account).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn money_moves_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let bank = common::start(Server::builder().bind::<Account>(), dir.path()).await;
    let client = bank.client();
    let alice = client.object::<Account>("alice");
    assert_eq!(alice.deposit(100).await.unwrap(), 100);
    let to_bob = Transfer { to: "bob".to_owned(), amount: 30 };
    for _ in 0..2 {
        let once = alice.transfer(to_bob.clone()).idempotency_key("t-1").await;
        assert_eq!(once.unwrap(), 70);
    }
    balance_becomes(&client, "bob", 30).await;
    bank.stop().await;

    let bank = common::start(Server::builder().bind::<Account>(), dir.path()).await;
    let client = bank.client();
    assert_eq!(balance(&client, "alice").await, 70);
    assert_eq!(balance(&client, "bob").await, 30);
    let repeated = client.object::<Account>("alice").transfer(to_bob).idempotency_key("t-1").await;
    assert_eq!(repeated.unwrap(), 70);
    assert_eq!(balance(&client, "bob").await, 30);
    bank.stop().await;
}

#[tokio::test]
async fn a_refusal_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bank = common::start(Server::builder().bind::<Account>(), dir.path()).await;
    let client = bank.client();
    let alice = client.object::<Account>("alice");
    alice.deposit(5).await.unwrap();
    let too_much = Transfer { to: "bob".to_owned(), amount: 6 };
    let refusals = [
        (alice.transfer(too_much).await.unwrap_err(), BankError::InsufficientFunds { balance: 5, amount: 6 }),
        (alice.deposit(0).await.unwrap_err(), BankError::NotPositive(0)),
        (alice.deposit(i64::MAX).await.unwrap_err(), BankError::TooMuch),
        (alice.pay_out(7).await.unwrap_err(), BankError::InsufficientFunds { balance: 5, amount: 7 }),
    ];
    for (found, expected) in refusals {
        assert!(matches!(&found, CallError::Domain(error) if *error == expected), "{found:?}, not {expected:?}");
    }
    assert_eq!(balance(&client, "alice").await, 5);
    assert_eq!(balance(&client, "bob").await, 0);
    bank.stop().await;
}

#[tokio::test]
async fn paying_out_is_a_flow() {
    let dir = tempfile::tempdir().unwrap();
    let bank = common::start(Server::builder().bind::<Account>(), dir.path()).await;
    let client = bank.client();
    let alice = client.object::<Account>("alice");
    alice.deposit(100).await.unwrap();
    let receipt = alice.pay_out(40).idempotency_key("p-1").await.unwrap();
    assert_eq!(receipt.amount, 40);
    assert_eq!(balance(&client, "alice").await, 60);
    assert_eq!(alice.pay_out(40).idempotency_key("p-1").await.unwrap(), receipt);
    assert_eq!(balance(&client, "alice").await, 60);
    bank.stop().await;
}

async fn money_moves(world: World) {
    let client = world.client();
    let alice = client.object::<Account>("alice");
    alice.deposit(100).await.unwrap();
    let paying = alice.pay_out(40).send().await.unwrap();
    // Behind the flow in Alice's mailbox.
    assert_eq!(alice.transfer(Transfer { to: "bob".to_owned(), amount: 30 }).await.unwrap(), 30);
    let receipt: Receipt = client.invocation(paying.id).attach().await.unwrap();
    assert_eq!(receipt, Receipt { amount: 40, reference: format!("payment {}", paying.id) });
    let refused = alice.transfer(Transfer { to: "bob".to_owned(), amount: 31 }).await.unwrap_err();
    assert_eq!(refused.code(), 409, "{refused:?}");
    world.advance(Duration::from_secs(60)).await;
    assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
    assert_eq!((balance(&client, "alice").await, balance(&client, "bob").await), (30, 30));
}

#[abide::test(bind(Account), crash_at_every_commit)]
async fn money_moves_whatever_crashes(world: World) {
    money_moves(world).await;
}

/// Two crashes in each run: the second one meets a node that recovers.
#[test]
fn money_moves_whatever_crashes_twice() {
    Crashes::new().again_within(2).run(|| World::builder().bind::<Account>(), money_moves);
}

/// Cancelled before the payment is ordered, it puts the money back; later it is too late.
#[abide::test(bind(Account))]
async fn cancelling_a_payment_loses_no_money(world: World) {
    let client = world.client();
    let alice = client.object::<Account>("alice");
    alice.deposit(100).await.unwrap();
    let paying = alice.pay_out(40).send().await.unwrap();
    world.advance(Duration::from_millis(50)).await;
    client.invocation(paying.id).cancel().await.unwrap();
    let receipt: Receipt = client.invocation(paying.id).attach().await.unwrap();
    assert_eq!((receipt.amount, balance(&client, "alice").await), (40, 60));
}
