//! The command as a process, against a server that answers as it is told to.
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

mod cluster;
mod control;
mod fake;
mod manage;
mod outcome;
