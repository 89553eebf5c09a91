//! Damage that no checksum shows: a replica's tables say something else than they were given, as after a fault of the
//! memory or of the code.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use abide_model::table::{Applied, States, Table};
use abide_model::view::{View as _, Write, WriteOp};
use abide_storage::{
    FjallLog, FjallLogSettings, FjallState, FjallStateSettings, LogStore as _, Overlay, StateStore as _,
};

/// In the data folder of a node that does not run, has the replica of a partition go on from another state than it had: the
/// field `field` of every object of the service gets the value `value`, and the hash over all writes is another one.
/// How many objects that struck.
///
/// # Panics
/// When the folder has no such replica, or is in use.
#[must_use]
pub fn diverge(data: &Path, partition: u32, service: &str, field: &str, value: &str) -> usize {
    let mut log = FjallLog::open(&data.join("log"), FjallLogSettings::default()).unwrap();
    let generation = log.recover(partition).unwrap().generation;
    drop(log);
    let store = Arc::new(FjallState::open(&data.join("state"), FjallStateSettings::default()).unwrap());
    let mut tables = Overlay::open(partition, generation, Arc::clone(&store));
    let mut applied = tables.get::<Applied>(&()).unwrap().expect("the replica is there");
    applied.state_hash ^= 1;
    let mut writes = vec![put::<Applied>(&(), &applied)];
    let (from, to) = States::whole();
    tables
        .scan_bytes::<States>(&from, &to, &mut |key, mut row| {
            if key.0.service == service && key.1 == field {
                row.value = value.to_owned().into();
                writes.push(put::<States>(&key, &row));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let struck = writes.len() - 1;
    tables.apply(writes);
    store.write(tables.freeze().unwrap().writes()).unwrap();
    store.sync().unwrap();
    struck
}

fn put<T: Table>(key: &T::Key, value: &T::Value) -> Write {
    Write { key: T::encode_key(key), op: WriteOp::Put(T::encode_value(value)) }
}
