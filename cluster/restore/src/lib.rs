//! Snapshots without a running node: a data folder is made of them, and they are made of a data folder.
//!
//! * [`restore`] founds a cluster anew from the snapshots of one that is gone: it fills an empty folder with the state of all
//!   partitions, as node 1 of a new cluster, which others then join. It says what is lost.
//! * [`fill`] is the part of it that knows no folder: the tables alone, in whatever store.
//! * [`copy`] makes snapshots of the partitions in the folder of a node that does not run.
//!
//! Partitions are saved one by one, so what is restored may be of several moments. Messages between partitions are numbered,
//! and the numbers of both ends have to fit together: [`exchange`] makes them fit, and counts what the moments cost.
//!
//! Everything asynchronous needs a tokio runtime with its timer.

mod applied;
mod candidates;
mod copy;
mod error;
pub mod exchange;
mod fill;
mod folder;
mod load;
mod repository;
mod settings;

pub use copy::{Copied, CopyOrder, copy};
pub use error::RestoreError;
pub use exchange::Gap;
pub use fill::{FillOrder, Filled, PassedOver, Report, Restored, fill};
pub use folder::{RestoreOrder, restore};
pub use repository::{clusters, open_cluster};
