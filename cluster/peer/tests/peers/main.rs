//! The transport over real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod calls;
mod cost;
mod frames;
mod half_open;
mod handshake;
mod transfers;
mod with_tls;

mod support;
