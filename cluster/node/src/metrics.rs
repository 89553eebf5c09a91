//! Metrics of the node: every name with its meaning, and typed handles for those who count.
//!
//! Prefix `abide_`. Labels are closed sets (services, handlers, classes, reasons, partitions), never keys or ids: what
//! is not a bound service is counted as `unknown`. Handles are made once and kept by who counts, because finding one by
//! its labels costs more than counting. `ops/metrics.md` is made from [`INVENTORY`].

mod archive;
mod door;
mod driver;
mod inventory;
mod process;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::shutdown::Stop;
pub use archive::ArchiveMetrics;
pub use door::{DoorMetrics, HandlerMetrics, InFlight, Rejection, Rejections, UNKNOWN};
pub use driver::{Completions, DriverMetrics};
pub use inventory::{INVENTORY, Kind, MetricDoc, inventory_table};
pub use process::observe_process;

/// Bounds of the duration histograms in seconds: a step alone takes some 100 µs, a request under load a few ms.
pub const SECONDS_BUCKETS: &[f64] =
    &[50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Bounds of the batch size histograms, in commands.
pub const COMMANDS_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

/// How often samples are folded into the histograms. Until then each takes memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The process's Prometheus recorder: made and described on the first call, shared by all nodes of the process.
///
/// When the embedding program has installed a recorder of its own, that one receives the metrics, and this one renders
/// an empty page.
pub fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)
            .and_then(|builder| {
                builder.set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), COMMANDS_BUCKETS)
            })
            .expect("the lists of bounds are not empty")
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::info!("metrics go to the recorder of the embedding program; /metrics stays empty");
        }
        describe();
        metrics::gauge!("abide_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        handle
    })
}

/// Folds samples into the histograms until `stop` is requested. Without it their memory grows between two scrapes.
pub async fn upkeep(stop: Stop) {
    let handle = recorder();
    loop {
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => handle.run_upkeep(),
        }
    }
}

/// The page of `/metrics`, in the Prometheus text format.
#[must_use]
pub fn render(handle: &PrometheusHandle) -> String {
    observe_process();
    handle.render()
}

fn describe() {
    for doc in INVENTORY {
        let unit = match doc.unit {
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            _ => Unit::Count,
        };
        match doc.kind {
            Kind::Counter => describe_counter!(doc.name, unit, doc.help),
            Kind::Gauge => describe_gauge!(doc.name, unit, doc.help),
            Kind::Histogram => describe_histogram!(doc.name, unit, doc.help),
        }
    }
}

#[cfg(test)]
mod tests;
