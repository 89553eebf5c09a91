//! The strict open: journals are verified, read-only, before the engine sees them.
//!
//! The engine treats the first unreadable byte of a journal as its end and truncates the file there, so one flipped bit
//! silently drops every synced batch behind it. Here the end of a journal has to be explained:
//!
//! * zeros only: the preallocated rest of the file;
//! * an unreadable batch at the end of the newest journal, with no complete batch behind it: an interrupted write. It is cut
//!   off here, because the engine would refuse some forms of it (a hole in a batch whose end is intact);
//! * anything else is damage to data that was synced, and refused.
//!
//! For the log a complete batch behind an unreadable one proves damage, because the log never has two unsynced batches.
//! The state has many, and a power cut may reorder them: there, what follows the first unreadable batch of the newest
//! journal is cut, and the log replays it.
//!
//! Limits: the last batch, if damaged after it was synced, looks like an interrupted write, and a truncated file like a
//! short one; the watermark tells these apart. A missing lowest journal looks like one that was flushed and deleted since
//! the manifest was written; if it was not, reading the entries finds most of the holes it leaves. An entry whose data
//! contains a complete journal batch with a high sequence number can make an interrupted write look like damage: the
//! error is on the side of refusing.
//!
//! One journal at a time is held in memory (64 MiB, most of it zeros, plus what one table in memory holds).

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use crate::{
    StorageError, journal,
    manifest::{self, Manifest},
};

/// Two consecutive batches never lie further apart: a larger step is a damaged number.
const SEQNO_STEP_MAX: u64 = 1 << 32;

/// Verifies the journals of a log against its manifest and cuts an interrupted write off the newest one.
pub(crate) fn check_log(engine: &Path, manifest: Manifest) -> Result<(), StorageError> {
    let missing = |reason| Err(StorageError::JournalMissing { path: engine.to_path_buf(), reason });
    if !engine.join("version").exists() {
        return missing("the file `version` of the engine is not there".into());
    }
    let ids = manifest::journals(engine)?;
    // What lies below the lowest known number was flushed and deleted; a power cut may bring such a file back.
    let known: Vec<_> = ids.iter().copied().filter(|&id| id >= manifest.lowest).collect();
    if known.last().is_none_or(|&last| last < manifest.highest) {
        return missing(format!("`{}.jnl` was in use, found are {ids:?}", manifest.highest));
    }
    if let Some(gap) = known.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        return missing(format!("`{}.jnl` is not there, found are {ids:?}", gap[0] + 1));
    }
    check(engine, &ids, Rule::Log)
}

/// Verifies the journals of a state store and cuts everything behind an unreadable batch off the newest one.
pub(crate) fn check_state(engine: &Path) -> Result<(), StorageError> {
    let ids = manifest::journals(engine)?;
    if ids.is_empty() {
        return Err(StorageError::JournalMissing { path: engine.to_path_buf(), reason: "there is none".into() });
    }
    check(engine, &ids, Rule::State)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Log,
    State,
}

fn check(engine: &Path, ids: &[u64], rule: Rule) -> Result<(), StorageError> {
    let mut walk = Walk { rule, last_seqno: None };
    for (at, id) in ids.iter().enumerate() {
        let path = engine.join(format!("{id}.jnl"));
        let newest = at + 1 == ids.len();
        if let Some(cut) = walk.file(&path, newest)? {
            truncate(&path, cut).map_err(|error| StorageError::io("cut the interrupted write off", &path, error))?;
        }
    }
    Ok(())
}

/// Follows the batches of all journals in order.
struct Walk {
    rule: Rule,
    last_seqno: Option<u64>,
}

impl Walk {
    /// Verifies one journal; answers where to cut it.
    fn file(&mut self, path: &Path, newest: bool) -> Result<Option<u64>, StorageError> {
        let content = fs::read(path).map_err(|error| StorageError::io("read", path, error))?;
        let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        // Zeros at the end of a batch belong to it, so reading may go beyond `used`, but a batch has to start before.
        let mut at = 0;
        while at < used {
            let damaged = |reason: String| {
                Err(StorageError::JournalDamaged { path: PathBuf::from(path), offset: at as u64, reason })
            };
            match journal::batch(&content, at) {
                Ok(batch) if !self.follows(batch.seqno) => {
                    return damaged(format!("sequence number {} cannot follow {:?}", batch.seqno, self.last_seqno));
                }
                Ok(batch) => {
                    self.last_seqno = Some(batch.seqno);
                    at = batch.end;
                }
                Err(flaw) if !newest => return damaged(format!("{}, and a newer journal exists", flaw.0)),
                Err(flaw) => {
                    let later = journal::find_later(&content[..used], at, self.last_seqno);
                    if let (Rule::Log, Some((later, batch))) = (self.rule, later) {
                        let behind = format!("a complete batch (sequence number {}) follows at {later}", batch.seqno);
                        return damaged(format!("{}, but {behind}", flaw.0));
                    }
                    tracing::warn!(path = %path.display(), offset = at, flaw = flaw.0, "journal ends in an interrupted write");
                    return Ok(Some(at as u64));
                }
            }
        }
        Ok(None)
    }

    fn follows(&self, seqno: u64) -> bool {
        match self.last_seqno {
            None => seqno < 1 << 60,
            Some(last) => seqno > last && seqno - last <= SEQNO_STEP_MAX,
        }
    }
}

fn truncate(path: &Path, len: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::encode;

    fn journal(dir: &Path, id: u64, parts: &[&[u8]]) -> PathBuf {
        let path = dir.join(format!("{id}.jnl"));
        fs::write(&path, parts.concat()).unwrap();
        path
    }

    fn log(dir: &Path, lowest: u64, highest: u64) -> Result<(), StorageError> {
        fs::write(dir.join("version"), "").unwrap();
        check_log(dir, Manifest::ready(lowest, highest))
    }

    #[test]
    fn a_preallocated_rest_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = journal(dir.path(), 0, &[&encode(1, b"a", b"a"), &[0; 100]]);
        log(dir.path(), 0, 0).unwrap();
        assert_eq!(fs::metadata(path).unwrap().len(), encode(1, b"a", b"a").len() as u64 + 100);
    }

    #[test]
    fn an_interrupted_write_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (encode(1, b"a", b"a"), encode(2, b"b", b"b"));
        let path = journal(dir.path(), 0, &[&first, &second[..second.len() - 3], &[0; 100]]);
        log(dir.path(), 0, 0).unwrap();
        assert_eq!(fs::read(path).unwrap(), first);
    }

    #[test]
    fn the_same_in_a_sealed_journal_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let first = encode(1, b"a", b"a");
        journal(dir.path(), 0, &[&first[..first.len() - 3]]);
        journal(dir.path(), 1, &[&encode(2, b"b", b"b")]);
        assert_eq!(log(dir.path(), 0, 1).unwrap_err().code(), "ST003");
        assert_eq!(check_state(dir.path()).unwrap_err().code(), "ST003");
    }

    #[test]
    fn a_complete_batch_behind_damage_refuses_the_log_and_cuts_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let (first, mut second) = (encode(1, b"a", b"a"), encode(2, b"b", b"b"));
        second[20] ^= 1;
        let path = journal(dir.path(), 0, &[&first, &second, &encode(3, b"c", b"c")]);
        let error = log(dir.path(), 0, 0).unwrap_err();
        assert!(matches!(error, StorageError::JournalDamaged { offset, .. } if offset == first.len() as u64));
        check_state(dir.path()).unwrap();
        assert_eq!(fs::read(path).unwrap(), first);
    }

    #[test]
    fn sequence_numbers_increase_also_across_files() {
        for seqno in [2, 1, 3 + SEQNO_STEP_MAX] {
            let dir = tempfile::tempdir().unwrap();
            journal(dir.path(), 0, &[&encode(2, b"a", b"a")]);
            journal(dir.path(), 1, &[&encode(seqno, b"b", b"b")]);
            assert_eq!(log(dir.path(), 0, 1).unwrap_err().code(), "ST003");
        }
    }

    #[test]
    fn the_set_of_files_has_to_match_the_manifest() {
        // Files, lowest and highest of the manifest, verdict.
        let cases: [(&[u64], u64, u64, Option<&str>); 8] = [
            (&[0], 0, 0, None),
            (&[0, 1, 2], 0, 1, None),
            (&[2, 3], 0, 2, None),
            (&[0, 2, 3], 2, 3, None),
            (&[], 0, 0, Some("ST004")),
            (&[0, 1], 0, 2, Some("ST004")),
            (&[0, 2], 0, 2, Some("ST004")),
            (&[0], 1, 1, Some("ST004")),
        ];
        for (ids, lowest, highest, verdict) in cases {
            let dir = tempfile::tempdir().unwrap();
            for &id in ids {
                journal(dir.path(), id, &[&encode(id, b"a", b"a")]);
            }
            let code = log(dir.path(), lowest, highest).err().map(|error| error.code());
            assert_eq!(code, verdict, "files {ids:?}, manifest {lowest}..={highest}");
        }
    }
}
