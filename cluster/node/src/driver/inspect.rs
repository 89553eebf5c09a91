//! What the test world sees of a driver, and what it does to it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey, ScheduleId};
use abide_model::table::{Invocations, Schedules, Table as _};
use abide_model::view::View as _;
use abide_storage::{LogStore, StateStore};
use bytes::Bytes;

use super::{Driver, Fatal, load};
use crate::engine::InvocationDetails;
use crate::inspect::describe;
use crate::schedule::ScheduleDetails;

/// Watches a driver.
pub(crate) trait Probe: Send + Sync {
    /// An effect is about to be carried out.
    fn effect(&self, effect: &Effect);
    /// Whether a delivery between partitions is lost on its way; the sender ships it again later.
    fn is_lost(&self, from: PartitionId, to: PartitionId) -> bool;
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Lets `probe` watch from now on.
    pub(crate) fn watch(&mut self, probe: Arc<dyn Probe>) {
        self.probe = Some(probe);
    }

    pub(super) fn seen(&self, effect: &Effect) {
        if let Some(probe) = &self.probe {
            probe.effect(effect);
        }
    }

    pub(super) fn is_lost(&self, from: PartitionId, to: PartitionId) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.is_lost(from, to))
    }

    /// Time to the next [`Driver::step`] that does something; `None` when only a new event can bring one about.
    pub(crate) fn time_to_step(&self) -> Option<Duration> {
        if !self.events.is_empty() || !self.checkpoints.done().is_empty() {
            return Some(Duration::ZERO);
        }
        // Ticks are for messages that were not acknowledged; a partition of one replica needs them for nothing else.
        let unacknowledged = self.slots.values().any(|slot| slot.partition.unacknowledged() > 0);
        let tick = unacknowledged.then(|| self.time_to_tick());
        self.time_to_work().into_iter().chain(tick).min()
    }

    /// The applied state of an object.
    pub(crate) fn state(&self, object: &ObjectId) -> Result<BTreeMap<String, Bytes>, Fatal> {
        let partition = PartitionId::of(PartitionKey::of(&object.key), self.settings.partitions);
        self.read(partition, load::fields(self.view(partition), object))
    }

    /// Everything known about an invocation.
    pub(crate) fn invocation(&self, id: InvocationId) -> Result<Option<InvocationDetails>, Fatal> {
        let partition = PartitionId::of(id.partition_key, self.settings.partitions);
        self.read(partition, describe(self.view(partition), id))
    }

    /// Everything known about a schedule.
    pub(crate) fn schedule(&self, id: ScheduleId) -> Result<Option<ScheduleDetails>, Fatal> {
        let partition = PartitionId::of(id.partition_key(), self.settings.partitions);
        let row = self.read(partition, self.view(partition).get::<Schedules>(&id))?;
        Ok(row.map(|row| ScheduleDetails { id, row }))
    }

    /// Invocations that are not completed, by partition.
    pub(crate) fn unfinished(&self) -> Result<Vec<InvocationId>, Fatal> {
        let mut ids = Vec::new();
        let (from, to) = Invocations::whole();
        for partition in self.hosted() {
            let scanned = self.view(partition).scan_bytes::<Invocations>(&from, &to, &mut |id, _| {
                ids.push(id);
                ControlFlow::Continue(())
            });
            self.read(partition, scanned)?;
        }
        Ok(ids)
    }
}
