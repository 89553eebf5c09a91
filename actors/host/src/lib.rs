//! Runs native handlers, on threads of their own.
//!
//! The host decides nothing that lasts: it runs handlers on what it believes to be the state, and hands the results to
//! the partition's machine, which accepts or rejects them when they are committed.
//!
//! | file | what it is |
//! |---|---|
//! | [`port`] | what the host asks of the consensus side |
//! | [`event`] | what it is told |
//! | `host` | [`Host`] and [`HostHandle`]: the threads and the way to them |
//! | `shard` | the actor of a thread: finds the object, flow or service that an input is for |
//! | `object` | the actor of an activated object, a thin shell around the next |
//! | `activation` | what an activated object does next; knows no actors |
//! | `service` | turns that need no activation: of un-keyed services, and durable shared ones |
//! | `flow` | drives the attempts of flows |
//! | `turn` | runs one turn or read of user code |
//! | `outgoing` | resolves what handlers send and call |
//! | [`metrics`] | every metric by name |
//!
//! A handler that blocks holds up its own shard only; consensus runs elsewhere.

mod activation;
mod clock;
mod env;
pub mod event;
mod flow;
mod guard;
mod host;
pub mod metrics;
mod object;
mod outgoing;
pub mod port;
mod random;
mod service;
mod settings;
mod shard;
mod turn;

#[cfg(test)]
mod testing;

pub use event::{Fields, HostEvent, Queued, StartAttempt};
pub use host::{Host, HostHandle, StartError};
pub use port::{Completion, DirectCall, Order, Port, Refusal, Refused, Responder, Waiter};
pub use settings::HostSettings;
