//! Dead letters.

use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use abide_model::id::PartitionId;
use abide_model::table::key::KeyWriter;
use abide_model::table::{LetterRow, Letters, Table};
use abide_model::view::{RawView, ReadError, View};

use super::{BadCursor, Budget, behind, visit};

/// Which dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterAddress {
    /// Service of the failed invocation.
    pub service: String,
    /// The partition it is in.
    pub partition: PartitionId,
    /// Its number among those of the service there.
    pub seq: u64,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Where it is.
    pub at: LetterAddress,
    /// What it is. In lists without input and headers.
    pub row: LetterRow,
    /// Length of the input, in bytes.
    pub input_len: usize,
}

/// The last letter of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LetterCursor {
    pub(crate) partition: PartitionId,
    /// Service and number; `None` before the first.
    pub(crate) last: Option<(String, u64)>,
}

impl fmt::Display for LetterCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.last {
            Some((service, seq)) => write!(f, "{}.{seq}.{service}", self.partition),
            None => write!(f, "{}.s", self.partition),
        }
    }
}

impl FromStr for LetterCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parse = || {
            let (partition, place) = text.split_once('.')?;
            let last = match place.split_once('.') {
                None if place == "s" => None,
                None => return None,
                Some((seq, service)) => Some((service.to_owned(), seq.parse().ok()?)),
            };
            Some(Self { partition: partition.parse().ok()?, last })
        };
        parse().ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}

/// Some letters, and service and number of the last one when there may be more.
pub(crate) type LetterPage = (Vec<Letter>, Option<(String, u64)>);

/// Letters of `service`, or of all, behind `after`, oldest first: at most `limit`.
pub(crate) fn letters(
    view: &dyn RawView,
    partition: PartitionId,
    service: Option<&str>,
    after: Option<&(String, u64)>,
    limit: usize,
) -> Result<LetterPage, ReadError> {
    let (mut from, to) = match service {
        Some(service) => {
            let mut prefix = KeyWriter::new(Letters::TAG);
            prefix.text(service);
            prefix.prefix_bounds()
        }
        None => Letters::whole(),
    };
    if let Some(after) = after {
        from = from.max(behind(&Letters::encode_key(after)));
    }
    let mut letters = Vec::new();
    let last = visit::<Letters>(view, &from, &to, &mut Budget::default(), |(service, seq), mut row| {
        let input_len = std::mem::take(&mut row.input).len();
        row.headers = Vec::new();
        letters.push(Letter { at: LetterAddress { service, partition, seq }, row, input_len });
        Ok(if letters.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok((letters, last.map(|last| Letters::decode_key(&last)).transpose()?))
}

/// The letter at this address.
pub(crate) fn letter(view: &dyn RawView, at: &LetterAddress) -> Result<Option<Letter>, ReadError> {
    let row = view.get::<Letters>(&(at.service.clone(), at.seq))?;
    Ok(row.map(|row| Letter { at: at.clone(), input_len: row.input.len(), row }))
}
