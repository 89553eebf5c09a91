//! The words of the platform as types, shared by every other crate.
//!
//! Nothing here does anything: ids with a printed form ([`id`]), the messages of the service protocol ([`protocol`]),
//! the commands of a partition's log ([`command`]), the effects of applying them ([`effect`]), the persistent tables
//! ([`table`]), the reads the rules are given ([`view`]), limits ([`limits`]), settings of the cluster ([`setting`]) and the codes of public errors ([`error`]).
//! No clock, no randomness, no threads, no `async`.

pub mod codec;
pub mod command;
pub mod effect;
pub mod error;
pub mod id;
pub mod limits;
pub mod protocol;
pub mod setting;
pub mod table;
pub mod view;

mod base62;
