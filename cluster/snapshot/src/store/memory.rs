//! A store in memory: the model of what a store promises, for simulation and tests.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    StoreError,
    store::{Answer, Depth, Object, ObjectInfo, ObjectStore, Page, Tag, check_key, check_prefix},
};

/// Entries of a page. Small, so that tests see more than one.
const PAGE_ENTRIES: usize = 100;

/// Objects in memory. Clones share them. Its clock is set by hand.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    now_ms: u64,
    objects: BTreeMap<String, (Bytes, u64)>,
}

impl MemoryStore {
    /// An empty store, whose clock shows 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clock by which objects are dated.
    pub fn set_now(&self, now_ms: u64) {
        self.lock().now_ms = now_ms;
    }

    /// All keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    /// Content of an object.
    #[must_use]
    pub fn content(&self, key: &str) -> Option<Bytes> {
        self.lock().objects.get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Writes an object past all conditions, as somebody with access to the bucket would.
    pub fn overwrite(&self, key: &str, bytes: impl Into<Bytes>) {
        let mut inner = self.lock();
        inner.put(key, bytes.into());
    }

    /// Removes an object; tells whether there was one.
    pub fn remove(&self, key: &str) -> bool {
        self.lock().objects.remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_when(
        &self,
        key: &str,
        bytes: Bytes,
        condition: impl FnOnce(Option<Tag>) -> bool,
    ) -> Result<Tag, StoreError> {
        check_key("write", key)?;
        let mut inner = self.lock();
        if !condition(inner.objects.get(key).map(|(bytes, _)| tag(bytes))) {
            return Err(StoreError::PreconditionFailed { key: key.to_owned() });
        }
        Ok(inner.put(key, bytes))
    }
}

impl Inner {
    fn put(&mut self, key: &str, bytes: Bytes) -> Tag {
        let tag = tag(&bytes);
        self.objects.insert(key.to_owned(), (bytes, self.now_ms));
        tag
    }

    fn find(&self, key: &str) -> Result<&(Bytes, u64), StoreError> {
        self.objects.get(key).ok_or_else(|| StoreError::NotFound { key: key.to_owned() })
    }
}

impl ObjectStore for MemoryStore {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        Box::pin(async move {
            check_key("read", key)?;
            let bytes = self.lock().find(key)?.0.clone();
            check_size(key, bytes.len() as u64, bytes_max)?;
            Ok(Object { tag: tag(&bytes), bytes })
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.put_when(key, bytes, |_| true) })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.put_when(key, bytes, |found| found.is_none()) })
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        Box::pin(async move { self.put_when(key, bytes, |found| found.as_ref() == Some(tag)) })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        Box::pin(async move {
            check_key("look at", key)?;
            let inner = self.lock();
            let (bytes, modified_ms) = inner.find(key)?;
            Ok(ObjectInfo { key: key.to_owned(), bytes: bytes.len() as u64, modified_ms: *modified_ms })
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            check_prefix(prefix)?;
            let inner = self.lock();
            let start = next.map_or(Bound::Included(prefix), Bound::Excluded);
            let objects = inner.objects.range::<str, _>((start, Bound::Unbounded));
            let objects = objects.take_while(|(key, _)| key.starts_with(prefix));
            let objects = objects.map(|(key, (bytes, modified_ms))| ObjectInfo {
                key: key.clone(),
                bytes: bytes.len() as u64,
                modified_ms: *modified_ms,
            });
            Ok(page(objects, prefix, depth, next, PAGE_ENTRIES))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            check_key("delete", key)?;
            self.lock().objects.remove(key);
            Ok(())
        })
    }
}

/// The next page of objects that are in the order of their keys. A page is continued behind the key it names.
pub(super) fn page(
    objects: impl Iterator<Item = ObjectInfo>,
    prefix: &str,
    depth: Depth,
    next: Option<&str>,
    entries_max: usize,
) -> Page {
    let mut page = Page::default();
    let mut folder: Option<String> = None;
    let mut last = None;
    for object in objects {
        if next.is_some_and(|next| object.key.as_str() <= next) {
            continue;
        }
        let name = object.key[prefix.len()..].split_once('/').map(|(name, _)| name.to_owned());
        if depth == Depth::Children && name.is_some() {
            // A folder goes on: the page ends behind its last object, so that the next page does not name it again.
            if folder == name {
                last = Some(object.key);
                continue;
            }
        }
        if page.objects.len() + page.folders.len() == entries_max {
            page.next = last;
            break;
        }
        last = Some(object.key.clone());
        match name {
            Some(name) if depth == Depth::Children => {
                page.folders.push(name.clone());
                folder = Some(name);
            }
            _ => page.objects.push(object),
        }
    }
    page
}

pub(super) fn check_size(key: &str, bytes: u64, bytes_max: u64) -> Result<(), StoreError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let reason = format!("it has {bytes} bytes, such an object has up to {bytes_max}");
    Err(StoreError::Corrupt { key: key.to_owned(), reason })
}

/// The version of a content.
pub(super) fn tag(bytes: &[u8]) -> Tag {
    Tag(blake3::hash(bytes).to_hex()[..32].to_owned())
}
