//! The tables as one command sees them: the view below, and above it what the command has written so far.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;

use abide_model::command::Parcel;
use abide_model::effect::Effect;
use abide_model::id::{Millis, PartitionId};
use abide_model::table::Table;
use abide_model::view::{ReadError, View, Write, WriteOp};

use crate::floors::Floors;
use crate::{Machine, Transition};

/// Rows of a table with their keys.
pub(crate) type Rows<T> = Vec<(<T as Table>::Key, <T as Table>::Value)>;

pub(crate) struct Txn<'v, V> {
    view: &'v V,
    partition: PartitionId,
    partitions: u32,
    now: Millis,
    leader_term: u64,
    lives: u64,
    forgotten_version: u64,
    pub(crate) floors: Floors,
    writes: BTreeMap<Box<[u8]>, WriteOp>,
    effects: Vec<Effect>,
    /// Messages to this very partition, handled before the command ends.
    pub(crate) local: VecDeque<Parcel>,
}

impl<'v, V: View> Txn<'v, V> {
    pub(crate) fn new(view: &'v V, machine: &Machine) -> Self {
        Self {
            view,
            partition: machine.partition,
            partitions: machine.partitions,
            now: machine.log_time,
            leader_term: machine.leader_term,
            lives: machine.lives,
            forgotten_version: machine.forgotten_version,
            floors: machine.floors,
            writes: BTreeMap::new(),
            effects: Vec::new(),
            local: VecDeque::new(),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.now
    }

    pub(crate) fn leader_term(&self) -> u64 {
        self.leader_term
    }

    /// A number that no other invocation of the partition has or had.
    pub(crate) fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// A state with this version is forgotten.
    pub(crate) fn forget_version(&mut self, version: u64) {
        self.forgotten_version = self.forgotten_version.max(version);
    }

    /// A version above `version` and above all that were forgotten.
    pub(crate) fn version_above(&self, version: u64) -> u64 {
        version.max(self.forgotten_version) + 1
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.partitions
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn get<T: Table>(&self, key: &T::Key) -> Result<Option<T::Value>, ReadError> {
        let key = T::encode_key(key);
        match self.writes.get(&key) {
            Some(WriteOp::Put(value) | WriteOp::Insert(value)) => T::decode_value(value).map(Some),
            Some(WriteOp::Delete) => Ok(None),
            None => self.view.get_raw(&key)?.map(|value| T::decode_value(&value)).transpose(),
        }
    }

    /// Sets a row that may exist.
    pub(crate) fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        let value = T::encode_value(value);
        let key = T::encode_key(key);
        self.floors.note(&key);
        match self.writes.entry(key) {
            Entry::Occupied(mut slot) => {
                let op = slot.get_mut();
                *op = if matches!(op, WriteOp::Insert(_)) { WriteOp::Insert(value) } else { WriteOp::Put(value) };
            }
            Entry::Vacant(slot) => {
                slot.insert(WriteOp::Put(value));
            }
        }
    }

    /// Sets a row that is known not to exist.
    pub(crate) fn insert<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        let value = T::encode_value(value);
        let key = T::encode_key(key);
        self.floors.note(&key);
        match self.writes.entry(key) {
            // Deleted earlier in this command: layers below still hold it.
            Entry::Occupied(mut slot) => {
                slot.insert(WriteOp::Put(value));
            }
            Entry::Vacant(slot) => {
                slot.insert(WriteOp::Insert(value));
            }
        }
    }

    /// Lowers the floor of `T` to what this command has written there.
    pub(crate) fn note_written<T: Table>(&mut self) {
        let (from, to) = T::whole();
        let range = (std::ops::Bound::Included(&*from), std::ops::Bound::Excluded(&*to));
        for (key, op) in self.writes.range::<[u8], _>(range) {
            if !matches!(op, WriteOp::Delete) {
                self.floors.note(key);
            }
        }
    }

    pub(crate) fn delete<T: Table>(&mut self, key: &T::Key) {
        match self.writes.entry(T::encode_key(key)) {
            Entry::Occupied(mut slot) => {
                if matches!(slot.get(), WriteOp::Insert(_)) {
                    slot.remove();
                } else {
                    slot.insert(WriteOp::Delete);
                }
            }
            Entry::Vacant(slot) => {
                slot.insert(WriteOp::Delete);
            }
        }
    }

    /// At most `limit` rows between two encoded keys as they were before this command.
    pub(crate) fn scan_before<T: Table>(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Rows<T>, ReadError> {
        let mut rows = Vec::new();
        self.view.scan_bytes::<T>(from, to, &mut |key, value| {
            if rows.len() == limit {
                return ControlFlow::Break(());
            }
            rows.push((key, value));
            ControlFlow::Continue(())
        })?;
        Ok(rows)
    }

    /// All keys between two encoded keys, with this command's own writes.
    pub(crate) fn keys<T: Table>(&self, from: &[u8], to: &[u8]) -> Result<Vec<T::Key>, ReadError> {
        self.first_keys::<T>(from, to, usize::MAX)
    }

    /// The first `limit` keys between two encoded keys, with this command's own writes.
    pub(crate) fn first_keys<T: Table>(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<T::Key>, ReadError> {
        let mut keys = BTreeSet::new();
        self.view.scan_raw(from, to, &mut |key, _| {
            if keys.len() >= limit {
                return ControlFlow::Break(());
            }
            if !matches!(self.writes.get(key), Some(WriteOp::Delete)) {
                keys.insert(Box::<[u8]>::from(key));
            }
            ControlFlow::Continue(())
        })?;
        for (key, op) in self.writes.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)))
        {
            if !matches!(op, WriteOp::Delete) {
                keys.insert(key.clone());
            }
        }
        keys.iter().take(limit).map(|key| T::decode_key(key)).collect()
    }

    /// What the command does; `machine` keeps what it remembers.
    pub(crate) fn finish(self, machine: &mut Machine) -> Transition {
        machine.lives = self.lives;
        machine.forgotten_version = self.forgotten_version;
        machine.floors = self.floors;
        let writes = self.writes.into_iter().map(|(key, op)| Write { key, op }).collect();
        Transition { writes, effects: self.effects }
    }
}
