//! The state store of the simulated node: the model disk, with the faults that canaries ask for.

use std::ops::ControlFlow;

use abide_model::table::{Completions, Direction, Expiries, Letters, Mailboxes, Promises, Sequences, Table};
use abide_storage::{MemState, StateSnapshot, StateStore, StateWrite, StorageError};
use bytes::Bytes;

use crate::config::Canary;

/// Bytes of the partition in front of every key.
const PREFIX: usize = 2;

/// A state store that may forget what it should not.
#[derive(Clone, Debug)]
pub(crate) struct SimState {
    pub(crate) disk: MemState,
    pub(crate) canary: Option<Canary>,
}

impl StateStore for SimState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.disk.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), StorageError> {
        self.disk.scan(from, to, visit)
    }

    fn snapshot(&self) -> Result<Box<dyn StateSnapshot>, StorageError> {
        self.disk.snapshot()
    }

    fn write(&self, mut batch: Vec<StateWrite>) -> Result<(), StorageError> {
        match self.canary {
            Some(Canary::DropTaken) => {
                batch.retain(|(key, _)| !key[PREFIX..].starts_with(&[Sequences::TAG, Direction::Taken as u8]));
            }
            Some(Canary::DropCompletions) => forget::<Completions>(&mut batch),
            Some(Canary::DropPromises) => forget::<Promises>(&mut batch),
            Some(Canary::DropExpiries) => forget::<Expiries>(&mut batch),
            Some(Canary::DropLetters) => forget::<Letters>(&mut batch),
            Some(Canary::SwapFifo) => swap_neighbours(&mut batch),
            _ => {}
        }
        self.disk.write(batch)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.disk.sync()
    }
}

/// Loses what is written to a table.
fn forget<T: Table>(batch: &mut Vec<StateWrite>) {
    batch.retain(|(key, value)| value.is_none() || key.get(PREFIX) != Some(&T::TAG));
}

/// Exchanges the invocations at two neighbouring numbers of a mailbox.
fn swap_neighbours(batch: &mut [StateWrite]) {
    for at in 1..batch.len() {
        let (first, second) = (&batch[at - 1], &batch[at]);
        let queued = |write: &StateWrite| write.1.is_some() && write.0.get(PREFIX) == Some(&Mailboxes::TAG);
        // The number is the last eight bytes of the key.
        let object = |write: &StateWrite| write.0[..write.0.len().saturating_sub(8)].to_vec();
        if queued(first) && queued(second) && object(first) == object(second) {
            let value = batch[at - 1].1.take();
            batch[at - 1].1 = batch[at].1.take();
            batch[at].1 = value;
            return;
        }
    }
}
