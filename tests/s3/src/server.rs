//! Connections, and the faults that are below the protocol.

use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{Body, HttpError, HttpResponse, service::S3Service};
use tokio::net::TcpListener;

use crate::{Fault, bucket::Bucket};

/// Serves until it is dropped.
pub(crate) async fn serve(listener: &TcpListener, service: S3Service, bucket: Arc<Bucket>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (service, bucket) = (service.clone(), Arc::clone(&bucket));
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(service.clone(), Arc::clone(&bucket), request));
            // A connection that ends early is what faults are for.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    service: S3Service,
    bucket: Arc<Bucket>,
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<HttpResponse, HttpError> {
    let fault = bucket.count_request();
    let is_put = request.method() == hyper::Method::PUT;
    let status = match fault {
        Some(Fault::Refused) => return Err(HttpError::new("refused".into())),
        Some(Fault::Unavailable) => Some((503, "SlowDown")),
        Some(Fault::Denied) => Some((403, "AccessDenied")),
        Some(Fault::NoConditions) if is_put && is_conditional(&request) => Some((501, "NotImplemented")),
        _ => None,
    };
    if let Some((status, code)) = status {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by order</Message></Error>");
        let answer = hyper::Response::builder().status(status).header("content-type", "application/xml");
        return Ok(answer.body(Body::from(body)).expect("these are valid headers"));
    }
    if let Some(Fault::Slow(time)) = fault {
        tokio::time::sleep(time).await;
    }
    let mut request = request.map(Body::from);
    if fault == Some(Fault::IgnoredConditions) {
        // Signed headers cannot be taken away here, so the bucket is told.
        request.extensions_mut().insert(IgnoreConditions);
    }
    request.extensions_mut().insert(fault);
    let answer = service.call(request).await;
    if fault == Some(Fault::LostPuts) && is_put {
        return Err(HttpError::new("the answer is lost".into()));
    }
    answer
}

/// Marks a request whose conditions are to be ignored.
#[derive(Clone, Copy)]
pub(crate) struct IgnoreConditions;

fn is_conditional<B>(request: &hyper::Request<B>) -> bool {
    request.headers().contains_key("if-match") || request.headers().contains_key("if-none-match")
}
