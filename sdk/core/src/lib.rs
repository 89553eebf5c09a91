//! Native handlers of Abide: durable objects, services and flows in plain Rust.
//!
//! A struct is the state, an `impl` block holds its handlers:
//!
//! ```
//! # extern crate abide_sdk as abide;
//! use abide::prelude::*;
//!
//! #[object]
//! struct Account {
//!     balance: i64,
//! }
//!
//! #[handlers]
//! impl Account {
//!     /// Exclusive and atomic: state, messages and reply commit together.
//!     fn deposit(&mut self, _cx: &mut Turn, amount: i64) -> i64 {
//!         self.balance += amount;
//!         self.balance
//!     }
//!
//!     /// Shared: the compiler sees to it that nothing changes.
//!     fn balance(&self, _cx: &Read) -> i64 {
//!         self.balance
//!     }
//!
//!     /// A flow: durable steps.
//!     async fn pay_out(&mut self, cx: &mut Flow, to: String) -> Result<String, Terminal> {
//!         let receipt = cx.run("bank", || async { Ok(format!("paid to {to}")) }).await?;
//!         self.balance = 0;
//!         cx.sleep(Duration::from_secs(24 * 60 * 60)).await?;
//!         cx.object::<Account>("audit").deposit(1).send();
//!         Ok(receipt)
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! `&mut self` is exclusive (one at a time per key), `&self` is shared; `fn` is a turn, `async fn` is a flow. The same
//! typed clients call them from turns ([`Turn`]), from flows ([`Flow`]) and from outside ([`Client`]).
//!
//! A workflow ([`macro@workflow`]) is an object whose `async fn run(&mut self, …)` is executed once per key; its other handlers
//! run beside it and after it, read its state, and complete its promises ([`Flow::promise`]).
//!
//! Options stand in the attributes, see [`macro@object`]: how long results are kept, retries, limits, and the version of the
//! code. Flows finish on the version that they started on; code of an earlier one is kept beside the current one, see
//! [`KeptHandlers`]. State outlives the struct that it was stored by; see [`macro@object`] for what may change.
//!
//! A turn that ends with `Err` changes nothing. A flow that ends with `Err` keeps the state it had at its last `.await`, where it
//! was journaled; what it changed after that is dropped.
//!
//! What the macros write is ordinary code against the traits [`Entity`], [`Handlers`] and [`client::Callable`].
//! [`attempt`] runs a flow against its journal; it does no I/O and is driven by the host.

pub mod attempt;
pub mod client;
#[doc(hidden)]
pub mod macro_support;
pub mod service;
pub mod turn;

mod entity;
mod error;
mod flow;
mod random;
mod registry;
mod retry;
mod state;
mod wire;

pub use abide_macros::{handlers, object, service, workflow};
pub use abide_model::command::Priority;
pub use client::{Client, Transport, TransportError};
pub use entity::{Entity, Executor, Handlers, KeptHandlers, Keyed, Object, Service, Workflow};
pub use error::{CODE_METADATA, CallError, ERROR_METADATA, HandlerError, NoError, OrTerminal, StepError, Terminal};
pub use flow::{
    Awaited, CallFuture, Either, Elapsed, Flow, InvocationHandle, Join, JoinAll, Operation, Promise, Race, SelectAll,
    Sent, Slept, Step, Timeout,
};
pub use registry::{Registry, RegistryBuilder, UnknownTarget};
pub use retry::{Exhausted, RetryPolicy};
pub use state::{State, StateError, decode_fields, encode_fields};
pub use turn::{OutgoingSend, Read, Turn, TurnStart};

/// The path by which the macros find [`macro_support`], here and in crates that re-export this one as `__private`.
#[doc(hidden)]
pub mod __private {
    pub use abide_macros::test;

    pub use crate::macro_support;
}

/// Everything that handlers need.
pub mod prelude {
    pub use std::time::Duration;

    pub use abide_macros::{handlers, object, service, workflow};
    pub use abide_model::id::{AwakeableId, InvocationId, Millis};
    pub use serde::{Deserialize, Serialize};

    pub use crate::client::Client;
    pub use crate::{
        CallError, Either, Exhausted, Flow, HandlerError, OrTerminal, Priority, Read, RetryPolicy, StepError, Terminal,
        Turn,
    };
}
