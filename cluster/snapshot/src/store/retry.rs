//! Further attempts, with pauses, at what a store could not do at once.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    StoreError,
    store::{Answer, Depth, Object, ObjectInfo, ObjectStore, Page, Tag},
};

/// How often, how long and how soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Time for one attempt, of which a slow line needs some for a part of 8 MiB.
    pub attempt_timeout: Duration,
    /// Longest pause behind the first attempt; nothing is none at all. Doubles with each one; the pause is drawn between
    /// nothing and that.
    pub pause: Duration,
    /// The pause does not grow past this.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    /// Six attempts of up to a minute, and up to 15 s of pauses: short outages are bridged, and longer ones are for the caller,
    /// who tries again with the next snapshot.
    fn default() -> Self {
        Self {
            attempts: 6,
            attempt_timeout: Duration::from_secs(60),
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(8),
        }
    }
}

/// A store that makes further attempts at what failed as [`StoreError::Unavailable`]. Needs tokio's timer.
///
/// A write whose answer was lost is found again: a conditional write that fails behind an attempt of unknown outcome
/// counts as done if the object has exactly its content.
pub struct Retry {
    store: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
}

impl Retry {
    /// Makes further attempts at `store`.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, policy: RetryPolicy) -> Self {
        Self { store, policy }
    }

    /// Attempts until one succeeds, fails for good, or is the last. Tells whether any attempt is of unknown outcome.
    async fn attempts<'a, T>(
        &self,
        action: &'static str,
        key: &str,
        attempt: impl Fn() -> Answer<'a, T>,
    ) -> (Result<T, StoreError>, bool) {
        let mut is_unknown = false;
        let mut number = 1;
        loop {
            let error = match timed(self.policy.attempt_timeout, action, key, attempt()).await {
                Err(error) if error.is_retryable() => error,
                result => return (result, is_unknown),
            };
            is_unknown = true;
            if number >= self.policy.attempts {
                return (Err(error), is_unknown);
            }
            let pause = pause(&self.policy, number);
            tracing::debug!(store = %self.store.describe(), %error, number, ?pause, "attempt at the object store failed");
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            number += 1;
        }
    }

    /// A conditional write, or its trace if an earlier attempt wrote it.
    async fn conditional<'a>(
        &self,
        key: &str,
        bytes: &Bytes,
        attempt: impl Fn() -> Answer<'a, Tag>,
    ) -> Result<Tag, StoreError> {
        let (result, is_unknown) = self.attempts("write", key, attempt).await;
        if !is_unknown || !matches!(result, Err(StoreError::PreconditionFailed { .. })) {
            return result;
        }
        let found = self.get(key, bytes.len() as u64).await;
        match found {
            Ok(found) if found.bytes == *bytes => Ok(found.tag),
            // Another, larger or no object: somebody else wrote it.
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => result,
            Err(error) => Err(error),
        }
    }
}

impl ObjectStore for Retry {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        Box::pin(async move { self.attempts("read", key, || self.store.get(key, bytes_max)).await.0 })
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.attempts("write", key, || self.store.put(key, bytes.clone())).await.0 })
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(async move { self.conditional(key, &bytes, || self.store.put_if_absent(key, bytes.clone())).await })
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        Box::pin(
            async move { self.conditional(key, &bytes, || self.store.put_if_match(key, bytes.clone(), tag)).await },
        )
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        Box::pin(async move { self.attempts("look at", key, || self.store.head(key)).await.0 })
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move { self.attempts("list", prefix, || self.store.list(prefix, depth, next)).await.0 })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(async move { self.attempts("delete", key, || self.store.delete(key)).await.0 })
    }
}

async fn timed<T>(
    limit: Duration,
    action: &'static str,
    key: &str,
    attempt: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {limit:?}");
        Err(StoreError::Unavailable { action, key: key.to_owned(), reason })
    })
}

/// Anything between nothing and the whole pause: nodes that were refused together do not come again together.
fn pause(policy: &RetryPolicy, number: u32) -> Duration {
    let whole = policy.pause.saturating_mul(1 << (number - 1).min(20)).min(policy.pause_max);
    // Without chance the pause is whole, which is safe as well.
    let part = getrandom::u32().map_or(1.0, |drawn| f64::from(drawn) / f64::from(u32::MAX));
    whole.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let policy = RetryPolicy::default();
        for number in 1..100 {
            let most = policy.pause.saturating_mul(1 << (number - 1).min(20)).min(policy.pause_max);
            assert!(pause(&policy, number) <= most);
        }
        let drawn: Vec<_> = (0..20).map(|_| pause(&policy, 5)).collect();
        assert!(drawn.iter().any(|pause| *pause != drawn[0]), "they are drawn");
    }
}
