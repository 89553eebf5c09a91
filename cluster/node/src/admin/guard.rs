//! Refuses what a web page could make an operator's browser send.
//!
//! A page of `evil.example` can point that name at 127.0.0.1 and then read this API as its own origin: the `Host` header
//! gives it away, because it names `evil.example`. A page of another origin can send simple requests without reading the
//! answer: the `Origin` header gives it away.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::AdminError;
use crate::metrics::{DoorMetrics, Rejection, Rejections};

/// The names by which this door may be addressed.
pub(super) struct Hosts {
    bound: IpAddr,
    names: Vec<String>,
    rejections: Arc<Rejections>,
    door: DoorMetrics,
}

impl Hosts {
    pub(super) fn new(bound: SocketAddr, names: &[String], rejections: Arc<Rejections>, door: DoorMetrics) -> Self {
        let names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { bound: bound.ip(), names, rejections, door }
    }

    /// Whether `host`, without port, is one of ours. An address cannot be rebound, so any address is fine when all
    /// addresses of the machine are served.
    fn accepts(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return address.is_loopback() || address == self.bound || self.bound.is_unspecified();
        }
        host == "localhost" || host.ends_with(".localhost") || self.names.iter().any(|name| name == host)
    }
}

/// Whether `origin` is a page that this door itself served: under the name and port by which it is addressed now. A page
/// of another port of the machine is another one's.
fn is_own_origin(origin: &str, host: &Authority) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.and_then(|text| text.parse::<Authority>().ok()).is_some_and(|text| text == *host)
}

/// The layer in front of every path.
pub(super) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let _in_flight = hosts.door.enter();
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => header.and_then(|host| host.parse::<Authority>().ok()),
    };
    let Some(host) = host.as_ref().filter(|host| hosts.accepts(host.host())) else {
        hosts.rejections.count(Rejection::Host);
        let shown = host.as_ref().map_or("", Authority::host);
        return AdminError::forbidden(format!(
            "the host `{shown}` is not a name of this node; use localhost, or add it to `admin.hosts`"
        ))
        .into_response();
    };
    let origin = request.headers().get(header::ORIGIN);
    if !origin.is_none_or(|origin| origin.to_str().is_ok_and(|origin| is_own_origin(origin, host))) {
        hosts.rejections.count(Rejection::Host);
        return AdminError::forbidden("requests of pages of another origin are refused").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str) -> Hosts {
        let names = ["Abide.internal".to_owned()];
        Hosts::new(bound.parse().unwrap(), &names, Arc::new(Rejections::new("admin")), DoorMetrics::new("admin"))
    }

    #[test]
    fn names_of_this_node() {
        let loopback = hosts("127.0.0.1:9070");
        for host in
            ["localhost", "LOCALHOST", "a.localhost", "localhost.", "127.0.0.1", "127.8.8.8", "[::1]", "abide.internal"]
        {
            assert!(loopback.accepts(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "notlocalhost", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!loopback.accepts(host), "{host}");
        }
        assert!(hosts("10.0.0.1:9070").accepts("10.0.0.1"));
        assert!(!hosts("10.0.0.1:9070").accepts("10.0.0.2"));
        assert!(hosts("0.0.0.0:9070").accepts("10.0.0.2"));
        assert!(!hosts("0.0.0.0:9070").accepts("evil.example"));
    }

    #[test]
    fn origins_of_this_node() {
        let host: Authority = "localhost:9070".parse().unwrap();
        for origin in ["http://localhost:9070", "http://LOCALHOST:9070"] {
            assert!(is_own_origin(origin, &host), "{origin}");
        }
        for origin in
            ["null", "http://evil.example", "file://", "localhost", "http://localhost:3000", "http://localhost"]
        {
            assert!(!is_own_origin(origin, &host), "{origin}");
        }
    }
}
