//! The door for operators: REST of service protocol §5, the cluster, health, metrics.
//!
//! There is no authentication, so the door opens to loopback only unless the configuration says otherwise, and requests
//! are refused that a web page could make a browser send: those for a foreign host name (DNS rebinding) and those from
//! another origin. There are no cross-origin headers.

mod answer;
mod bulk;
mod cluster;
mod details;
mod guard;
mod invocations;
mod journal;
mod letters;
mod orders;
mod request;
mod schedules;
mod services;
mod snapshots;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use abide_model::limits;
use abide_sdk::service::ServiceDescriptor;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use self::answer::AdminError;
use self::guard::Hosts;
use self::services::Defaults;
use crate::backend::Backend;
use crate::cluster::transport::Transport;
use crate::config::Config;
use crate::engine::Engine;
use crate::health::{Health, Phase};
use crate::listener::{self, Drained, IDLE_TIME, Listener};
use crate::metrics::{DoorMetrics, Rejections, render};
use crate::shutdown::Stop;

/// Most open connections of operators, scrapers and probes.
const CONNECTIONS_MAX: usize = 256;
/// Largest request body: a whole state as lists of numbers takes several times its bytes.
const BODY_BYTES_MAX: usize = 4 * limits::BODY_BYTES_MAX;

/// An admin door that would be open to the network without anyone having said so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refusing to serve the admin API on {0}: it is not a loopback address, and there is no authentication. Bind \
     `admin.addr` to 127.0.0.1, or set `admin.allow_remote = true` when the network is trusted"
)]
pub struct OpenToNetwork(pub SocketAddr);

/// Serves operators until `stop` is requested, and then for at most `drain` the requests that are in flight. `ingress`
/// is the address that `/version` tells.
///
/// # Errors
/// [`OpenToNetwork`] when the listener is bound to an address that is not loopback and `admin.allow_remote` is not set.
#[expect(clippy::too_many_arguments, reason = "the parts of a node meet here, once")]
pub(crate) async fn serve(
    listener: Listener,
    engine: Engine,
    transport: Transport,
    config: &Config,
    ingress: SocketAddr,
    metrics: PrometheusHandle,
    health: Health,
    stop: Stop,
    drain: Duration,
) -> Result<Drained, OpenToNetwork> {
    let registry = engine.registry().clone();
    let services: Vec<_> = registry.services().map(|service| service.descriptor().clone()).collect();
    let beside = schedules::router(engine.clone())
        .merge(snapshots::router(engine.clone()))
        .merge(cluster::router(cluster::NodeHelm { engine: engine.clone(), transport }));
    let office = Office { beside, ..Office::new(engine, services, config, ingress, metrics, health) };
    office.serve(listener, config, stop, drain).await
}

/// Everything a request needs.
struct Office<E> {
    engine: E,
    services: Vec<ServiceDescriptor>,
    defaults: Defaults,
    ingress: SocketAddr,
    metrics: PrometheusHandle,
    health: Health,
    /// Pages with a state of their own.
    beside: Router,
}

type Shared<E> = State<Arc<Office<E>>>;

impl<E: Backend> Office<E> {
    fn new(
        engine: E,
        services: Vec<ServiceDescriptor>,
        config: &Config,
        ingress: SocketAddr,
        metrics: PrometheusHandle,
        health: Health,
    ) -> Self {
        let defaults = Defaults::from(config);
        Self { engine, services, defaults, ingress, metrics, health, beside: Router::new() }
    }

    async fn serve(
        self,
        listener: Listener,
        config: &Config,
        stop: Stop,
        drain: Duration,
    ) -> Result<Drained, OpenToNetwork> {
        let addr = listener.addr();
        if !addr.ip().is_loopback() && !config.admin.allow_remote {
            return Err(OpenToNetwork(addr));
        }
        let door = DoorMetrics::new("admin");
        let rejections = Arc::new(Rejections::new("admin"));
        let settings = listener::Settings {
            connections_max: CONNECTIONS_MAX,
            idle_time: IDLE_TIME,
            open: door.connections.clone(),
            rejections: Arc::clone(&rejections),
        };
        let hosts = Arc::new(Hosts::new(addr, &config.admin.hosts, rejections, door));
        let router = self.router().layer(middleware::from_fn_with_state(hosts, guard::check));
        Ok(listener.serve(TowerToHyperService::new(router), settings, stop, drain).await)
    }

    fn router(mut self) -> Router {
        let beside = std::mem::take(&mut self.beside);
        routes(Arc::new(self), beside)
    }

    fn find(&self, name: &str) -> Result<&ServiceDescriptor, AdminError> {
        let found = self.services.iter().find(|service| service.name == name);
        found.ok_or_else(|| AdminError::not_found(format!("The requested service '{name}' does not exist")))
    }
}

fn routes<E: Backend>(office: Arc<Office<E>>, beside: Router) -> Router {
    let api = Router::new()
        .route("/health", get(health::<E>))
        .route("/metrics", get(metrics::<E>))
        .route("/version", get(version::<E>))
        .route("/services", get(services::<E>))
        .route("/services/{name}", get(service::<E>))
        .route("/services/{name}/handlers", get(handlers::<E>))
        .route("/services/{name}/handlers/{handler}", get(handler::<E>))
        .route("/invocations", get(invocations::list::<E>))
        .route("/invocations/{id}", get(invocations::describe::<E>).merge(delete(orders::end::<E>)))
        .route("/invocations/{id}/journal", get(invocations::journal::<E>))
        .route("/invocations/{id}/{verb}", patch(orders::control::<E>))
        .route("/internal/invocations_batch_operations/{verb}", post(bulk::run::<E>))
        .route("/services/{name}/keys", get(state::keys::<E>))
        .route("/services/{name}/state", post(state::replace::<E>))
        .route(
            "/services/{name}/state/{key}",
            get(state::read::<E>).merge(patch(state::change::<E>)).merge(delete(state::clear::<E>)),
        )
        .route("/deadletters", get(letters::list::<E>))
        .route("/deadletters/{service}/redrive", post(letters::redrive_all::<E>))
        .route(
            "/deadletters/{service}/{partition}/{seq}",
            get(letters::describe::<E>).merge(delete(letters::drop::<E>)),
        )
        .route("/deadletters/{service}/{partition}/{seq}/redrive", post(letters::redrive::<E>))
        .merge(beside.with_state(()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let removed = || async { AdminError::invalid("version 1 of the admin API is not served; use /v2, /v3 or /v4") };
    Router::new()
        .merge(api.clone())
        .nest("/v2", api.clone())
        .nest("/v3", api.clone())
        .nest("/v4", api)
        .route("/v1/{*rest}", axum::routing::any(removed))
        .fallback(|| async { AdminError::not_found("there is nothing under this path") })
        .method_not_allowed_fallback(|| async { AdminError::method() })
        .with_state(office)
}

async fn health<E: Backend>(State(office): Shared<E>) -> Response {
    match office.health.phase() {
        Phase::Ready => StatusCode::OK.into_response(),
        phase @ (Phase::Starting | Phase::Stopping) => AdminError::not_ready(phase).into_response(),
    }
}

async fn metrics<E: Backend>(State(office): Shared<E>) -> Response {
    let content_type = [(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, render(&office.metrics)).into_response()
}

async fn version<E: Backend>(State(office): Shared<E>) -> Response {
    answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "min_admin_api_version": 2,
        "max_admin_api_version": 4,
        "ingress_endpoint": format!("http://{}/", office.ingress),
        "features": { "vqueues": false, "protocol_v7": false },
    }))
}

async fn services<E: Backend>(State(office): Shared<E>) -> Response {
    let services: Vec<_> =
        office.services.iter().map(|service| services::metadata(service, &office.defaults)).collect();
    answer::json(&json!({ "services": services }))
}

async fn service<E: Backend>(State(office): Shared<E>, Path(name): Path<String>) -> Result<Response, AdminError> {
    Ok(answer::json(&services::metadata(office.find(&name)?, &office.defaults)))
}

async fn handlers<E: Backend>(State(office): Shared<E>, Path(name): Path<String>) -> Result<Response, AdminError> {
    let service = office.find(&name)?;
    let handlers: Vec<_> =
        (0..service.handlers.len()).map(|number| services::handler(service, number, &office.defaults)).collect();
    Ok(answer::json(&json!({ "handlers": handlers })))
}

async fn handler<E: Backend>(
    State(office): Shared<E>,
    Path((name, handler)): Path<(String, String)>,
) -> Result<Response, AdminError> {
    let service = office.find(&name)?;
    let found = service.handlers.iter().position(|known| known.name == handler).ok_or_else(|| {
        AdminError::not_found(format!("The requested handler '{handler}' of service '{name}' does not exist"))
    })?;
    Ok(answer::json(&services::handler(service, found, &office.defaults)))
}

#[cfg(test)]
mod tests;
