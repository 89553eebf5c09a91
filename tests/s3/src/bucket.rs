//! The bucket, and the operations on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt as _, stream};
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    dto::{
        CommonPrefix, DeleteObjectInput, DeleteObjectOutput, ETag, ETagCondition, GetObjectInput, GetObjectOutput,
        HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object, PutObjectInput,
        PutObjectOutput, StreamingBlob, Timestamp,
    },
    s3_error,
};

use crate::{BUCKET, Fault, server::IgnoreConditions};

/// Entries of a page of a listing at most. Fewer than of S3, so that tests see more than one page.
const PAGE_ENTRIES: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Stored>,
    /// Makes the version of an object another one even if its content is the same.
    writes: u64,
    requests: usize,
    fault: Option<Fault>,
    faults_left: usize,
}

#[derive(Clone, Debug)]
struct Stored {
    bytes: Bytes,
    tag: String,
    modified: SystemTime,
}

impl Bucket {
    pub(crate) fn set_fault(&self, fault: Option<Fault>, requests: usize) {
        let mut inner = self.lock();
        inner.fault = fault;
        inner.faults_left = requests;
    }

    /// Counts a request and says what is to go wrong with it.
    pub(crate) fn count_request(&self) -> Option<Fault> {
        let mut inner = self.lock();
        inner.requests += 1;
        if inner.faults_left == 0 {
            return None;
        }
        inner.faults_left -= 1;
        inner.fault
    }

    pub(crate) fn requests(&self) -> usize {
        self.lock().requests
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn object(&self, key: &str) -> Option<Bytes> {
        self.lock().objects.get(key).map(|stored| stored.bytes.clone())
    }

    pub(crate) fn put_object(&self, key: &str, bytes: Bytes) {
        self.lock().put(key.to_owned(), bytes);
    }

    pub(crate) fn remove_object(&self, key: &str) -> bool {
        self.lock().objects.remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, key: String, bytes: Bytes) -> ETag {
        self.writes += 1;
        let tag = format!("{:032x}", self.writes);
        self.objects.insert(key, Stored { bytes, tag: tag.clone(), modified: SystemTime::now() });
        ETag::Strong(tag)
    }

    fn find(&self, key: &str) -> S3Result<Stored> {
        self.objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }
}

pub(crate) struct Memory(pub(crate) Arc<Bucket>);

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

fn size(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).expect("memory is smaller")
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let heeds_conditions = request.extensions.get::<IgnoreConditions>().is_none();
        let input = request.input;
        check_bucket(&input.bucket)?;
        let body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        let body: BytesMut =
            body.try_collect::<Vec<Bytes>>().await.map_err(|_| s3_error!(IncompleteBody))?.concat()[..].into();
        let mut inner = self.0.lock();
        let found = inner.objects.get(&input.key).map(|stored| stored.tag.clone());
        let is_met = match (&input.if_none_match, &input.if_match) {
            (None, None) => true,
            (Some(ETagCondition::Any), None) => found.is_none(),
            (None, Some(ETagCondition::ETag(ETag::Strong(expected)))) => found.as_ref() == Some(expected),
            _ => return Err(s3_error!(NotImplemented)),
        };
        if !is_met && heeds_conditions {
            return Err(s3_error!(PreconditionFailed));
        }
        let tag = inner.put(input.key, body.freeze());
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(tag), ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let fault = request.extensions.get::<Option<Fault>>().copied().flatten();
        let input = request.input;
        check_bucket(&input.bucket)?;
        let stored = self.0.lock().find(&input.key)?;
        let mut bytes = stored.bytes.clone();
        let half = bytes.slice(..bytes.len() / 2);
        let mut declared = size(&bytes);
        let mut body = None;
        match fault {
            Some(Fault::CorruptGets) if !bytes.is_empty() => {
                let mut damaged = bytes.to_vec();
                let middle = damaged.len() / 2;
                damaged[middle] ^= 0x10;
                bytes = damaged.into();
            }
            Some(Fault::TruncatedGets) => {
                declared = size(&half);
                bytes = half;
            }
            Some(Fault::BrokenGets) => {
                let broken = stream::iter([Ok(half), Err(std::io::Error::other("by order"))]);
                body = Some(StreamingBlob::wrap(broken));
            }
            _ => {}
        }
        let output = GetObjectOutput {
            body: Some(body.unwrap_or_else(|| StreamingBlob::from(Body::from(bytes)))),
            content_length: Some(declared),
            e_tag: Some(ETag::Strong(stored.tag)),
            last_modified: Some(Timestamp::from(stored.modified)),
            ..GetObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let stored = self.0.lock().find(&input.key)?;
        let output = HeadObjectOutput {
            content_length: Some(size(&stored.bytes)),
            e_tag: Some(ETag::Strong(stored.tag)),
            last_modified: Some(Timestamp::from(stored.modified)),
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        self.0.lock().objects.remove(&input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        check_bucket(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after);
        let most = input.max_keys.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE_ENTRIES).min(PAGE_ENTRIES);
        let (mut contents, mut folders) = (Vec::new(), BTreeSet::new());
        let mut last = None;
        let mut is_truncated = false;
        let inner = self.0.lock();
        for (key, stored) in inner.objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let end = input.delimiter.as_deref().and_then(|delimiter| key[prefix.len()..].find(delimiter));
            let folder = end.map(|end| key[..=prefix.len() + end].to_owned());
            let entry = folder.clone().unwrap_or_else(|| key.clone());
            if after.as_ref().is_some_and(|after| entry <= *after) || folders.contains(&entry) {
                continue;
            }
            if contents.len() + folders.len() == most {
                is_truncated = true;
                break;
            }
            last = Some(entry);
            if let Some(folder) = folder {
                folders.insert(folder);
            } else {
                contents.push(Object {
                    key: Some(key.clone()),
                    size: Some(size(&stored.bytes)),
                    last_modified: Some(Timestamp::from(stored.modified)),
                    e_tag: Some(ETag::Strong(stored.tag.clone())),
                    ..Object::default()
                });
            }
        }
        drop(inner);
        let common_prefixes = folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        let output = ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            ..ListObjectsV2Output::default()
        };
        Ok(S3Response::new(output))
    }
}
