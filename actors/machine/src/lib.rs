//! The deterministic rules of a partition.
//!
//! [`Machine::apply`] takes one committed command and the tables as they are, and answers with the writes that the
//! command causes and the effects that the leader has to carry out. No clock, no randomness, no threads, no `async`,
//! no iteration in hash order: the same commands give the same bytes on every replica, after every restart.
//!
//! One command, one file: [`command`] holds the commands, `rule` what several of them share.
//!
//! ```
//! use std::{collections::BTreeMap, ops::ControlFlow};
//!
//! use abide_machine::Machine;
//! use abide_model::command::{Body, Command, Invoke, Target};
//! use abide_model::effect::Effect;
//! use abide_model::id::{InvocationId, Millis, PartitionId, PartitionKey};
//! use abide_model::table::AppliedRow;
//! use abide_model::view::{RawView, ReadError, WriteOp};
//! use bytes::Bytes;
//!
//! /// The least that can hold tables.
//! #[derive(Default)]
//! struct Rows(BTreeMap<Box<[u8]>, Bytes>);
//!
//! impl RawView for Rows {
//!     fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
//!         Ok(self.0.get(key).cloned())
//!     }
//!
//!     fn scan_raw(
//!         &self,
//!         from: &[u8],
//!         to: &[u8],
//!         visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
//!     ) -> Result<(), ReadError> {
//!         let _ = self.0.iter().filter(|(key, _)| (from..to).contains(&&***key)).try_for_each(|(k, v)| visit(k, v));
//!         Ok(())
//!     }
//! }
//!
//! let mut rows = Rows::default();
//! let mut machine = Machine::new(PartitionId(0), 1, &AppliedRow::default());
//! let id = InvocationId::fresh(PartitionKey(7), Millis(1000), 42);
//! let target = Target { service: "Mailer".into(), handler: "send".into(), ..Target::default() };
//! let invoke = Invoke { id: id.to_bytes().to_vec().into(), target: Some(target), ..Invoke::default() };
//!
//! machine.advance_time(Millis(1000));
//! let transition = machine.apply(&rows, Command { request: 1, body: Some(Body::Invoke(invoke)) })?;
//! assert_eq!(transition.effects[1], Effect::Start { invocation: id });
//! for write in transition.writes {
//!     match write.op {
//!         WriteOp::Put(value) | WriteOp::Insert(value) => drop(rows.0.insert(write.key, value)),
//!         WriteOp::Delete => drop(rows.0.remove(&write.key)),
//!     }
//! }
//! # Ok::<(), ReadError>(())
//! ```

pub mod command;
mod floors;
mod rule;
mod txn;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use abide_model::command::{Body, Command};
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_model::table::AppliedRow;
use abide_model::view::{ReadError, View, Write};

use floors::Floors;
use txn::Txn;

/// What applying a command changes and causes. Writes first, then effects, and both in order.
#[derive(Debug, Default)]
pub struct Transition {
    /// Changes of the tables; at most one per key.
    pub writes: Vec<Write>,
    /// What the leader does now.
    pub effects: Vec<Effect>,
}

/// The rules of one partition with the little they remember between commands.
#[derive(Clone, Debug)]
pub struct Machine {
    partition: PartitionId,
    partitions: u32,
    log_time: Millis,
    leader_term: u64,
    lives: u64,
    forgotten_version: u64,
    floors: Floors,
}

impl Machine {
    /// The machine of `partition` out of `partitions`, as it was after the entry that `applied` speaks of.
    #[must_use]
    pub fn new(partition: PartitionId, partitions: u32, applied: &AppliedRow) -> Self {
        let AppliedRow { log_time, leader_term, lives, forgotten_version, .. } = *applied;
        let (log_time, floors) = (Millis(log_time), Floors::default());
        Self { partition, partitions, log_time, leader_term, lives, forgotten_version, floors }
    }

    /// The time of the log: the running maximum of the leaders' clocks at proposal.
    #[must_use]
    pub fn log_time(&self) -> Millis {
        self.log_time
    }

    /// The term of the last leader that began; results of handlers that an earlier leader started are dropped.
    #[must_use]
    pub fn leader_term(&self) -> u64 {
        self.leader_term
    }

    /// The last number that an invocation got as its life ([`abide_model::table::InvocationRow::life`]); to be persisted
    /// with what is applied.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// The highest version of a state that was forgotten; to be persisted with what is applied.
    #[must_use]
    pub fn forgotten_version(&self) -> u64 {
        self.forgotten_version
    }

    /// No timer is due before this; looks for due ones begin here.
    #[must_use]
    pub fn timers_from(&self) -> Millis {
        self.floors.get::<abide_model::table::Timers>()
    }

    /// Moves log time to `proposed_at` unless it is there already. Called once per entry, before its commands.
    pub fn advance_time(&mut self, proposed_at: Millis) {
        self.log_time = self.log_time.max(proposed_at);
    }

    /// Applies one committed command to the tables in `view`.
    ///
    /// Total: a malformed command changes nothing and is answered with a refusal. The caller makes the writes visible
    /// to `view` before it applies the next command.
    ///
    /// # Errors
    /// [`ReadError`] when `view` cannot be read. The state is then not trustworthy and the process must stop.
    pub fn apply<V: View>(&mut self, view: &V, command: Command) -> Result<Transition, ReadError> {
        if let Some(Body::LeaderStart(start)) = &command.body {
            self.leader_term = self.leader_term.max(start.term);
        }
        let mut txn = Txn::new(view, self);
        command::apply(&mut txn, command)?;
        rule::route::settle(&mut txn)?;
        Ok(txn.finish(self))
    }
}
