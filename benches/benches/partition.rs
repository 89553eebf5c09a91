//! A replica without its disk: batches of turns from proposal over raft and rules to their effects.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use abide_model::command::Command;
use abide_model::id::{Millis, PartitionId};
use abide_partition::{Input, Output, Partition, PartitionSettings};
use abide_storage::{MemState, Overlay, RecoveredLog};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NOW: Millis = Millis(1_700_000_000_000);

/// The only replica of the only partition; its writes are durable at once.
struct Replica(Partition<MemState>);

impl Replica {
    fn new() -> Self {
        let overlay = Overlay::new(0, Arc::new(MemState::new()));
        let settings = PartitionSettings::single(PartitionId(0), 1);
        let partition =
            Partition::open(settings, RecoveredLog::default(), overlay).expect("an empty log can be opened");
        let mut replica = Self(partition);
        replica.handle(Input::Campaign);
        replica.settle();
        assert!(replica.0.leading().is_some());
        replica
    }

    fn handle(&mut self, input: Input) {
        self.0.handle(input, NOW).expect("nothing is wrong with the input");
    }

    fn settle(&mut self) {
        while let Some(output) = self.0.poll_output().expect("nothing is wrong with the log") {
            if matches!(black_box(output), Output::Persist { .. }) {
                self.handle(Input::Persisted);
            }
        }
    }

    fn batch(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|command| self.handle(Input::Propose(command)));
        self.settle();
    }
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("partition");
    for size in [1_u64, 64] {
        group.throughput(Throughput::Elements(size));
        let mut replica = Replica::new();
        let mut round = 0;
        group.bench_function(format!("batch of {size} turns"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut next = |_| {
                    round += 1;
                    (0..size).map(|object| common::turn(object, round - 1, round * size + object)).collect::<Vec<_>>()
                };
                common::timed(iterations, |count| (0..count).map(&mut next).collect(), |batch| replica.batch(batch))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
