//! Schedules.
//!
//! When a schedule is due, its timer fires and the leader is asked what to run: cron and time zones are not for the
//! rules. Its answer, *fire*, runs that and says when the schedule is due next. A new leader is asked again.
//!
//! | state | timer | due |
//! |---|---|---|
//! | waiting | at `due` | when it fires |
//! | firing | none | when it fired |
//! | paused | none | 0 |
//! | over (a one-shot that has run) | none | 0 |
//!
//! | order | waiting | firing | paused | over | not there |
//! |---|---|---|---|---|---|
//! | put | another definition and time; counters stay | as waiting; what was due is dropped | another definition | another definition and time | created |
//! | put, create only | 409 | 409 | 409 | 409 | created |
//! | pause | paused | paused; what was due is dropped | nothing to do | paused | not found |
//! | resume | nothing to do | nothing to do | waiting, or over | nothing to do | not found |
//! | trigger | runs, beside its times and runs | as waiting | as waiting | as waiting | not found |
//! | delete | forgotten; runs go on | as waiting | as waiting | as waiting | not found |
//! | fire, of this time | 409 | runs | 409 | 409 | not found |
//! | fire, of another time | 409 | 409 | 409 | 409 | not found |
//!
//! | a run is due while others are under way | what happens |
//! |---|---|
//! | allow | it runs |
//! | skip | it is skipped |
//! | cancel other | they are cancelled, and it runs |
//!
//! The schedule is the sink of its runs: it is told when they end.

use abide_model::command::{
    CatchUp, Control, Invoke, Outcome, OutcomeKind, Overlap, ParcelBody, ScheduleAction, ScheduleDefinition,
    ScheduleFire, ScheduleOrder, Sink, Verb,
};
use abide_model::effect::{Answer, Effect};
use abide_model::id::{InvocationId, Millis, PartitionId, ScheduleId};
use abide_model::limits;
use abide_model::protocol::Code;
use abide_model::table::{ScheduleRow, Schedules, TimerKey, TimerKind, Timers};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

use super::{accept, refusal, route, start};
use crate::txn::Txn;

/// Carries out the order.
pub(crate) fn carry_out<V: View>(txn: &mut Txn<'_, V>, order: ScheduleOrder) -> Result<Answer, ReadError> {
    let newer =
        || ReadError("an order about a schedule is of a kind this build does not know: start the newer build".into());
    let action = order.action.ok_or_else(newer)?;
    let Some(id) = ScheduleId::from_bytes(&order.id) else {
        return Ok(refusal::invalid("the id of the schedule is malformed"));
    };
    match action {
        ScheduleAction::Put(definition) => {
            // Replicas of different builds would part ways if one of them took it for something else.
            Overlap::try_from(definition.overlap).map_err(|_| newer())?;
            CatchUp::try_from(definition.catch_up).map_err(|_| newer())?;
            let known = txn.get::<Schedules>(&id)?;
            Ok(put(txn, id, known, definition))
        }
        ScheduleAction::Pause(_) => change(txn, id, |txn, row| Ok(pause(txn, id, row))),
        ScheduleAction::Resume(next) => change(txn, id, |txn, row| Ok(resume(txn, id, row, next.due))),
        ScheduleAction::Trigger(invoke) => change(txn, id, |txn, row| trigger(txn, id, row, invoke)),
        ScheduleAction::Fire(what) => change(txn, id, |txn, row| fire(txn, id, row, what)),
        ScheduleAction::Delete(_) => delete(txn, id),
    }
}

/// An order for a schedule that is there; what it makes of the row is written unless it is refused.
fn change<V: View>(
    txn: &mut Txn<'_, V>,
    id: ScheduleId,
    rule: impl FnOnce(&mut Txn<'_, V>, &mut ScheduleRow) -> Result<Answer, ReadError>,
) -> Result<Answer, ReadError> {
    let Some(mut row) = txn.get::<Schedules>(&id)? else { return Ok(Answer::NotFound) };
    let answer = rule(txn, &mut row)?;
    if !matches!(answer, Answer::Refused(_)) {
        txn.put::<Schedules>(&id, &row);
    }
    Ok(answer)
}

fn delete<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId) -> Result<Answer, ReadError> {
    let Some(mut row) = txn.get::<Schedules>(&id)? else { return Ok(Answer::NotFound) };
    set_due(txn, id, &mut row, 0);
    txn.delete::<Schedules>(&id);
    Ok(Answer::Done)
}

fn put<V: View>(
    txn: &mut Txn<'_, V>,
    id: ScheduleId,
    known: Option<ScheduleRow>,
    definition: ScheduleDefinition,
) -> Answer {
    if let Some(fault) = fault(txn, id, &definition) {
        return refusal::invalid(fault);
    }
    if known.is_some() && definition.create_only {
        return refusal::conflict(format!("schedule `{}` exists already: choose another name", definition.name));
    }
    let mut row = known.unwrap_or_else(|| ScheduleRow {
        created_at: txn.now().0,
        paused: definition.paused,
        life: txn.next_life(),
        ..ScheduleRow::default()
    });
    let due = if row.paused { 0 } else { definition.first_due };
    if due == 0 && !row.paused {
        return refusal::invalid(format!("schedule `{}` is never due: give it a time to come", definition.name));
    }
    row.modified_at = txn.now().0;
    row.definition = Some(definition);
    set_due(txn, id, &mut row, due);
    txn.put::<Schedules>(&id, &row);
    Answer::Done
}

/// What is wrong with a definition, for its owner.
fn fault<V: View>(txn: &Txn<'_, V>, id: ScheduleId, definition: &ScheduleDefinition) -> Option<String> {
    let too_long = |what: &str, max: usize| Some(format!("the {what} of the schedule is longer than {max} bytes"));
    let ScheduleDefinition { name, spec, service, handler, key, input, headers, .. } = definition;
    if name.is_empty() || service.is_empty() || handler.is_empty() || spec.is_empty() {
        return Some("a schedule needs a name, a time, a service and a handler".into());
    }
    for (what, text) in [("name", name), ("service", service), ("handler", handler)] {
        if text.len() > limits::NAME_BYTES_MAX {
            return too_long(what, limits::NAME_BYTES_MAX);
        }
    }
    if spec.len() > limits::SCHEDULE_SPEC_BYTES_MAX {
        return too_long("time", limits::SCHEDULE_SPEC_BYTES_MAX);
    }
    if key.as_ref().is_some_and(|key| key.len() > limits::KEY_BYTES_MAX) {
        return too_long("key", limits::KEY_BYTES_MAX);
    }
    if input.len() > limits::BODY_BYTES_MAX {
        return too_long("input", limits::BODY_BYTES_MAX);
    }
    let header_bytes: usize = headers.iter().map(|header| header.key.len() + header.value.len()).sum();
    if headers.len() > limits::HEADERS_MAX || header_bytes > limits::HEADER_BYTES_MAX {
        return Some("the schedule has more or longer headers than allowed".into());
    }
    if id != ScheduleId::of(name) {
        return Some(format!("{id} is not the id of a schedule with the name `{name}`"));
    }
    let home = PartitionId::of(id.partition_key(), txn.partitions());
    (home != txn.partition()).then(|| format!("schedule `{name}` belongs to partition {home}"))
}

/// Ends the wait or the firing, and waits for `due` unless that is 0.
fn set_due<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId, row: &mut ScheduleRow, due: u64) {
    let timer =
        |due| TimerKey { due: Millis(due), kind: TimerKind::Schedule, invocation: id.as_invocation(), completion: 0 };
    if row.due != 0 && !row.firing {
        txn.delete::<Timers>(&timer(row.due));
    }
    row.firing = false;
    row.due = due;
    if due != 0 {
        start::set_timer(txn, timer(due));
    }
}

fn pause<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId, row: &mut ScheduleRow) -> Answer {
    if !row.paused {
        set_due(txn, id, row, 0);
        row.paused = true;
        row.modified_at = txn.now().0;
    }
    Answer::Done
}

fn resume<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId, row: &mut ScheduleRow, due: u64) -> Answer {
    if row.paused {
        set_due(txn, id, row, due);
        row.paused = false;
        row.modified_at = txn.now().0;
    }
    Answer::Done
}

fn trigger<V: View>(
    txn: &mut Txn<'_, V>,
    id: ScheduleId,
    row: &mut ScheduleRow,
    invoke: Invoke,
) -> Result<Answer, ReadError> {
    if let Err(failure) = accept::validate(&invoke) {
        return Ok(refusal::invalid(failure.message));
    }
    run(txn, id, row, invoke)?;
    Ok(Answer::Done)
}

/// The timer of the schedule has fired.
pub(crate) fn due<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId, due: Millis) -> Result<(), ReadError> {
    let Some(mut row) = txn.get::<Schedules>(&id)? else { return Ok(()) };
    if row.due == due.0 && !row.paused && !row.firing {
        row.firing = true;
        txn.put::<Schedules>(&id, &row);
        txn.emit(Effect::ScheduleDue { schedule: id, row: Box::new(row) });
    }
    Ok(())
}

fn fire<V: View>(
    txn: &mut Txn<'_, V>,
    id: ScheduleId,
    row: &mut ScheduleRow,
    fire: ScheduleFire,
) -> Result<Answer, ReadError> {
    if !row.firing || row.due != fire.due {
        let text = format!("schedule {id} is not due since {}: what was to run then is void", Millis(fire.due));
        return Ok(refusal::conflict(text));
    }
    row.skipped = row.skipped.saturating_add(fire.skipped);
    if !fire.fault.is_empty() {
        row.last_fault = cut(&fire.fault);
    }
    let overlap = row.definition.as_ref().map_or(Overlap::Allow, ScheduleDefinition::overlap);
    // The earliest go, as with times that were missed.
    let surplus = fire.runs.len().saturating_sub(limits::SCHEDULE_CATCH_UP_MAX);
    row.skipped = row.skipped.saturating_add(surplus as u64);
    let mut cancelled: Vec<Bytes> = Vec::new();
    for invoke in fire.runs.into_iter().skip(surplus) {
        if let Err(failure) = accept::validate(&invoke) {
            row.skipped = row.skipped.saturating_add(1);
            row.last_fault = cut(&failure.message);
            continue;
        }
        match overlap {
            Overlap::Allow => {}
            Overlap::Skip if row.active.is_empty() => {}
            Overlap::Skip => {
                row.skipped = row.skipped.saturating_add(1);
                continue;
            }
            Overlap::CancelOther => {
                for other in row.active.iter().filter(|other| !cancelled.contains(other)) {
                    let control = Control { target: other.clone(), verb: Verb::Cancel as i32, ..Control::default() };
                    route::send(txn, ParcelBody::Control(control))?;
                }
                cancelled.clone_from(&row.active);
            }
        }
        run(txn, id, row, invoke)?;
    }
    set_due(txn, id, row, fire.next);
    Ok(Answer::Done)
}

/// Starts a run, and watches it.
fn run<V: View>(txn: &mut Txn<'_, V>, id: ScheduleId, row: &mut ScheduleRow, invoke: Invoke) -> Result<(), ReadError> {
    row.runs += 1;
    row.last_run_at = txn.now().0;
    row.last_run = invoke.id.clone();
    if !row.active.contains(&invoke.id) {
        row.active.push(invoke.id.clone());
    }
    let surplus = row.active.len().saturating_sub(limits::SCHEDULE_ACTIVE_MAX);
    row.active.drain(..surplus);
    let invoke = Invoke {
        sink: Some(Sink::new(id.as_invocation(), row.life, 0, Code::SCHEDULED_RUN_DONE)),
        schedule: row.definition.as_ref().map(|definition| definition.name.clone()).unwrap_or_default(),
        one_way: false,
        ..invoke
    };
    route::send(txn, ParcelBody::Invoke(invoke))
}

/// A run of the schedule's life `life` has ended.
pub(crate) fn run_ended<V: View>(
    txn: &mut Txn<'_, V>,
    id: ScheduleId,
    life: u64,
    run: &Bytes,
    outcome: &Outcome,
) -> Result<(), ReadError> {
    let Some(mut row) = txn.get::<Schedules>(&id)?.filter(|row| row.life == life) else { return Ok(()) };
    row.active.retain(|active| active != run);
    if let Some(OutcomeKind::Failure(failure)) = &outcome.kind {
        row.failed = row.failed.saturating_add(1);
        let name = InvocationId::from_bytes(run).map_or_else(String::new, |run| format!("{run}: "));
        row.last_fault = cut(&format!("{name}{} (code {})", failure.message, failure.code));
    }
    txn.put::<Schedules>(&id, &row);
    Ok(())
}

/// As much of a text as is kept for display.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(limits::SCHEDULE_FAULT_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests;
