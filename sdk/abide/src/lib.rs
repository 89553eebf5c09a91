//! Durable virtual objects in one dependency.
//!
//! A struct is the state, its methods are the handlers; every object with a key lives once, remembers its state, gets
//! its messages in order and exactly once, and survives crashes.
//!
//! ```no_run
//! use abide::prelude::*;
//!
//! #[object]
//! struct Counter {
//!     value: i64,
//! }
//!
//! #[handlers]
//! impl Counter {
//!     fn add(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
//!         self.value += amount;
//!         self.value
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     abide::Server::builder().bind::<Counter>().serve()
//! }
//! ```
//!
//! `curl localhost:8080/Counter/alice/add --json 5` answers `5`, and still does the sum after a `kill -9`.
//!
//! # Workflows and promises
//!
//! A workflow runs once for each key. Its other handlers run beside it and after it, and complete its promises.
//!
//! ```
//! use abide::prelude::*;
//!
//! #[workflow(retention = "30d")]
//! struct Approval {
//!     subject: String,
//! }
//!
//! #[handlers]
//! impl Approval {
//!     /// Waits for somebody's word for at most a week.
//!     async fn run(&mut self, cx: &mut Flow, subject: String) -> Result<bool, Terminal> {
//!         self.subject = subject;
//!         let week = Duration::from_secs(7 * 24 * 60 * 60);
//!         match cx.timeout(week, cx.promise::<bool>("word")).await {
//!             Ok(word) => word,
//!             Err(_elapsed) => Ok(false),
//!         }
//!     }
//!
//!     /// The first word counts; a later one fails with code 409.
//!     async fn decide(&self, cx: &mut Flow, word: bool) -> Result<(), Terminal> {
//!         cx.promise("word").resolve(&word).await
//!     }
//!
//!     fn subject(&self, _cx: &Read) -> String {
//!         self.subject.clone()
//!     }
//! }
//!
//! async fn ask(client: Client) -> Result<bool, Box<dyn std::error::Error>> {
//!     let approval = client.workflow::<Approval>("holidays");
//!     approval.run("two weeks in May".to_owned()).send().await?;
//!     approval.decide(true).await?;
//!     Ok(client.workflow_handle::<Approval>("holidays").attach().await?)
//! }
//! ```
//!
//! # Versions
//!
//! A flow finishes on the code that it started on. What the code was is kept beside what it is, until no flow needs it.
//!
//! ```no_run
//! use abide::prelude::*;
//!
//! #[object(version = 2)]
//! struct Letter {
//!     sent: u32,
//! }
//!
//! #[handlers]
//! impl Letter {
//!     async fn send(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
//!         cx.run("stamp", || async { Ok(()) }).await?;
//!         cx.run("post", || async { Ok(()) }).await?;
//!         self.sent += 1;
//!         Ok(())
//!     }
//! }
//!
//! /// Letters had no stamps.
//! #[handlers(version = 1)]
//! impl Letter {
//!     #[handler(name = "send")]
//!     async fn send_unstamped(&mut self, cx: &mut Flow) -> Result<(), Terminal> {
//!         cx.run("post", || async { Ok(()) }).await?;
//!         self.sent += 1;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     abide::Server::builder().bind::<Letter>().keep::<LetterV1>().serve()
//! }
//! ```
//!
//! # Schedules
//!
//! A schedule invokes a handler by the clock. The ones that a program declares are there when it has started; further ones
//! are made and changed by `Running::schedules`, by the admin API, and by the command `abide`.
//!
//! ```no_run
//! # #[cfg(feature = "server")]
//! # mod program {
//! use abide::prelude::*;
//! use abide::{CatchUp, Schedule, Server};
//!
//! #[service]
//! struct Report;
//!
//! #[handlers]
//! impl Report {
//!     async fn make(&self, _cx: &mut Flow, length: String) -> Result<(), Terminal> {
//!         println!("a {length} report");
//!         Ok(())
//!     }
//! }
//!
//! async fn run() -> Result<(), Box<dyn std::error::Error>> {
//!     let nightly = Schedule::cron("nightly", "0 3 * * *").zone("Europe/Berlin").call("Report", "make").input("short");
//!     let node = Server::builder().bind::<Report>().schedule(nightly.catch_up(CatchUp::One)).start().await?;
//!     node.schedules().put(Schedule::every("hourly", "1h").call("Report", "make").input("tiny")).await?;
//!     node.schedules().trigger("nightly").await?;
//!     node.stop().await;
//!     Ok(())
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! # Tests
//!
//! With the feature `testing`, for `[dev-dependencies]`, handlers are tested against the engine itself, in memory, with virtual
//! time, and with a crash at every commit.
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # fn main() {
//! use abide::prelude::*;
//! use abide::testing::{World, crash_at_every_commit};
//!
//! #[object]
//! struct Counter {
//!     value: i64,
//! }
//!
//! #[handlers]
//! impl Counter {
//!     async fn add_later(&mut self, cx: &mut Flow, amount: i64) -> Result<i64, Terminal> {
//!         cx.sleep(Duration::from_secs(24 * 60 * 60)).await?;
//!         self.value += amount;
//!         Ok(self.value)
//!     }
//! }
//!
//! crash_at_every_commit(
//!     || World::builder().bind::<Counter>(),
//!     async |world| {
//!         assert_eq!(world.client().object::<Counter>("a").add_later(5).await.unwrap(), 5);
//!         assert_eq!(world.elapsed(), Duration::from_secs(24 * 60 * 60));
//!     },
//! );
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! `#[abide::test]` makes a test of a function; `abide::testing` tells the rest.
//!
//! # Features
//!
//! The feature `server` (default) brings the node; without it this crate is the SDK alone: handlers, contexts, typed
//! clients. The feature `http` brings the client for programs that talk to a node over HTTP. The feature
//! `testing`, for `[dev-dependencies]`, brings `abide::testing`: the engine in memory, with virtual time.

pub use abide_sdk::*;

#[cfg(feature = "server")]
mod logging;
#[cfg(feature = "server")]
mod schedules;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "server")]
pub use abide_node::engine::EngineError;
#[cfg(feature = "server")]
pub use abide_node::schedule::{CatchUp, Overlap, Schedule, ScheduleChange, ScheduleDetails, When};
#[cfg(feature = "server")]
pub use schedules::Schedules;
#[cfg(feature = "server")]
pub use server::{Config, Running, Server, ServerBuilder, StartError};

#[cfg(feature = "testing")]
pub use abide_sdk::__private::test;
