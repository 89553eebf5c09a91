//! A TCP door that speaks HTTP/1.1 and h2c on one port, with bounds on everything a peer could hold on to.
//!
//! Bounds: open connections (further ones get a short 429), time without a complete request head (slow or silent peers
//! are closed after one to two times [`IDLE_TIME`]), streams and pending resets of an HTTP/2 connection, buffer sizes.
//! The time bound is one timer per connection, not per request: a tick that finds no request in flight and none begun
//! since the last tick closes the connection.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use metrics::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::metrics::{Rejection, Rejections};
use crate::shutdown::Stop;

/// A connection may be without a request in flight for this long, at most for twice as long.
pub const IDLE_TIME: Duration = Duration::from_secs(30);
/// Most concurrent streams of one HTTP/2 connection.
pub const STREAMS_MAX: u32 = 256;
/// Buffer of one HTTP/1.1 connection: bounds its request head, above the limits that are answered in full.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// Bytes of one HTTP/2 request head, above the limits that are answered in full.
const H2_HEADER_BYTES_MAX: u32 = 64 << 10;
/// How long a peer whose idle connection is being closed may take to agree.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// Connections past the bound that are told so at the same time; more are closed without a word.
const REFUSALS_MAX: usize = 64;

const _: () = assert!(BUFFER_BYTES_MAX > abide_model::limits::URL_BYTES_MAX + abide_model::limits::HEADER_BYTES_MAX);
const _: () = assert!(H2_HEADER_BYTES_MAX as usize > abide_model::limits::HEADER_BYTES_MAX);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr} ({door}): {source}; is another process using the port?")]
pub struct BindError {
    /// The address.
    pub addr: SocketAddr,
    /// Which door: `ingress` or `admin`.
    pub door: &'static str,
    /// What the operating system says.
    pub source: io::Error,
}

/// What is different between doors.
#[derive(Clone)]
pub struct Settings {
    /// Most open connections.
    pub connections_max: usize,
    /// See [`IDLE_TIME`].
    pub idle_time: Duration,
    /// The number of open connections.
    pub open: Gauge,
    /// Where refusals are counted.
    pub rejections: Arc<Rejections>,
}

/// How a listener ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their requests did not finish in time.
    pub cut: usize,
}

/// An address that is taken, at which nobody is heard yet: who connects is refused by the operating system at once, and
/// can go to another node.
#[derive(Debug)]
pub struct Reserved {
    socket: TcpSocket,
    addr: SocketAddr,
    door: &'static str,
}

impl Reserved {
    /// Binds `addr`; port 0 takes a free one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] when the operating system refuses the address.
    pub fn bind(addr: SocketAddr, door: &'static str) -> Result<Self, BindError> {
        let bind = || {
            let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart does not wait until the connections of the process before are forgotten.
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            let addr = socket.local_addr()?;
            Ok(Self { socket, addr, door })
        };
        bind().map_err(|source| BindError { addr, door, source })
    }

    /// The address it is bound to, with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on connections are taken, and wait to be accepted.
    ///
    /// # Errors
    /// [`BindError`] when another process began to listen there meanwhile.
    pub fn listen(self) -> Result<Listener, BindError> {
        let Self { socket, addr, door } = self;
        let socket = socket.listen(BACKLOG).map_err(|source| BindError { addr, door, source })?;
        Ok(Listener { socket, addr })
    }
}

/// A socket at which connections wait to be accepted.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
}

impl Listener {
    /// Listens at `addr`; port 0 takes a free one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] when the operating system refuses the address.
    pub fn bind(addr: SocketAddr, door: &'static str) -> Result<Self, BindError> {
        Reserved::bind(addr, door)?.listen()
    }

    /// The address it is bound to, with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts connections and serves them until `stop` is requested; then lets requests in flight finish for at most
    /// `drain` and cuts the rest.
    pub async fn serve<S, B>(self, service: S, settings: Settings, stop: Stop, drain: Duration) -> Drained
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let builder = Arc::new(builder());
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut connections = JoinSet::new();
        let mut stopped = pin!(stop.requested());
        loop {
            let accepted = tokio::select! {
                () = &mut stopped => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already. Connections that end free descriptors.
                    tracing::debug!(%error, "a connection was not accepted");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            if connections.len() >= settings.connections_max {
                settings.rejections.count(Rejection::Connections);
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    tokio::spawn(async move {
                        let _ = timeout(CLOSE_TIME, refuse(stream)).await;
                        drop(permit);
                    });
                }
                continue;
            }
            // Answers are small and written whole: waiting for more bytes would only delay them.
            let _ = stream.set_nodelay(true);
            let connection =
                Connection { builder: Arc::clone(&builder), settings: settings.clone(), stop: stop.clone() };
            connections.spawn(connection.run(stream, service.clone()));
        }
        drop(self.socket);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(drain, all).await.is_ok() {
            return Drained::default();
        }
        let cut = connections.len();
        connections.shutdown().await;
        Drained { cut }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(H2_HEADER_BYTES_MAX)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(IDLE_TIME)
        .keep_alive_timeout(IDLE_TIME);
    builder
}

/// Tells a peer that there are too many connections. Reading what it sent keeps its side from seeing a reset before
/// the answer.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    const BODY: &str = "{\"code\":429,\"message\":\"the node has as many connections as it may; try again later\",\
                        \"source\":\"ingress\",\"abide_code\":\"AB0429\"}";
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
         x-restate-error-source: ingress\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// One open connection.
struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    settings: Settings,
    stop: Stop,
}

impl Connection {
    async fn run<S, B>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.settings.open.increment(1.0);
        let _open = Decrement(self.settings.open.clone());
        let activity = Arc::new(Activity::default());
        let service = Observed { inner: service, activity: Arc::clone(&activity) };
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut stopped = pin!(self.stop.requested());
        let mut tick = pin!(sleep(self.settings.idle_time));
        let mut begun = activity.begun.load(Ordering::Relaxed);
        let mut closing = Closing::No;
        let ended = loop {
            tokio::select! {
                ended = &mut connection => break ended,
                () = &mut stopped, if closing == Closing::No => {
                    closing = Closing::Stop;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut tick => {
                    let now_begun = activity.begun.load(Ordering::Relaxed);
                    let idle = activity.in_flight.load(Ordering::Relaxed) == 0 && now_begun == begun;
                    begun = now_begun;
                    let next = if idle && closing == Closing::Idle {
                        // It did not end by itself although nothing is in flight: a head that does not come to its end.
                        self.settings.rejections.count(Rejection::HeadTime);
                        return;
                    } else if idle && closing == Closing::No {
                        closing = Closing::Idle;
                        connection.as_mut().graceful_shutdown();
                        CLOSE_TIME
                    } else {
                        self.settings.idle_time
                    };
                    tick.as_mut().reset(Instant::now() + next);
                }
            }
        };
        if let Err(error) = ended {
            let malformed = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
            if malformed {
                self.settings.rejections.count(Rejection::Malformed);
            }
            tracing::debug!(%error, "a connection ended with an error");
        }
    }
}

/// Why a connection was asked to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Idle,
    Stop,
}

struct Decrement(Gauge);

impl Drop for Decrement {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What happens on a connection.
#[derive(Default)]
struct Activity {
    /// Requests whose head was complete, wrapping.
    begun: AtomicU32,
    /// Requests that are not answered yet.
    in_flight: AtomicU32,
}

/// A service that notes the activity of its connection.
#[derive(Clone)]
struct Observed<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Observed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = InFlight<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.activity.begun.fetch_add(1, Ordering::Relaxed);
        self.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { inner: self.inner.call(request), _end: End(Arc::clone(&self.activity)) }
    }
}

pin_project_lite::pin_project! {
    struct InFlight<F> {
        #[pin]
        inner: F,
        _end: End,
    }
}

impl<F: Future> Future for InFlight<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().inner.poll(cx)
    }
}

struct End(Arc<Activity>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reserved_address_refuses_until_it_is_listened_at() {
        let reserved = Reserved::bind(([127, 0, 0, 1], 0).into(), "ingress").unwrap();
        let addr = reserved.addr();
        let refused = TcpStream::connect(addr).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let listener = reserved.listen().unwrap();
        assert_eq!(listener.addr(), addr);
        TcpStream::connect(addr).await.unwrap();
        let taken = Reserved::bind(addr, "admin").unwrap_err();
        assert_eq!(taken.source.kind(), io::ErrorKind::AddrInUse, "{taken}");
    }
}
