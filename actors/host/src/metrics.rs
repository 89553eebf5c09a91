//! Metrics of the host. Prefix `abide_host_`. Labels are closed sets: services and handlers of the registry, and the
//! fixed words below; never a key.
//!
//! Handles are made once, when the host starts: install the process's recorder before that.

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use abide_sdk::service::ServiceDescriptor;

/// A metric as people find it in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Full name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts or measures in; empty for plain numbers.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

const ACTIVATIONS: &str = "abide_host_activations";
const ACTIVATED: &str = "abide_host_activated_total";
const PASSIVATED: &str = "abide_host_passivated_total";
const EVICTED: &str = "abide_host_evicted_total";
const MAILBOX_DEPTH: &str = "abide_host_mailbox_depth";
const LOCAL_QUEUE_DEPTH: &str = "abide_host_local_queue_depth";
const DIRECT_CALLS: &str = "abide_host_direct_calls_total";
const TURN_SECONDS: &str = "abide_host_turn_seconds";
const FLOWS_ACTIVE: &str = "abide_host_flows_active";
const FLOW_ATTEMPTS: &str = "abide_host_flow_attempts_total";
const FLOW_SUSPENSIONS: &str = "abide_host_flow_suspensions_total";
const ATTEMPT_FAILURES: &str = "abide_host_attempt_failures_total";
const SPECULATION_REJECTED: &str = "abide_host_speculation_rejected_total";
const OVERLOADED: &str = "abide_host_overload_rejections_total";

/// All metrics of this crate.
pub const INVENTORY: &[MetricDoc] = &[
    doc(ACTIVATIONS, "gauge", &["shard"], "objects", "Objects in memory."),
    doc(ACTIVATED, "counter", &[], "objects", "Objects that were brought into memory."),
    doc(PASSIVATED, "counter", &[], "objects", "Objects that left memory because they were idle."),
    doc(EVICTED, "counter", &[], "objects", "Objects that left memory before their time to make room for others."),
    doc(MAILBOX_DEPTH, "gauge", &["shard"], "calls", "Direct calls that wait for a handler thread."),
    doc(
        LOCAL_QUEUE_DEPTH,
        "gauge",
        &["shard"],
        "calls",
        "Direct calls that wait for their object's state. Sampled when idle objects are looked for.",
    ),
    doc(
        DIRECT_CALLS,
        "counter",
        &["result"],
        "calls",
        "Direct calls by what became of them: turn (ran, proposed), read (ran, no record), queued (placed in the \
         mailbox), failed (its attempt failed), refused.",
    ),
    doc(TURN_SECONDS, "histogram", &["service", "handler"], "seconds", "Execution of one turn or read by user code."),
    doc(FLOWS_ACTIVE, "gauge", &["shard"], "flows", "Attempts of flows in memory."),
    doc(FLOW_ATTEMPTS, "counter", &[], "attempts", "Attempts of flows that were started."),
    doc(FLOW_SUSPENSIONS, "counter", &[], "attempts", "Attempts of flows that were put away because they only waited."),
    doc(
        ATTEMPT_FAILURES,
        "counter",
        &["kind"],
        "attempts",
        "Attempts of turns and flows that ended without a result: panic, mismatch (journal or code), error, no-code (of the pinned version).",
    ),
    doc(
        SPECULATION_REJECTED,
        "counter",
        &[],
        "activations",
        "Activations that were void because a turn ran on a state that was not committed in the end.",
    ),
    doc(
        OVERLOADED,
        "counter",
        &["bound"],
        "calls",
        "Direct calls that were refused at a bound: mailbox (of a thread), object, log (the partition's queue).",
    ),
];

const fn doc(
    name: &'static str,
    kind: &'static str,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> MetricDoc {
    MetricDoc { name, kind, labels, unit, help }
}

/// Why an attempt failed, as far as metrics tell causes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Panic,
    Mismatch,
    Error,
    NoCode,
}

/// Handles of one shard.
pub(crate) struct ShardMetrics {
    pub(crate) activations: Gauge,
    pub(crate) activated: Counter,
    pub(crate) passivated: Counter,
    pub(crate) evicted: Counter,
    pub(crate) mailbox_depth: Gauge,
    pub(crate) local_queue_depth: Gauge,
    pub(crate) calls_turn: Counter,
    pub(crate) calls_read: Counter,
    pub(crate) calls_queued: Counter,
    pub(crate) calls_failed: Counter,
    pub(crate) calls_refused: Counter,
    pub(crate) flows_active: Gauge,
    pub(crate) flow_attempts: Counter,
    pub(crate) flow_suspensions: Counter,
    pub(crate) speculation_rejected: Counter,
    pub(crate) overloaded_object: Counter,
    pub(crate) overloaded_log: Counter,
    failures: [Counter; 4],
}

impl ShardMetrics {
    pub(crate) fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        Self {
            activations: gauge!(ACTIVATIONS, "shard" => shard.clone()),
            activated: counter!(ACTIVATED),
            passivated: counter!(PASSIVATED),
            evicted: counter!(EVICTED),
            mailbox_depth: gauge!(MAILBOX_DEPTH, "shard" => shard.clone()),
            local_queue_depth: gauge!(LOCAL_QUEUE_DEPTH, "shard" => shard.clone()),
            calls_turn: counter!(DIRECT_CALLS, "result" => "turn"),
            calls_read: counter!(DIRECT_CALLS, "result" => "read"),
            calls_queued: counter!(DIRECT_CALLS, "result" => "queued"),
            calls_failed: counter!(DIRECT_CALLS, "result" => "failed"),
            calls_refused: counter!(DIRECT_CALLS, "result" => "refused"),
            flows_active: gauge!(FLOWS_ACTIVE, "shard" => shard),
            flow_attempts: counter!(FLOW_ATTEMPTS),
            flow_suspensions: counter!(FLOW_SUSPENSIONS),
            speculation_rejected: counter!(SPECULATION_REJECTED),
            overloaded_object: counter!(OVERLOADED, "bound" => "object"),
            overloaded_log: counter!(OVERLOADED, "bound" => "log"),
            failures: ["panic", "mismatch", "error", "no-code"].map(|kind| counter!(ATTEMPT_FAILURES, "kind" => kind)),
        }
    }

    pub(crate) fn attempt_failed(&self, kind: FailureKind) {
        let index = match kind {
            FailureKind::Panic => 0,
            FailureKind::Mismatch => 1,
            FailureKind::NoCode => 3,
            FailureKind::Error => 2,
        };
        self.failures[index].increment(1);
    }
}

/// The counter of direct calls that find a thread's mailbox full.
pub(crate) fn overloaded_mailbox() -> Counter {
    counter!(OVERLOADED, "bound" => "mailbox")
}

/// Handles of one service, by handler number.
pub(crate) struct ServiceMetrics {
    turns: Vec<Histogram>,
}

impl ServiceMetrics {
    pub(crate) fn new(service: &ServiceDescriptor) -> Self {
        let histogram = |handler: &str| histogram!(TURN_SECONDS, "service" => service.name.clone(), "handler" => handler.to_owned());
        Self { turns: service.handlers.iter().map(|handler| histogram(&handler.name)).collect() }
    }

    pub(crate) fn turn(&self, handler: usize, took: Duration) {
        self.turns[handler].record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_kind_and_help() {
        for metric in INVENTORY {
            assert!(metric.name.starts_with("abide_host_"), "{}", metric.name);
            assert_eq!(metric.kind == "counter", metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.is_empty() && !metric.unit.is_empty(), "{}", metric.name);
        }
    }
}
