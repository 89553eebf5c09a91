//! What the kernel counts about a process, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Clock ticks per second in `/proc/<pid>/stat`: a constant of the Linux interface (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;
/// Bytes of a sector in `/sys/dev/block/*/stat`, whatever the device's own are.
const SECTOR_BYTES: u64 = 512;

/// Counters of a process at one moment. Those that the kernel does not give are 0.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// CPU time in user mode in µs, in steps of 10 ms.
    pub user_us: u64,
    /// CPU time in the kernel in µs, in steps of 10 ms.
    pub system_us: u64,
    /// Bytes that the process caused to be sent to a disk.
    pub write_bytes: u64,
    /// Times that a thread gave up the CPU to wait.
    pub waits: u64,
    /// CPU time in ns by the name of the thread; threads of a pool are one.
    pub threads: BTreeMap<String, u64>,
}

impl Reading {
    /// Reads the counters of `pid`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let (user_us, system_us) = cpu_us(&read(&format!("/proc/{pid}/stat"))).unwrap_or_default();
        let write_bytes = field(&read(&format!("/proc/{pid}/io")), "write_bytes:").unwrap_or_default();
        let (mut threads, mut waits) = (BTreeMap::new(), 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let file = |name: &str| read(&task.path().join(name).display().to_string());
            let on_cpu = file("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
            *threads.entry(pool(&file("comm"))).or_default() += on_cpu;
            waits += field(&file("status"), "voluntary_ctxt_switches:").unwrap_or_default();
        }
        Self { user_us, system_us, write_bytes, waits, threads }
    }

    /// CPU time in µs.
    #[must_use]
    pub fn cpu_us(&self) -> u64 {
        self.user_us + self.system_us
    }
}

/// Highest resident memory of a process in bytes, since its start.
#[must_use]
pub fn peak_rss_bytes(pid: u32) -> u64 {
    field(&read(&format!("/proc/{pid}/status")), "VmHWM:").unwrap_or_default() * 1024
}

/// The block device under a folder, and what was written to it by everyone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// `major:minor`.
    pub number: String,
}

impl Device {
    /// The device of `path`, if it is a block device whose counters the kernel shows.
    #[must_use]
    pub fn under(path: &Path) -> Option<Self> {
        let number = fs::metadata(path).ok()?.dev();
        // As glibc encodes device numbers.
        let major = ((number >> 8) & 0xfff) | ((number >> 32) & !0xfff);
        let minor = (number & 0xff) | ((number >> 12) & !0xff);
        let device = Self { number: format!("{major}:{minor}") };
        device.written().map(|_| device)
    }

    /// Bytes written to the device since the machine started.
    #[must_use]
    pub fn written(&self) -> Option<u64> {
        let stat = fs::read_to_string(format!("/sys/dev/block/{}/stat", self.number)).ok()?;
        let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
        Some(sectors * SECTOR_BYTES)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_us(stat: &str) -> Option<(u64, u64)> {
    // The second field, the program's name in parentheses, may contain spaces; utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || Some(fields.next()?.parse::<u64>().ok()? * (1_000_000 / TICKS_PER_SECOND));
    Some((ticks()?, ticks()?))
}

/// The name of a thread without its number in a pool.
fn pool(name: &str) -> String {
    name.trim().trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '#']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(cpu_us(stat), Some((1_500_000, 500_000)));
        assert_eq!(cpu_us(""), None);
        assert_eq!(field("a: 1\nwrite_bytes: 4096\n", "write_bytes:"), Some(4096));
        assert_eq!(field("VmHWM:\t  2048 kB\n", "VmHWM:"), Some(2048));
        assert_eq!(pool("abide-handlers-\n"), "abide-handlers");
        assert_eq!(pool("fjall:worker#12"), "fjall:worker");
    }

    #[test]
    fn this_process_has_counters() {
        let reading = Reading::of(std::process::id());
        assert!(!reading.threads.is_empty());
        assert!(peak_rss_bytes(std::process::id()) > 0);
    }
}
