//! Opens a connection to another node: TCP, TLS, HTTP/2 and the handshake.

use std::{io, sync::Arc};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    context::{
        CONNECTION_WINDOW_BYTES, Context, HTTP_FRAME_BYTES, RESETS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, Tasks,
    },
    error::NotSent,
    identity::NodeId,
    io::BoxIo,
    message::{HelloRequest, Who},
    refusal::{Agreement, Refusal, judge},
    settings::TlsMode,
    tls::{Material, server_name},
    wire::{Wire, describe},
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The operating system or the network.
    #[error("{0}")]
    Tcp(io::Error),
    /// The TLS handshake.
    #[error("TLS: {0}")]
    Tls(String),
    /// HTTP/2, up to the answer of the handshake.
    #[error("{reason}{}", if *.encrypted { "" } else { "; does the other node demand TLS?" })]
    Http {
        /// What went wrong.
        reason: String,
        /// Whether it was over TLS, so that its absence is not the cause.
        encrypted: bool,
    },
    /// It took too long.
    #[error("no connection in time")]
    Timeout,
    /// The other node refused.
    #[error("the node refused: {0}")]
    Refused(Refusal),
    /// We refuse the other node.
    #[error("the node is refused: {0}")]
    Refusing(Refusal),
}

impl From<ConnectError> for NotSent {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(refusal) | ConnectError::Refusing(refusal) => Self::Refused(refusal),
            error => Self::Connect(error.to_string()),
        }
    }
}

/// An open connection after its handshake. Ends when it is dropped.
pub(crate) struct Connection {
    pub(crate) wire: Wire,
    pub(crate) peer: Agreement,
    /// Whether it is over TLS.
    pub(crate) encrypted: bool,
    /// Cancelled when the connection is over, or cancelled by others to end it.
    pub(crate) over: CancellationToken,
    _guard: DropGuard,
}

/// Opens a connection to whoever listens at `addr`, who must be node `to` if that is known. `link` counts the connections
/// that carry frames and is 0 for others.
pub(crate) async fn connect(
    context: &Arc<Context>,
    addr: &str,
    to: Option<NodeId>,
    link: u64,
) -> Result<Connection, ConnectError> {
    timeout(context.settings.timing.connect, open(context, addr, to, link)).await.unwrap_or(Err(ConnectError::Timeout))
}

async fn open(context: &Arc<Context>, addr: &str, to: Option<NodeId>, link: u64) -> Result<Connection, ConnectError> {
    let (io, encrypted) = secure(context, addr, to).await?;
    let http_error = |reason| ConnectError::Http { reason, encrypted };
    let timing = &context.settings.timing;
    let (sender, connection) = http2::Builder::new(Tasks(context.tasks.clone()))
        .timer(TokioTimer::new())
        .keep_alive_interval(timing.keepalive)
        .keep_alive_timeout(timing.keepalive_timeout)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESETS_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| http_error(describe(&error)))?;
    let over = CancellationToken::new();
    let guard = over.clone().drop_guard();
    let ended = over.clone();
    context.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            _ = connection => ended.cancel(),
        }
    });

    let wire = Wire::new(sender);
    let own = context.identity();
    let hello = HelloRequest { who: Who::from(&*own), to, link };
    let reply = wire.hello(hello).await.map_err(|status| http_error(status.message().to_owned()))?;
    if let Some(refusal) = Refusal::from_number(reply.refusal) {
        return Err(ConnectError::Refused(refusal));
    }
    let who = reply.who.ok_or(ConnectError::Refusing(Refusal::NoHandshake))?;
    let peer = judge(&own, &who.into()).map_err(ConnectError::Refusing)?;
    if to.is_some() && peer.node != to {
        return Err(ConnectError::Refusing(Refusal::WrongNode));
    }
    if let Some(node) = peer.node.filter(|_| peer.members) {
        let member = context.book.member(node).map_err(ConnectError::Refusing)?;
        member.admit(peer.boot, &over).map_err(ConnectError::Refusing)?;
    }
    Ok(Connection { wire, peer, encrypted, over, _guard: guard })
}

async fn secure(context: &Context, addr: &str, to: Option<NodeId>) -> Result<(BoxIo, bool), ConnectError> {
    let tcp = dial(addr).await?;
    let (mode, Some(store)) = (context.settings.tls_mode(), &context.tls) else { return Ok((Box::new(tcp), false)) };
    match (encrypt(tcp, &store.current(), to).await, mode) {
        (Err(error), TlsMode::Allow) => {
            tracing::debug!(addr, %error, "no TLS with the peer, which is allowed: trying without");
            Ok((Box::new(dial(addr).await?), false))
        }
        (result, _) => Ok((result?, true)),
    }
}

async fn dial(addr: &str) -> Result<TcpStream, ConnectError> {
    let tcp = TcpStream::connect(addr).await.map_err(ConnectError::Tcp)?;
    tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
    Ok(tcp)
}

async fn encrypt(tcp: TcpStream, material: &Material, to: Option<NodeId>) -> Result<BoxIo, ConnectError> {
    let config = material.client(to).map_err(|error| ConnectError::Tls(error.to_string()))?;
    let tls = TlsConnector::from(config).connect(server_name(), tcp).await;
    Ok(Box::new(tls.map_err(|error| ConnectError::Tls(error.to_string()))?))
}
