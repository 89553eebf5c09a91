//! The test world, tried on a bank.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use abide::prelude::*;
use abide::testing::{Crashes, Side, World, WorldBuilder, crash_at_every_commit};

const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[object]
struct Account {
    balance: i64,
    paid: Vec<String>,
}

/// To whom, and how much.
type Transfer = (String, i64);

#[handlers]
impl Account {
    fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    fn balance(&self, _cx: &Read) -> i64 {
        self.balance
    }

    fn transfer(&mut self, cx: &mut Turn, (to, amount): Transfer) -> i64 {
        self.balance -= amount;
        cx.object::<Account>(&to).deposit(amount).send();
        self.balance
    }

    /// Three steps, a sleep, and a call of another account.
    async fn pay_out(&mut self, cx: &mut Flow, (to, amount): Transfer) -> Result<i64, Terminal> {
        self.balance -= amount;
        for step in ["order", "confirm"] {
            let line = cx.run(step, move || async move { Ok(step.to_owned()) }).await?;
            self.paid.push(line);
        }
        cx.sleep(Duration::from_secs(60)).await?;
        cx.object::<Account>(&to).deposit(amount).await.or_terminal()?;
        let line = cx.run("file", || async { Ok("file".to_owned()) }).await?;
        self.paid.push(line);
        Ok(self.balance)
    }

    async fn save(&mut self, cx: &mut Flow, amount: i64) -> Result<(), Terminal> {
        cx.sleep(MONTH).await?;
        self.balance += amount;
        Ok(())
    }

    /// Fails for good after some time.
    #[handler(retry(max_attempts = 4, exhausted = "fail"))]
    async fn despair(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        cx.run("try", || async { Err(StepError::from(std::io::Error::other("out of luck"))) }).await
    }

    /// Tries without end.
    #[handler(retry(initial = "1s", factor = 1.0))]
    async fn hope(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        let step = cx.run("try", || async { Err(StepError::from(std::io::Error::other("out of luck"))) });
        step.retry(RetryPolicy::forever()).await
    }

    /// Waits for someone's word.
    async fn wait_for_word(&mut self, cx: &mut Flow) -> Result<String, Terminal> {
        let (id, word) = cx.awakeable::<String>();
        cx.run("tell the id", move || async move { Ok(id.to_string()) }).await?;
        cx.object::<Board>("ids").post(id.to_string()).send();
        word.await
    }
}

#[object]
struct Board {
    posted: Vec<String>,
}

#[handlers]
impl Board {
    fn post(&mut self, _cx: &mut Turn, line: String) {
        self.posted.push(line);
    }
}

fn bank() -> WorldBuilder {
    World::builder().bind::<Account>().bind::<Board>()
}

#[abide::test(world = bank())]
async fn a_month_passes_at_once(world: World) {
    let began = Instant::now();
    let account = world.client().object::<Account>("alice");
    account.deposit(100).await.unwrap();
    let sent = account.save(5).send().await.unwrap();
    world.advance(MONTH - Duration::from_secs(1)).await;
    assert_eq!(world.state::<Account>("alice").balance, 100);
    assert_eq!(world.invocation(sent.id).unwrap().status, "suspended");
    world.advance(Duration::from_secs(1)).await;
    assert_eq!(world.state::<Account>("alice").balance, 105);
    assert_eq!(world.elapsed(), MONTH);
    assert!(world.unfinished().is_empty());
    eprintln!("a month took {:?}", began.elapsed());
}

/// An await moves the time as far as it needs, and no further.
#[abide::test(bind(Account))]
async fn awaiting_moves_the_time(world: World) -> Result<(), Box<dyn std::error::Error>> {
    let client = world.client();
    client.object::<Account>("alice").deposit(1).await?;
    assert_eq!(world.elapsed(), Duration::ZERO);
    client.object::<Account>("alice").save(1).await?;
    assert_eq!(world.elapsed(), MONTH);
    Ok(())
}

#[abide::test(world = bank())]
async fn awakeables_are_completed_from_outside(world: World) {
    let sent = world.client().object::<Account>("alice").wait_for_word().send().await.unwrap();
    world.advance(Duration::from_secs(120)).await;
    let id: AwakeableId = world.state::<Board>("ids").posted[0].parse().unwrap();
    world.crash().await;
    world.resolve_awakeable(id, &"now").await.unwrap();
    assert_eq!(world.client().invocation(sent.id).attach::<String>().await.unwrap(), "now");
}

async fn move_money(world: World) {
    let client = world.client();
    let keys = ["alice", "bob", "carol"];
    for key in keys {
        client.object::<Account>(key).deposit(100).await.unwrap();
    }
    let paying = client.object::<Account>("alice").pay_out(("bob".into(), 30)).send();
    let paying = paying.await.unwrap();
    // Behind the flow in one mailbox, and beside it.
    let behind = client.object::<Account>("alice").transfer(("carol".into(), 1)).send();
    behind.await.unwrap();
    for _ in 0..3 {
        let transfer = ("bob".into(), 2);
        client.object::<Account>("carol").transfer(transfer).await.unwrap();
    }
    assert_eq!(client.invocation(paying.id).attach::<i64>().await.unwrap(), 70);
    world.advance(Duration::from_secs(10)).await;
    assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
    let balances = keys.map(|key| world.state::<Account>(key).balance);
    assert_eq!(balances, [69, 136, 95]);
    assert_eq!(world.state::<Account>("alice").paid, ["order", "confirm", "file"]);
    assert_eq!(client.object::<Account>("bob").balance().await.unwrap(), 136);
}

#[test]
fn money_survives_a_crash_at_every_commit() {
    let began = Instant::now();
    let runs = Arc::new(AtomicU32::new(0));
    crash_at_every_commit(bank, async |world| {
        runs.fetch_add(1, Ordering::Relaxed);
        move_money(world).await;
    });
    let runs = runs.load(Ordering::Relaxed);
    eprintln!("{runs} runs took {:?}", began.elapsed());
    assert!(runs > 20, "{runs} runs");
}

/// Calls of one key that overtake each other's commits: each counts once, whatever crashes.
#[test]
fn concurrent_calls_count_once() {
    let build = || bank().seed(5);
    Crashes::new().again_within(1).run(build, async |world| {
        world.faults().uneven_log(Duration::from_millis(20));
        let account = || world.client().object::<Account>("hot");
        let mut calls: Vec<_> = (0..10).map(|_| tokio::spawn(account().deposit(1).into_future())).collect();
        let saving = account().save(100).send().await.unwrap();
        calls.extend((0..10).map(|_| tokio::spawn(account().transfer(("cold".into(), 1)).into_future())));
        for call in calls {
            call.await.unwrap().unwrap();
        }
        world.client().invocation(saving.id).attach::<()>().await.unwrap();
        world.advance(Duration::from_secs(10)).await;
        let balances = ["hot", "cold"].map(|key| world.state::<Account>(key).balance);
        assert_eq!(balances, [100, 10]);
        assert!(world.unfinished().is_empty(), "{:?}", world.unfinished());
    });
}

#[test]
fn money_survives_two_crashes() {
    Crashes::new().again_within(3).run(bank, move_money);
}

#[test]
fn money_survives_a_bad_network_and_a_slow_disk() {
    for seed in 0..10 {
        bank().seed(seed).run(async |world| {
            world.faults().lose_messages(0.5);
            world.faults().slow_log(Duration::from_millis(seed));
            move_money(world).await;
        });
        bank().seed(seed).run(async |world| {
            world.faults().uneven_log(Duration::from_millis(50));
            for commit in 1..6 {
                world
                    .faults()
                    .crash_at_commit(commit * (3 + seed), if commit % 2 == 0 { Side::Before } else { Side::After });
            }
            move_money(world).await;
        });
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        bank().seed(seed).run(async |world| {
            world.faults().lose_messages(0.3);
            world.faults().crash_at_commit(9, Side::After);
            let client = world.client();
            let calls = ["a", "b", "c", "d"].map(|key| client.object::<Account>(key).deposit(5).into_future());
            let calls = calls.map(tokio::spawn);
            client.object::<Account>("a").pay_out(("d".into(), 1)).await.unwrap();
            for call in calls {
                call.await.unwrap().unwrap();
            }
            client.object::<Account>("e").despair().await.unwrap_err();
            world.advance(MONTH).await;
            world.trace()
        })
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    assert!(first.contains("CRASH") && first.contains("Run \"confirm\""), "{first}");
}

/// What a failing test says.
fn failure(test: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(test).unwrap_err();
    panic.downcast::<String>().map_or_else(|panic| (*panic.downcast::<&str>().unwrap()).to_owned(), |text| *text)
}

#[test]
fn a_test_that_waits_in_vain_says_what_is_blocked() {
    let text = failure(|| {
        bank().run(async |world| {
            world.client().object::<Account>("alice").wait_for_word().await.unwrap();
        });
    });
    assert!(text.contains("nothing can happen any more"), "{text}");
    assert!(text.contains("Account/alice/wait_for_word inv_") && text.contains("is suspended"), "{text}");

    let text = failure(|| bank().run(async |_world| std::future::pending::<()>().await));
    assert!(text.contains("no invocation is unfinished"), "{text}");
}

#[test]
fn a_test_that_waits_for_endless_retries_says_so() {
    let text = failure(|| {
        bank().patience(200).run(async |world| {
            world.client().object::<Account>("alice").hope().await.unwrap();
        });
    });
    assert!(text.contains("repeated without end") && text.contains("out of luck"), "{text}");
}

#[test]
fn a_failing_assertion_stays_what_it_is() {
    let text = failure(|| {
        bank().run(async |world| {
            world.client().object::<Account>("alice").deposit(1).await.unwrap();
            assert_eq!(world.state::<Account>("alice").balance, 2, "the sum");
        });
    });
    assert!(text.contains("the sum"), "{text}");
}

/// How often [`Careless::choose`] ran: what a flow must not depend on.
static CHOICES: AtomicU32 = AtomicU32::new(0);

#[object]
struct Careless {
    chosen: Option<String>,
}

#[handlers]
impl Careless {
    /// Takes another way each time it runs.
    async fn choose(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
        let way = format!("way {}", CHOICES.fetch_add(1, Ordering::Relaxed));
        self.chosen = Some(cx.run(&way.clone(), move || async move { Ok(way) }).await?);
        cx.run("arrive", || async { Ok(()) }).await
    }
}

/// The bug that the tool is for: without a crash nobody notices.
#[test]
fn a_flow_that_is_not_deterministic_is_found() {
    let text = failure(|| {
        crash_at_every_commit(
            || World::builder().bind::<Careless>().seed(1),
            async |world| {
                world.client().object::<Careless>("a").choose().await.unwrap();
            },
        );
    });
    assert!(text.contains("with a crash after commit") && text.contains("ABIDE_SEED=1"), "{text}");
    assert!(text.contains("AB0570") || text.contains("journal mismatch"), "{text}");
}

/// Steps are executed at least once and recorded exactly once.
#[test]
fn a_step_may_run_twice_and_counts_once() {
    let executed: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let log = Arc::clone(&executed);
    let build = move || {
        let log = Arc::clone(&log);
        World::builder().bind_with::<Printer>(move || Printer { log: Arc::clone(&log) }).bind::<Board>()
    };
    crash_at_every_commit(build, async |world| {
        executed.lock().unwrap().clear();
        let printed = world.client().service::<Printer>().print().await.unwrap();
        assert_eq!(printed, 3);
        assert!((1..=3).all(|page| executed.lock().unwrap().get(&format!("page {page}")).is_some_and(|n| *n >= 1)));
        world.advance(Duration::from_secs(10)).await;
        assert_eq!(world.state::<Board>("tray").posted, ["page 1", "page 2", "page 3"]);
    });
}

#[service(bound_with)]
struct Printer {
    log: Arc<Mutex<BTreeMap<String, u32>>>,
}

#[handlers]
impl Printer {
    async fn print(&self, cx: &mut Flow) -> Result<u32, Terminal> {
        let mut printed = 0;
        for page in 1..=3 {
            let log = Arc::clone(&self.log);
            let name = cx.run("print", move || async move {
                let name = format!("page {page}");
                *log.lock().unwrap().entry(name.clone()).or_default() += 1;
                Ok(name)
            });
            cx.object::<Board>("tray").post(name.await?).send();
            printed += 1;
        }
        Ok(printed)
    }
}

#[abide::test(bind(Account), seed = 3, partitions = 1, crash_at_every_commit)]
async fn the_attribute_takes_options(world: World) {
    assert_eq!(world.seed(), 3);
    world.client().object::<Account>("alice").deposit(1).await.unwrap();
    assert_eq!(world.state::<Account>("alice").balance, 1);
}

/// The figure of the guide: a simple test is over before anyone notices.
#[test]
fn a_simple_test_takes_milliseconds() {
    let rounds = 20;
    let began = Instant::now();
    for _ in 0..rounds {
        bank().run(async |world| {
            assert_eq!(world.client().object::<Account>("alice").deposit(1).await.unwrap(), 1);
        });
    }
    let each = began.elapsed() / rounds;
    eprintln!("a simple test takes {each:?}");
    // Ten times what is expected, for machines that do other things too.
    assert!(each < Duration::from_millis(200), "a simple test takes {each:?}");
}
