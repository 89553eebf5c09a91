//! The snapshots of a partition in the order in which they are tried: the newest first.

use std::collections::BTreeMap;

use abide_model::id::{Millis, PartitionId};
use abide_snapshot::{Manifest, Repository, SnapshotId};

use crate::{PassedOver, RestoreError};

/// Snapshots that may be restored, newest first.
pub(crate) struct Candidates<'a> {
    repository: &'a Repository,
    /// Those that are not looked at, by index.
    left: BTreeMap<u64, Vec<SnapshotId>>,
    /// Those of the index that is being tried, the newest last.
    ready: Vec<(SnapshotId, Manifest)>,
    as_of: Option<Millis>,
    /// What looked like one and is none.
    pub(crate) passed: Vec<PassedOver>,
}

impl<'a> Candidates<'a> {
    /// Those of `partition` that were made no later than `as_of`.
    pub(crate) async fn of(
        repository: &'a Repository,
        partition: PartitionId,
        as_of: Option<Millis>,
    ) -> Result<Self, RestoreError> {
        let mut left: BTreeMap<u64, Vec<SnapshotId>> = BTreeMap::new();
        for listed in repository.list(partition).await? {
            left.entry(listed.id.index).or_default().push(listed.id);
        }
        Ok(Self { repository, left, ready: Vec::new(), as_of, passed: Vec::new() })
    }

    /// The highest index of all that are listed, sound or not.
    pub(crate) fn highest(&self) -> u64 {
        self.left.keys().next_back().copied().unwrap_or(0)
    }

    /// The next one whose manifest is sound.
    pub(crate) async fn next(&mut self) -> Result<Option<(SnapshotId, Manifest)>, RestoreError> {
        loop {
            if let Some(ready) = self.ready.pop() {
                return Ok(Some(ready));
            }
            let Some((_, ids)) = self.left.pop_last() else { return Ok(None) };
            for id in ids {
                match self.repository.manifest(id).await {
                    Ok(manifest) if self.as_of.is_some_and(|as_of| manifest.meta.created_at > as_of) => {}
                    Ok(manifest) => self.ready.push((id, manifest)),
                    Err(error) if error.is_about_snapshot() => self.pass(id, &error),
                    Err(error) => return Err(error.into()),
                }
            }
            // A partition that stands still has several of one index, and their names are in no order.
            self.ready.sort_by_key(|(_, manifest)| manifest.meta.created_at);
        }
    }

    /// Takes note that one cannot be used.
    pub(crate) fn pass(&mut self, id: SnapshotId, error: &abide_snapshot::SnapshotError) {
        tracing::warn!(snapshot = %id, code = error.code(), %error, "a snapshot cannot be used");
        self.passed.push(PassedOver { id, code: error.code(), reason: error.to_string() });
    }

    /// Why there is none.
    pub(crate) fn exhausted(&self, partition: PartitionId) -> RestoreError {
        let reason = match (self.passed.first(), self.as_of) {
            (Some(first), _) => format!("of {} none is sound, `{}`: {}", self.passed.len(), first.id, first.reason),
            (None, Some(_)) => "none was made by then".to_owned(),
            (None, None) => "there is none".to_owned(),
        };
        RestoreError::NothingSound { partition, reason }
    }
}
