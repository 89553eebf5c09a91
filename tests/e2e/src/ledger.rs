//! The ledger: a file outside of the node that grows by a line each time that user code really runs. What it says is
//! synced, so it survives whatever happens to the process that wrote it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Environment variable that tells a program where its ledger is.
pub const LEDGER: &str = "E2E_LEDGER";

/// Writes a line, in the program. Returns when it is on the disk.
///
/// # Errors
/// When the file cannot be written, or [`LEDGER`] is not set.
pub fn write(line: &str) -> io::Result<()> {
    append(line)?.sync_data()
}

/// As [`write`], without waiting for the disk: the line outlives the process, not the machine.
///
/// # Errors
/// As [`write`].
pub fn note(line: &str) -> io::Result<()> {
    append(line).map(drop)
}

/// One system call, so that lines of several processes do not mix.
fn append(line: &str) -> io::Result<File> {
    let path = std::env::var_os(LEDGER).ok_or_else(|| io::Error::other("E2E_LEDGER is not set"))?;
    let mut file = OpenOptions::new().create(true).append(true).open(PathBuf::from(path))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(file)
}

/// The complete lines that begin with `prefix` and a blank, without it.
#[must_use]
pub fn read(path: &Path, prefix: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let of_prefix = |line: &str| line.strip_prefix(prefix)?.strip_prefix(' ').map(str::to_owned);
    complete.lines().filter_map(of_prefix).collect()
}
