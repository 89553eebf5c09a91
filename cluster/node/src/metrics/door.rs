//! Metrics of the doors: requests, refusals, connections.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The label of services and handlers that are not bound.
pub const UNKNOWN: &str = "unknown";

/// Why a door turned a request or a connection away before it reached the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Path and query too long.
    Url,
    /// Too many headers, or too many bytes of them.
    Headers,
    /// Body too large.
    Body,
    /// Body not complete in time.
    BodyTime,
    /// Too many bytes of bodies being read at the same time.
    BodyBudget,
    /// Object key too long.
    Key,
    /// Idempotency key too long or not text.
    IdempotencyKey,
    /// Too many connections.
    Connections,
    /// Request head not complete in time.
    HeadTime,
    /// Not HTTP.
    Malformed,
    /// Admin: a host that is not ours.
    Host,
}

impl Rejection {
    /// All reasons, in the order of the enum.
    pub const ALL: [Self; 11] = [
        Self::Url,
        Self::Headers,
        Self::Body,
        Self::BodyTime,
        Self::BodyBudget,
        Self::Key,
        Self::IdempotencyKey,
        Self::Connections,
        Self::HeadTime,
        Self::Malformed,
        Self::Host,
    ];

    /// The label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::BodyTime => "body_time",
            Self::BodyBudget => "body_budget",
            Self::Key => "key",
            Self::IdempotencyKey => "idempotency_key",
            Self::Connections => "connections",
            Self::HeadTime => "head_time",
            Self::Malformed => "malformed",
            Self::Host => "host",
        }
    }
}

/// Counters of refusals, one per reason.
pub struct Rejections([Counter; Rejection::ALL.len()]);

impl Rejections {
    /// Counters of `door`, which is `ingress` or `admin`.
    #[must_use]
    pub fn new(door: &'static str) -> Self {
        Self(
            Rejection::ALL
                .map(|reason| counter!("abide_door_rejections_total", "door" => door, "reason" => reason.label())),
        )
    }

    /// Counts one.
    pub fn count(&self, reason: Rejection) {
        self.0[reason as usize].increment(1);
    }
}

/// Gauges of a door.
pub struct DoorMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Requests that are not answered yet.
    pub in_flight: Gauge,
}

impl DoorMetrics {
    /// Gauges of `door`, which is `ingress` or `admin`.
    #[must_use]
    pub fn new(door: &'static str) -> Self {
        Self {
            connections: gauge!("abide_door_connections", "door" => door),
            in_flight: gauge!("abide_door_requests_in_flight", "door" => door),
        }
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.in_flight.increment(1.0);
        InFlight(self.in_flight.clone())
    }
}

/// A request in flight.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Requests of one handler.
pub struct HandlerMetrics {
    classes: [Counter; 4],
    seconds: Histogram,
}

impl HandlerMetrics {
    /// Handles of a bound handler, or of [`UNKNOWN`].
    #[must_use]
    pub fn new(service: &str, handler: &str) -> Self {
        let class = |class: &'static str| {
            counter!("abide_ingress_requests_total",
                "service" => service.to_owned(), "handler" => handler.to_owned(), "class" => class)
        };
        Self {
            classes: [class("2xx"), class("4xx"), class("5xx"), class("other")],
            seconds: histogram!("abide_ingress_request_seconds",
                "service" => service.to_owned(), "handler" => handler.to_owned()),
        }
    }

    /// Counts a request that was answered with `status` after `elapsed`.
    pub fn answered(&self, status: u16, elapsed: Duration) {
        let class = match status {
            200..=299 => 0,
            400..=499 => 1,
            500..=599 => 2,
            _ => 3,
        };
        self.classes[class].increment(1);
        self.seconds.record(elapsed.as_secs_f64());
    }
}
