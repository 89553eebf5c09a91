//! Everything known about one invocation.

use abide_model::command::{Holder, Outcome, Target};
use abide_model::id::{InvocationId, Millis};
use abide_model::protocol::Failure;
use abide_model::table::{
    Awaiting, CompletionRow, Completions, FailedAttempt, Failures, InvocationRow, Invocations, JournalRow, Status,
};
use abide_model::view::{RawView, ReadError, View};

/// Everything known about an invocation.
#[derive(Clone, Debug, PartialEq)]
pub struct InvocationDetails {
    /// Its id.
    pub id: InvocationId,
    /// Where it is: `scheduled`, `pending`, `running`, `backing-off`, `suspended`, `paused`, `completed`.
    pub status: &'static str,
    /// What runs.
    pub target: Target,
    /// When it was accepted.
    pub created_at: Millis,
    /// When something last changed.
    pub modified_at: Millis,
    /// When it ended.
    pub completed_at: Option<Millis>,
    /// Attempts that were started.
    pub attempt: u32,
    /// Failed attempts since the last progress.
    pub failures: u32,
    /// The last failure of an attempt.
    pub last_failure: Option<Failure>,
    /// How it ended. In lists without the value.
    pub outcome: Option<Outcome>,
    /// The idempotency key it was accepted with.
    pub idempotency_key: Option<String>,
    /// The invocation that invoked it.
    pub invoked_by: Option<InvocationId>,
    /// The first entries of its journal; empty in lists. [`InvocationDetails::journal_len`] says how many there are.
    pub journal: Vec<JournalRow>,
    /// When the next attempt is due, while backing off.
    pub next_retry_at: Option<Millis>,
    /// When it starts, while scheduled.
    pub scheduled_at: Option<Millis>,
    /// Number of journal entries that are kept.
    pub journal_len: u32,
    /// The version of the code it is pinned to; `None` before its first entry and for code without versions.
    pub version: Option<String>,
    /// The schedule that invoked it.
    pub schedule: Option<String>,
    /// The invocation that it repeats.
    pub restarted_from: Option<InvocationId>,
    /// Whether nobody waits for its result.
    pub one_way: bool,
    /// How long its result is kept after completion, in ms.
    pub retention_ms: u64,
    /// How long its journal is kept after completion, in ms.
    pub journal_retention_ms: u64,
    /// When its result is forgotten, once it is completed.
    pub expires_at: Option<Millis>,
    /// When its journal is forgotten, once it is completed, when that is before the result.
    pub journal_expires_at: Option<Millis>,
    /// What it waits for, while suspended.
    pub waiting: Option<Awaiting>,
    /// Invocations that wait for its result.
    pub sinks: usize,
    /// Who waits for it and holds a key meanwhile, outermost first; empty in lists.
    pub chain: Vec<Holder>,
    /// Its last failed attempts, oldest first; empty in lists.
    pub attempts: Vec<FailedAttempt>,
    /// Failed attempts in all, those that are not kept included; 0 in lists.
    pub attempts_failed: u32,
}

impl InvocationDetails {
    pub(crate) fn active(id: InvocationId, row: InvocationRow) -> Self {
        let status = row.status.as_ref().map_or("pending", Status::word);
        let (mut next_retry_at, mut scheduled_at, mut waiting) = (None, None, None);
        match row.status {
            Some(Status::BackingOff(at)) => next_retry_at = Some(Millis(at)),
            Some(Status::Scheduled(at)) => scheduled_at = Some(Millis(at)),
            Some(Status::Suspended(awaiting)) => waiting = Some(awaiting),
            Some(Status::Queued(_) | Status::Running(_) | Status::Paused(_)) | None => {}
        }
        Self {
            id,
            status,
            target: row.target.unwrap_or_default(),
            created_at: Millis(row.created_at),
            modified_at: Millis(row.modified_at),
            completed_at: None,
            attempt: row.attempt,
            failures: row.failures,
            last_failure: row.last_failure,
            outcome: None,
            idempotency_key: row.idempotency_key,
            invoked_by: InvocationId::from_bytes(&row.invoked_by),
            journal: Vec::new(),
            next_retry_at,
            scheduled_at,
            journal_len: row.journal_len,
            version: row.version.filter(|version| !version.is_empty()),
            schedule: Some(row.schedule).filter(|name| !name.is_empty()),
            restarted_from: InvocationId::from_bytes(&row.restarted_from),
            one_way: row.one_way,
            retention_ms: row.retention_ms,
            journal_retention_ms: row.journal_retention_ms,
            expires_at: None,
            journal_expires_at: None,
            waiting,
            sinks: row.sinks.len(),
            chain: row.chain,
            attempts: Vec::new(),
            attempts_failed: 0,
        }
    }

    pub(super) fn completed(id: InvocationId, row: CompletionRow) -> Self {
        Self {
            id,
            status: "completed",
            target: row.target.unwrap_or_default(),
            created_at: Millis(row.created_at),
            modified_at: Millis(row.completed_at),
            completed_at: Some(Millis(row.completed_at)),
            attempt: row.attempt,
            failures: 0,
            last_failure: None,
            outcome: row.outcome,
            idempotency_key: row.idempotency_key,
            invoked_by: InvocationId::from_bytes(&row.invoked_by),
            journal: Vec::new(),
            next_retry_at: None,
            scheduled_at: None,
            journal_len: row.journal_len,
            version: Some(row.version).filter(|version| !version.is_empty()),
            schedule: Some(row.schedule).filter(|name| !name.is_empty()),
            restarted_from: InvocationId::from_bytes(&row.restarted_from),
            one_way: row.one_way,
            retention_ms: row.retention_ms,
            journal_retention_ms: row.journal_retention_ms,
            expires_at: Some(Millis(row.expires_at)),
            journal_expires_at: Some(row.journal_expires_at).filter(|at| *at > 0).map(Millis),
            waiting: None,
            sinks: 0,
            chain: Vec::new(),
            attempts: Vec::new(),
            attempts_failed: 0,
        }
    }
}

/// The invocation with this id, with its attempts and the first of its journal.
pub(crate) fn describe(view: &dyn RawView, id: InvocationId) -> Result<Option<InvocationDetails>, ReadError> {
    let Some(mut details) = find(view, id)? else { return Ok(None) };
    details.journal = super::journal::page(view, id, 0, usize::MAX)?.map(|page| page.entries).unwrap_or_default();
    if let Some(row) = view.get::<Failures>(&id)? {
        details.attempts = row.attempts;
        details.attempts_failed = row.total;
    }
    Ok(Some(details))
}

/// The invocation with this id, as far as its own row says.
pub(crate) fn find(view: &dyn RawView, id: InvocationId) -> Result<Option<InvocationDetails>, ReadError> {
    if let Some(row) = view.get::<Invocations>(&id)? {
        return Ok(Some(InvocationDetails::active(id, row)));
    }
    Ok(view.get::<Completions>(&id)?.map(|row| InvocationDetails::completed(id, row)))
}
