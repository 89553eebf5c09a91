//! Requests as any client sends them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// No answer takes longer; one that does counts as lost.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one door.
#[derive(Clone)]
pub struct Http {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A request to be sent.
#[derive(Clone)]
pub struct Sent {
    http: Http,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    patience: Duration,
}

/// No answer came: the connection was refused or broke. The request may or may not have had an effect.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {url}: {reason}")]
pub struct Lost {
    /// Where it went.
    pub url: String,
    /// What happened.
    pub reason: String,
    /// Whether there was a connection. Without one nothing was sent.
    pub connected: bool,
}

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Http {
    /// A client of the door at `base`, for example `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(base: String) -> Self {
        Self { base, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The door.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A GET request.
    #[must_use]
    pub fn get(&self, path: &str) -> Sent {
        self.request(Method::GET, path)
    }

    /// A POST request with an empty body and no content type.
    #[must_use]
    pub fn post(&self, path: &str) -> Sent {
        self.request(Method::POST, path)
    }

    /// A POST request with a JSON body.
    ///
    /// # Panics
    /// When `argument` does not encode.
    #[must_use]
    pub fn json(&self, path: &str, argument: impl Serialize) -> Sent {
        let body = serde_json::to_vec(&argument).unwrap();
        self.post(path).header("content-type", "application/json").body(body)
    }

    /// Any request.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Sent {
        let (http, path) = (self.clone(), path.to_owned());
        Sent { http, method, path, headers: Vec::new(), body: Bytes::new(), patience: TIMEOUT }
    }
}

impl Sent {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds the idempotency key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Takes it for lost when there is no answer by then.
    #[must_use]
    pub fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends it and waits for the answer.
    ///
    /// # Errors
    /// [`Lost`].
    ///
    /// # Panics
    /// When it is no valid request.
    pub async fn answer(self) -> Result<Answer, Lost> {
        let url = format!("{}{}", self.http.base, self.path);
        let mut request = Request::builder().method(self.method).uri(&url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let lost =
            |error: &dyn std::error::Error, connected| Lost { url: url.clone(), reason: detail(error), connected };
        let exchange = async {
            let answer = self.http.client.request(request).await.map_err(|error| lost(&error, !error.is_connect()))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| lost(&error, true))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        let answer = tokio::time::timeout(self.patience, exchange).await;
        answer.unwrap_or_else(|_| Err(Lost { url: url.clone(), reason: "timeout".to_owned(), connected: true }))
    }

    /// As [`Sent::answer`], for tests that expect one.
    ///
    /// # Panics
    /// When none comes.
    pub async fn expect(self) -> Answer {
        self.answer().await.unwrap_or_else(|lost| panic!("{lost}"))
    }

    /// Expects status 200 and this type.
    ///
    /// # Panics
    /// When the answer is another.
    pub async fn ok<T: DeserializeOwned>(self) -> T {
        let path = self.path.clone();
        let answer = self.expect().await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body from JSON; an empty one is `null`.
    ///
    /// # Panics
    /// When it is not the JSON of a `T`.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A field of the body.
    ///
    /// # Panics
    /// When the body is not JSON.
    #[must_use]
    pub fn field(&self, name: &str) -> Value {
        self.json::<Value>()[name].clone()
    }

    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The invocation that a send was accepted as.
    ///
    /// # Panics
    /// When it was not accepted.
    pub fn invocation(&self) -> String {
        assert_eq!(self.status, 202, "{}", self.text());
        self.field("invocationId").as_str().unwrap().to_owned()
    }
}

/// An error with its causes.
fn detail(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
