//! Everything a store can answer instead of a result. Codes are stable; each has a page in the runbooks.

use std::path::PathBuf;

/// A store could not do what it was asked.
///
/// No variant is a normal outcome. Except for [`NotInLog`](Self::NotInLog) the answer to each is to stop the process: what
/// is on disk is either refused (opening) or no longer known (writing), and a restart decides by reading it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system failed a file operation while a store was opened. Nothing was acknowledged.
    #[error("cannot {action} `{}`: {source}; check the disk, its free space and the owner of the directory", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason given by the operating system.
        source: std::io::Error,
    },

    /// The storage engine failed to open or to read. Includes checksum mismatches in its tables.
    #[error("the storage engine of the {store} at `{}` failed to {action}: {source}; do not delete files: {advice}", path.display())]
    Engine {
        /// Which store, `log` or `state`.
        store: &'static str,
        /// What was attempted, as a verb.
        action: &'static str,
        /// The directory of the store.
        path: PathBuf,
        /// What to do about it.
        advice: &'static str,
        /// The reason given by the engine.
        source: Box<fjall::Error>,
    },

    /// A journal is damaged at a place that a crash cannot have damaged: data that was synced is unreadable.
    #[error(
        "journal `{}` is damaged at byte {offset}: {reason}; this replica cannot vouch for what it acknowledged: keep the \
         files, and replace the replica or restore the node from a backup",
        path.display()
    )]
    JournalDamaged {
        /// The journal file.
        path: PathBuf,
        /// Offset of the first byte of the batch that cannot be read.
        offset: u64,
        /// What is wrong there, and why it cannot be an interrupted write.
        reason: String,
    },

    /// The set of journal files is not the one this store left behind.
    #[error(
        "journals of `{}` are not complete: {reason}; put the missing files back, or replace the replica",
        path.display()
    )]
    JournalMissing {
        /// The directory of the engine.
        path: PathBuf,
        /// Which files were expected and which are there.
        reason: String,
    },

    /// The log is readable but older than what this store had acknowledged.
    #[error(
        "the log of partition {partition} lost acknowledged data: the watermark records revision {acknowledged}, the log \
         holds revision {recovered}; this replica must not vote again under its identity: keep the files, and replace it"
    )]
    LostAcknowledged {
        /// The partition.
        partition: u32,
        /// Count of acknowledged changes of the partition's log, as the watermark recorded it.
        acknowledged: u64,
        /// The count that was recovered, 0 if the partition was not found at all.
        recovered: u64,
    },

    /// A helper file next to the log (its manifest or its watermark) is missing or does not parse.
    #[error(
        "`{}` cannot be trusted: {reason}; it guards the log against silent loss, so restore it together with the log, or \
         replace the replica",
        path.display()
    )]
    GuardDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The rows of a partition's log contradict each other.
    #[error("the log of partition {partition} is damaged: {reason}; keep the files, and replace the replica")]
    LogDamaged {
        /// The partition.
        partition: u32,
        /// Which rows contradict each other.
        reason: String,
    },

    /// A row carries a format version this build does not know.
    #[error(
        "row `{row}` has format version {found}, this build reads version {known}; run the newer version of the program"
    )]
    UnknownFormat {
        /// Name of the row.
        row: &'static str,
        /// The version found.
        found: u8,
        /// The newest version this build reads.
        known: u8,
    },

    /// A row does not decode although its checksum was right.
    #[error("row `{row}` does not decode: {reason}; keep the files, and report this with the version of the program")]
    UndecodableRow {
        /// Name of the row.
        row: &'static str,
        /// The reason given by the decoder.
        reason: String,
    },

    /// A commit failed after it may have reached the disk: it can be present or absent after a restart.
    ///
    /// The store refuses all further work. Never report the batch as "not executed".
    #[error(
        "a write to the {store} failed and it is unknown whether it is on disk: {reason}; stop the process, check the disk, \
         and start again"
    )]
    Indeterminate {
        /// Which store, `log` or `state`.
        store: &'static str,
        /// The reason.
        reason: String,
    },

    /// An earlier write failed, so the store refuses everything until the process restarts.
    #[error("the {store} refuses all work since an earlier write failed: stop the process and start it again")]
    Poisoned {
        /// Which store, `log` or `state`.
        store: &'static str,
    },

    /// Another open handle, usually of another process, owns the directory. Nothing was changed.
    #[error("the {store} at `{}` is in use; stop the other process, or give this node its own directory", path.display())]
    InUse {
        /// Which store, `log` or `state`.
        store: &'static str,
        /// The directory of the store.
        path: PathBuf,
    },

    /// The caller asked for a change that no log can hold. Nothing was written, and the store is poisoned.
    #[error(
        "impossible change of the log of partition {partition}: {reason}; this is a defect of the program, report it"
    )]
    InvalidWrite {
        /// The partition.
        partition: u32,
        /// Which rule the change breaks.
        reason: String,
    },

    /// Entries were asked for that were trimmed. The store stays usable.
    #[error(
        "entry {index} of partition {partition} was trimmed: the log starts after {start}; send a snapshot instead"
    )]
    NotInLog {
        /// The partition.
        partition: u32,
        /// The first entry asked for.
        index: u64,
        /// Index of the last trimmed entry.
        start: u64,
    },
}

impl StorageError {
    /// The stable code of the error, as used in logs, alerts and runbooks.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "ST001",
            Self::Engine { .. } => "ST002",
            Self::JournalDamaged { .. } => "ST003",
            Self::JournalMissing { .. } => "ST004",
            Self::LostAcknowledged { .. } => "ST005",
            Self::GuardDamaged { .. } => "ST006",
            Self::LogDamaged { .. } => "ST007",
            Self::UnknownFormat { .. } => "ST008",
            Self::UndecodableRow { .. } => "ST009",
            Self::Indeterminate { .. } => "ST010",
            Self::Poisoned { .. } => "ST011",
            Self::InvalidWrite { .. } => "ST012",
            Self::NotInLog { .. } => "ST013",
            Self::InUse { .. } => "ST014",
        }
    }

    /// Whether the disk itself contradicts what was acknowledged: the replica must not take part again under its
    /// identity, however often the process restarts.
    #[must_use]
    pub fn is_quarantine(&self) -> bool {
        matches!(
            self,
            Self::JournalDamaged { .. }
                | Self::JournalMissing { .. }
                | Self::LostAcknowledged { .. }
                | Self::GuardDamaged { .. }
                | Self::LogDamaged { .. }
                | Self::UndecodableRow { .. }
        )
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}
