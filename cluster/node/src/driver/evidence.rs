//! What is kept for people of a replica that was found to be wrong: its rows and its last entries, as readable lines.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use abide_storage::{Export, LogEntry};
use bytes::Bytes;

/// Bytes of rows that are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// Writes the evidence into a folder of its own, beside everything else. A failure is reported, and changes nothing.
pub(super) fn save(folder: Option<&Path>, name: &str, rows: Export, entries: Vec<LogEntry>) {
    let Some(folder) = folder.map(|folder| folder.join(name)) else { return };
    let spawned = std::thread::Builder::new().name("abide-evidence".into()).spawn(move || {
        match write(&folder, &rows, &entries) {
            Ok(()) => tracing::error!(folder = %folder.display(), "the evidence is saved"),
            Err(error) => tracing::error!(%error, folder = %folder.display(), "the evidence is not saved"),
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the evidence is not saved");
    }
}

fn write(folder: &PathBuf, rows: &Export, entries: &[LogEntry]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut out = BufWriter::new(File::create(folder.join("rows.txt"))?);
    let mut after: Option<Bytes> = None;
    loop {
        let page = rows.page(after.as_deref(), PAGE_BYTES).map_err(io::Error::other)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (key, value) in &page {
            writeln!(out, "{} {}", hex(key), hex(value))?;
        }
    }
    out.flush()?;
    let mut out = BufWriter::new(File::create(folder.join("entries.txt"))?);
    for entry in entries {
        writeln!(out, "{} {} {:?} {}", entry.index, entry.term, entry.kind, hex(&entry.data))?;
    }
    out.flush()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
