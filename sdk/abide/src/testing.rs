//! Tests of handlers against the real engine, in memory, with a virtual clock and one seed.
//!
//! Switch it on for tests only, with `abide = { version = "…", features = ["testing"] }` under `[dev-dependencies]`.
//!
//! A [`World`] is a node without sockets, threads and files: the same driver, partitions, rules and handlers, on one
//! thread, over model disks. [`#[abide::test]`](crate::test) runs a test in one:
//!
//! ```
//! use abide::prelude::*;
//! use abide::testing::World;
//!
//! #[object]
//! struct Account {
//!     balance: i64,
//! }
//!
//! #[handlers]
//! impl Account {
//!     fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
//!         self.balance += amount;
//!         self.balance
//!     }
//!
//!     async fn pay_out(&mut self, cx: &mut Flow, amount: i64) -> Result<(), Terminal> {
//!         self.balance -= amount;
//!         cx.sleep(Duration::from_secs(30 * 24 * 60 * 60)).await?;
//!         cx.run("pay", || async { Ok(()) }).await
//!     }
//! }
//!
//! #[abide::test(bind(Account))]
//! async fn pays_out(world: World) {
//!     let account = world.client().object::<Account>("alice");
//!     account.deposit(100).await.unwrap();
//!     let sent = account.pay_out(30).send().await.unwrap();
//!     world.advance(Duration::from_secs(60)).await;
//!     assert_eq!(world.invocation(sent.id).unwrap().status, "suspended");
//!     world.advance(Duration::from_secs(30 * 24 * 60 * 60)).await;
//!     assert_eq!(world.state::<Account>("alice").balance, 70);
//! }
//!
//! /// The same, with a crash before and after every commit.
//! #[abide::test(bind(Account), crash_at_every_commit)]
//! async fn pays_out_over_crashes(world: World) {
//!     let account = world.client().object::<Account>("alice");
//!     account.deposit(100).await.unwrap();
//!     account.pay_out(30).await.unwrap();
//!     assert_eq!(world.state::<Account>("alice").balance, 70);
//! }
//! # fn main() {
//! #     World::builder().bind::<Account>().run(async |world| {
//! #         let account = world.client().object::<Account>("alice");
//! #         account.deposit(100).await.unwrap();
//! #         account.pay_out(30).await.unwrap();
//! #         assert_eq!(world.state::<Account>("alice").balance, 70);
//! #     });
//! # }
//! ```
//!
//! **Time.** Awaiting a result moves time as far as needed: through retries, sleeps and timers, and no further.
//! [`World::advance`] moves it by a given span; everything that becomes due on the way happens, in order. A test that
//! awaits something that can never come fails, and says what is blocked. Code under test that reads the clock or sleeps by
//! tokio's functions follows the virtual time; the functions of the standard library do not. Real I/O has no place in a
//! world: while it is waited for, time runs away.
//!
//! A schedule given to [`WorldBuilder::schedule`] fires as time passes. [`World::down_for`] lets time pass while no node runs.
//!
//! **Crashes.** [`crash_at_every_commit`] runs a test with a crash at every place where one can hurt. The world's client
//! gives every request an idempotency key, except plain reads, and repeats it when its answer was lost: calls of the test
//! are executed exactly once and its awaits survive. What steps ([`Flow::run`](crate::Flow::run)) do outside the world can happen
//! twice, as in life; their results are recorded once. As every result is therefore kept, a result can be asked for until
//! [`WorldBuilder::retention`] is over.
//!
//! **When a test fails**, the trace is printed: every durable command and every effect with its virtual time; and the seed.
//! `ABIDE_SEED=… cargo test …` runs it again in exactly the same way, as far as the code under test has no randomness of
//! its own (such as the order of a `HashMap`, or `tokio::select!` without `biased`).

pub use abide_node::testing::*;
