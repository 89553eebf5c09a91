//! Typed clients: the same handlers called from a turn, from a flow, and from outside.

#[cfg(feature = "http")]
mod http;
mod outside;
mod request;
mod transport;

pub use abide_model::protocol::{SignalId, SignalResult};
#[cfg(feature = "http")]
pub use http::{HttpTransport, InvalidBase};
pub use outside::{AwakeableClient, Client, InvocationClient, OutsideCaller};
pub use request::{Caller, InsideCaller, Request};
pub use transport::{Accepted, AcceptedStatus, BoxFuture, OutgoingRequest, Start, Stop, Transport, TransportError};

use crate::entity::Entity;
pub use crate::flow::FlowCaller;
use crate::turn::Turn;

/// An [`Entity`] with a typed client. `#[handlers]` implements it, and writes the client.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handlers",
    label = "write its handlers in an `impl` block with `#[handlers]`"
)]
pub trait Callable: Entity {
    /// The client: a method per handler.
    type Client<C: Caller>;

    /// The client of the instance with this key; services have none.
    fn client<C: Caller>(caller: C, key: Option<String>) -> Self::Client<C>;
}

/// Calls from a turn: sends that start when the turn commits.
#[derive(Clone, Copy)]
pub struct TurnCaller<'a> {
    pub(crate) turn: &'a Turn,
}
