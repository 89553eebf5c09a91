//! Metrics of the process, read from `/proc/self` when `/metrics` is asked for. Elsewhere than on Linux they are absent.

use std::fs;

use metrics::gauge;

/// Clock ticks per second of `/proc/self/stat`: a constant of the Linux interface (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Reads resident memory, processor time and open files.
pub fn observe_process() {
    if let Some(bytes) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes) {
        gauge!("abide_process_resident_bytes").set(bytes);
    }
    if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_seconds) {
        gauge!("abide_process_cpu_seconds").set(seconds);
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        gauge!("abide_process_open_files").set(files.count().saturating_sub(1) as f64);
    }
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field, the program's name in parentheses, may contain spaces; utime and stime are fields 14 and 15.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        assert_eq!(resident_bytes("VmPeak:\t 9 kB\nVmRSS:\t   2048 kB\n"), Some(2_097_152.0));
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(resident_bytes("VmRSS: many"), None);
    }
}
