//! Metrics of the archive: how old the newest snapshots are, and what it takes to make them.

use std::collections::BTreeMap;
use std::time::Duration;

use abide_model::id::PartitionId;
use abide_snapshot::Created;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles of the archive, made once.
pub struct ArchiveMetrics {
    made: Counter,
    failures: Counter,
    duration: Histogram,
    bytes: Counter,
    uploaded: Counter,
    reused: Counter,
    removed: Counter,
    ages: BTreeMap<PartitionId, Gauge>,
}

impl ArchiveMetrics {
    /// Handles for partitions `p0` to `p<partitions - 1>`, and for meta.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        let age = |id: PartitionId| (id, gauge!("abide_snapshot_age_seconds", "partition" => id.to_string()));
        Self {
            made: counter!("abide_snapshots_total"),
            failures: counter!("abide_snapshot_failures_total"),
            duration: histogram!("abide_snapshot_seconds"),
            bytes: counter!("abide_snapshot_uploaded_bytes_total"),
            uploaded: counter!("abide_snapshot_parts_total", "how" => "uploaded"),
            reused: counter!("abide_snapshot_parts_total", "how" => "reused"),
            removed: counter!("abide_snapshots_removed_total"),
            ages: (0..partitions).map(PartitionId).chain([PartitionId::META]).map(age).collect(),
        }
    }

    /// A snapshot was made.
    pub fn made(&self, duration: Duration, created: &Created) {
        self.made.increment(1);
        self.duration.record(duration);
        self.bytes.increment(created.uploaded_bytes);
        self.uploaded.increment(created.uploaded_parts);
        self.reused.increment(created.reused_parts);
    }

    /// One was not, or the store could not be read.
    pub fn failed(&self) {
        self.failures.increment(1);
    }

    /// Old ones were removed.
    pub fn removed(&self, count: usize) {
        self.removed.increment(count as u64);
    }

    /// How old the newest one of a partition is that this node leads; nothing for others.
    pub fn set_age(&self, partition: PartitionId, age: Duration) {
        if let Some(gauge) = self.ages.get(&partition) {
            gauge.set(age.as_secs_f64());
        }
    }
}
