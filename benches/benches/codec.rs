//! The entry that carries 64 turns, to bytes and back.

mod common;

use std::hint::black_box;

use abide_model::codec;
use abide_model::command::Entry;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn entries(criterion: &mut Criterion) {
    let commands = (0..64).map(|number| common::turn(number, 5, number)).collect();
    let entry = Entry { proposed_at: 1_700_000_000_000, commands };
    let bytes = codec::encode(&entry);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode an entry of 64 turns", |bencher| bencher.iter(|| codec::encode(black_box(&entry))));
    group.bench_function("decode an entry of 64 turns", |bencher| {
        bencher.iter(|| codec::decode::<Entry>("an entry", black_box(&bytes)).expect("it was encoded here"));
    });
    group.finish();
}

criterion_group!(benches, entries);
criterion_main!(benches);
