//! Snapshots on their way, and replicas that come and go.

use abide_model::id::Millis;
use abide_partition::{Input, Message, SnapshotPoint};
use abide_storage::{
    GENERATIONS, HardState, LogBatch, LogPosition, LogReset, LogStore as _, LogWrite, StateStore as _, drop_rows,
    load_rows,
};
use bytes::Bytes;

use super::{Node, World, failed, stopped};
use crate::config::Canary;
use crate::machine::machine_of;
use crate::model;
use crate::net::{Body, Transfer};
use crate::violation::{Check, Invariant, check};
use crate::world::Step;

/// The tables as of a point, for whoever needs them.
pub(crate) struct Offer {
    pub(crate) point: SnapshotPoint,
    pub(crate) rows: Vec<(Bytes, Bytes)>,
}

/// A snapshot that is being loaded beside the tables.
pub(crate) struct Loading {
    number: u64,
    generation: u8,
    from: usize,
    /// What is left to be loaded, with the message; nothing once that is handed in.
    rest: Option<(Message, Vec<(Bytes, Bytes)>)>,
}

impl World {
    /// Takes an export of the tables when a follower needs one and no checkpoint is under way.
    pub(super) fn offer_if_wanted(&mut self, node: &mut Node, p: u32) -> Check {
        let now = Millis(self.wall(node.number));
        if node.slots.get(&p).is_none_or(|slot| !slot.snapshot_wanted) {
            return Ok(());
        }
        let Some(offer) = self.export(node, p)? else { return Ok(()) };
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.snapshot_wanted = false;
        let index = offer.point.index;
        slot.partition.handle(Input::Offer(offer.point.clone()), now).map_err(|error| failed(&error))?;
        slot.offer = Some(offer);
        let delay = self.rng.disk.range(1_000, 5_000);
        self.soon(node, delay, Step::Withdraw(p, index));
        self.trace.line(format_args!("n{} p{p} offers its state at {index}", node.number + 1));
        self.turn_of(node);
        Ok(())
    }

    /// The tables as of now; nothing while a checkpoint is under way.
    pub(crate) fn export(&mut self, node: &mut Node, p: u32) -> Check<Option<Offer>> {
        let Some(slot) = node.slots.get_mut(&p).filter(|slot| slot.checkpoint.is_none()) else { return Ok(None) };
        let begun = slot.partition.begin_checkpoint();
        let point = slot.partition.snapshot_point();
        let export = slot.partition.view().export().map_err(|error| stopped(&error))?;
        let rows = export.page(None, usize::MAX).map_err(|error| stopped(&error))?;
        slot.entries_since_checkpoint = 0;
        slot.checkpoint = begun;
        if slot.checkpoint.is_some() {
            let delay = self.rng.disk.range(0, 40);
            self.soon(node, delay, Step::Checkpoint(p));
        }
        Ok(Some(Offer { point, rows }))
    }

    /// An export is given up once nobody is being sent it.
    pub(crate) fn withdraw(&mut self, node: &mut Node, p: u32, index: u64) -> Check {
        let now = Millis(self.wall(node.number));
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        if slot.offer.as_ref().is_none_or(|offer| offer.point.index != index) {
            return Ok(());
        }
        if !slot.sending.is_empty() {
            self.soon(node, 1_000, Step::Withdraw(p, index));
            return Ok(());
        }
        slot.offer = None;
        slot.partition.handle(Input::Withdraw, now).map_err(|error| failed(&error))?;
        self.turn_of(node);
        Ok(())
    }

    /// A replica wants its state sent.
    pub(super) fn send_snapshot(&mut self, node: &mut Node, p: u32, message: Message) -> Check {
        self.overhear(p, node.epoch, &message)?;
        self.transfers += 1;
        let (number, replica) = (self.transfers, message.to);
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        slot.sending.insert(replica, number);
        let offer = slot.offer.as_ref().filter(|offer| Some(&offer.point) == message.snapshot.as_ref());
        let (to, rows) = (machine_of(replica), offer.map(|offer| offer.rows.clone()));
        let (Some(mut rows), true) = (rows, to < self.machines.len()) else {
            return self.snapshot_sent(node, p, replica, number, false);
        };
        if self.config.canary == Some(Canary::PartialSnapshot) && rows.len() > 2 {
            // Not the first row, which says how far the state is.
            let at = self.rng.fault.range(1, rows.len() as u64 - 1);
            rows.remove(usize::try_from(at).unwrap_or(1));
        }
        self.counts.snapshots += 1;
        let transfer = Transfer { number, message, rows };
        self.send(node.number, node.epoch, to, Body::Snapshot(p, Box::new(transfer)));
        let patience = self.rng.net.range(1_000, 4_000);
        self.soon(node, patience, Step::SnapshotLate(p, replica, number));
        Ok(())
    }

    /// What became of a snapshot is known, or it is given up.
    pub(crate) fn snapshot_sent(&mut self, node: &mut Node, p: u32, replica: u64, number: u64, arrived: bool) -> Check {
        let now = Millis(self.wall(node.number));
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        if slot.sending.get(&replica) != Some(&number) {
            return Ok(());
        }
        slot.sending.remove(&replica);
        slot.partition.handle(Input::SnapshotSent { replica, arrived }, now).map_err(|error| failed(&error))?;
        self.turn_of(node);
        Ok(())
    }

    /// A snapshot arrives: half of its rows at once, the others later, or never.
    pub(super) fn snapshot_arrives(&mut self, node: &mut Node, p: u32, mut transfer: Transfer, from: usize) -> Check {
        let store = self.store(node.number);
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        if slot.loading.is_some() || slot.partition.replica() != transfer.message.to {
            return Ok(());
        }
        let generation = (slot.partition.generation() + 1) % GENERATIONS;
        // An earlier load may have been cut short.
        drop_rows(&store, p, generation, usize::MAX).map_err(|error| stopped(&error))?;
        let rest = transfer.rows.split_off(transfer.rows.len() / 2);
        load_rows(&store, p, generation, transfer.rows).map_err(|error| stopped(&error))?;
        let number = transfer.number;
        slot.loading = Some(Loading { number, generation, from, rest: Some((transfer.message, rest)) });
        let step =
            if self.rng.net.chance(self.faults.loss) { Step::LoadFails(p, number) } else { Step::Load(p, number) };
        let delay = self.rng.disk.range(0, 200);
        self.soon(node, delay, step);
        Ok(())
    }

    /// The second half of a snapshot is lost.
    pub(crate) fn load_fails(&mut self, node: &mut Node, p: u32, number: u64) {
        if let Some(slot) = node.slots.get_mut(&p) {
            slot.loading.take_if(|loading| loading.number == number && loading.rest.is_some());
        }
    }

    /// The second half of a snapshot is there.
    pub(crate) fn load(&mut self, node: &mut Node, p: u32, number: u64) -> Check {
        let now = Millis(self.wall(node.number));
        let store = self.store(node.number);
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        let Some(loading) = slot.loading.as_mut().filter(|loading| loading.number == number) else { return Ok(()) };
        let Some((message, rows)) = loading.rest.take() else { return Ok(()) };
        load_rows(&store, p, loading.generation, rows).map_err(|error| stopped(&error))?;
        store.sync().map_err(|error| stopped(&error))?;
        let (generation, to, replica) = (loading.generation, loading.from, message.to);
        let restore = Input::Restore { message: Box::new(message), generation };
        slot.partition.handle(restore, now).map_err(|error| failed(&error))?;
        self.send(node.number, node.epoch, to, Body::SnapshotTaken(p, replica, number));
        self.turn_of(node);
        Ok(())
    }

    /// A snapshot is installed: what was under way for the tables before is void.
    pub(super) fn restored(&mut self, node: &mut Node, p: u32, index: u64, discard: u8) -> Check {
        self.counts.restored += 1;
        self.trace.line(format_args!("n{} p{p} has the state at {index}", node.number + 1));
        let store = self.store(node.number);
        drop_rows(&store, p, discard, usize::MAX).map_err(|error| stopped(&error))?;
        let Some(slot) = node.slots.get_mut(&p) else { return Ok(()) };
        (slot.loading, slot.checkpoint, slot.offer) = (None, None, None);
        (slot.written, slot.tapped, slot.entries_since_checkpoint) = (index, index, 0);
        let committed = self.tap[p as usize].len() as u64;
        check(index <= committed, Invariant::I14Snapshots, || {
            format!("p{p}: a snapshot at {index} was installed, {committed} entries are committed")
        })?;
        self.check_hash(p, &slot.partition)?;
        if slot.partition.applied_index() == committed {
            model::compare(slot.partition.view(), &self.model.parts[p as usize])?;
        }
        Ok(())
    }

    /// A snapshot was of no use.
    pub(super) fn discarded(&mut self, node: &mut Node, p: u32, generation: u8) -> Check {
        drop_rows(&self.store(node.number), p, generation, usize::MAX).map_err(|error| stopped(&error))?;
        if let Some(slot) = node.slots.get_mut(&p) {
            slot.loading = None;
        }
        Ok(())
    }

    /// Replicas that do not belong here any more are removed, and new ones opened.
    pub(super) fn remove_replicas(&mut self, node: &mut Node) -> Check {
        let gone = |p: &u32, replica: u64, here: Option<&u64>| {
            let busy = node.flight.iter().flat_map(|batch| &batch.writes).any(|write| write.partition == *p)
                || node.queue.iter().any(|(write, _)| write.partition == *p);
            here != Some(&replica) && !busy
        };
        let replicas = &self.machines[node.number].replicas;
        let doomed: Vec<u32> = node
            .slots
            .iter()
            .filter(|(p, slot)| gone(p, slot.partition.replica(), replicas.get(p)))
            .map(|(p, _)| *p)
            .collect();
        let unopened = |p: &u32| !node.slots.contains_key(p);
        for p in self.machines[node.number].dirty.iter().copied().filter(unopened).collect::<Vec<_>>() {
            self.forget_replica(node.number, p)?;
        }
        for p in doomed {
            self.leave_office(node, p)?;
            node.slots.remove(&p);
            node.host_inbox.remove(&p);
            self.forget_replica(node.number, p)?;
            self.trace.line(format_args!("n{} p{p} is removed", node.number + 1));
        }
        let fresh: Vec<(u32, u64)> = self.machines[node.number]
            .replicas
            .iter()
            .filter(|(p, _)| !node.slots.contains_key(p))
            .map(|(p, replica)| (*p, *replica))
            .collect();
        for (p, replica) in fresh {
            self.open_replica(node, p, replica)?;
            self.trace.line(format_args!("n{} p{p} has replica {replica:x}", node.number + 1));
        }
        Ok(())
    }

    /// Nothing of a partition stays on the disks of a machine.
    pub(crate) fn forget_replica(&mut self, number: usize, p: u32) -> Check {
        let store = self.store(number);
        for generation in 0..GENERATIONS {
            drop_rows(&store, p, generation, usize::MAX).map_err(|error| stopped(&error))?;
        }
        store.sync().map_err(|error| stopped(&error))?;
        let reset = LogReset { start: LogPosition::default(), generation: 0 };
        let write = LogWrite {
            partition: p,
            reset: Some(reset),
            hard_state: Some(HardState::default()),
            ..LogWrite::default()
        };
        let batch = LogBatch { writes: vec![write], sync: true };
        self.machines[number].dirty.remove(&p);
        self.machines[number].log.commit(&batch).map_err(|error| stopped(&error))
    }
}
