//! What is logged once.

use std::{collections::HashSet, hash::Hash, sync::Mutex};

/// Remembers what was said, so that a peer that comes back every second fills no log. Bounded: past that, it starts over.
#[derive(Debug)]
pub(crate) struct Quiet<K>(Mutex<HashSet<K>>);

const REMEMBERED_MAX: usize = 1_024;

impl<K: Eq + Hash> Quiet<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }

    /// Whether this is the first time.
    pub(crate) fn first(&self, key: K) -> bool {
        let mut said = self.0.lock().expect("nothing panics while it holds the lock");
        if said.len() >= REMEMBERED_MAX {
            said.clear();
        }
        said.insert(key)
    }

    /// All is well again: the next time is a first one.
    pub(crate) fn forget(&self, which: impl Fn(&K) -> bool) {
        self.0.lock().expect("nothing panics while it holds the lock").retain(|key| !which(key));
    }
}
