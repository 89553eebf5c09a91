//! What operators look at: the looks of [`crate::inspect`], one after the other, none of which keeps the driver long.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use abide_host::Refusal;
use abide_model::id::{InvocationId, ObjectId, PartitionId, PartitionKey};
use abide_model::view::{RawView, ReadError};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Engine, EngineError};
use crate::cluster::Route;
use crate::cluster::wire::{Ask, Rows, RowsFound, Told};
use crate::driver::Query;
use crate::inspect::{
    self, Cursor, Filter, InvocationDetails, JournalPage, KeyCursor, Letter, LetterAddress, LetterCursor, ObjectState,
    Page, Place, Plan,
};

/// Rows that are asked of another node at once.
const REMOTE_ROWS: u32 = 200;
/// How long a look waits for a quorum.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// Rows that one page of a list reads at most; a page that finds little in them is short and names where to go on.
const PAGE_ROWS_MAX: usize = 200_000;

impl Engine {
    /// Everything known about an invocation, or `None`.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn describe(&self, id: InvocationId) -> Result<Option<InvocationDetails>, EngineError> {
        self.look(self.partition(id), move |view| inspect::describe(view, id)).await
    }

    /// What the row of an invocation says, without its journal.
    pub(super) async fn find(&self, id: InvocationId) -> Result<Option<InvocationDetails>, EngineError> {
        self.look(self.partition(id), move |view| inspect::find(view, id)).await
    }

    /// At most `limit` entries of a journal from index `from` on, or `None` when there is no such invocation.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn journal(&self, id: InvocationId, from: u32, limit: usize) -> Result<Option<JournalPage>, EngineError> {
        self.look(self.partition(id), move |view| inspect::journal_page(view, id, from, limit)).await
    }

    /// At most `limit` (at least 1) invocations that match, behind `after`. The tables change between two pages: what ends
    /// meanwhile may be seen twice, or not at all.
    ///
    /// # Errors
    /// [`EngineError::Refused`]; [`EngineError::Invalid`] for a cursor of another cluster.
    pub async fn list(
        &self,
        filter: Filter,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page<InvocationDetails, Cursor>, EngineError> {
        let plan = Arc::new(Plan::new(filter, self.clock()));
        let only = plan.partition(self.partitions());
        let first = only.unwrap_or(PartitionId(0));
        let mut at = after.unwrap_or(Cursor { partition: first, place: Place::Start });
        if !plan.continues(&at, self.partitions()) {
            return Err(EngineError::invalid("the page before had another filter; begin again without `after`"));
        }
        let mut items = Vec::new();
        let mut rows = 0;
        loop {
            let (plan, place, left) = (Arc::clone(&plan), at.place, limit.max(1) - items.len());
            let step = self.look(at.partition, move |view| inspect::step(view, &plan, place, left)).await?;
            items.extend(step.found);
            rows += step.rows;
            match (step.next, self.next_partition(at.partition, only)) {
                (Some(place), _) => at.place = place,
                (None, Some(partition)) => at = Cursor { partition, place: Place::Start },
                (None, None) => return Ok(Page { items, next: None }),
            }
            if items.len() >= limit || rows >= PAGE_ROWS_MAX {
                return Ok(Page { items, next: Some(at) });
            }
        }
    }

    /// The applied state of an object; empty when it has none.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn state(&self, object: ObjectId) -> Result<ObjectState, EngineError> {
        let partition = PartitionId::of(PartitionKey::of(&object.key), self.partitions());
        self.look(partition, move |view| inspect::object_state(view, &object)).await
    }

    /// At most `limit` keys of `service` that have state and begin with `prefix`, behind the cursor `after`.
    ///
    /// # Errors
    /// [`EngineError::Refused`]; [`EngineError::Invalid`] for a text that is no cursor.
    pub async fn keys(
        &self,
        service: &str,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page<String, String>, EngineError> {
        let mut at = match after {
            Some(text) => text.parse().map_err(|error| EngineError::invalid(format!("{error}")))?,
            None => KeyCursor { partition: PartitionId(0), key: None },
        };
        self.check_partition(at.partition)?;
        let limit = limit.max(1);
        let mut items: Vec<String> = Vec::new();
        loop {
            let (service, prefix) = (service.to_owned(), prefix.to_owned());
            let (after, left) = (at.key.take(), limit - items.len());
            let look = move |view: &dyn RawView| inspect::keys(view, &service, &prefix, after.as_deref(), left);
            let (found, more) = self.look(at.partition, look).await?;
            if more {
                at.key = found.last().cloned();
            }
            items.extend(found);
            if !more {
                match self.next_partition(at.partition, None) {
                    Some(partition) => at = KeyCursor { partition, key: None },
                    None => return Ok(Page { items, next: None }),
                }
            }
            if items.len() >= limit {
                return Ok(Page { items, next: Some(at.to_string()) });
            }
        }
    }

    /// At most `limit` dead letters, of `service` or of all, behind the cursor `after`; oldest first within a partition.
    ///
    /// # Errors
    /// [`EngineError::Refused`]; [`EngineError::Invalid`] for a text that is no cursor.
    pub async fn letters(
        &self,
        service: Option<&str>,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page<Letter, String>, EngineError> {
        let mut at = match after {
            Some(text) => text.parse().map_err(|error| EngineError::invalid(format!("{error}")))?,
            None => LetterCursor { partition: PartitionId(0), last: None },
        };
        self.check_partition(at.partition)?;
        let limit = limit.max(1);
        let mut items: Vec<Letter> = Vec::new();
        loop {
            let (partition, service) = (at.partition, service.map(str::to_owned));
            let (after, left) = (at.last.take(), limit - items.len());
            let look =
                move |view: &dyn RawView| inspect::letters(view, partition, service.as_deref(), after.as_ref(), left);
            let (found, last) = self.look(partition, look).await?;
            items.extend(found);
            match (last, self.next_partition(partition, None)) {
                (Some(last), _) => at.last = Some(last),
                (None, Some(partition)) => at = LetterCursor { partition, last: None },
                (None, None) => return Ok(Page { items, next: None }),
            }
            if items.len() >= limit {
                return Ok(Page { items, next: Some(at.to_string()) });
            }
        }
    }

    /// The dead letter at this address.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub async fn letter(&self, at: &LetterAddress) -> Result<Option<Letter>, EngineError> {
        if at.partition.0 >= self.partitions() {
            return Ok(None);
        }
        let address = at.clone();
        self.look(at.partition, move |view| inspect::letter(view, &address)).await
    }

    /// Looks at the tables of a partition: at the replica of this node, or else through another node.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        partition: PartitionId,
        look: impl FnOnce(&dyn RawView) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, EngineError> {
        if self.0.others.is_none() || self.0.cluster.hosts(partition) {
            return Ok(self.look_here(partition, look).await?);
        }
        let view = RemoteView { engine: self.clone(), partition };
        let seen = tokio::task::spawn_blocking(move || look(&view)).await.map_err(|_| Refusal::OutcomeUnknown)?;
        Ok(seen.map_err(|_| Refusal::NotLeader)?)
    }

    /// Looks at the replica of this node, on the driver's thread, when it has everything that was acknowledged before.
    pub(super) async fn look_here<T: Send + 'static>(
        &self,
        partition: PartitionId,
        look: impl FnOnce(&dyn RawView) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (responder, receiver) = oneshot::channel();
        let look = Box::new(move |view: Result<&dyn RawView, Refusal>| {
            let seen = match view {
                Ok(view) => Ok(look(view)?),
                Err(refusal) => Err(refusal),
            };
            // Whoever asked may have gone away.
            let _ = responder.send(seen);
            Ok(())
        });
        self.0.driver.query(Query::Look { partition, look })?;
        match tokio::time::timeout(LOOK_PATIENCE, receiver).await {
            Ok(seen) => seen.unwrap_or(Err(Refusal::OutcomeUnknown)),
            // No quorum says that the tables are new enough.
            Err(_) => Err(Refusal::NotLeader),
        }
    }

    /// The partition behind this one in a list; `only` when no other is read.
    fn next_partition(&self, partition: PartitionId, only: Option<PartitionId>) -> Option<PartitionId> {
        let next = PartitionId(partition.0 + 1);
        (only.is_none() && next.0 < self.partitions()).then_some(next)
    }

    fn check_partition(&self, partition: PartitionId) -> Result<(), EngineError> {
        if partition.0 < self.partitions() {
            return Ok(());
        }
        Err(EngineError::invalid(format!(
            "the page begins in partition {partition}, and there are {}",
            self.partitions()
        )))
    }
}

/// The tables of a partition of which this node has no replica, read through those who have one. Its reads block the
/// thread, and are not all of one moment.
struct RemoteView {
    engine: Engine,
    partition: PartitionId,
}

impl RemoteView {
    fn rows(&self, from: &[u8], to: &[u8], limit: u32) -> Result<RowsFound, ReadError> {
        let failed = |reason: String| ReadError(format!("{} is not read: {reason}", self.partition));
        let others = self.engine.0.others.as_ref().ok_or_else(|| failed("there are no other nodes".into()))?;
        let rows = Rows {
            partition: self.partition.0,
            from: Bytes::copy_from_slice(from),
            to: Bytes::copy_from_slice(to),
            limit,
        };
        let found = others.runtime.block_on(async {
            match self.engine.0.cluster.route(self.partition) {
                Route::There(node) => self.engine.ask(node, Ask::Rows(rows), LOOK_PATIENCE).await,
                Route::Here | Route::Nobody => Err(Refusal::NotLeader),
            }
        });
        match found {
            Ok(Told::Rows(found)) => Ok(found),
            Ok(_) => Err(failed("the answer is of another kind".into())),
            Err(refusal) => Err(failed(refusal.to_string())),
        }
    }
}

impl RawView for RemoteView {
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.rows(key, &[], 1)?.rows.into_iter().next().map(|row| row.value))
    }

    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut from = from.to_vec();
        loop {
            let found = self.rows(&from, to, REMOTE_ROWS)?;
            for row in &found.rows {
                if visit(&row.key, &row.value).is_break() {
                    return Ok(());
                }
            }
            match found.rows.last() {
                // The smallest key behind another one is that key and a zero byte.
                Some(last) if found.more => from = [&last.key, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }
}
