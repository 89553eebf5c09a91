//! The writes of commands in the overlay, without the rules that made them.

use std::sync::Arc;

use abide_model::view::{RawView as _, Write, WriteOp};
use abide_storage::{MemState, Overlay};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// Rows of the overlay before the measurement.
const ROWS: u64 = 100_000;

fn key(table: u8, number: u64) -> Box<[u8]> {
    let mut key = vec![table];
    key.extend_from_slice(b"Counter\0");
    key.extend_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key.into()
}

fn apply(criterion: &mut Criterion) {
    let value = Bytes::from_static(&[7; 24]);
    let put = |table, number| Write { key: key(table, number), op: WriteOp::Put(value.clone()) };
    let mut overlay = Overlay::new(0, Arc::new(MemState::new()));
    overlay.apply((0..ROWS).map(|number| put(1, number)).collect());
    let mut group = criterion.benchmark_group("overlay");
    group.throughput(Throughput::Elements(64));
    let mut number = 0;
    group.bench_function("put 64 rows of 100,000", |bencher| {
        let mut rows = || {
            number += 64;
            (0..64).map(|n| put(1, (number + n) * 7919 % ROWS)).collect::<Vec<_>>()
        };
        bencher.iter_batched(&mut rows, |rows| overlay.apply(rows), BatchSize::SmallInput);
    });
    let mut number = ROWS;
    group.bench_function("insert and delete 64 rows", |bencher| {
        let mut rows = || {
            number += 64;
            let insert = |n| Write { key: key(2, n), op: WriteOp::Insert(value.clone()) };
            let delete = |n| Write { key: key(2, n), op: WriteOp::Delete };
            (number..number + 64).map(insert).chain((number..number + 64).map(delete)).collect::<Vec<_>>()
        };
        bencher.iter_batched(&mut rows, |rows| overlay.apply(rows), BatchSize::SmallInput);
    });
    let mut number = 0;
    group.bench_function("get 64 rows of 100,000", |bencher| {
        bencher.iter(|| {
            number += 64;
            (0..64)
                .filter(|n| overlay.get_raw(&key(1, (number + n) * 7919 % ROWS)).is_ok_and(|row| row.is_some()))
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, apply);
criterion_main!(benches);
