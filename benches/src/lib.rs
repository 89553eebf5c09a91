//! Load generator and measuring suite of Abide.
//!
//! Four programs share this library, and each can play the part of the others (see [`role`]): [`node`] serves the
//! handlers of [`app`], [`load`] drives them and reports, [`suite`] runs a matrix of loads and compares it with the
//! budgets, [`cluster`] compares three nodes with one.

pub mod app;
pub mod cluster;
pub mod expiry;
pub mod facts;
pub mod load;
pub mod node;
pub mod process;
pub mod role;
pub mod scrape;
pub mod suite;
