//! A bank that is killed again and again while its customers transfer money.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use e2e::random::Random;
use e2e::{Http, Process, Program, wait};
use serde_json::json;

const ACCOUNTS: u64 = 8;
const CLIENTS: u64 = 6;
const OPENING: i64 = 1_000;
/// A restart that takes longer is a failure, on any machine.
const RESTART_MAX: Duration = Duration::from_secs(20);

/// What a customer was told, once and for all.
struct Transfer {
    key: String,
    from: String,
    to: String,
    amount: i64,
    /// The new balance, or `None`: refused, for lack of money.
    acknowledged: Option<i64>,
}

/// The bank as its customers see it: its address changes with each restart.
struct Bank {
    address: RwLock<Http>,
    closing: AtomicBool,
    lost: AtomicU64,
}

impl Bank {
    fn http(&self) -> Http {
        self.address.read().unwrap().clone()
    }

    /// Asks with the same key until the answer is definite.
    async fn transfer(&self, key: String, from: String, to: String, amount: i64) -> Transfer {
        let begun = Instant::now();
        let path = format!("/Account/{from}/transfer");
        loop {
            let request = self.http().json(&path, json!({ "to": to, "amount": amount })).key(key.clone());
            match request.answer().await {
                Ok(answer) if answer.status == 200 => {
                    return Transfer { key, from, to, amount, acknowledged: Some(answer.json()) };
                }
                Ok(answer) if answer.status == 409 && answer.header("x-restate-error-source") == "invocation" => {
                    return Transfer { key, from, to, amount, acknowledged: None };
                }
                // Too early, or the outcome is unknown: the key makes asking again safe.
                Ok(answer) if matches!(answer.status, 429 | 503 | 504) => {}
                Ok(answer) => panic!("{key}: {} {}", answer.status, answer.text()),
                Err(_) => {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(90), "{key} gets no definite answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A customer, until the bank closes.
    async fn customer(&self, number: u64, mut random: Random) -> Vec<Transfer> {
        let mut told = Vec::new();
        while !self.closing.load(Ordering::Relaxed) {
            let from = random.below(ACCOUNTS);
            let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
            // Sometimes more than there can be.
            let amount = if random.below(10) == 0 { 20_000 } else { 1 + random.below(200).cast_signed() };
            let key = format!("t-{number}-{}", told.len());
            told.push(self.transfer(key, format!("a{from}"), format!("a{to}"), amount).await);
        }
        told
    }

    /// Reads balances until the bank closes; answers how many.
    async fn auditor(&self, mut random: Random) -> u64 {
        let mut read = 0;
        while !self.closing.load(Ordering::Relaxed) {
            let account = random.below(ACCOUNTS);
            if let Ok(answer) = self.http().get(&format!("/Account/a{account}/balance")).answer().await
                && answer.status == 200
            {
                let balance: i64 = answer.json();
                assert!(balance >= 0, "a{account} has {balance}");
                read += 1;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        read
    }
}

/// Waits for the first answer of a process; the time since its start.
async fn first_answer(process: &Process) -> Duration {
    wait::until("the bank answers", || async {
        let answer = process.ingress.get("/Account/a0/balance").answer().await;
        answer
            .map_err(|lost| lost.to_string())
            .and_then(|answer| (answer.status == 200).then_some(()).ok_or(answer.text()))
    })
    .await;
    process.started.elapsed()
}

async fn balances(http: &Http) -> BTreeMap<String, i64> {
    let mut balances = BTreeMap::new();
    for account in 0..ACCOUNTS {
        balances.insert(format!("a{account}"), http.get(&format!("/Account/a{account}/balance")).ok().await);
    }
    balances
}

/// `E2E_KILLS` is the number of kills, 50 by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_repeats_a_transfer() {
    let kills: usize = std::env::var("E2E_KILLS").map_or(50, |kills| kills.parse().expect("E2E_KILLS is a number"));
    let mut random = Random::from_environment();
    let program = Program::new(env!("CARGO_BIN_EXE_e2e-bank")).env("ABIDE_STORAGE__CHECKPOINT_INTERVAL", "500ms");
    let mut process = program.start();
    for account in 0..ACCOUNTS {
        let path = format!("/Account/a{account}/deposit");
        let balance: i64 = process.ingress.json(&path, OPENING).key(format!("open-{account}")).ok().await;
        assert_eq!(balance, OPENING);
    }
    let bank = Arc::new(Bank {
        address: RwLock::new(process.ingress.clone()),
        closing: AtomicBool::new(false),
        lost: AtomicU64::new(0),
    });
    let customers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (bank, random) = (Arc::clone(&bank), random.fork());
            tokio::spawn(async move { bank.customer(number, random).await })
        })
        .collect();
    let auditor = {
        let (bank, random) = (Arc::clone(&bank), random.fork());
        tokio::spawn(async move { bank.auditor(random).await })
    };

    let restarts = Mutex::new(Vec::new());
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(20 + random.below(500))).await;
        process.kill();
        process = program.start();
        let took = first_answer(&process).await;
        *bank.address.write().unwrap() = process.ingress.clone();
        restarts.lock().unwrap().push(took);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    bank.closing.store(true, Ordering::Relaxed);
    let mut transfers = Vec::new();
    for customer in customers {
        transfers.extend(customer.await.unwrap());
    }
    let audits = auditor.await.unwrap();

    // What the acknowledgements say the balances are.
    let mut expected: BTreeMap<String, i64> = (0..ACCOUNTS).map(|account| (format!("a{account}"), OPENING)).collect();
    for transfer in transfers.iter().filter(|transfer| transfer.acknowledged.is_some()) {
        *expected.get_mut(&transfer.from).unwrap() -= transfer.amount;
        *expected.get_mut(&transfer.to).unwrap() += transfer.amount;
    }
    let http = bank.http();
    wait::until("every deposit has arrived", || async {
        let balances = balances(&http).await;
        if balances.values().sum::<i64>() == OPENING * ACCOUNTS.cast_signed() { Ok(()) } else { Err(balances) }
    })
    .await;
    assert_eq!(balances(&http).await, expected);

    // Asking once more changes nothing and tells the same.
    for transfer in transfers.iter().rev().take(200) {
        let path = format!("/Account/{}/transfer", transfer.from);
        let body = json!({ "to": transfer.to, "amount": transfer.amount });
        let answer = http.json(&path, body).key(transfer.key.clone()).expect().await;
        match transfer.acknowledged {
            Some(balance) => assert_eq!((answer.status, answer.json::<i64>()), (200, balance), "{}", transfer.key),
            None => assert_eq!(answer.status, 409, "{}", transfer.key),
        }
        assert!(!answer.header("idempotency-expires").is_empty(), "{}: not from the record", transfer.key);
    }
    process.kill();
    let process = program.start();
    assert_eq!(balances(&process.ingress).await, expected);
    process.stop();

    let mut restarts = restarts.into_inner().unwrap();
    restarts.sort_unstable();
    let acknowledged = transfers.iter().filter(|transfer| transfer.acknowledged.is_some()).count();
    e2e::report(&format!(
        "kill9_bank: {kills} kills; {} transfers, {acknowledged} acknowledged, {} requests without an answer, {audits} balances read; \
         start to first answer: min {:?}, median {:?}, max {:?}",
        transfers.len(),
        bank.lost.load(Ordering::Relaxed),
        restarts[0],
        restarts[restarts.len() / 2],
        restarts[restarts.len() - 1],
    ));
    assert!(acknowledged > kills, "{acknowledged} acknowledged transfers are too few to tell anything");
    assert!(restarts[restarts.len() - 1] < RESTART_MAX);
}
