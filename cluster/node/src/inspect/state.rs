//! State of objects, and which keys have any.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use abide_model::command::StateVersion;
use abide_model::id::{Millis, ObjectId, PartitionId};
use abide_model::table::key::KeyWriter;
use abide_model::table::{Objects, States, Table};
use abide_model::view::{RawView, ReadError, View};
use bytes::Bytes;

use super::{BadCursor, Budget, visit};

/// The applied state of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectState {
    /// Which state it is; all zero when nothing was ever stored.
    pub version: StateVersion,
    /// Values by field.
    pub fields: BTreeMap<String, Bytes>,
    /// When it is forgotten unless it is changed before.
    pub expires_at: Option<Millis>,
    /// Exclusive invocations that are queued or running.
    pub queued: u64,
}

/// The state of `object`; empty when it has none.
pub(crate) fn object_state(view: &dyn RawView, object: &ObjectId) -> Result<ObjectState, ReadError> {
    let row = view.get::<Objects>(object)?.unwrap_or_default();
    let (from, to) = of_object(object).prefix_bounds();
    let mut fields = BTreeMap::new();
    view.scan_bytes::<States>(&from, &to, &mut |(_, field), row| {
        fields.insert(field, row.value);
        ControlFlow::Continue(())
    })?;
    Ok(ObjectState {
        version: row.version(),
        fields,
        expires_at: Some(row.expires_at).filter(|at| *at > 0).map(Millis),
        queued: row.queued(),
    })
}

/// The last key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyCursor {
    pub(crate) partition: PartitionId,
    /// `None` before the first.
    pub(crate) key: Option<String>,
}

impl fmt::Display for KeyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}.k{key}", self.partition),
            None => write!(f, "{}.s", self.partition),
        }
    }
}

impl FromStr for KeyCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let parse = || {
            let (partition, place) = text.split_once('.')?;
            let key = if place == "s" { None } else { Some(place.strip_prefix('k')?.to_owned()) };
            Some(Self { partition: partition.parse().ok()?, key })
        };
        parse().ok_or_else(|| BadCursor(text.chars().take(64).collect()))
    }
}

/// Keys of `service` that have state and begin with `prefix`, behind `after`, in order: at most `limit`, and whether there
/// may be more.
pub(crate) fn keys(
    view: &dyn RawView,
    service: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, bool), ReadError> {
    let mut of_service = KeyWriter::new(States::TAG);
    of_service.text(service);
    for byte in prefix.bytes() {
        // As a text without its end.
        of_service.u8(byte);
        if byte == 0 {
            of_service.u8(0xFF);
        }
    }
    let (mut from, to) = of_service.prefix_bounds();
    let object = |key: &str| ObjectId { service: service.to_owned(), key: key.to_owned() };
    if let Some(after) = after {
        from = from.max(of_object(&object(after)).prefix_bounds().1);
    }
    let mut keys: Vec<String> = Vec::new();
    let last = visit::<States>(view, &from, &to, &mut Budget::default(), |(owner, _), _| {
        if keys.last() != Some(&owner.key) {
            keys.push(owner.key);
        }
        Ok(if keys.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok((keys, last.is_some()))
}

fn of_object(object: &ObjectId) -> KeyWriter {
    let mut prefix = KeyWriter::new(States::TAG);
    prefix.text(&object.service);
    prefix.text(&object.key);
    prefix
}
