//! One commit of the production log with its sync: entries of one command, in one partition and in many.

mod common;

use abide_model::codec;
use abide_model::command::Entry;
use abide_storage::{EntryKind, FjallLog, FjallLogSettings, HardState, LogBatch, LogEntry, LogStore as _, LogWrite};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};

/// Log entries that stay behind; as the driver does it, older ones are removed in bulk.
const KEEP: u64 = 10_000;

/// A log that grows evenly in some partitions.
struct Growing {
    log: FjallLog,
    data: Bytes,
    partitions: u32,
    per_partition: u64,
    last: u64,
    start: u64,
}

impl Growing {
    fn commit(&mut self) {
        let first = self.last + 1;
        self.last += self.per_partition;
        let trim_below = (self.last - self.start > 2 * KEEP).then(|| self.last - KEEP);
        if let Some(below) = trim_below {
            self.start = below - 1;
        }
        let entry = |index| LogEntry { index, term: 1, kind: EntryKind::Normal, data: self.data.clone() };
        let write = |partition| LogWrite {
            partition,
            reset: None,
            owner: None,
            entries: (first..=self.last).map(entry).collect(),
            hard_state: Some(HardState { term: 1, vote: 1, commit: first - 1 }),
            trim_below,
        };
        let batch = LogBatch { writes: (0..self.partitions).map(write).collect(), sync: true };
        self.log.commit(&batch).expect("the disk works");
    }
}

fn append(criterion: &mut Criterion) {
    let data = codec::encode(&Entry { proposed_at: 1_700_000_000_000, commands: vec![common::turn(1, 5, 1)] });
    let mut group = criterion.benchmark_group("log");
    group.sample_size(20);
    for (name, partitions, per_partition) in
        [("1 record", 1, 1), ("64 records of one partition", 1, 64), ("8 records each of 8 partitions", 8, 8)]
    {
        let target = std::env::current_exe().expect("the program has a place");
        let folder = target.parent().expect("it is a file");
        let folder = tempfile::Builder::new().prefix("bench-log-").tempdir_in(folder).expect("a folder can be made");
        let log = FjallLog::open(folder.path(), FjallLogSettings::default()).expect("an empty folder can be opened");
        let mut growing = Growing { log, data: data.clone(), partitions, per_partition, last: 0, start: 0 };
        group.bench_function(format!("commit {name}, synced"), |bencher| bencher.iter(|| growing.commit()));
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
