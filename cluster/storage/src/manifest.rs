//! `MANIFEST`: which journal files the log had when it was last looked at.
//!
//! The engine starts empty without complaint when its journals are gone, so the log writes down which ones it has: when
//! it is created, opened and closed, and after the commit that notices a change. Rotation adds a number at the top,
//! eviction takes away the lowest ones.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{StorageError, files};

const NAME: &str = "MANIFEST";
const FORMAT: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u8,
    /// False until the log is completely created. Nothing was acknowledged before.
    pub(crate) ready: bool,
    /// Lowest journal number.
    pub(crate) lowest: u64,
    /// Highest journal number: the file that was being written.
    pub(crate) highest: u64,
}

impl Manifest {
    /// The manifest of a log that is about to be created.
    pub(crate) fn creating() -> Self {
        Self { format: FORMAT, ready: false, lowest: 0, highest: 0 }
    }

    /// The manifest of a log with these journals, in order: the highest ones without a gap. What lies below a gap was
    /// deleted before, and a power cut brought it back.
    pub(crate) fn of(journals: &[u64]) -> Option<Self> {
        let highest = *journals.last()?;
        let pairs = journals.windows(2).rev();
        let lowest = pairs.take_while(|pair| pair[1] == pair[0] + 1).last().map_or(highest, |pair| pair[0]);
        Some(Self::ready(lowest, highest))
    }

    /// The manifest of a log with the journals `lowest..=highest`.
    pub(crate) fn ready(lowest: u64, highest: u64) -> Self {
        Self { format: FORMAT, ready: true, lowest, highest }
    }

    /// Reads the manifest next to the log, `None` if there is none.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>, StorageError> {
        let path = root.join(NAME);
        let Some(content) = files::read_optional(&path).map_err(|error| StorageError::io("read", &path, error))? else {
            return Ok(None);
        };
        let format = serde_json::from_slice::<Format>(&content).map(|found| found.format);
        if let Ok(found) = format
            && found > FORMAT
        {
            return Err(StorageError::UnknownFormat { row: NAME, found, known: FORMAT });
        }
        serde_json::from_slice(&content)
            .map(Some)
            .map_err(|error| StorageError::GuardDamaged { path, reason: error.to_string() })
    }

    /// Replaces the manifest durably.
    pub(crate) fn write(&self, root: &Path) -> Result<(), StorageError> {
        let path = root.join(NAME);
        let content = serde_json::to_vec(self).expect("numbers are valid JSON");
        files::write_atomic(&path, &content).map_err(|error| StorageError::io("write", &path, error))
    }

    /// The error for a log without a manifest.
    pub(crate) fn missing(root: &Path) -> StorageError {
        StorageError::GuardDamaged { path: root.join(NAME), reason: "it is missing although there is a log".into() }
    }
}

#[derive(Deserialize)]
struct Format {
    format: u8,
}

/// Numbers of the journal files of an engine, in order.
pub(crate) fn journals(engine: &Path) -> Result<Vec<u64>, StorageError> {
    let io = |error| StorageError::io("list", engine, error);
    let mut ids = Vec::new();
    for file in fs::read_dir(engine).map_err(io)? {
        let path = file.map_err(io)?.path();
        if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("jnl")) {
            continue;
        }
        let id = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        ids.push(id.ok_or_else(|| StorageError::JournalMissing {
            path: engine.to_path_buf(),
            reason: format!("`{}` is no journal of this engine", path.display()),
        })?);
    }
    ids.sort_unstable();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_golden() {
        let dir = tempfile::tempdir().unwrap();
        Manifest::ready(2, 3).write(dir.path()).unwrap();
        let content = fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert_eq!(content, r#"{"format":1,"ready":true,"lowest":2,"highest":3}"#);
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(Manifest::ready(2, 3)));
    }

    #[test]
    fn a_journal_that_came_back_is_left_out() {
        let cases: [(&[u64], Option<Manifest>); 4] = [
            (&[], None),
            (&[4], Some(Manifest::ready(4, 4))),
            (&[2, 3, 4], Some(Manifest::ready(2, 4))),
            (&[0, 1, 3, 4], Some(Manifest::ready(3, 4))),
        ];
        for (journals, manifest) in cases {
            assert_eq!(Manifest::of(journals), manifest, "{journals:?}");
        }
    }

    #[test]
    fn an_unknown_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), r#"{"format":2,"other":true}"#).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap_err().code(), "ST008");
        fs::write(dir.path().join(NAME), "").unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap_err().code(), "ST006");
    }
}
