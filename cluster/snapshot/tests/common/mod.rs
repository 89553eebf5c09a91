//! What the tests of snapshots share: a store that fails.
#![allow(dead_code, reason = "every test uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic, also in its helpers")]

use std::sync::{Arc, Mutex};

use abide_snapshot::{Depth, MemoryStore, Object, ObjectInfo, ObjectStore, Page, StoreError, Tag, store::Answer};
use bytes::Bytes;

/// What is done with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is carried out.
    Done,
    /// It is not carried out, and fails.
    Lost,
    /// It is carried out, and fails.
    AnswerLost,
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
