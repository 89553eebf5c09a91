//! What the transport counts. The node's inventory takes the list over.

use metrics::{Counter, Gauge, counter, gauge};

use crate::{error::AskError, identity::NodeId, refusal::Refusal};

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name.
    pub name: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// The unit of its values.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn doc(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> MetricDoc {
    MetricDoc { name, kind, labels, unit, help }
}

const PEER: &[&str] = &["peer"];

/// All metrics of this crate. `peer` is the number of the other node.
pub const INVENTORY: &[MetricDoc] = &[
    doc(FRAMES_SENT, "counter", PEER, "frames", "One-way frames written to the node."),
    doc(BYTES_SENT, "counter", PEER, "bytes", "Bytes of these frames."),
    doc(BATCHES_SENT, "counter", PEER, "messages", "Messages these frames were written in."),
    doc(FRAMES_RECEIVED, "counter", PEER, "frames", "One-way frames of the node that were delivered."),
    doc(BYTES_RECEIVED, "counter", PEER, "bytes", "Bytes of these frames."),
    doc(
        DROPPED,
        "counter",
        &["peer", "reason"],
        "frames",
        "Frames that were not sent (full, not_connected, too_large, disconnected) or not delivered (old_boot, superseded, \
         banned). Raft sends again.",
    ),
    doc(QUEUE_BYTES, "gauge", PEER, "bytes", "Bytes of frames that wait to be written."),
    doc(CONNECTED, "gauge", PEER, "connections", "1 while frames and requests can be sent to the node."),
    doc(INBOUND, "gauge", &[], "connections", "Open connections that other nodes opened."),
    doc(CONNECTS, "counter", &["peer", "result"], "attempts", "Attempts to connect to the node, by `ok` and `failed`."),
    doc(
        ASKS,
        "counter",
        &["peer", "result"],
        "requests",
        "Requests to the node, by `ok`, `declined`, `not_sent`, `unknown`.",
    ),
    doc(REFUSALS, "counter", &["reason"], "handshakes", "Handshakes of others that this node refused."),
    doc(RELOAD_FAILURES, "counter", &[], "attempts", "Times that changed certificate files could not be used."),
];

const FRAMES_SENT: &str = "abide_peer_frames_sent_total";
const BYTES_SENT: &str = "abide_peer_bytes_sent_total";
const BATCHES_SENT: &str = "abide_peer_batches_sent_total";
const FRAMES_RECEIVED: &str = "abide_peer_frames_received_total";
const BYTES_RECEIVED: &str = "abide_peer_bytes_received_total";
const DROPPED: &str = "abide_peer_frames_dropped_total";
const QUEUE_BYTES: &str = "abide_peer_queue_bytes";
const CONNECTED: &str = "abide_peer_connected";
const INBOUND: &str = "abide_peer_inbound_connections";
const CONNECTS: &str = "abide_peer_connects_total";
const ASKS: &str = "abide_peer_asks_total";
const REFUSALS: &str = "abide_peer_handshakes_refused_total";
const RELOAD_FAILURES: &str = "abide_peer_certificate_reload_failures_total";

/// What is counted of frames, requests and connections to one node.
pub(crate) struct Outgoing {
    pub(crate) frames: Counter,
    pub(crate) bytes: Counter,
    pub(crate) batches: Counter,
    pub(crate) queue_bytes: Gauge,
    pub(crate) connected: Gauge,
    pub(crate) connects_ok: Counter,
    pub(crate) connects_failed: Counter,
    pub(crate) dropped_full: Counter,
    pub(crate) dropped_not_connected: Counter,
    pub(crate) dropped_too_large: Counter,
    pub(crate) dropped_disconnected: Counter,
    asks_ok: Counter,
    asks_declined: Counter,
    asks_not_sent: Counter,
    asks_unknown: Counter,
}

impl Outgoing {
    pub(crate) fn new(node: NodeId) -> Self {
        let peer = node.to_string();
        let dropped = |reason| counter!(DROPPED, "peer" => peer.clone(), "reason" => reason);
        let asks = |result| counter!(ASKS, "peer" => peer.clone(), "result" => result);
        Self {
            frames: counter!(FRAMES_SENT, "peer" => peer.clone()),
            bytes: counter!(BYTES_SENT, "peer" => peer.clone()),
            batches: counter!(BATCHES_SENT, "peer" => peer.clone()),
            queue_bytes: gauge!(QUEUE_BYTES, "peer" => peer.clone()),
            connected: gauge!(CONNECTED, "peer" => peer.clone()),
            connects_ok: counter!(CONNECTS, "peer" => peer.clone(), "result" => "ok"),
            connects_failed: counter!(CONNECTS, "peer" => peer.clone(), "result" => "failed"),
            dropped_full: dropped("full"),
            dropped_not_connected: dropped("not_connected"),
            dropped_too_large: dropped("too_large"),
            dropped_disconnected: dropped("disconnected"),
            asks_ok: asks("ok"),
            asks_declined: asks("declined"),
            asks_not_sent: asks("not_sent"),
            asks_unknown: asks("unknown"),
        }
    }

    pub(crate) fn asked<T>(&self, result: &Result<T, AskError>) {
        match result {
            Ok(_) => &self.asks_ok,
            Err(AskError::Declined(_)) => &self.asks_declined,
            Err(AskError::NotSent(_)) => &self.asks_not_sent,
            Err(AskError::Unknown(_)) => &self.asks_unknown,
        }
        .increment(1);
    }
}

/// What is counted of frames from one node.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) frames: Counter,
    pub(crate) bytes: Counter,
    pub(crate) dropped_old_boot: Counter,
    pub(crate) dropped_superseded: Counter,
    pub(crate) dropped_banned: Counter,
}

impl Incoming {
    pub(crate) fn new(node: NodeId) -> Self {
        let peer = node.to_string();
        let dropped = |reason| counter!(DROPPED, "peer" => peer.clone(), "reason" => reason);
        Self {
            frames: counter!(FRAMES_RECEIVED, "peer" => peer.clone()),
            bytes: counter!(BYTES_RECEIVED, "peer" => peer.clone()),
            dropped_old_boot: dropped("old_boot"),
            dropped_superseded: dropped("superseded"),
            dropped_banned: dropped("banned"),
        }
    }
}

/// Counts the open connections that others opened.
pub(crate) fn inbound() -> Gauge {
    gauge!(INBOUND)
}

pub(crate) fn refused(refusal: Refusal) {
    counter!(REFUSALS, "reason" => refusal.label()).increment(1);
}

pub(crate) fn tls_reload_failed() {
    counter!(RELOAD_FAILURES).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for metric in INVENTORY {
            assert!(metric.name.starts_with("abide_peer_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == "counter", "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
