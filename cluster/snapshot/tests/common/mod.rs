//! What the tests of snapshots share: rows, a store that fails, and the stores under test.
#![allow(dead_code, reason = "every test uses its own part of it")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use abide_model::id::{Millis, PartitionId};
use abide_snapshot::{
    Created, Depth, Manifest, MemoryStore, Object, ObjectInfo, ObjectStore, Page, PartSizes, Repository, SnapshotError,
    SnapshotKind, SnapshotMeta, StoreError, Tag, store::Answer,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

pub(crate) type Rows = Vec<(Bytes, Bytes)>;

pub(crate) const P3: PartitionId = PartitionId(3);

/// Parts of some 1.5 kB, so that small tests have many.
pub(crate) const SIZES: PartSizes = PartSizes { min: 1000, spread: 500, max: 4000 };

/// Rows of 60 bytes; `generation` changes every tenth.
pub(crate) fn rows(count: u32, generation: u32) -> Rows {
    let row = |number: u32| {
        let generation = if number % 1000 == 7 { generation } else { 0 };
        let value = format!("value {number} of generation {generation} {}", "x".repeat(30));
        (Bytes::from(format!("key {number:06}")), Bytes::from(value))
    };
    (0..count).map(row).collect()
}

pub(crate) fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        kind: SnapshotKind::Partition,
        partition: P3,
        index,
        term: 5,
        log_time: Millis(1000 + index),
        state_hash: 77,
        node_id: 1,
        features: 1,
        created_at: Millis(index * 1000),
    }
}

pub(crate) async fn repository(store: &Arc<dyn ObjectStore>) -> Repository {
    Repository::open_or_create(Arc::clone(store), "c1", 8).await.unwrap()
}

pub(crate) async fn create(repository: &Repository, index: u64, rows: Rows) -> Result<Created, SnapshotError> {
    let rows = rows.into_iter().map(Ok::<_, Infallible>);
    repository.create_with_sizes(meta(index), rows, SIZES).await
}

pub(crate) async fn read(repository: &Repository, manifest: &Manifest) -> Result<Rows, SnapshotError> {
    let parts: Vec<_> = repository.read(manifest).try_collect().await?;
    Ok(parts.into_iter().flatten().collect())
}

/// What is done with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is carried out.
    Done,
    /// It is not carried out, and fails.
    Lost,
    /// It is carried out, and fails.
    AnswerLost,
    /// A write succeeds and is not carried out.
    Swallowed,
}

type Rule = Box<dyn FnMut(&'static str, &str) -> Fate + Send>;

/// A store in memory, of which every operation meets the fate that the test says.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) memory: MemoryStore,
    rule: Arc<Mutex<Rule>>,
}

impl Faulty {
    pub(crate) fn new(memory: MemoryStore) -> Self {
        Self { memory, rule: Arc::new(Mutex::new(Box::new(|_, _| Fate::Done))) }
    }

    pub(crate) fn set_rule(&self, rule: impl FnMut(&'static str, &str) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    fn meet<'a, T: Send + 'a>(&self, action: &'static str, key: &'a str, answer: Answer<'a, T>) -> Answer<'a, T> {
        let fate = (self.rule.lock().unwrap())(action, key);
        Box::pin(async move {
            let failed = || StoreError::Unavailable { action, key: key.to_owned(), reason: "by order".into() };
            if fate == Fate::Lost {
                return Err(failed());
            }
            // Others have their turn here, as they have over a network.
            tokio::task::yield_now().await;
            let result = answer.await;
            if fate == Fate::AnswerLost { Err(failed()) } else { result }
        })
    }
}

impl ObjectStore for Faulty {
    fn describe(&self) -> String {
        "faulty".into()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        self.meet("get", key, self.memory.get(key, bytes_max))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        let fate = (self.rule.lock().unwrap())("swallow", key);
        if fate == Fate::Swallowed {
            return Box::pin(async { Ok(Tag("swallowed".into())) });
        }
        self.meet("put", key, self.memory.put(key, bytes))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        self.meet("put_if_absent", key, self.memory.put_if_absent(key, bytes))
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        self.meet("put_if_match", key, self.memory.put_if_match(key, bytes, tag))
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        self.meet("head", key, self.memory.head(key))
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        self.meet("list", prefix, self.memory.list(prefix, depth, next))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        self.meet("delete", key, self.memory.delete(key))
    }
}
