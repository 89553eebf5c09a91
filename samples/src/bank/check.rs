//! Whether a bank that runs keeps what it was given: money moves through all of its doors, and the sum has to stay.

use std::fmt::Display;
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use abide::CallError;
use abide::client::{Client, HttpTransport};

use super::{Account, Transfer};

/// Accounts of one run.
const ACCOUNTS: u64 = 40;
/// What each begins with.
const BEGINNING: i64 = 1_000;
/// Transfers at a time.
const CLIENTS: u64 = 16;
/// How long one request is repeated before the bank is taken for dead.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long money may be under way after the last transfer.
const SETTLING: Duration = Duration::from_secs(30);

/// What the bank says to a request, if it says anything.
type Answer<T> = Result<Result<T, String>, String>;

/// A bank behind several doors.
struct Bank {
    doors: Vec<Client>,
    /// Tells the accounts and requests of this run from those of others.
    run: String,
}

#[derive(Default)]
struct Counts {
    transfers: AtomicU64,
    refused: AtomicU64,
    /// Attempts whose outcome was not known at once.
    repeated: AtomicU64,
    slowest_ms: AtomicU64,
}

impl Bank {
    fn key(&self, account: u64) -> String {
        format!("check-{}-{account}", self.run)
    }

    /// Asks door after door until one answers. Requests carry an idempotency key, so none counts twice.
    async fn ask<T, E: Display, F>(&self, counts: &Counts, first: u64, ask: impl Fn(&Client) -> F) -> Answer<T>
    where
        F: Future<Output = Result<T, CallError<E>>>,
    {
        let started = Instant::now();
        for attempt in first.. {
            let door = usize::try_from(attempt).unwrap_or(0) % self.doors.len();
            let answer = tokio::time::timeout(PATIENCE, ask(&self.doors[door])).await;
            let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match answer {
                Ok(Ok(value)) => {
                    counts.slowest_ms.fetch_max(elapsed, Ordering::Relaxed);
                    return Ok(Ok(value));
                }
                Ok(Err(CallError::Domain(refused))) => return Ok(Err(refused.to_string())),
                Ok(Err(_)) | Err(_) if started.elapsed() > PATIENCE => break,
                Ok(Err(_)) | Err(_) => {
                    counts.repeated.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        Err(format!("no answer within {} s", PATIENCE.as_secs()))
    }

    async fn transfer(&self, counts: &Counts, number: u64) -> Answer<i64> {
        let draw = draw(number);
        let (from, to) = (draw % ACCOUNTS, (draw >> 8) % ACCOUNTS);
        let amount = 1 + i64::try_from((draw >> 16) % 100).unwrap_or(0);
        let (from, to) = (self.key(from), self.key(to));
        let key = format!("{}-{number}", self.run);
        self.ask(counts, number, |client| {
            let transfer = Transfer { to: to.clone(), amount };
            client.object::<Account>(&from).transfer(transfer).idempotency_key(&key).into_future()
        })
        .await
    }

    async fn balances(&self, counts: &Counts) -> Result<Vec<i64>, String> {
        let mut balances = Vec::new();
        for account in 0..ACCOUNTS {
            let key = self.key(account);
            let asked = self.ask(counts, account, |client| client.object::<Account>(&key).balance().into_future());
            balances.push(asked.await?.map_err(|refused| format!("a balance is refused: {refused}"))?);
        }
        Ok(balances)
    }
}

/// Evenly spread numbers from consecutive ones (SplitMix64).
fn draw(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Checks the bank behind these doors (`http://…`) for so long, and prints how it goes.
///
/// # Errors
/// What is wrong with it.
pub async fn check(doors: &[String], time: Duration, mut print: impl FnMut(&str)) -> Result<(), String> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_millis().to_string();
    let client = |door: &String| {
        HttpTransport::new(door).map(|transport| Client::new(Arc::new(transport))).map_err(|error| error.to_string())
    };
    let bank = Arc::new(Bank { doors: doors.iter().map(client).collect::<Result<_, _>>()?, run });
    let counts = Arc::new(Counts::default());
    for account in 0..ACCOUNTS {
        let (key, once) = (bank.key(account), format!("{}-open-{account}", bank.run));
        let opened = bank.ask(&counts, account, |client| {
            client.object::<Account>(&key).deposit(BEGINNING).idempotency_key(&once).into_future()
        });
        opened.await?.map_err(|refused| format!("a deposit is refused: {refused}"))?;
    }
    let (until, started) = (Instant::now() + time, Instant::now());
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let (bank, counts) = (Arc::clone(&bank), Arc::clone(&counts));
        clients.spawn(async move {
            let mut number = number;
            while Instant::now() < until {
                match bank.transfer(&counts, number).await? {
                    Ok(balance) if balance < 0 => return Err(format!("a balance is {balance}")),
                    Ok(_) => counts.transfers.fetch_add(1, Ordering::Relaxed),
                    // There was not enough.
                    Err(_) => counts.refused.fetch_add(1, Ordering::Relaxed),
                };
                number += CLIENTS;
            }
            Ok::<(), String>(())
        });
    }
    let mut done = 0;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let transfers = counts.transfers.load(Ordering::Relaxed);
        let slowest = counts.slowest_ms.swap(0, Ordering::Relaxed);
        print(&format!(
            "{:>4} s  {transfers:>8} transfers  {:>6}/s  {:>6} refused  {:>5} repeated  slowest {slowest:>5} ms",
            started.elapsed().as_secs(),
            transfers - done,
            counts.refused.load(Ordering::Relaxed),
            counts.repeated.load(Ordering::Relaxed),
        ));
        done = transfers;
    }
    while let Some(client) = clients.join_next().await {
        client.map_err(|error| error.to_string())??;
    }
    settle(&bank, &counts).await
}

/// Waits until nothing is under way: then the sum is what it was.
async fn settle(bank: &Bank, counts: &Counts) -> Result<(), String> {
    let expected = BEGINNING * i64::try_from(ACCOUNTS).unwrap_or(0);
    let until = Instant::now() + SETTLING;
    loop {
        let balances = bank.balances(counts).await?;
        if let Some(balance) = balances.iter().find(|balance| **balance < 0) {
            return Err(format!("a balance is {balance}"));
        }
        let sum: i64 = balances.iter().sum();
        if sum == expected {
            return Ok(());
        }
        if sum > expected || Instant::now() > until {
            return Err(format!("the accounts hold {sum}, and it was {expected}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
