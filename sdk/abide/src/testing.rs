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
//! What time, crashes, seeds and the trace mean is told at [`abide_node::testing`], whose items these are.

pub use abide_node::testing::*;
