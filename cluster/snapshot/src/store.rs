//! Object stores: what snapshots need of a place to lie in.

use std::{future::Future, pin::Pin};

use bytes::Bytes;

use crate::{StoreError, limits::OBJECT_KEY_BYTES_MAX};

mod folder;
mod location;
mod memory;
mod retry;
mod s3;

pub use folder::FolderStore;
pub use location::{Location, open};
pub use memory::MemoryStore;
pub use retry::{Retry, RetryPolicy};
pub use s3::{S3Credentials, S3Settings, S3Store};

/// The answer of a store, once it comes. Boxed, so that stores can be chosen at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A version of an object: equal for equal content, and the store's own secret otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag(pub String);

/// An object with its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// The content.
    pub bytes: Bytes,
    /// Its version.
    pub tag: Tag,
}

/// What a store knows of an object without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was last written, in milliseconds since the epoch, by the store's clock.
    pub modified_ms: u64,
}

/// What a listing names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Depth {
    /// All objects below the prefix.
    All,
    /// Objects directly below the prefix, and the folders beside them.
    Children,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Objects, in the order of their keys.
    pub objects: Vec<ObjectInfo>,
    /// With [`Depth::Children`]: names of folders, without the prefix and the slash.
    pub folders: Vec<String>,
    /// What to ask the next page with; `None` on the last one.
    pub next: Option<String>,
}

/// A place for objects: byte strings under keys.
///
/// Keys are segments with slashes between; a segment consists of letters, digits, `.`, `_` and `-` and does not begin with
/// a dot (see [`check_key`]). A write is there completely or not at all, durable once it is answered, and seen by every
/// later read. A failed write may have taken place, unless the error is
/// [`PreconditionFailed`](StoreError::PreconditionFailed). Dropping an answer before it comes leaves the same uncertainty.
pub trait ObjectStore: Send + Sync + 'static {
    /// What the store is, for logs: without credentials.
    fn describe(&self) -> String;

    /// The object, if it has at most `bytes_max` bytes.
    ///
    /// Fails with [`StoreError::NotFound`], and with [`StoreError::Corrupt`] if it is larger.
    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object>;

    /// Writes the object, whatever was there.
    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag>;

    /// Writes the object if there is none; otherwise fails with [`StoreError::PreconditionFailed`].
    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag>;

    /// Replaces the object if it still is the version `tag`; otherwise, also if there is none, fails with
    /// [`StoreError::PreconditionFailed`].
    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag>;

    /// What is known of the object; fails with [`StoreError::NotFound`].
    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo>;

    /// What is below `prefix`, which is empty or ends with a slash. `next` is that of the page before.
    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page>;

    /// Removes the object; succeeds if there is none.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;
}

/// Whether every store can have an object under this key.
///
/// # Errors
/// [`StoreError::Rejected`].
pub fn check_key(action: &'static str, key: &str) -> Result<(), StoreError> {
    if key.len() <= OBJECT_KEY_BYTES_MAX && key.split('/').all(is_segment) {
        return Ok(());
    }
    Err(StoreError::Rejected {
        action,
        key: key.escape_debug().to_string(),
        reason: "it is no key of an object".into(),
    })
}

/// As [`check_key`] for the prefix of a listing.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() {
        return Ok(());
    }
    let reason = || "the prefix of a listing ends with a slash".into();
    let inner = prefix.strip_suffix('/').ok_or_else(|| StoreError::Rejected {
        action: "list",
        key: prefix.escape_debug().to_string(),
        reason: reason(),
    })?;
    check_key("list", inner)
}

/// Whether a text can stand between two slashes of a key.
pub(crate) fn is_segment(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_fine)
}

/// All objects below `prefix`, page by page.
pub(crate) async fn list_all(store: &dyn ObjectStore, prefix: &str, depth: Depth) -> Result<Page, StoreError> {
    let mut all = Page::default();
    loop {
        let page = store.list(prefix, depth, all.next.as_deref()).await?;
        all.objects.extend(page.objects);
        all.folders.extend(page.folders);
        // A store that repeats itself would keep us forever.
        if page.next.is_none() || page.next == all.next {
            all.next = None;
            return Ok(all);
        }
        all.next = page.next;
    }
}

/// Finds out whether the store honours conditions, by writing `key` twice. Some stores ignore what they do not know, and
/// then two nodes would undo each other's writes without anybody noticing.
///
/// # Errors
/// [`StoreError::Unsupported`] if it does not; anything else if it cannot be told.
pub async fn probe_conditions(store: &dyn ObjectStore, key: &str) -> Result<(), StoreError> {
    let ignored = |which: &str| StoreError::Unsupported { reason: format!("it ignores `{which}`") };
    match store.put_if_absent(key, Bytes::from_static(b"probe")).await {
        Ok(_) | Err(StoreError::PreconditionFailed { .. }) => {}
        Err(error) => return Err(error),
    }
    match store.put_if_absent(key, Bytes::from_static(b"probe again")).await {
        Err(StoreError::PreconditionFailed { .. }) => {}
        Ok(_) => return Err(ignored("If-None-Match")),
        Err(error) => return Err(error),
    }
    let other = Tag("\"0123456789abcdef0123456789abcdef\"".into());
    match store.put_if_match(key, Bytes::from_static(b"probe again"), &other).await {
        Err(StoreError::PreconditionFailed { .. }) => Ok(()),
        Ok(_) => Err(ignored("If-Match")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_keys_are_refused() {
        for key in ["a", "a/b-c_d.e/0", "A.b"] {
            check_key("put", key).unwrap();
        }
        let long = "a".repeat(OBJECT_KEY_BYTES_MAX + 1);
        for key in ["", "/", "a/", "/a", "a//b", "a/../b", ".", "a/.tmp", "a b", "a\\b", "a\0", "ä", &long] {
            assert_eq!(check_key("put", key).unwrap_err().code(), "SN007", "{key:?}");
        }
        check_prefix("").unwrap();
        check_prefix("a/b/").unwrap();
        assert!(check_prefix("a").is_err());
        assert!(check_prefix("/").is_err());
        assert!(check_prefix("../").is_err());
    }
}
