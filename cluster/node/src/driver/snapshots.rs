//! The state of partitions for other nodes and for the archive: taken at a checkpoint, read beside it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use abide_model::id::{Millis, PartitionId, ReplicaId};
use abide_partition::{Input, Message, SnapshotPoint};
use abide_storage::{Export, GENERATIONS, LogStore, StateStore, StorageError, drop_rows};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::replicas::SWEEP_ROWS;
use super::{Driver, Fatal, Slot};

/// How long an export is kept for the next follower that needs one. It holds back space in the state store and entries of
/// the log.
const EXPORT_TIME: Duration = Duration::from_secs(30);

/// The rows of a partition as of a point of its log.
pub(crate) struct Exported {
    /// The partition.
    pub(crate) partition: PartitionId,
    /// What the rows cover.
    pub(crate) point: SnapshotPoint,
    /// Log time at that point.
    pub(crate) log_time: Millis,
    /// Chained hash of all writes up to that point.
    pub(crate) state_hash: u64,
    /// The rows, for one reader at a time.
    pub(crate) rows: Mutex<Export>,
}

/// A snapshot on its way to another node.
pub(crate) struct Sending {
    /// The message that goes with the rows.
    pub(crate) message: Message,
    /// The rows.
    pub(crate) exported: Arc<Exported>,
}

/// Sends a snapshot, and tells [`super::PeerInput::SnapshotSent`] when it has arrived or not.
pub(crate) type Sender = Arc<dyn Fn(Sending) + Send + Sync>;

/// Where rows of a snapshot are to be loaded.
pub(crate) struct Load {
    /// The generation to load into, which nobody reads.
    pub(crate) generation: u8,
    /// The store.
    pub(crate) store: Arc<dyn StateStore>,
}

/// Exports of one replica.
#[derive(Default)]
pub(super) struct Exports {
    wanted: bool,
    /// Who wants one, whatever it is for.
    waiting: Vec<oneshot::Sender<Arc<Exported>>>,
    offered: Option<(Arc<Exported>, Instant)>,
    /// Rows of a snapshot are being loaded.
    loading: bool,
}

impl Exports {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted || self.is_asked()
    }

    /// Whether somebody on this node waits for one.
    pub(super) fn is_asked(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A follower has nothing to send.
    pub(super) fn clear(&mut self) {
        self.wanted = false;
        self.offered = None;
    }
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// A follower needs the state.
    pub(super) fn want_export(&mut self, id: PartitionId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.exports.wanted = true;
        }
    }

    /// Somebody on this node needs the state of these; who asks for what is not here hears of it.
    pub(super) fn want_snapshots(&mut self, wanted: Vec<(PartitionId, oneshot::Sender<Arc<Exported>>)>) {
        for (id, ready) in wanted {
            if let Some(slot) = self.slots.get_mut(&id) {
                slot.exports.waiting.push(ready);
            }
        }
    }

    /// Whether all that somebody waits for can be taken now. It is taken in one turn, between two commands of any
    /// partition: so the exports are as of one moment, and messages between these partitions are at both ends or at none.
    pub(super) fn can_export_together(&self) -> bool {
        !self.slots.values().any(|slot| slot.exports.is_asked() && slot.partition.view().is_frozen())
    }

    /// Takes the export that is wanted: right after the overlay was frozen, before anything of it is written.
    pub(super) fn take_export(&mut self, id: PartitionId) -> Result<(), Fatal> {
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.exports.is_wanted()) else { return Ok(()) };
        let exported = Arc::new(export(id, slot)?);
        for ready in slot.exports.waiting.drain(..) {
            // Whoever wanted it may have given up.
            let _ = ready.send(Arc::clone(&exported));
        }
        if std::mem::take(&mut slot.exports.wanted) {
            let point = exported.point.clone();
            slot.exports.offered = Some((exported, Instant::now()));
            self.handle(id, Input::Offer(point))?;
        }
        Ok(())
    }

    /// Lets exports go that nobody has needed for a while.
    pub(super) fn expire_exports(&mut self) -> Result<(), Fatal> {
        for id in self.hosted() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let old = slot
                .exports
                .offered
                .as_ref()
                .is_some_and(|(exported, used)| used.elapsed() > EXPORT_TIME && Arc::strong_count(exported) == 1);
            if old {
                slot.exports.offered = None;
                self.handle(id, Input::Withdraw)?;
            }
        }
        Ok(())
    }

    /// Sends what was offered to a follower.
    pub(super) fn send_snapshot(&mut self, id: PartitionId, message: Message) -> Result<(), Fatal> {
        let replica = message.to;
        if let (Some(sender), Some(slot)) = (&self.snapshots, self.slots.get_mut(&id))
            && let Some((exported, used)) = &mut slot.exports.offered
            && Some(&exported.point) == message.snapshot.as_ref()
        {
            *used = Instant::now();
            tracing::info!(partition = %id, to = %ReplicaId::from_u64(replica), "sending a snapshot");
            sender(Sending { message, exported: Arc::clone(exported) });
            return Ok(());
        }
        self.handle(id, Input::SnapshotSent { replica, arrived: false })
    }

    /// Where the rows of a snapshot for a replica are to be loaded; `None` when they are of no use, or another one is
    /// being loaded.
    pub(super) fn begin_restore(&mut self, id: PartitionId, replica: ReplicaId) -> Result<Option<Load>, Fatal> {
        if !self.host_replica(id, replica)? {
            return Ok(None);
        }
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| !slot.exports.loading) else { return Ok(None) };
        slot.exports.loading = true;
        let store: Arc<dyn StateStore> = Arc::clone(&self.state) as Arc<dyn StateStore>;
        Ok(Some(Load { generation: (slot.partition.generation() + 1) % GENERATIONS, store }))
    }

    /// The loading of a snapshot has ended, one way or the other.
    pub(super) fn end_restore(&mut self, id: PartitionId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.exports.loading = false;
        }
    }

    /// A snapshot was installed.
    pub(super) fn restored(&mut self, id: PartitionId, old: u8) -> Result<(), Fatal> {
        self.end_restore(id);
        self.meta_changed |= id == PartitionId::META;
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.durable = slot.partition.applied_index();
            slot.last_checkpoint = Instant::now();
            self.cluster.note_applied(id, slot.durable);
        }
        self.discard(id, old);
        Ok(())
    }

    /// Removes rows that nobody reads any more, beside everything else. What is left when the process ends goes at the
    /// next start.
    pub(super) fn discard(&mut self, id: PartitionId, generation: u8) {
        self.end_restore(id);
        let state = Arc::clone(&self.state);
        let sweep = move || loop {
            match drop_rows(&*state, id.0, generation, SWEEP_ROWS) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(partition = %id, %error, "old rows are left for the next start");
                    break;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("abide-sweep".into()).spawn(sweep);
        if let Err(error) = spawned {
            tracing::warn!(partition = %id, %error, "old rows are left for the next start");
        }
    }
}

fn export<S: StateStore>(id: PartitionId, slot: &Slot<S>) -> Result<Exported, StorageError> {
    let stats = slot.partition.stats();
    Ok(Exported {
        partition: id,
        point: slot.partition.snapshot_point(),
        log_time: stats.log_time,
        state_hash: stats.state_hash,
        rows: Mutex::new(slot.partition.view().export()?),
    })
}
