//! The transport of programs that talk to a node over HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use abide_model::id::{AwakeableId, InvocationId, Millis};
use abide_model::protocol::{Failure, Metadata, SignalId, SignalResult};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{Accepted, AcceptedStatus, BoxFuture, OutgoingRequest, Start, Stop, Transport, TransportError};
use crate::wire;

/// What is written as it is in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Tells failures of the invocation from those of the way to it.
const ERROR_SOURCE: &str = "x-restate-error-source";
/// Status of an output that is not there yet.
const NOT_READY: u16 = 470;

/// A node's ingress, reached over HTTP/1.1. Needs a tokio runtime with I/O and time.
///
/// ```no_run
/// use std::sync::Arc;
/// use abide_sdk::client::{Client, HttpTransport};
///
/// let client = Client::new(Arc::new(HttpTransport::new("http://127.0.0.1:8080")?));
/// # Ok::<(), abide_sdk::client::InvalidBase>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpTransport {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

/// A text that is not the address of an ingress.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{base}` is not an address such as `http://127.0.0.1:8080`: {reason}")]
pub struct InvalidBase {
    base: String,
    reason: String,
}

impl HttpTransport {
    /// A transport to the ingress at `base`, which may have a path.
    ///
    /// # Errors
    /// [`InvalidBase`] unless `base` is an `http` URL.
    pub fn new(base: &str) -> Result<Self, InvalidBase> {
        let invalid = |reason: String| InvalidBase { base: base.to_owned(), reason };
        let uri: Uri = base.parse().map_err(|error: hyper::http::uri::InvalidUri| invalid(error.to_string()))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() || uri.query().is_some() {
            return Err(invalid("it needs `http://`, a host, and no query".to_owned()));
        }
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { base: base.trim_end_matches('/').to_owned(), http })
    }

    /// Sends; the answer with its whole body.
    async fn exchange(
        &self,
        request: Result<Request<Full<Bytes>>, TransportError>,
        id: Option<InvocationId>,
    ) -> Result<Answer, TransportError> {
        let unknown = |message: String| TransportError::OutcomeUnknown { id, message };
        let response = self.http.request(request?).await.map_err(|error| {
            let message = with_causes(&error);
            // Without a connection nothing was sent.
            if error.is_connect() {
                TransportError::Overloaded { message, retry_after: None }
            } else {
                unknown(message)
            }
        })?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| unknown(with_causes(&error)))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    fn invoke(&self, request: &OutgoingRequest, suffix: &str) -> Result<Request<Full<Bytes>>, TransportError> {
        let mut url = format!("{}/{}", self.base, segment(&request.service));
        if let Some(key) = &request.key {
            url = format!("{url}/{}", segment(key));
        }
        url = format!("{url}/{}{suffix}", segment(&request.handler));
        let mut builder = Request::builder().method(Method::POST).uri(url);
        if !request.input.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        if let Some(key) = &request.idempotency_key {
            builder = builder.header("idempotency-key", key);
        }
        for header in &request.headers {
            builder = builder.header(&header.key, &header.value);
        }
        builder.body(Full::new(request.input.clone())).map_err(rejected)
    }

    /// The request that signals: awakeables have a path of their own.
    fn signalling(
        &self,
        target: InvocationId,
        signal: &SignalId,
        result: SignalResult,
    ) -> Result<Request<Full<Bytes>>, TransportError> {
        let awakeable = |signal: u32| AwakeableId { invocation: target, signal };
        let (path, body, json) = match (signal, result) {
            (SignalId::Index(index), SignalResult::Failure(failure)) => {
                (format!("awakeables/{}/reject", awakeable(*index)), Bytes::from(failure.message), false)
            }
            (SignalId::Index(index), result) => {
                (format!("awakeables/{}/resolve", awakeable(*index)), content(result), true)
            }
            (SignalId::Name(_), SignalResult::Failure(_)) => {
                let (what, instead) = ("a named signal that is a failure", "signal a value that says so");
                return Err(TransportError::Unsupported { what, instead });
            }
            (SignalId::Name(name), result) => {
                (format!("invocation/{target}/signal/{}", segment(name)), content(result), true)
            }
        };
        let url = format!("{}/restate/{path}", self.base);
        let mut builder = Request::builder().method(Method::POST).uri(url);
        if json && !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        builder.body(Full::new(body)).map_err(rejected)
    }

    fn result_of(&self, id: InvocationId, what: &str) -> Result<Request<Full<Bytes>>, TransportError> {
        let url = format!("{}/restate/invocation/{id}/{what}", self.base);
        Request::builder().uri(url).body(Full::default()).map_err(rejected)
    }
}

impl Transport for HttpTransport {
    fn call(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        Box::pin(async move {
            let id = known_id(&request);
            self.exchange(self.invoke(&request, ""), id).await?.into_body(id)
        })
    }

    fn send(&self, request: OutgoingRequest) -> BoxFuture<'_, Result<Accepted, TransportError>> {
        Box::pin(async move {
            let id = known_id(&request);
            let suffix = match request.start {
                Start::After(delay) => format!("/send?delay={}ms", wire::millis(delay)),
                Start::At(time) => format!("/send?delay={}ms", until(time)),
                Start::Now => "/send".to_owned(),
            };
            let body = self.exchange(self.invoke(&request, &suffix), id).await?.into_body(id)?;
            accepted(&body).map_err(|message| TransportError::OutcomeUnknown { id, message })
        })
    }

    fn attach(&self, id: InvocationId) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        Box::pin(async move { self.exchange(self.result_of(id, "attach"), Some(id)).await?.into_body(Some(id)) })
    }

    fn output(&self, id: InvocationId) -> BoxFuture<'_, Result<Option<Bytes>, TransportError>> {
        Box::pin(async move {
            let answer = self.exchange(self.result_of(id, "output"), Some(id)).await?;
            if answer.status.as_u16() == NOT_READY { Ok(None) } else { answer.into_body(Some(id)).map(Some) }
        })
    }

    fn signal(
        &self,
        target: InvocationId,
        signal: SignalId,
        result: SignalResult,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            let request = self.signalling(target, &signal, result);
            self.exchange(request, Some(target)).await?.into_body(Some(target)).map(drop)
        })
    }

    fn stop(&self, _: InvocationId, how: Stop) -> BoxFuture<'_, Result<(), TransportError>> {
        let what = match how {
            Stop::Cancel => "cancelling an invocation",
            Stop::Kill => "killing an invocation",
        };
        let instead = "use the admin API of the node";
        Box::pin(std::future::ready(Err(TransportError::Unsupported { what, instead })))
    }
}

/// How far away `time` is by this machine's clock, in ms: the ingress takes delays only.
fn until(time: Millis) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time.0.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// With an idempotency key the invocation's id is known before anybody answers.
fn known_id(request: &OutgoingRequest) -> Option<InvocationId> {
    let key = request.idempotency_key.as_ref()?;
    Some(InvocationId::idempotent(&request.service, request.key.as_deref(), &request.handler, key))
}

/// The bytes of a signal that is no failure.
fn content(result: SignalResult) -> Bytes {
    match result {
        SignalResult::Value(value) => value.content,
        SignalResult::Void(_) | SignalResult::Failure(_) => Bytes::new(),
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn rejected(error: hyper::http::Error) -> TransportError {
    TransportError::Rejected { code: 400, message: error.to_string() }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn accepted(body: &[u8]) -> Result<Accepted, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        invocation_id: String,
        status: String,
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let id = body.invocation_id.parse().map_err(|error: abide_model::id::ParseIdError| error.to_string())?;
    let previously = body.status == "PreviouslyAccepted";
    let status = if previously { AcceptedStatus::PreviouslyAccepted } else { AcceptedStatus::Accepted };
    Ok(Accepted { id, status })
}

/// A response.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The body of an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    code: u32,
    message: String,
    metadata: BTreeMap<String, String>,
}

impl Answer {
    fn into_body(self, id: Option<InvocationId>) -> Result<Bytes, TransportError> {
        if self.status.is_success() { Ok(self.body) } else { Err(self.error(id)) }
    }

    fn error(&self, id: Option<InvocationId>) -> TransportError {
        let status = self.status.as_u16();
        let error = serde_json::from_slice(&self.body).unwrap_or_else(|_| ErrorBody {
            code: u32::from(status),
            message: String::from_utf8_lossy(&self.body).trim().to_owned(),
            ..ErrorBody::default()
        });
        let message = if error.message.is_empty() { self.status.to_string() } else { error.message };
        if self.header(ERROR_SOURCE) == Some("invocation") {
            let metadata = error.metadata.into_iter().map(|(key, value)| Metadata { key, value }).collect();
            return TransportError::Failure(Failure { code: error.code, message, metadata });
        }
        match status {
            404 => TransportError::NotFound { message },
            429 | 430 | 503 => TransportError::Overloaded { message, retry_after: self.retry_after() },
            400..500 => TransportError::Rejected { code: status, message },
            _ => TransportError::OutcomeUnknown { id, message },
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn retry_after(&self) -> Option<Duration> {
        self.header(RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
    }
}
