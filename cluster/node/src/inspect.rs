//! What operators look at: invocations, journals, state and dead letters, as bounded looks into the tables.
//!
//! Everything here is a pure function of a view. A look runs on the driver's thread, which meanwhile serves nobody else,
//! so each reads a bounded number of rows and bytes and says where the next one goes on; the engine strings them together.

mod details;
mod filter;
mod journal;
mod letters;
mod list;
mod state;

use std::ops::ControlFlow;

use abide_model::table::Table;
use abide_model::view::{RawView, ReadError};

pub use details::InvocationDetails;
pub(crate) use details::{describe, find};
pub use filter::{Filter, FilterError, Finish};
pub use journal::JournalPage;
pub(crate) use journal::page as journal_page;
pub use letters::{Letter, LetterAddress};
pub(crate) use letters::{LetterCursor, letter, letters};
pub use list::Cursor;
pub(crate) use list::{Place, Plan, step};
pub use state::ObjectState;
pub(crate) use state::{KeyCursor, keys, object_state};

/// Rows that one look reads at most.
pub(crate) const LOOK_ROWS_MAX: usize = 2_000;
/// Once the rows of a look have this many bytes it ends.
pub(crate) const LOOK_BYTES_SOFT_MAX: usize = 4 << 20;

/// A part of a list, and where the next part begins; the last part has no next one. A part may be empty although there
/// is a next one.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T, C> {
    /// The part.
    pub items: Vec<T>,
    /// Where the next part begins.
    pub next: Option<C>,
}

/// A text that is not a cursor of this kind: cursors are made by the answer before, and are not for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not where a page begins; pass `next` of the page before as it was")]
pub struct BadCursor(pub String);

/// What a look may still read.
pub(crate) struct Budget {
    rows: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { rows: LOOK_ROWS_MAX, bytes: LOOK_BYTES_SOFT_MAX }
    }
}

impl Budget {
    /// Rows that were read.
    pub(crate) fn used(&self) -> usize {
        LOOK_ROWS_MAX - self.rows
    }

    /// Takes one row of this many bytes; whether there is something left.
    fn take(&mut self, bytes: usize) -> bool {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.rows > 0 && self.bytes > 0
    }
}

/// Visits rows of table `T` with `from <= key < to` until `visit` breaks or the budget is used up. Returns the key of the
/// last row that was visited, when there may be more behind it.
fn visit<T: Table>(
    view: &dyn RawView,
    from: &[u8],
    to: &[u8],
    budget: &mut Budget,
    mut visit: impl FnMut(T::Key, T::Value) -> Result<ControlFlow<()>, ReadError>,
) -> Result<Option<Box<[u8]>>, ReadError> {
    // A cursor may stand behind the end: it comes from outside.
    if from >= to {
        return Ok(None);
    }
    let mut result = Ok(None);
    view.scan_raw(from, to, &mut |key, value| {
        let left = budget.take(key.len() + value.len());
        let seen = T::decode_key(key).and_then(|row| visit(row, T::decode_value(value)?));
        match seen {
            Ok(ControlFlow::Continue(())) if left => ControlFlow::Continue(()),
            Ok(_) => {
                result = Ok(Some(key.into()));
                ControlFlow::Break(())
            }
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        }
    })?;
    result
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Box<[u8]> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into_boxed_slice()
}

#[cfg(test)]
mod tests;
