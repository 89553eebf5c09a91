//! Fires what is due at log time. A timer never fires before log time has reached it, and fires once: its row goes with
//! what it causes.

use abide_model::effect::Effect;
use abide_model::id::{Millis, ScheduleId};
use abide_model::limits::TIMERS_PER_COMMAND_MAX;
use abide_model::protocol::Code;
use abide_model::table::key::KeyWriter;
use abide_model::table::{Completions, Invocations, Status, Table, TimerKey, TimerKind, Timers};
use abide_model::view::{ReadError, View};

use crate::rule::sleeps::slept;
use crate::rule::{accept, expiry, notify, schedule, start};
use crate::txn::Txn;

pub(super) fn apply<V: View>(txn: &mut Txn<'_, V>) -> Result<(), ReadError> {
    let (from, to) = txn.floors.due::<Timers>(txn.now());
    let due = txn.scan_before::<Timers>(&from, &to, TIMERS_PER_COMMAND_MAX)?;
    let more = due.len() == TIMERS_PER_COMMAND_MAX;
    // Before what firing sets anew, which lowers it again.
    txn.floors.raise::<Timers>(match due.last() {
        Some((last, _)) if more => last.due,
        _ => txn.now().plus(1),
    });
    for (timer, _) in due {
        txn.delete::<Timers>(&timer);
        txn.emit(Effect::TimerFired { due: timer.due, at: txn.now() });
        fire(txn, timer)?;
    }
    // What people wait for comes first: what is only to be forgotten can wait for the next command.
    let next = if more { Some(txn.now()) } else { earliest(next_after(txn)?, expiry::forget_due(txn)?) };
    if let Some(due) = next {
        txn.emit(Effect::TimerSet { due });
    }
    Ok(())
}

fn earliest(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    a.into_iter().chain(b).min()
}

fn next_after<V: View>(txn: &Txn<'_, V>) -> Result<Option<Millis>, ReadError> {
    let mut from = KeyWriter::new(Timers::TAG);
    from.u64(txn.now().0.saturating_add(1));
    let (_, to) = Timers::whole();
    Ok(txn.scan_before::<Timers>(&from.finish(), &to, 1)?.first().map(|(key, _)| key.due))
}

fn fire<V: View>(txn: &mut Txn<'_, V>, timer: TimerKey) -> Result<(), ReadError> {
    let id = timer.invocation;
    if timer.kind == TimerKind::Schedule {
        return schedule::due(txn, ScheduleId::from_invocation(id), timer.due);
    }
    if timer.kind == TimerKind::Expire {
        if txn.get::<Completions>(&id)?.is_some_and(|row| row.expires_at == timer.due.0) {
            txn.delete::<Completions>(&id);
        }
        return Ok(());
    }
    let Some(mut row) = txn.get::<Invocations>(&id)? else { return Ok(()) };
    match timer.kind {
        TimerKind::Start if row.status == Some(Status::Scheduled(timer.due.0)) => {
            let work = start::work(txn, id, &row)?;
            accept::admit(txn, id, &mut row, work)
        }
        TimerKind::Retry if row.status == Some(Status::BackingOff(timer.due.0)) => {
            start::start(txn, id, &mut row);
            Ok(())
        }
        TimerKind::Wake => {
            row.open_sleeps = row.open_sleeps.saturating_sub(1);
            notify::notify(txn, id, &mut row, Code::SLEEP_DONE, &slept(timer.completion));
            Ok(())
        }
        TimerKind::Start | TimerKind::Retry | TimerKind::Expire | TimerKind::Schedule => Ok(()),
    }
}

#[cfg(test)]
mod tests;
