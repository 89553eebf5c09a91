//! A bucket of S3, or of a store that speaks its protocol.

use std::{error::Error, fmt, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
        retry::RetryConfig, timeout::TimeoutConfig,
    },
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::put_object::builders::PutObjectFluentBuilder,
    primitives::ByteStream,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use bytes::{Bytes, BytesMut};

use crate::{
    StoreError,
    store::{Answer, Depth, Object, ObjectInfo, ObjectStore, Page, Tag, check_key, check_prefix, memory::check_size},
};

/// Who does not take a connection in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Region of a compatible store for which none is set; most do not have regions, but signatures name one.
const REGION_OF_ENDPOINT: &str = "us-east-1";

/// Characters of a reason that are worth reading.
const REASON_CHARS_MAX: usize = 400;

/// Which bucket, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct S3Settings {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Address of a compatible store; S3 itself if there is none.
    pub endpoint: Option<String>,
    /// Region; without one that of the environment, or `us-east-1` if an endpoint is given.
    pub region: Option<String>,
    /// Whether the bucket is part of the path instead of the host's name.
    pub path_style: bool,
    /// Whether the endpoint may be reached without encryption.
    pub allow_http: bool,
}

impl S3Settings {
    /// A bucket of S3 in the region of the environment.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: false,
            allow_http: false,
        }
    }

    /// Whether a store can be opened with these.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        let host = match endpoint.split_once("://") {
            Some(("https", host)) => host,
            Some(("http", host)) if self.allow_http => host,
            Some(("http", _)) => {
                return Err(
                    "the endpoint is not encrypted; use https, or set `allow_http=true` on a trusted network".into()
                );
            }
            _ => return Err("the endpoint begins with `https://`".into()),
        };
        if host.contains('@') {
            return Err("credentials do not belong into the endpoint; configure them apart".into());
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err("behind `://` the endpoint has a host and perhaps a port, nothing else".into());
        }
        Ok(())
    }
}

/// Who asks. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum S3Credentials {
    /// Those of the environment: variables, profile files, web identity, container and instance roles.
    Chain,
    /// These.
    Static {
        /// Its name.
        access_key_id: String,
        /// Its secret.
        secret_access_key: String,
        /// What a temporary key needs besides.
        session_token: Option<String>,
    },
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "Chain",
            Self::Static { .. } => "Static { .. }",
        })
    }
}

/// Objects in a bucket. Makes one attempt at everything; [`Retry`](crate::Retry) makes more.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    description: String,
}

impl S3Store {
    /// Prepares the client. Nothing is asked of the bucket yet; [`S3Credentials::Chain`] may look for the region.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] if the settings are impossible or no region is found.
    pub async fn open(settings: &S3Settings, credentials: S3Credentials) -> Result<Self, StoreError> {
        let rejected = |reason: String| StoreError::Rejected { action: "open", key: settings.bucket.clone(), reason };
        settings.check().map_err(rejected)?;
        let http = http_client(settings);
        let region = settings.region.clone().or_else(|| settings.endpoint.as_ref().map(|_| REGION_OF_ENDPOINT.into()));
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let S3Credentials::Static { access_key_id, secret_access_key, session_token } = credentials {
            let fixed = Credentials::new(access_key_id, secret_access_key, session_token, None, "abide");
            loader = loader.credentials_provider(fixed);
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            return Err(rejected("no region is set, and the environment has none".into()));
        }
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(settings.path_style)
            // Further attempts are made in one place for all stores, which also knows how to look for lost answers.
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            // Compatible stores do not know the newer checksums. The signature covers what is sent, and what is read is
            // checked by its name or its own checksum.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        config.set_endpoint_url(settings.endpoint.clone());
        let prefix = if settings.prefix.is_empty() { String::new() } else { format!("{}/", settings.prefix) };
        let place = settings.endpoint.as_deref().unwrap_or("S3");
        Ok(Self {
            client: Client::from_conf(config.build()),
            bucket: settings.bucket.clone(),
            description: format!("bucket `{}/{prefix}` of {place}", settings.bucket),
            prefix,
        })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn write(
        &self,
        key: &str,
        bytes: Bytes,
        condition: impl FnOnce(PutObjectFluentBuilder) -> PutObjectFluentBuilder,
    ) -> Result<Tag, StoreError> {
        check_key("write", key)?;
        let request = self.client.put_object().bucket(&self.bucket).key(self.full(key));
        let answer = condition(request).body(ByteStream::from(bytes)).send().await;
        let answer = answer.map_err(|error| failed("write", key, &error))?;
        Ok(Tag(answer.e_tag.unwrap_or_default()))
    }

    /// As [`write`](Self::write) with a condition. A store that does not know conditions must not be asked without them.
    async fn write_if(
        &self,
        key: &str,
        bytes: Bytes,
        condition: impl FnOnce(PutObjectFluentBuilder) -> PutObjectFluentBuilder,
    ) -> Result<Tag, StoreError> {
        match self.write(key, bytes, condition).await {
            // If the object is gone, the condition is not met.
            Err(StoreError::NotFound { key }) => Err(StoreError::PreconditionFailed { key }),
            result => result,
        }
    }

    async fn read(&self, key: &str, bytes_max: u64) -> Result<Object, StoreError> {
        check_key("read", key)?;
        let answer = self.client.get_object().bucket(&self.bucket).key(self.full(key)).send().await;
        let mut answer = answer.map_err(|error| failed("read", key, &error))?;
        let broken = |reason: String| StoreError::Unavailable { action: "read", key: key.to_owned(), reason };
        let declared = answer.content_length.and_then(|bytes| u64::try_from(bytes).ok());
        check_size(key, declared.unwrap_or(0), bytes_max)?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(|error| broken(shorten(&DisplayErrorContext(error).to_string())))?;
            bytes.extend_from_slice(&chunk);
            check_size(key, bytes.len() as u64, bytes_max)?;
        }
        if declared.is_some_and(|declared| declared != bytes.len() as u64) {
            return Err(broken(format!("the connection ended behind {} bytes", bytes.len())));
        }
        Ok(Object { bytes: bytes.freeze(), tag: Tag(answer.e_tag.unwrap_or_default()) })
    }

    async fn look(&self, key: &str) -> Result<ObjectInfo, StoreError> {
        check_key("look at", key)?;
        let answer = self.client.head_object().bucket(&self.bucket).key(self.full(key)).send().await;
        let answer = answer.map_err(|error| failed("look at", key, &error))?;
        let bytes = answer.content_length.and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| no_size(key))?;
        Ok(ObjectInfo { key: key.to_owned(), bytes, modified_ms: millis(answer.last_modified) })
    }

    async fn page(&self, prefix: &str, depth: Depth, next: Option<&str>) -> Result<Page, StoreError> {
        check_prefix(prefix)?;
        let mut request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.full(prefix));
        if depth == Depth::Children {
            request = request.delimiter("/");
        }
        let request = request.set_continuation_token(next.map(str::to_owned));
        let answer = request.send().await.map_err(|error| failed("list", prefix, &error))?;
        let mut page = Page::default();
        for object in answer.contents() {
            let key = object.key().and_then(|key| key.strip_prefix(&self.prefix));
            // Others' objects and the markers that consoles make of folders are none of ours.
            let Some(key) = key.filter(|key| key.starts_with(prefix) && check_key("list", key).is_ok()) else {
                continue;
            };
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| no_size(key))?;
            page.objects.push(ObjectInfo {
                key: key.to_owned(),
                bytes,
                modified_ms: millis(object.last_modified().copied()),
            });
        }
        let folders = answer.common_prefixes().iter().filter_map(|folder| folder.prefix());
        let folders = folders.filter_map(|folder| folder.strip_prefix(&self.prefix)?.strip_prefix(prefix));
        page.folders = folders.map(|folder| folder.trim_end_matches('/').to_owned()).collect();
        if answer.is_truncated() == Some(true) {
            page.next = answer.next_continuation_token;
        }
        Ok(page)
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        check_key("delete", key)?;
        let answer = self.client.delete_object().bucket(&self.bucket).key(self.full(key)).send().await;
        match answer.map_err(|error| failed("delete", key, &error)) {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl ObjectStore for S3Store {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn get<'a>(&'a self, key: &'a str, bytes_max: u64) -> Answer<'a, Object> {
        Box::pin(self.read(key, bytes_max))
    }

    fn put<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(self.write(key, bytes, |request| request))
    }

    fn put_if_absent<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, Tag> {
        Box::pin(self.write_if(key, bytes, |request| request.if_none_match("*")))
    }

    fn put_if_match<'a>(&'a self, key: &'a str, bytes: Bytes, tag: &'a Tag) -> Answer<'a, Tag> {
        Box::pin(async move {
            // An empty header would be no condition at all.
            if tag.0.is_empty() {
                return Err(StoreError::Unsupported { reason: "it does not name versions of objects (`ETag`)".into() });
            }
            self.write_if(key, bytes, |request| request.if_match(&tag.0)).await
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, ObjectInfo> {
        Box::pin(self.look(key))
    }

    fn list<'a>(&'a self, prefix: &'a str, depth: Depth, next: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(self.page(prefix, depth, next))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(self.remove(key))
    }
}

fn http_client(settings: &S3Settings) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    if settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")) {
        return builder.build_http();
    }
    builder.tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}

fn no_size(key: &str) -> StoreError {
    StoreError::Corrupt { key: key.to_owned(), reason: "the store does not tell its size".into() }
}

fn millis(time: Option<aws_sdk_s3::primitives::DateTime>) -> u64 {
    time.and_then(|time| time.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0)
}

/// What a failure means for the caller.
fn failed<E>(action: &'static str, key: &str, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let key = key.to_owned();
    let Some(answer) = error.raw_response() else {
        let reason = shorten(&DisplayErrorContext(error).to_string());
        // The client does not tell missing credentials from a missing network in a typed way.
        return if reason.contains("credential") {
            StoreError::Denied { action, key, reason }
        } else if matches!(error, SdkError::ConstructionFailure(_)) {
            StoreError::Rejected { action, key, reason }
        } else {
            StoreError::Unavailable { action, key, reason }
        };
    };
    let status = answer.status().as_u16();
    let (code, message) = (error.code().unwrap_or(""), error.message().unwrap_or(""));
    let reason = shorten(&format!("the store answered {status} {code} {message}"));
    let reason = reason.trim_end().to_owned();
    match (status, code) {
        (_, "NoSuchBucket") => StoreError::Rejected { action, key, reason },
        (404, _) => StoreError::NotFound { key },
        (412, _) => StoreError::PreconditionFailed { key },
        (501, _) if action == "write" => StoreError::Unsupported { reason },
        (501, _) => StoreError::Rejected { action, key, reason },
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") | (401 | 403, _) => {
            StoreError::Denied { action, key, reason }
        }
        // 409: two conditional writes at the same time; neither may have won.
        (408 | 409 | 429 | 500.., _) | (_, "RequestTimeout" | "SlowDown") | (200..300, _) => {
            StoreError::Unavailable { action, key, reason }
        }
        _ => StoreError::Rejected { action, key, reason },
    }
}

fn shorten(reason: &str) -> String {
    reason.chars().filter(|char| !char.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_printed() {
        let credentials = S3Credentials::Static {
            access_key_id: "geheim-1".into(),
            secret_access_key: "geheim-2".into(),
            session_token: Some("geheim-3".into()),
        };
        assert_eq!(format!("{credentials:?}"), "Static { .. }");
    }
}
