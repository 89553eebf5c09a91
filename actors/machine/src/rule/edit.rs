//! An operator's edit of an object's state. It takes its place among the exclusive invocations of the object, and is
//! carried out by the machine itself as soon as it is the first: it is never first at rest.
//!
//! | case | what happens |
//! |---|---|
//! | does not decode, breaks a limit, or names nothing with a state | refused at acceptance |
//! | the object is idle, or it is of a workflow, where nothing queues | carried out with its acceptance |
//! | something is before it | waits in the mailbox, as a turn does; cancelled and killed as a turn is |
//! | the state is not the expected one | ends with 409 |
//! | otherwise | a new version of the state; ends with an empty success |
//! | leaves no field of an object that becomes idle | the object's row goes as well |

use abide_model::command::{Outcome, StateEdit, Target};
use abide_model::id::{InvocationId, ObjectId};
use abide_model::protocol::Failure;
use abide_model::table::{InvocationRow, Objects};
use abide_model::view::{ReadError, View};
use bytes::Bytes;
use prost::Message;

use super::complete::{self, By};
use super::state;
use crate::txn::Txn;

/// What killed, cancelled and outdated work answers with.
const CONFLICT: u32 = 409;

/// What an edit came to.
pub(crate) struct Edited {
    /// Its end.
    pub(crate) outcome: Outcome,
    /// Whether the object has no field any more.
    pub(crate) emptied: bool,
}

/// The object whose state an invocation of [`abide_model::command::Form::Edit`] edits.
pub(crate) fn object(target: &Target) -> Option<ObjectId> {
    target.writable_object().or_else(|| target.workflow_object())
}

/// Reads the input of an edit, or says what is wrong with it.
pub(crate) fn read(input: &Bytes) -> Result<StateEdit, String> {
    let edit = StateEdit::decode(input.clone()).map_err(|error| format!("the state edit does not decode: {error}"))?;
    state::excess(&edit.changes).map_or(Ok(edit), Err)
}

/// Carries out an edit that nothing is before, and ends it.
pub(crate) fn at_once<V: View>(
    txn: &mut Txn<'_, V>,
    id: InvocationId,
    object: &ObjectId,
    row: &InvocationRow,
    input: &Bytes,
) -> Result<(), ReadError> {
    let edited = carry_out(txn, object, row, input)?;
    if edited.emptied {
        forget_emptied(txn, object)?;
    }
    complete::complete(txn, id, row, edited.outcome, By::Edit, true)
}

/// Changes the state, if it is the expected one.
pub(crate) fn carry_out<V: View>(
    txn: &mut Txn<'_, V>,
    object: &ObjectId,
    row: &InvocationRow,
    input: &Bytes,
) -> Result<Edited, ReadError> {
    let edit = read(input).map_err(|error| ReadError(format!("an edit of {object} was accepted, but {error}")))?;
    let version = txn.get::<Objects>(object)?.unwrap_or_default().version();
    if let Some(expected) = edit.expected.filter(|expected| *expected != version) {
        let text = format!(
            "the state of {object} has version {} by writer {}, not the expected version {} by writer {}; read it again",
            version.version, version.writer, expected.version, expected.writer
        );
        return Ok(Edited { outcome: complete::failed(Failure::new(CONFLICT, text)), emptied: false });
    }
    if edit.replace {
        state::clear(txn, object)?;
    }
    state::write(txn, object, &edit.changes);
    state::publish(txn, object, row.state_ttl_ms)?;
    let emptied = edit.replace && state::fields(txn, object)?.is_empty();
    Ok(Edited { outcome: Outcome::success(Bytes::new()), emptied })
}

/// Removes the row of an object that an edit has left without a field, unless somebody needs it.
pub(crate) fn forget_emptied<V: View>(txn: &mut Txn<'_, V>, object: &ObjectId) -> Result<(), ReadError> {
    match txn.get::<Objects>(object)? {
        Some(row) if row.is_idle() => state::forget_row(txn, object, &row),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
