//! The catalogue of all metrics of a node's process.

use Kind::{Counter, Gauge, Histogram};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A present value.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    /// The word of the Prometheus text format.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// The unit of its values.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn doc(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    unit: &'static str,
    help: &'static str,
) -> MetricDoc {
    MetricDoc { name, kind, labels, unit, help }
}

const HANDLER: &[&str] = &["service", "handler"];
const DOOR: &[&str] = &["door"];
const PARTITION: &[&str] = &["partition"];

/// All metrics of the process: those of the node, then those of the host and of the transport between nodes.
pub const INVENTORY: &[MetricDoc] = &ALL;

const HOST: &[abide_host::metrics::MetricDoc] = abide_host::metrics::INVENTORY;
const PEERS: &[abide_peer::metrics::MetricDoc] = abide_peer::metrics::INVENTORY;

const ALL: [MetricDoc; NODE.len() + HOST.len() + PEERS.len()] = {
    let mut all = [NODE[0]; NODE.len() + HOST.len() + PEERS.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < NODE.len() {
            NODE[at]
        } else if at < NODE.len() + HOST.len() {
            let of = &HOST[at - NODE.len()];
            doc(of.name, kind(of.kind), of.labels, of.unit, of.help)
        } else {
            let of = &PEERS[at - NODE.len() - HOST.len()];
            doc(of.name, kind(of.kind), of.labels, of.unit, of.help)
        };
        at += 1;
    }
    all
};

const fn kind(word: &str) -> Kind {
    match word.as_bytes() {
        b"counter" => Counter,
        b"gauge" => Gauge,
        b"histogram" => Histogram,
        _ => panic!("there are three kinds of metrics"),
    }
}

/// The metrics of this crate, by duty.
#[rustfmt::skip]
const NODE: &[MetricDoc] = &[
    doc("abide_build_info", Gauge, &["version"], "", "Always 1; the label is the version of the node."),
    doc("abide_process_resident_bytes", Gauge, &[], "bytes", "Resident memory of the process."),
    doc("abide_process_cpu_seconds", Gauge, &[], "seconds", "Processor time of the process since its start, user and system."),
    doc("abide_process_open_files", Gauge, &[], "files", "Open file descriptors of the process."),

    doc("abide_door_connections", Gauge, DOOR, "connections", "Open connections."),
    doc("abide_door_requests_in_flight", Gauge, DOOR, "requests", "Requests that are not answered yet."),
    doc("abide_door_rejections_total", Counter, &["door", "reason"], "requests", "Requests and connections turned away before they reached the engine. Reasons: url, headers, body, body_time, body_budget, key, idempotency_key, connections, head_time, malformed, host."),
    doc("abide_ingress_requests_total", Counter, &["service", "handler", "class"], "requests", "Answered ingress requests by class of the status code (2xx, 4xx, 5xx, other). Operations that are not invocations have the service `restate`; what is not bound is `unknown`."),
    doc("abide_ingress_request_seconds", Histogram, HANDLER, "seconds", "Time from the complete request head to the answer; for calls it includes waiting for the result."),
    doc("abide_requests_rate_limited_total", Counter, HANDLER, "requests", "Requests from outside that a rate limit of their service, handler or key refused."),

    doc("abide_commands_proposed_total", Counter, &[], "commands", "Commands put into the logs."),
    doc("abide_commands_applied_total", Counter, &[], "commands", "Commands applied to the tables."),
    doc("abide_log_entries_proposed_total", Counter, &[], "entries", "Log entries proposed; each carries a batch of commands."),
    doc("abide_log_entry_commands", Histogram, &[], "commands", "Commands per log entry. Large batches make commands cheap."),
    doc("abide_log_fsync_commands", Histogram, &[], "commands", "Commands made durable by one fsync."),
    doc("abide_log_fsync_seconds", Histogram, &[], "seconds", "Time of one write of the logs with its fsync."),
    doc("abide_disk_slow", Gauge, &[], "", "1 while the disk of the logs is too slow to lead with, and until it has been well for ten seconds: leaders go to other nodes."),
    doc("abide_commit_seconds", Histogram, &[], "seconds", "Time from a command's proposal to its application on this node."),
    doc("abide_apply_lag_entries", Gauge, PARTITION, "entries", "Committed log entries that are not applied yet."),
    doc("abide_overlay_bytes", Gauge, PARTITION, "bytes", "Applied changes in memory that are not checkpointed."),
    doc("abide_checkpoints_total", Counter, &[], "checkpoints", "Checkpoints written."),
    doc("abide_checkpoint_seconds", Histogram, &[], "seconds", "Time of one checkpoint."),
    doc("abide_log_entries_trimmed_total", Counter, &[], "entries", "Log entries removed behind a checkpoint."),
    doc("abide_timers_due", Gauge, PARTITION, "timers", "Timers that are due and have not fired."),
    doc("abide_timers_fired_total", Counter, &[], "timers", "Timers that fired."),
    doc("abide_timer_late_seconds", Histogram, &[], "seconds", "How long after its due time a timer fired."),
    doc("abide_outbox_messages", Gauge, PARTITION, "messages", "Messages that other partitions have not taken yet."),
    doc("abide_dead_letters", Gauge, PARTITION, "letters", "One-way invocations that failed and wait for an operator: `GET /deadletters` lists them."),
    doc("abide_partition_leader", Gauge, PARTITION, "", "1 where this node leads the partition."),
    doc("abide_partition_term", Gauge, PARTITION, "", "The partition's term; it grows with every election."),
    doc("abide_log_entries", Gauge, PARTITION, "entries", "Entries in the partition's log."),
    doc("abide_follower_lag_entries", Gauge, PARTITION, "entries", "Entries that the slowest follower lacks, where this node leads."),
    doc("abide_replica_divergence_total", Counter, PARTITION, "findings", "Findings that a replica of this node differs from others of its group. Any is an alarm: one that a majority contradicts is rebuilt."),
    doc("abide_raft_messages_dropped_total", Counter, &["reason"], "messages", "Messages of other replicas that were not taken: unsound ones, and those that had no room (full)."),
    doc("abide_invocations_completed_total", Counter, &["service", "handler", "outcome"], "invocations", "Invocations that ended; the outcome is success or failure."),

    doc("abide_attempts_lent_total", Counter, &[], "attempts", "Attempts of flows that this node, as leader, had another node run, because that one has their code."),
    doc("abide_attempts_borrowed", Gauge, &[], "attempts", "Attempts that run here for other leaders."),

    doc("abide_snapshot_age_seconds", Gauge, PARTITION, "seconds", "Age of the newest snapshot of a partition that this node leads, or how long it leads it without there being one; 0 for what it does not lead. Alarm: more than three intervals."),
    doc("abide_snapshots_total", Counter, &[], "snapshots", "Snapshots made, each verified after its upload."),
    doc("abide_snapshot_failures_total", Counter, &[], "attempts", "Snapshots that were not made, and attempts to read the store that failed."),
    doc("abide_snapshot_seconds", Histogram, &[], "seconds", "Time of one snapshot, from the state in hand to the moved pointer."),
    doc("abide_snapshot_uploaded_bytes_total", Counter, &[], "bytes", "Bytes of parts that were sent."),
    doc("abide_snapshot_parts_total", Counter, &["how"], "parts", "Parts of snapshots: uploaded, or reused because the store had them."),
    doc("abide_snapshots_removed_total", Counter, &[], "snapshots", "Snapshots removed because there are enough newer ones."),
];

/// [`INVENTORY`] as a Markdown page. `ops/metrics.md` is a copy.
#[must_use]
pub fn inventory_table() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         `GET /metrics` of the admin port, in the Prometheus text format. This page is made from the table in the code; a\n\
         test compares the two.\n\n\
         | name | kind | labels | unit | meaning |\n|---|---|---|---|---|\n",
    );
    for doc in INVENTORY {
        out.push_str(&format!(
            "| `{}` | {} | {} | {} | {} |\n",
            doc.name,
            doc.kind.word(),
            doc.labels.join(", "),
            doc.unit,
            doc.help
        ));
    }
    out
}
