//! Node to node transport: how the nodes of one cluster talk, and how they make sure that they are of one cluster.
//!
//! Three verbs, all over HTTP/2 (gRPC), payloads opaque:
//!
//! * [`Peers::send`]: one-way frames, in order per pair of nodes and direction, never blocking. What cannot be delivered is
//!   dropped and counted; raft sends again.
//! * [`Peers::ask`]: a request and its answer, many at a time. A failure says whether the peer can have handled it.
//! * [`Peers::stream`]: one large transfer with backpressure, on a connection of its own, so that it delays nothing.
//!
//! A pair of nodes has two lasting connections, one opened by each node, which carries that node's frames and requests.
//! Every connection begins with a handshake (see [`Refusal`] for what is refused). A node that was started again has a
//! greater boot id; from the moment it is heard of, nothing of the earlier process is delivered any more. A connection
//! whose other end is silent dies within three seconds.
//!
//! The nodes prove who they are with certificates of the cluster's own authority, see [`TlsSettings`] and [`certs`].

pub mod certs;
pub mod metrics;

mod error;
mod identity;
mod message;
mod refusal;
mod settings;

mod backoff;
mod codec;
mod io;
mod quiet;
mod subject;
mod tls;

mod book;
mod queue;
mod wire;

mod context;
mod inbound;
mod link;
mod listen;
mod outbound;
mod parts;

mod peers;
mod service;

pub use error::{AskError, NotSent, PeerError, SendError};
pub use identity::{Identity, NodeId, ProtocolRange};
pub use parts::{PartStream, StreamCut};
pub use peers::{PeerStatus, Peers};
pub use refusal::Refusal;
pub use service::{Caller, Declined, Service};
pub use settings::{FRAME_BYTES_MAX, Limits, PeerSettings, Timing, TlsFiles, TlsMode, TlsSettings};
