//! What is measured on: the facts about the machine without which figures mean nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// Size of the record whose sync is timed, in bytes.
const RECORD_BYTES: usize = 200;
/// How many records are synced.
const RECORDS: usize = 200;

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// As the processor names itself.
    pub processor: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Load of the machine over the last minute when the measurement began.
    pub load_average: String,
}

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_mib: memory_kib / 1024,
            load_average: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Median time in µs of appending a 200-byte record to a file in `folder` and syncing its data.
///
/// # Errors
/// When the file cannot be written.
pub fn fsync_p50_us(folder: &Path) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("fsync-probe")).context("creating the file for the fsync probe")?;
    let record = [7_u8; RECORD_BYTES];
    let mut times = Vec::with_capacity(RECORDS);
    for _ in 0..RECORDS {
        let started = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[RECORDS / 2].as_secs_f64() * 1e6)
}
