//! A process's way to the store: requests go out, and answers come later, or never.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use abide_snapshot::store::Answer;
use abide_snapshot::{Depth, Object, ObjectInfo, ObjectStore, Page, StoreError, Tag};
use bytes::Bytes;

/// What the store is asked.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Get(String, u64),
    Put(String, Bytes),
    PutIfAbsent(String, Bytes),
    PutIfMatch(String, Bytes, Tag),
    Head(String),
    List(String, Depth, Option<String>),
    Delete(String),
}

impl Request {
    /// What it is about, as a verb and a key.
    pub(crate) fn label(&self) -> (&'static str, &str) {
        match self {
            Self::Get(key, _) => ("read", key),
            Self::Put(key, _) | Self::PutIfAbsent(key, _) | Self::PutIfMatch(key, _, _) => ("write", key),
            Self::Head(key) => ("look at", key),
            Self::List(prefix, _, _) => ("list", prefix),
            Self::Delete(key) => ("delete", key),
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        self.label().0 == "write"
    }

    /// Whether the store is another one afterwards.
    pub(crate) fn has_effect(&self) -> bool {
        self.is_write() || matches!(self, Self::Delete(_))
    }
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Reply {
    Object(Object),
    Written(Tag),
    Info(ObjectInfo),
    Page(Page),
    Deleted,
}

pub(crate) type Answered = Result<Reply, StoreError>;

/// The store as a process sees it. Clones share the requests.
#[derive(Clone, Default)]
pub(crate) struct Post(Arc<Mutex<Desk>>);

#[derive(Default)]
struct Desk {
    last: u64,
    /// Requests that are to be sent.
    fresh: Vec<(u64, Request)>,
    /// Whoever waits, and the answer once it is there.
    waiting: BTreeMap<u64, (Option<Answered>, Option<Waker>)>,
}

impl Post {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked since the last time.
    pub(crate) fn take_fresh(&self) -> Vec<(u64, Request)> {
        std::mem::take(&mut self.desk().fresh)
    }

    /// An answer arrives; nobody may wait for it any more.
    pub(crate) fn answer(&self, number: u64, answered: Answered) {
        let mut desk = self.desk();
        if let Some(waiting) = desk.waiting.get_mut(&number) {
            waiting.0 = Some(answered);
            if let Some(waker) = waiting.1.take() {
                drop(desk);
                waker.wake();
            }
        }
    }

    fn ask(&self, request: Request) -> Waiting {
        let mut desk = self.desk();
        desk.last += 1;
        let number = desk.last;
        desk.fresh.push((number, request));
        desk.waiting.insert(number, (None, None));
        Waiting { post: self.clone(), number }
    }

    async fn write(&self, key: &str, request: Request) -> Result<Tag, StoreError> {
        match self.ask(request).await? {
            Reply::Written(tag) => Ok(tag),
            _ => Err(strange(key)),
        }
    }
}

/// An answer that is waited for.
struct Waiting {
    post: Post,
    number: u64,
}

impl Future for Waiting {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        let mut desk = self.post.desk();
        match desk.waiting.get_mut(&self.number) {
            Some((answered, waker)) => match answered.take() {
                Some(answered) => Poll::Ready(answered),
                None => {
                    *waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
            None => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.post.desk().waiting.remove(&self.number);
    }
}

/// An answer to another request: a fault of the simulator.
fn strange(key: &str) -> StoreError {
    StoreError::Corrupt { key: key.to_owned(), reason: "the answer is one to something else".into() }
}

impl ObjectStore for Post {
    fn describe(&self) -> String {
        "the simulated store".into()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        Box::pin(async move {
            match self.ask(Request::Get(key.to_owned(), bytes_max)).await? {
                Reply::Object(object) => Ok(object),
                _ => Err(strange(key)),
            }
        })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.write(key, Request::Put(key.to_owned(), bytes)).await })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.write(key, Request::PutIfAbsent(key.to_owned(), bytes)).await })
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        Box::pin(async move { self.write(key, Request::PutIfMatch(key.to_owned(), bytes, tag.clone())).await })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        Box::pin(async move {
            match self.ask(Request::Head(key.to_owned())).await? {
                Reply::Info(info) => Ok(info),
                _ => Err(strange(key)),
            }
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            match self.ask(Request::List(prefix.to_owned(), depth, next.map(str::to_owned))).await? {
                Reply::Page(page) => Ok(page),
                _ => Err(strange(prefix)),
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            match self.ask(Request::Delete(key.to_owned())).await? {
                Reply::Deleted => Ok(()),
                _ => Err(strange(key)),
            }
        })
    }
}
