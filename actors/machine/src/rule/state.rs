//! The state of an object, whoever changes it: a turn, a flow or an operator.
//!
//! Every change gives the object a new version. A change by an invocation whose service has a TTL also says when the
//! state expires; one by an invocation without takes that back. A version never names two states, also when the object was
//! forgotten in between: turns that ran ahead and edits name the state that they saw. Those of turns are told apart by
//! their activation, those of flows and operators lie above all that were forgotten.
//!
//! | the entry of the expiry index is due | what happens |
//! |---|---|
//! | the state was changed since | the entry moves to the new time: one move per TTL, not one per change |
//! | something is queued or under way | tried again one TTL later |
//! | otherwise | all fields and the object's row go |

use abide_model::command::{FieldChange, StateVersion};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, Millis, ObjectId};
use abide_model::limits;
use abide_model::table::key::KeyWriter;
use abide_model::table::{Expiries, Expiry, ExpiryKey, Invocations, ObjectRow, Objects, StateRow, States, Table};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::expiry;
use crate::txn::Txn;

/// Whether a field with this name and value is more than an object may have.
pub(crate) fn is_too_wide(field: &str, value: Option<&Bytes>) -> bool {
    field.len() > limits::NAME_BYTES_MAX || value.is_some_and(|value| value.len() > limits::STATE_VALUE_BYTES_MAX)
}

/// Says which of `changes` is more than an object may have; `None` when all are fine.
pub(crate) fn excess(changes: &[FieldChange]) -> Option<String> {
    let wide = changes.iter().find(|change| is_too_wide(&change.field, change.value.as_ref()))?;
    let name: String = wide.field.chars().take(64).collect();
    Some(format!("state field `{name}` has a longer name or value than allowed"))
}

/// Writes changed fields; the caller gives the object its new version.
pub(crate) fn write<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, changes: &[FieldChange]) {
    for FieldChange { field, value } in changes {
        let key = (object.clone(), field.clone());
        match value {
            Some(value) => txn.put::<States>(&key, &StateRow { value: value.clone() }),
            None => txn.delete::<States>(&key),
        }
    }
}

/// The keys of all fields.
pub(crate) fn fields<V: View>(txn: &Txn<'_, V>, object: &ObjectId) -> Result<Vec<(ObjectId, String)>, ReadError> {
    let mut prefix = KeyWriter::new(States::TAG);
    prefix.text(&object.service);
    prefix.text(&object.key);
    let (from, to) = prefix.prefix_bounds();
    txn.keys::<States>(&from, &to)
}

/// Removes all fields; the caller gives the object its new version or none. Returns how many there were.
pub(crate) fn clear<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId) -> Result<usize, ReadError> {
    let fields = fields(txn, object)?;
    for key in &fields {
        txn.delete::<States>(key);
    }
    Ok(fields.len())
}

/// Gives the object a new version, as a flow and an operator do, and tells those who have the state in memory.
pub(crate) fn publish<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, ttl_ms: u64) -> Result<(), ReadError> {
    let before = txn.get::<Objects>(object)?.unwrap_or_default().version().version;
    let version = txn.version_above(before);
    set_version(txn, object, StateVersion { version, writer: 0 }, ttl_ms)?;
    txn.emit(Effect::StateChanged { object: object.clone() });
    Ok(())
}

/// Gives the object the version that its change makes, by an invocation with the TTL `ttl_ms`; 0 is none.
pub(crate) fn set_version<V: View>(
    txn: &mut Txn<'_, V>,
    object: &ObjectId,
    version: StateVersion,
    ttl_ms: u64,
) -> Result<(), ReadError> {
    let mut row = txn.get::<Objects>(object)?.unwrap_or_default();
    row.state = Some(version);
    row.state_ttl_ms = ttl_ms;
    row.expires_at = if ttl_ms == 0 { 0 } else { txn.now().plus(ttl_ms).0 };
    // The entry may be too early, and is set again when it is due; it may not be too late.
    let fits = if ttl_ms == 0 { row.expiry_due == 0 } else { (1..=row.expires_at).contains(&row.expiry_due) };
    if !fits {
        move_entry(txn, object, &mut row);
    }
    txn.put::<Objects>(object, &row);
    Ok(())
}

/// Removes the object's row, which is idle and has no field any more.
pub(crate) fn forget_row<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, row: &ObjectRow) {
    if row.expiry_due != 0 {
        let what = Expiry::State(object.clone());
        txn.delete::<Expiries>(&ExpiryKey { due: Millis(row.expiry_due), what });
    }
    txn.forget_version(row.version().version);
    txn.delete::<Objects>(object);
}

/// The entry of the index that is due at `due` speaks of this object. Returns how many rows went. The caller removes the
/// entry.
pub(crate) fn expire<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, due: Millis) -> Result<usize, ReadError> {
    let Some(mut row) = txn.get::<Objects>(object)?.filter(|row| row.expiry_due == due.0) else { return Ok(0) };
    let run = InvocationId::workflow(&object.service, &object.key);
    let busy = !row.is_idle() || txn.get::<Invocations>(&run)?.is_some();
    if row.expires_at <= txn.now().0 && busy {
        row.expires_at = txn.now().plus(row.state_ttl_ms.max(1)).0;
    }
    if row.expires_at > txn.now().0 {
        move_entry(txn, object, &mut row);
        txn.put::<Objects>(object, &row);
        return Ok(1);
    }
    let fields = clear(txn, object)?;
    forget_row(txn, object, &row);
    txn.emit(Effect::StateChanged { object: object.clone() });
    Ok(fields + 1)
}

/// Puts the entry of the index where the state expires; the caller writes the row.
fn move_entry<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId, row: &mut ObjectRow) {
    let entry = |due| ExpiryKey { due: Millis(due), what: Expiry::State(object.clone()) };
    if row.expiry_due != 0 {
        txn.delete::<Expiries>(&entry(row.expiry_due));
    }
    row.expiry_due = row.expires_at;
    if row.expiry_due != 0 {
        expiry::set(txn, entry(row.expiry_due));
    }
}

#[cfg(test)]
mod tests;
