//! Pages of a journal.

use abide_model::id::InvocationId;
use abide_model::table::{JournalRow, Journals};
use abide_model::view::{RawView, ReadError, View};

use super::{LOOK_BYTES_SOFT_MAX, LOOK_ROWS_MAX, details};

/// Consecutive entries of a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalPage {
    /// Index of the first one.
    pub from: u32,
    /// The entries.
    pub entries: Vec<JournalRow>,
    /// Entries of the whole journal.
    pub len: u32,
}

/// At most `limit` entries of the journal of `id` from index `from` on; fewer when they are large. `None` when there is no
/// such invocation.
pub(crate) fn page(
    view: &dyn RawView,
    id: InvocationId,
    from: u32,
    limit: usize,
) -> Result<Option<JournalPage>, ReadError> {
    let Some(details) = details::find(view, id)? else { return Ok(None) };
    let len = details.journal_len;
    let mut entries = Vec::new();
    let mut bytes = 0;
    for index in from..len {
        if entries.len() == limit.min(LOOK_ROWS_MAX) || bytes > LOOK_BYTES_SOFT_MAX {
            break;
        }
        let entry: JournalRow = view
            .get::<Journals>(&(id, index))?
            .ok_or_else(|| ReadError(format!("entry {index} is missing in the journal of {id}")))?;
        bytes += entry.payload.len();
        entries.push(entry);
    }
    Ok(Some(JournalPage { from, entries, len }))
}
