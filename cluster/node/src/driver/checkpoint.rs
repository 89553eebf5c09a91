//! Checkpoints: a thread writes what the overlays froze, syncs it, and only then the log may be cut (rule P6).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use abide_model::id::PartitionId;
use abide_partition::Input;
use abide_storage::{Checkpoint, LogStore, StateStore, StorageError};
use crossbeam_channel::{Receiver, Sender};
use tokio::time::Instant;

use super::{Driver, Fatal, Slot, Writers};

/// Writes checkpoints to the state store, each atomically, and syncs them together.
type WriteOut = Arc<dyn Fn(&[&Checkpoint]) -> Result<(), StorageError> + Send + Sync>;

/// The way to who writes checkpoints.
pub(super) struct Checkpoints {
    way: Way,
    done: Receiver<Done>,
    write: WriteOut,
}

enum Way {
    Thread {
        jobs: Sender<Job>,
        thread: JoinHandle<()>,
    },
    InPlace {
        report: Sender<Done>,
    },
    /// Everything was written out.
    Finished,
}

struct Job {
    partition: PartitionId,
    /// Of the rows.
    generation: u8,
    through: u64,
    checkpoint: Checkpoint,
}

/// A checkpoint that was written, or was not.
pub(super) struct Done {
    partition: PartitionId,
    generation: u8,
    through: u64,
    elapsed: Duration,
    result: Result<(), StorageError>,
}

impl Checkpoints {
    /// Begins to write to `state`.
    pub(super) fn start<S: StateStore>(state: Arc<S>, writers: Writers) -> Self {
        // At most one job of each partition is under way, which bounds both queues.
        let (report, done) = crossbeam_channel::unbounded::<Done>();
        let write: WriteOut = Arc::new(move |checkpoints| {
            for checkpoint in checkpoints {
                state.write(checkpoint.writes())?;
            }
            state.sync()
        });
        let way = match writers {
            Writers::InPlace => Way::InPlace { report },
            Writers::Threads => {
                let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
                let run = Arc::clone(&write);
                let thread = std::thread::Builder::new()
                    .name("abide-checkpoint".into())
                    .spawn(move || work_off(&queue, &report, &run))
                    .expect("the system can start a thread");
                Way::Thread { jobs, thread }
            }
        };
        Self { way, done, write }
    }

    fn submit(&self, job: Job) -> Result<(), Fatal> {
        let taken = match &self.way {
            Way::Thread { jobs, .. } => jobs.send(job).is_ok(),
            Way::InPlace { report } => work(vec![job], report, &self.write).is_some(),
            Way::Finished => false,
        };
        if taken { Ok(()) } else { Err(Fatal::CheckpointThread) }
    }

    /// The queue of what is finished.
    pub(super) fn done(&self) -> Receiver<Done> {
        self.done.clone()
    }

    /// Ends the thread and writes what every partition has left.
    pub(super) fn finish<S: StateStore>(&mut self, slots: &mut BTreeMap<PartitionId, Slot<S>>) -> Result<(), Fatal> {
        if let Way::Thread { jobs, thread } = std::mem::replace(&mut self.way, Way::Finished) {
            drop(jobs);
            thread.join().map_err(|_| Fatal::CheckpointThread)?;
        }
        for done in self.done.try_iter() {
            done.result?;
        }
        let mut rest = Vec::new();
        for slot in slots.values_mut() {
            // The thread has written what was frozen, or its report says why not.
            slot.partition.end_checkpoint();
            rest.extend(slot.partition.begin_checkpoint().map(|(checkpoint, _)| checkpoint));
        }
        (self.write)(&rest.iter().collect::<Vec<_>>())?;
        for slot in slots.values_mut() {
            slot.partition.end_checkpoint();
        }
        Ok(())
    }
}

/// Writes what waits, and reports each when all of it is durable, until there is nobody to report to.
fn work_off(queue: &Receiver<Job>, report: &Sender<Done>, write: &WriteOut) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter());
        if work(jobs, report, write) != Some(true) {
            return;
        }
    }
}

/// Writes jobs and reports them. Whether all are durable; `None` when there is nobody to report to.
fn work(jobs: Vec<Job>, report: &Sender<Done>, write: &WriteOut) -> Option<bool> {
    let started = Instant::now();
    let mut result = write(&jobs.iter().map(|job| &job.checkpoint).collect::<Vec<_>>());
    let durable = result.is_ok();
    for Job { partition, generation, through, .. } in jobs {
        // An error is reported once; it ends the driver.
        let result = std::mem::replace(&mut result, Ok(()));
        report.send(Done { partition, generation, through, elapsed: started.elapsed(), result }).ok()?;
    }
    Some(durable)
}

impl<L: LogStore, S: StateStore> Driver<L, S> {
    /// Begins the checkpoints that are due by size or age, or because an export is wanted.
    pub(super) fn begin_checkpoints(&mut self) -> Result<(), Fatal> {
        let total: usize = self.slots.values().map(|slot| slot.partition.view().active_bytes()).sum();
        let by_size = total > self.settings.overlay_bytes;
        let now = Instant::now();
        let together = self.can_export_together();
        for id in self.hosted() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.exports.is_asked() && !together {
                // The checkpoint under way ends soon, and then it is taken with the others.
                continue;
            }
            let by_age = now.duration_since(slot.last_checkpoint) > self.settings.checkpoint_interval;
            if !(by_size || by_age || slot.exports.is_wanted()) || slot.partition.view().is_frozen() {
                continue;
            }
            slot.last_checkpoint = now;
            let begun = slot.partition.begin_checkpoint();
            let generation = slot.partition.generation();
            self.take_export(id)?;
            if let Some((checkpoint, through)) = begun {
                self.checkpoints.submit(Job { partition: id, generation, through, checkpoint })?;
            }
        }
        Ok(())
    }

    /// A checkpoint is durable: its memory is free, and the log behind it can go.
    pub(super) fn checkpointed(&mut self, done: Done) -> Result<(), Fatal> {
        let Done { partition, generation, through, elapsed, result } = done;
        result?;
        self.metrics.checkpointed(elapsed);
        // A snapshot may have taken the place of what was written, or the replica may be gone.
        let slot = self.slots.get_mut(&partition).filter(|slot| slot.partition.generation() == generation);
        let Some(slot) = slot else { return Ok(()) };
        slot.partition.end_checkpoint();
        slot.durable = slot.durable.max(through);
        let trimmed = slot.partition.log_start();
        self.metrics.trimmed(through.saturating_sub(trimmed));
        self.handle(partition, Input::Trim { through })
    }
}
