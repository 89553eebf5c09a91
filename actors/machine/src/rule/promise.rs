//! Promises of a workflow: a place that is completed once, by any of its handlers, and that any of them may wait for.
//! There is a row when a promise is completed or when somebody waits for it.

use abide_model::command::{Outcome, Sink};
use abide_model::error::NOT_FOUND;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::limits::SINKS_MAX;
use abide_model::protocol::{Failure, PromiseResult};
use abide_model::table::key::KeyWriter;
use abide_model::table::{Invocations, PromiseRow, Promises, Table};
use abide_model::view::{ReadError, View};

use super::notify;
use crate::txn::Txn;

/// The result of a promise as that of an invocation.
fn outcome(result: PromiseResult) -> Outcome {
    match result {
        PromiseResult::Value(value) => Outcome::success(value.content),
        PromiseResult::Failure(failure) => Outcome::failure(failure),
    }
}

/// Lets `sink` wait for the promise. `false` when too many do.
pub(crate) fn wait<V: View>(
    txn: &mut Txn<'_, V>,
    promise: &(ObjectId, String),
    row: &mut PromiseRow,
    sink: Sink,
) -> Result<bool, ReadError> {
    if row.listeners.len() >= SINKS_MAX {
        forget_gone(txn, row)?;
    }
    let fits = row.listeners.len() < SINKS_MAX;
    if fits {
        row.listeners.push(sink);
        txn.put::<Promises>(promise, row);
    }
    Ok(fits)
}

/// Removes listeners that have ended without the promise, which live in this partition as the promise does.
fn forget_gone<V: View>(txn: &Txn<'_, V>, row: &mut PromiseRow) -> Result<(), ReadError> {
    let mut here = Vec::new();
    for sink in std::mem::take(&mut row.listeners) {
        let Some(id) = InvocationId::from_bytes(&sink.caller) else { continue };
        if txn.get::<Invocations>(&id)?.is_some_and(|row| row.life == sink.life) {
            here.push(sink);
        }
    }
    row.listeners = here;
    Ok(())
}

/// Completes the promise and tells who waits for it. `false` when it was completed before.
pub(crate) fn complete<V: View>(
    txn: &mut Txn<'_, V>,
    promise: &(ObjectId, String),
    by: InvocationId,
    result: PromiseResult,
) -> Result<bool, ReadError> {
    let row = txn.get::<Promises>(promise)?.unwrap_or_default();
    if row.result.is_some() {
        return Ok(false);
    }
    for sink in &row.listeners {
        notify::respond(txn, by, sink, Some(outcome(result.clone())))?;
    }
    let row = PromiseRow { result: Some(result), listeners: Vec::new(), completed_at: txn.now().0 };
    txn.put::<Promises>(promise, &row);
    Ok(true)
}

/// Whether the workflow has a promise.
pub(crate) fn any<V: View>(txn: &Txn<'_, V>, workflow: &ObjectId) -> Result<bool, ReadError> {
    let (from, to) = bounds(workflow);
    Ok(!txn.first_keys::<Promises>(&from, &to, 1)?.is_empty())
}

/// Forgets promises of the workflow, about as many as make `most` rows; who waits for one is told that it is gone.
/// Returns how many rows that took.
pub(crate) fn forget<V: View>(txn: &mut Txn<'_, V>, workflow: &ObjectId, most: usize) -> Result<usize, ReadError> {
    let (from, to) = bounds(workflow);
    let run = InvocationId::workflow(&workflow.service, &workflow.key);
    let mut rows = 0;
    for key in txn.first_keys::<Promises>(&from, &to, most)? {
        if rows >= most {
            break;
        }
        let row = txn.get::<Promises>(&key)?.unwrap_or_default();
        for sink in &row.listeners {
            let text = format!("promise `{}` is gone: the result of workflow {workflow} is not kept any more", key.1);
            let failure = Failure::new(u32::from(NOT_FOUND.0), text);
            notify::respond(txn, run, sink, Some(Outcome::failure(failure)))?;
        }
        rows += 1 + row.listeners.len();
        txn.delete::<Promises>(&key);
    }
    Ok(rows)
}

fn bounds(workflow: &ObjectId) -> (Box<[u8]>, Box<[u8]>) {
    let mut prefix = KeyWriter::new(Promises::TAG);
    prefix.text(&workflow.service);
    prefix.text(&workflow.key);
    prefix.prefix_bounds()
}
