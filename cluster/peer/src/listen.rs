//! Accepts the connections of other nodes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    context::{
        CONNECTION_WINDOW_BYTES, Context, HTTP_FRAME_BYTES, RESETS_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, Tasks,
    },
    inbound::{Inbound, Security},
    io::BoxIo,
    metrics,
    service::Service,
    settings::TlsMode,
    subject::Subject,
    tls::TlsStore,
};

/// Rest after the operating system failed to accept, as it does without free file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// First byte of a TLS connection: a handshake record. HTTP/2 begins with `P`.
const TLS_FIRST_BYTE: u8 = 0x16;
/// Bytes of the head of a call; ours are far smaller.
const HEADER_BYTES_MAX: u32 = 8 << 10;
/// Streams of a connection beside its requests: handshake, frames, transfers.
const STREAMS_BESIDE: usize = 16;

/// Accepts until the node stops.
pub(crate) async fn run<S: Service>(listener: TcpListener, context: Arc<Context>, service: Arc<S>) {
    let places = Arc::new(Semaphore::new(context.settings.limits.connections));
    loop {
        let accepted = tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!(%remote, "connection closed: there are as many as the limit allows");
            continue;
        };
        let (context, service) = (context.clone(), service.clone());
        context.tasks.clone().spawn(async move {
            let _place = place;
            let open = metrics::inbound();
            open.increment(1);
            serve(tcp, remote, &context, service).await;
            open.decrement(1);
        });
    }
}

async fn serve<S: Service>(tcp: TcpStream, remote: SocketAddr, context: &Arc<Context>, service: Arc<S>) {
    let timing = context.settings.timing;
    let secured = tokio::select! {
        biased;
        () = context.stop.cancelled() => return,
        secured = timeout(timing.connect, secure(tcp, context)) => secured,
    };
    let (io, security) = match secured {
        Ok(Ok(secured)) => secured,
        Ok(Err(error)) => return tracing::debug!(%remote, error, "connection of a peer closed"),
        Err(_) => return tracing::debug!(%remote, "connection of a peer closed: it was not secured in time"),
    };
    let inbound = Arc::new(Inbound::new(context.clone(), service, remote, security));
    let over = inbound.over.clone();
    let _guard = over.clone().drop_guard();
    let handler = inbound.clone();
    let streams = context.settings.limits.asks_in_flight + STREAMS_BESIDE;
    let connection = http2::Builder::new(Tasks(context.tasks.clone()))
        .timer(TokioTimer::new())
        .keep_alive_interval(timing.keepalive)
        .keep_alive_timeout(timing.keepalive_timeout)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(u32::try_from(streams).expect("the settings were checked"))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .serve_connection(TokioIo::new(io), service_fn(move |request| handler.clone().call(request)));
    let unknown = async {
        sleep(timing.connect).await;
        // After the handshake the connection may last.
        if inbound.is_greeted() {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        () = context.stop.cancelled() => {}
        () = over.cancelled() => {}
        end = connection => {
            if let Err(error) = end {
                tracing::debug!(%remote, error = crate::wire::describe(&error), "connection of a peer ended");
            }
        }
        () = unknown => tracing::debug!(%remote, "connection of a peer closed: no handshake in time"),
    }
}

async fn secure(tcp: TcpStream, context: &Context) -> Result<(BoxIo, Security), String> {
    tcp.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(store) = &context.tls else { return Ok((Box::new(tcp), Security::Plain)) };
    match context.settings.tls_mode() {
        TlsMode::Off => Ok((Box::new(tcp), Security::Plain)),
        TlsMode::Require => decrypt(tcp, store).await,
        TlsMode::Allow => {
            let mut first = [0];
            match tcp.peek(&mut first).await {
                Ok(1) if first[0] == TLS_FIRST_BYTE => decrypt(tcp, store).await,
                Ok(1) => Ok((Box::new(tcp), Security::Plain)),
                Ok(_) => Err("it ended before it began".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

async fn decrypt(tcp: TcpStream, store: &TlsStore) -> Result<(BoxIo, Security), String> {
    let tls = TlsAcceptor::from(store.current().server()).accept(tcp).await.map_err(|error| format!("TLS: {error}"))?;
    let certificate = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let subject = certificate.and_then(Subject::of).ok_or("its certificate names no node")?;
    Ok((Box::new(tls), Security::Tls(subject)))
}
