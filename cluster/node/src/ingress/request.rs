//! What is read from a request (service protocol §4.2), and the limits it is held to (reliability 3.4).

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use abide_model::limits;
use abide_model::protocol::Header;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::error::IngressError;

/// A body must be complete within this time.
pub(super) const BODY_TIME: Duration = Duration::from_secs(60);
/// The rest of a refused body is read for this time at most.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// And this many bytes of it.
const DISCARD_BYTES: usize = 64 << 20;
/// Bytes of all bodies that are being received in more than one piece.
const BUDGET_BYTES: usize = 64 << 20;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_EXPIRES: HeaderName = HeaderName::from_static("idempotency-expires");
const INGRESS_PATH: &str = "x-restate-ingress-path";

const _: () = assert!(BUDGET_BYTES >= 2 * limits::BODY_BYTES_MAX);

/// Refuses what is too large before anything is done with it.
pub(super) fn check_head(head: &Parts) -> Result<(), IngressError> {
    let url = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if url > limits::URL_BYTES_MAX {
        return Err(IngressError::UrlTooLong);
    }
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head.headers.len() > limits::HEADERS_MAX || bytes > limits::HEADER_BYTES_MAX {
        return Err(IngressError::HeadersTooLarge);
    }
    Ok(())
}

/// The idempotency key; an empty one counts.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, IngressError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    check_idempotency_key(value.len())?;
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| IngressError::IdempotencyKeyEncoding)?;
    Ok(Some(text.to_owned()))
}

pub(super) fn check_idempotency_key(bytes: usize) -> Result<(), IngressError> {
    if bytes > limits::IDEMPOTENCY_KEY_BYTES_MAX { Err(IngressError::IdempotencyKeyTooLong) } else { Ok(()) }
}

pub(super) fn check_key(key: Option<&str>) -> Result<(), IngressError> {
    if key.is_some_and(|key| key.len() > limits::KEY_BYTES_MAX) { Err(IngressError::KeyTooLong) } else { Ok(()) }
}

/// The headers the handler sees: the path as received, then all but those that belong to the connection or the ingress.
/// Values that are not UTF-8 are shown with replacement characters.
pub(super) fn handler_headers(head: &Parts) -> Vec<Header> {
    let mut headers = Vec::with_capacity(head.headers.len() + 1);
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    headers.push(Header { key: INGRESS_PATH.to_owned(), value: path.to_owned() });
    let hidden = [header::CONNECTION, header::HOST, IDEMPOTENCY_KEY, IDEMPOTENCY_EXPIRES];
    for (name, value) in &head.headers {
        if !hidden.contains(name) {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers.push(Header { key: name.as_str().to_owned(), value });
        }
    }
    headers
}

/// Whether native handlers can read the body: JSON, or nothing at all. Known before the body is read, except whether a
/// body without a content type is empty.
pub(super) fn check_content_type(headers: &HeaderMap) -> Result<ContentType, IngressError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(ContentType::Absent) };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    if media_type.trim_ascii().eq_ignore_ascii_case(b"application/json") {
        Ok(ContentType::Json)
    } else {
        Err(IngressError::ContentType(format!("`{}`", String::from_utf8_lossy(value.as_bytes()))))
    }
}

/// The content types that native handlers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    Json,
    Absent,
}

impl ContentType {
    /// Refuses a body whose type is not told.
    pub(super) fn check(self, body: &Bytes) -> Result<(), IngressError> {
        if self == Self::Absent && !body.is_empty() {
            return Err(IngressError::ContentType("a body without content-type".to_owned()));
        }
        Ok(())
    }
}

/// Reads bodies within a size each, a time each, and a number of bytes together.
pub(super) struct Bodies {
    /// Largest body.
    pub(super) bytes_max: usize,
    /// See [`BODY_TIME`].
    pub(super) time: Duration,
    free: AtomicUsize,
}

impl Bodies {
    pub(super) fn new(bytes_max: usize, time: Duration) -> Self {
        Self { bytes_max, time, free: AtomicUsize::new(BUDGET_BYTES) }
    }

    /// The whole body. What arrived in one piece is not copied.
    pub(super) async fn read<B>(&self, body: B) -> Result<Bytes, IngressError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        // What the length header announces.
        let mut body = pin!(body);
        if body.size_hint().lower() > self.bytes_max as u64 {
            discard(body).await;
            return Err(self.too_large());
        }
        let collected = timeout(self.time, self.collect(body.as_mut())).await;
        let collected = collected.unwrap_or(Err(IngressError::BodyTime));
        if matches!(collected, Err(IngressError::BodyTooLarge { .. } | IngressError::BodyBudget)) {
            discard(body).await;
        }
        collected
    }

    async fn collect<B>(&self, mut body: Pin<&mut B>) -> Result<Bytes, IngressError>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        let mut held = Held { bodies: self, bytes: 0 };
        while !body.is_end_stream() {
            let Some(frame) = body.frame().await else { break };
            // Trailers say nothing about the input.
            let Ok(data) = frame.map_err(|error| IngressError::BodyBroken(error.to_string()))?.into_data() else {
                continue;
            };
            if data.len() > self.bytes_max - first.len().max(joined.len()) {
                return Err(self.too_large());
            }
            if first.is_empty() && joined.is_empty() {
                first = data;
                continue;
            }
            if joined.is_empty() {
                held.take(first.len())?;
                joined.extend_from_slice(&first);
                first = Bytes::new();
            }
            held.take(data.len())?;
            joined.extend_from_slice(&data);
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }

    fn too_large(&self) -> IngressError {
        IngressError::BodyTooLarge { limit: self.bytes_max }
    }
}

/// Throws away the rest of a body that was refused, for a while: most clients look for the answer only when they have sent
/// everything, and would see a broken connection instead.
async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let rest = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Past either bound the connection is closed on the client.
    let _ = timeout(DISCARD_TIME, rest).await;
}

/// A part of the budget, given back when the body is complete or given up.
struct Held<'a> {
    bodies: &'a Bodies,
    bytes: usize,
}

impl Held<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), IngressError> {
        let taken = self.bodies.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes));
        taken.map_err(|_| IngressError::BodyBudget)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bodies.free.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http::Request;
    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    /// A body of the given pieces, of unknown length.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn pieces(sizes: &[usize]) -> Pieces {
        Pieces(sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect())
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("http://h/Counter/k/add?a=b");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn bodies_are_joined_and_bounded() {
        let bodies = Bodies::new(10, BODY_TIME);
        assert_eq!(bodies.read(Full::<Bytes>::default()).await.unwrap(), "");
        assert_eq!(bodies.read(Full::from("0123456789")).await.unwrap(), "0123456789");
        assert_eq!(bodies.read(pieces(&[])).await.unwrap(), "");
        assert_eq!(bodies.read(pieces(&[0, 3, 0, 3, 4])).await.unwrap(), "xxxxxxxxxx");
        for refused in [pieces(&[11]), pieces(&[5, 6]), pieces(&[3, 3, 3, 2])] {
            assert!(matches!(bodies.read(refused).await, Err(IngressError::BodyTooLarge { limit: 10 })));
        }
        assert!(matches!(bodies.read(Full::from("0123456789a")).await, Err(IngressError::BodyTooLarge { .. })));
        assert_eq!(bodies.free.load(Ordering::Relaxed), BUDGET_BYTES);
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded() {
        let bodies = Bodies::new(BUDGET_BYTES * 2, BODY_TIME);
        let refused = bodies.read(pieces(&[BUDGET_BYTES / 2, BUDGET_BYTES / 2, 1])).await;
        assert!(matches!(refused, Err(IngressError::BodyBudget)));
        assert_eq!(bodies.free.load(Ordering::Relaxed), BUDGET_BYTES);
    }

    #[test]
    fn handlers_see_the_path_and_the_headers_that_are_theirs() {
        let headers = handler_headers(&head(&[
            ("host", "h"),
            ("connection", "close"),
            ("content-length", "2"),
            ("idempotency-key", "i"),
            ("idempotency-expires", "1"),
            ("x-b", "2"),
            ("x-a", "1"),
            ("x-a", "3"),
        ]));
        let shown: Vec<_> = headers.iter().map(|header| format!("{}: {}", header.key, header.value)).collect();
        assert_eq!(
            shown,
            ["x-restate-ingress-path: /Counter/k/add?a=b", "content-length: 2", "x-b: 2", "x-a: 1", "x-a: 3"]
        );
    }

    #[test]
    fn content_types() {
        for (value, expected) in [
            (Some("application/json"), Some(ContentType::Json)),
            (Some("Application/JSON; charset=utf-8"), Some(ContentType::Json)),
            (None, Some(ContentType::Absent)),
            (Some("text/plain"), None),
            (Some(""), None),
            (Some("application/jsonx"), None),
        ] {
            let headers: Vec<_> = value.iter().map(|value| ("content-type", *value)).collect();
            assert_eq!(check_content_type(&head(&headers).headers).ok(), expected, "{value:?}");
        }
        assert!(ContentType::Absent.check(&Bytes::new()).is_ok());
        assert!(ContentType::Absent.check(&Bytes::from("1")).is_err());
        assert!(ContentType::Json.check(&Bytes::new()).is_ok());
    }

    #[test]
    fn idempotency_keys_are_bounded_text() {
        let key = |value: &str| idempotency_key(&head(&[("idempotency-key", value)]).headers);
        assert_eq!(key("tx-1").unwrap().as_deref(), Some("tx-1"));
        assert_eq!(key("").unwrap().as_deref(), Some(""));
        assert!(key(&"k".repeat(limits::IDEMPOTENCY_KEY_BYTES_MAX)).is_ok());
        assert!(matches!(key(&"k".repeat(257)), Err(IngressError::IdempotencyKeyTooLong)));
        assert_eq!(idempotency_key(&head(&[]).headers).unwrap(), None);
    }
}
