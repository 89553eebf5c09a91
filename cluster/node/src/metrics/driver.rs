//! Metrics of the driver: the way of commands through log, disk and tables.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use abide_model::id::PartitionId;
use abide_partition::{Dropped, Stats};
use abide_sdk::Registry;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::UNKNOWN;

/// Handles of the driver, made once.
pub struct DriverMetrics {
    proposed: Counter,
    applied: Counter,
    entries: Counter,
    entry_commands: Histogram,
    fsync_commands: Histogram,
    fsync: Histogram,
    commit: Histogram,
    checkpoints: Counter,
    checkpoint: Histogram,
    trimmed: Counter,
    timers_fired: Counter,
    timer_late: Histogram,
    attempts_lent: Counter,
    attempts_borrowed: Gauge,
    disk_slow: Gauge,
    partitions: BTreeMap<PartitionId, PartitionGauges>,
}

struct PartitionGauges {
    apply_lag: Gauge,
    overlay_bytes: Gauge,
    timers_due: Gauge,
    outbox: Gauge,
    letters: Gauge,
    leader: Gauge,
    term: Gauge,
    log_entries: Gauge,
    follower_lag: Gauge,
}

impl DriverMetrics {
    /// Handles for partitions `p0` to `p<partitions - 1>`, and for meta.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let gauges = |partition: PartitionId| {
            let partition = partition.to_string();
            PartitionGauges {
                apply_lag: gauge!("abide_apply_lag_entries", "partition" => partition.clone()),
                overlay_bytes: gauge!("abide_overlay_bytes", "partition" => partition.clone()),
                timers_due: gauge!("abide_timers_due", "partition" => partition.clone()),
                outbox: gauge!("abide_outbox_messages", "partition" => partition.clone()),
                letters: gauge!("abide_dead_letters", "partition" => partition.clone()),
                leader: gauge!("abide_partition_leader", "partition" => partition.clone()),
                term: gauge!("abide_partition_term", "partition" => partition.clone()),
                log_entries: gauge!("abide_log_entries", "partition" => partition.clone()),
                follower_lag: gauge!("abide_follower_lag_entries", "partition" => partition),
            }
        };
        Self {
            proposed: counter!("abide_commands_proposed_total"),
            applied: counter!("abide_commands_applied_total"),
            entries: counter!("abide_log_entries_proposed_total"),
            entry_commands: histogram!("abide_log_entry_commands"),
            fsync_commands: histogram!("abide_log_fsync_commands"),
            fsync: histogram!("abide_log_fsync_seconds"),
            commit: histogram!("abide_commit_seconds"),
            checkpoints: counter!("abide_checkpoints_total"),
            checkpoint: histogram!("abide_checkpoint_seconds"),
            trimmed: counter!("abide_log_entries_trimmed_total"),
            timers_fired: counter!("abide_timers_fired_total"),
            timer_late: histogram!("abide_timer_late_seconds"),
            attempts_lent: counter!("abide_attempts_lent_total"),
            attempts_borrowed: gauge!("abide_attempts_borrowed"),
            disk_slow: gauge!("abide_disk_slow"),
            partitions: (0..partitions)
                .map(PartitionId)
                .chain([PartitionId::META])
                .map(|partition| (partition, gauges(partition)))
                .collect(),
        }
    }

    /// An entry of `commands` commands was proposed.
    pub fn entry_proposed(&self, commands: usize) {
        self.entries.increment(1);
        self.proposed.increment(commands as u64);
        self.entry_commands.record(commands as f64);
    }

    /// `commands` commands were applied.
    pub fn applied(&self, commands: usize) {
        self.applied.increment(commands as u64);
    }

    /// The log was forced to disk, with `commands` commands that were not on it before.
    pub fn synced(&self, commands: usize, elapsed: Duration) {
        self.fsync.record(elapsed.as_secs_f64());
        self.fsync_commands.record(commands as f64);
    }

    /// A command was applied this long after it was proposed here.
    pub fn committed(&self, elapsed: Duration) {
        self.commit.record(elapsed.as_secs_f64());
    }

    /// The overlay was written out.
    pub fn checkpointed(&self, elapsed: Duration) {
        self.checkpoints.increment(1);
        self.checkpoint.record(elapsed.as_secs_f64());
    }

    /// `entries` log entries were removed behind a checkpoint.
    pub fn trimmed(&self, entries: u64) {
        self.trimmed.increment(entries);
    }

    /// A timer fired this long after it was due.
    pub fn timer_fired(&self, late: Duration) {
        self.timers_fired.increment(1);
        self.timer_late.record(late.as_secs_f64());
    }

    /// Whether the log's disk is too slow to lead with.
    pub fn set_disk_slow(&self, slow: bool) {
        self.disk_slow.set(f64::from(u8::from(slow)));
    }

    /// How a replica is.
    pub fn set_replica(&self, partition: PartitionId, stats: &Stats) {
        self.set(partition, |gauges| &gauges.apply_lag, stats.committed.saturating_sub(stats.applied));
        self.set(partition, |gauges| &gauges.overlay_bytes, stats.overlay_bytes as u64);
        self.set(partition, |gauges| &gauges.outbox, stats.unacknowledged);
        self.set(partition, |gauges| &gauges.leader, u64::from(stats.leading));
        self.set(partition, |gauges| &gauges.term, stats.term);
        self.set(partition, |gauges| &gauges.log_entries, stats.last + 1 - stats.first);
        let slowest = stats.progress.iter().map(|progress| stats.last.saturating_sub(progress.matched)).max();
        self.set(partition, |gauges| &gauges.follower_lag, slowest.unwrap_or(0));
    }

    /// A replica differs from others of its group.
    pub fn diverged(&self, partition: PartitionId) {
        counter!("abide_replica_divergence_total", "partition" => partition.to_string()).increment(1);
    }

    /// A message of another replica was not taken.
    pub fn message_dropped(&self, dropped: Dropped) {
        counter!("abide_raft_messages_dropped_total", "reason" => dropped.label()).increment(1);
    }

    /// Timers that are due and have not fired.
    pub fn set_timers_due(&self, partition: PartitionId, timers: u64) {
        self.set(partition, |gauges| &gauges.timers_due, timers);
    }

    /// Dead letters of the partition.
    pub fn set_letters(&self, partition: PartitionId, letters: u64) {
        self.set(partition, |gauges| &gauges.letters, letters);
    }

    /// Another node is asked to run an attempt.
    pub fn attempt_lent(&self) {
        self.attempts_lent.increment(1);
    }

    /// So many attempts run here for others.
    #[expect(clippy::cast_precision_loss, reason = "a count of tasks in memory")]
    pub fn set_attempts_borrowed(&self, count: usize) {
        self.attempts_borrowed.set(count as f64);
    }

    /// A partition that this node does not know is not counted.
    fn set(&self, partition: PartitionId, gauge: impl Fn(&PartitionGauges) -> &Gauge, value: u64) {
        if let Some(gauges) = self.partitions.get(&partition) {
            gauge(gauges).set(value as f64);
        }
    }
}

/// How an invocation ended.
#[derive(Clone, Copy)]
struct Outcomes<'a>(&'a str, &'a str);

impl Outcomes<'_> {
    fn counters(self) -> [Counter; 2] {
        let Self(service, handler) = self;
        ["success", "failure"].map(|outcome| {
            counter!("abide_invocations_completed_total",
                "service" => service.to_owned(), "handler" => handler.to_owned(), "outcome" => outcome)
        })
    }
}

/// Counters of completed invocations by handler.
pub struct Completions {
    services: HashMap<String, HashMap<String, [Counter; 2]>>,
    unknown: [Counter; 2],
}

impl Completions {
    /// Counters of every bound handler.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let services = registry.services().map(|service| {
            let service = service.descriptor();
            let handlers = service
                .handlers
                .iter()
                .map(|handler| (handler.name.clone(), Outcomes(&service.name, &handler.name).counters()));
            (service.name.clone(), handlers.collect())
        });
        Self { services: services.collect(), unknown: Outcomes(UNKNOWN, UNKNOWN).counters() }
    }

    /// Counts the end of an invocation.
    pub fn count(&self, service: &str, handler: &str, success: bool) {
        let counters = self.services.get(service).and_then(|handlers| handlers.get(handler)).unwrap_or(&self.unknown);
        counters[usize::from(!success)].increment(1);
    }
}
