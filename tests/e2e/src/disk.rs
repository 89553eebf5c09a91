//! A slow disk: a library that is preloaded into a program and waits in `fsync` and `fdatasync`, as long as a file says.
//! It can be turned on and off while the program runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Environment variable that tells the library where the file is.
const CONTROL: &str = "E2E_SLOW_SYNC";

/// The library, compiled.
#[derive(Clone, Debug)]
pub struct SlowDisk {
    library: PathBuf,
}

impl SlowDisk {
    /// Compiles it into `folder`. `None` without a C compiler.
    ///
    /// # Panics
    /// When the compiler does not like it.
    #[must_use]
    pub fn build(folder: &Path) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/slow_sync.c");
        let library = folder.join("slow_sync.so");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        let status = command.status().ok()?;
        assert!(status.success(), "cc: {status}");
        Some(Self { library })
    }

    /// Environment of a program whose disk obeys `control`.
    #[must_use]
    pub fn environment(&self, control: &Path) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", self.library.display().to_string()), (CONTROL, control.display().to_string())]
    }

    /// From now on each sync takes that much longer.
    ///
    /// # Panics
    /// When `control` cannot be written.
    pub fn set(control: &Path, delay: Duration) {
        // At once: a file that is half written says something else.
        let new = control.with_extension("new");
        fs::write(&new, delay.as_millis().to_string()).unwrap();
        fs::rename(new, control).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn syncs_take_as_long_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = SlowDisk::build(folder.path()) else {
            return crate::report("skipped: no C compiler");
        };
        let control = folder.path().join("control");
        let sync = || {
            let begun = Instant::now();
            let file = folder.path().join("file");
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "count=1", "conv=fsync"]).arg(format!("of={}", file.display()));
            assert!(command.envs(disk.environment(&control)).output().unwrap().status.success());
            begun.elapsed()
        };
        sync();
        SlowDisk::set(&control, Duration::from_millis(700));
        assert!(sync() >= Duration::from_millis(700));
        SlowDisk::set(&control, Duration::ZERO);
        assert!(sync() < Duration::from_millis(700));
    }
}
