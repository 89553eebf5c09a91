//! The log, and the thread that writes to it.
//!
//! The driver hands a batch over and waits for it, as if it wrote it itself: what arrives meanwhile is the next batch. Only
//! when the disk takes long does it go on ([`PATIENCE`]): it ticks, hears other nodes and hands leaderships over, while
//! every replica with a write under way stands still. The log has one owner at a time: it travels with the batch. A node
//! without others has nobody to hear or to hand over to, and writes inline.

use std::time::Duration;

use abide_model::id::PartitionId;
use abide_storage::{LogBatch, LogStore, LogWrite, StorageError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::time::Instant;

use super::{Fatal, Writers};

/// So long the driver waits for a batch before it goes on without it. A tick: nobody misses it for less.
pub(super) const PATIENCE: Duration = super::TICK;

/// The log, and what is being written to it.
pub(super) struct Log<L> {
    /// Absent while the thread has it.
    store: Option<Box<L>>,
    /// The way to the thread, if there is one. It ends when this does.
    jobs: Option<Sender<(Box<L>, LogBatch)>>,
    /// The batch that the thread has.
    writing: Option<Writing>,
    /// The batch that is written, of which the partitions have not heard yet.
    written: Option<Written>,
    done: Receiver<Done<L>>,
}

/// A batch under way.
struct Writing {
    partitions: Vec<PartitionId>,
    sync: bool,
    commands: usize,
    since: Instant,
}

/// A batch that is in the log.
pub(super) struct Written {
    pub(super) partitions: Vec<PartitionId>,
    pub(super) sync: bool,
    /// Commands in it that were not in the log before.
    pub(super) commands: usize,
    pub(super) took: Duration,
}

/// The log comes back.
pub(super) struct Done<L> {
    store: Box<L>,
    result: Result<(), StorageError>,
    took: Duration,
}

impl<L: LogStore> Log<L> {
    pub(super) fn start(store: L, writers: Writers) -> Self {
        // One batch at a time.
        let (report, done) = crossbeam_channel::bounded(1);
        let jobs = match writers {
            Writers::InPlace => None,
            Writers::Threads => {
                let (jobs, queue) = crossbeam_channel::bounded(1);
                std::thread::Builder::new()
                    .name("abide-log".into())
                    .spawn(move || work_off(&queue, &report))
                    .expect("the system can start a thread");
                Some(jobs)
            }
        };
        Self { store: Some(Box::new(store)), jobs, writing: None, written: None, done }
    }

    /// Begins to write a batch. Only when none is under way. `inline`: here and now, which wakes nobody.
    pub(super) fn begin(&mut self, batch: LogBatch, commands: usize, inline: bool) -> Result<(), Fatal> {
        let writing = Writing {
            partitions: batch.writes.iter().map(|write| PartitionId(write.partition)).collect(),
            sync: batch.sync,
            commands,
            since: Instant::now(),
        };
        let store = self.store.take().ok_or(Fatal::LogThread)?;
        self.writing = Some(writing);
        match self.jobs.as_ref().filter(|_| !inline) {
            Some(jobs) => jobs.send((store, batch)).map_err(|_| Fatal::LogThread),
            None => {
                let done = write(store, &batch);
                self.take(done)
            }
        }
    }

    /// What came back from the thread.
    pub(super) fn take(&mut self, done: Done<L>) -> Result<(), Fatal> {
        self.store = Some(done.store);
        done.result?;
        self.written = self.writing.take().map(|writing| Written {
            partitions: writing.partitions,
            sync: writing.sync,
            commands: writing.commands,
            took: done.took,
        });
        Ok(())
    }

    /// The batch that was under way, once it is written: waits for it for so long.
    pub(super) fn wait(&mut self, patience: Duration) -> Result<Option<Written>, Fatal> {
        if self.writing.is_some() {
            match self.done.recv_timeout(patience) {
                Ok(done) => self.take(done)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Fatal::LogThread),
            }
        }
        Ok(self.written.take())
    }

    /// Where the log comes back.
    pub(super) fn done(&self) -> Receiver<Done<L>> {
        self.done.clone()
    }

    /// Whether a batch is under way.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// How long the sync that is under way has been.
    pub(super) fn syncing_for(&self) -> Option<Duration> {
        self.writing.as_ref().filter(|writing| writing.sync).map(|writing| writing.since.elapsed())
    }

    /// The log itself; waits for the batch that is under way.
    pub(super) fn store(&mut self) -> Result<&mut L, Fatal> {
        if self.writing.is_some() {
            let done = self.done.recv().map_err(|_| Fatal::LogThread)?;
            self.take(done)?;
        }
        self.store.as_deref_mut().ok_or(Fatal::LogThread)
    }

    /// Writes to the log of one partition at once, behind what is under way.
    pub(super) fn commit(&mut self, write: LogWrite) -> Result<(), Fatal> {
        Ok(self.store()?.commit(&LogBatch { writes: vec![write], sync: true })?)
    }
}

fn work_off<L: LogStore>(queue: &Receiver<(Box<L>, LogBatch)>, report: &Sender<Done<L>>) {
    while let Ok((store, batch)) = queue.recv() {
        if report.send(write(store, &batch)).is_err() {
            return;
        }
    }
}

fn write<L: LogStore>(mut store: Box<L>, batch: &LogBatch) -> Done<L> {
    let started = Instant::now();
    let result = store.commit(batch);
    Done { store, result, took: started.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abide_storage::{HardState, LogEntry, MemLog, RecoveredLog};

    /// A disk that syncs when it is told to.
    struct Hanging {
        log: MemLog,
        go: Receiver<()>,
    }

    impl LogStore for Hanging {
        fn recover(&mut self, partition: u32) -> Result<RecoveredLog, StorageError> {
            self.log.recover(partition)
        }

        fn entries(&self, partition: u32, low: u64, high: u64, max_bytes: u64) -> Result<Vec<LogEntry>, StorageError> {
            self.log.entries(partition, low, high, max_bytes)
        }

        fn commit(&mut self, batch: &LogBatch) -> Result<(), StorageError> {
            let _ = self.go.recv();
            self.log.commit(batch)
        }
    }

    fn promise(term: u64) -> LogWrite {
        LogWrite { partition: 3, hard_state: Some(HardState { term, ..HardState::default() }), ..LogWrite::default() }
    }

    #[test]
    fn a_batch_that_hangs_keeps_nobody_and_comes_back_once() {
        let (tell, go) = crossbeam_channel::unbounded();
        let mut log = Log::start(Hanging { log: MemLog::new(), go }, Writers::Threads);
        assert!(log.wait(Duration::ZERO).unwrap().is_none());
        log.begin(LogBatch { writes: vec![promise(1)], sync: true }, 5, false).unwrap();
        assert!(log.wait(Duration::from_millis(10)).unwrap().is_none());
        assert!(log.is_writing() && log.syncing_for().unwrap() >= Duration::from_millis(10));
        tell.send(()).unwrap();
        let written = log.wait(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!((written.partitions, written.sync, written.commands), (vec![PartitionId(3)], true, 5));
        assert!(written.took >= Duration::from_millis(10) && !log.is_writing() && log.syncing_for().is_none());
        assert!(log.wait(Duration::ZERO).unwrap().is_none());
        assert_eq!(log.store().unwrap().recover(3).unwrap().hard_state.term, 1);
    }

    #[test]
    fn who_needs_the_log_waits_and_the_batch_is_told_of_later() {
        let (tell, go) = crossbeam_channel::unbounded();
        let mut log = Log::start(Hanging { log: MemLog::new(), go }, Writers::Threads);
        log.begin(LogBatch { writes: vec![promise(1)], sync: false }, 0, false).unwrap();
        assert!(log.syncing_for().is_none(), "nothing is synced");
        tell.send(()).unwrap();
        tell.send(()).unwrap();
        log.commit(promise(2)).unwrap();
        assert_eq!(log.store().unwrap().recover(3).unwrap().hard_state.term, 2, "behind what was under way");
        assert!(!log.is_writing());
        assert_eq!(log.wait(Duration::ZERO).unwrap().unwrap().partitions, [PartitionId(3)]);
    }

    #[test]
    fn inline_it_is_done_at_once() {
        let mut log = Log::start(MemLog::new(), Writers::Threads);
        log.begin(LogBatch { writes: vec![promise(1)], sync: true }, 1, true).unwrap();
        assert!(!log.is_writing());
        assert_eq!(log.wait(Duration::ZERO).unwrap().unwrap().commands, 1);
    }

    #[test]
    fn an_error_is_told_and_the_log_is_kept() {
        let mut log = Log::start(MemLog::new(), Writers::Threads);
        let wrong = LogWrite { partition: u32::MAX, ..LogWrite::default() };
        log.begin(LogBatch { writes: vec![wrong], sync: true }, 0, false).unwrap();
        assert!(matches!(log.wait(Duration::from_secs(60)), Err(Fatal::Storage(_))));
        assert!(log.store.is_some(), "closing a database that failed could take for ever");
    }
}
