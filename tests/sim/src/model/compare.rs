//! The tables against the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;

use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId};
use abide_model::protocol::NotificationId;
use abide_model::table::{
    Awaiting, CompletionRow, Completions, Direction, Empty, Expiries, Expiry, ExpiryKey, Failures, FailuresRow,
    InvocationRow, Invocations, Journals, LetterBounds, LetterBoundsRow, Letters, Mailboxes, ObjectRow, Objects,
    Outbox, PromiseRow, Promises, Ready, ScheduleRow, Schedules, Sequences, States, Status as RowStatus, Table, Timers,
};
use abide_model::view::View;

use super::{Inv, Kept, Part, Sched, Status};
use crate::violation::{Check, Invariant, Violation, check};

/// Finds the first difference between a partition's tables and the model.
pub(crate) fn compare<V: View>(view: &V, part: &Part) -> Check {
    invocations(view, part)?;
    journals(view, part)?;
    completions(view, part)?;

    let found: Vec<_> = all::<States, V>(view)?.into_iter().map(|(key, row)| (key, row.value)).collect();
    let mut expected = BTreeMap::new();
    for (object, obj) in &part.objects {
        for (field, value) in &obj.fields {
            expected.insert((object.clone(), field.clone()), value.clone());
        }
    }
    same(Invariant::I2Linearizable, part, "state", &found, &pairs(&expected))?;
    let rows = objects(view, part)?;
    expiries(view, part, &rows)?;

    let expected: BTreeMap<_, _> = part
        .promises
        .iter()
        .map(|(key, it)| {
            let row =
                PromiseRow { result: it.result.clone(), listeners: it.waiting.clone(), completed_at: it.completed_at };
            (key.clone(), row)
        })
        .collect();
    same(Invariant::I18Promises, part, "promises", &all::<Promises, V>(view)?, &pairs(&expected))?;
    letters(view, part)?;
    schedules(view, part)?;

    let found: Vec<_> = all::<Timers, V>(view)?
        .into_iter()
        .map(|(key, _)| (key.due.0, key.kind as u8, key.invocation, key.completion))
        .collect();
    same(Invariant::I13Timers, part, "timers", &found, &part.timers.iter().copied().collect())?;

    let ready: Vec<_> = all::<Ready, V>(view)?.into_iter().map(|(id, _)| id).collect();
    let running = part.invocations.iter().filter(|(_, inv)| inv.status == Status::Running).map(|(id, _)| *id);
    same(Invariant::I1NoLostWork, part, "ready", &ready, &running.collect())?;
    exchange(view, part)
}

fn exchange<V: View>(view: &V, part: &Part) -> Check {
    let found: Vec<_> = all::<Outbox, V>(view)?.into_iter().map(|((to, seq), parcel)| ((to.0, seq), parcel)).collect();
    same(Invariant::I16Exchange, part, "outbox", &found, &pairs(&part.outbox))?;
    let mut expected: Vec<_> =
        part.sent.iter().map(|(to, last)| ((Direction::Sent, PartitionId(*to)), *last)).collect();
    expected.extend(part.taken.iter().map(|(from, last)| ((Direction::Taken, PartitionId(*from)), *last)));
    let mut found: Vec<_> = all::<Sequences, V>(view)?.into_iter().map(|(key, row)| (key, row.last)).collect();
    found.retain(|(_, last)| *last > 0);
    same(Invariant::I16Exchange, part, "sequences", &found, &expected)
}

fn invocations<V: View>(view: &V, part: &Part) -> Check {
    let rows = all::<Invocations, V>(view)?;
    let ids: Vec<_> = rows.iter().map(|(id, _)| *id).collect();
    same(Invariant::I1NoLostWork, part, "invocations", &ids, &part.invocations.keys().copied().collect())?;
    for (id, row) in rows {
        let Some(inv) = part.invocations.get(&id) else { continue };
        // The one thing that the model does not follow.
        let expected = InvocationRow { modified_at: row.modified_at, ..expected(part, id, inv) };
        check(row == expected, Invariant::I4EffectOnce, || {
            format!("p{}: {id} is {row:?}, expected {expected:?}", part.number)
        })?;
    }
    let failed = part.invocations.iter().filter(|(_, inv)| inv.history.1 > 0);
    let expected = failed.map(|(id, inv)| (*id, FailuresRow { attempts: inv.history.0.clone(), total: inv.history.1 }));
    same(Invariant::I4EffectOnce, part, "failures", &all::<Failures, V>(view)?, &expected.collect())
}

fn expected(part: &Part, id: InvocationId, inv: &Inv) -> InvocationRow {
    let status = match &inv.status {
        Status::Scheduled(at) => RowStatus::Scheduled(*at),
        Status::Queued => RowStatus::Queued(Empty {}),
        Status::Running => RowStatus::Running(Empty {}),
        Status::BackingOff(at) => RowStatus::BackingOff(*at),
        Status::Paused => RowStatus::Paused(Empty {}),
        Status::Suspended(ids) => {
            let mut awaiting = Awaiting::default();
            for id in ids {
                match id {
                    NotificationId::Completion(id) => awaiting.completions.push(*id),
                    NotificationId::SignalIndex(id) => awaiting.signals.push(*id),
                    NotificationId::SignalName(name) => awaiting.names.push(name.clone()),
                }
            }
            RowStatus::Suspended(awaiting)
        }
    };
    let sleeps = part.timers.iter().filter(|timer| timer.1 == 2 && timer.2 == id).count();
    InvocationRow {
        target: Some(inv.target.clone()),
        status: Some(status),
        attempt: inv.attempt,
        created_at: inv.created_at,
        modified_at: 0,
        journal_len: number(inv.journal.len()),
        sinks: inv.sinks.clone(),
        invoked_by: inv.terms.by.clone(),
        idempotency_key: inv.terms.idempotency.clone(),
        retention_ms: inv.terms.retention,
        failures: inv.failures,
        last_failure: inv.last_failure.clone(),
        mailbox_seq: inv.seq,
        open_sleeps: number(sleeps),
        life: inv.life,
        chain: inv.chain.clone(),
        journal_retention_ms: inv.terms.journal,
        state_ttl_ms: inv.terms.ttl,
        one_way: inv.terms.one_way,
        version: inv.version.clone(),
        schedule: inv.terms.schedule.clone(),
        restarted_from: inv.terms.repeats.clone(),
        has_failures: inv.history.1 > 0,
    }
}

fn completions<V: View>(view: &V, part: &Part) -> Check {
    let expected = part.kept.iter().map(|(id, kept)| (*id, completion(kept))).collect();
    same(Invariant::I3Idempotent, part, "completions", &all::<Completions, V>(view)?, &expected)
}

fn completion(kept: &Kept) -> CompletionRow {
    CompletionRow {
        target: Some(kept.target.clone()),
        outcome: Some(kept.outcome.clone()),
        created_at: kept.created_at,
        completed_at: kept.ended_at,
        expires_at: kept.until,
        idempotency_key: kept.terms.idempotency.clone(),
        invoked_by: kept.terms.by.clone(),
        journal_len: number(kept.journal.len()),
        journal_expires_at: kept.journal_until,
        attempt: kept.attempt,
        version: kept.version.clone(),
        schedule: kept.terms.schedule.clone(),
        restarted_from: kept.terms.repeats.clone(),
        state_ttl_ms: kept.terms.ttl,
        retention_ms: kept.terms.retention,
        journal_retention_ms: kept.terms.journal,
        one_way: kept.terms.one_way,
    }
}

fn journals<V: View>(view: &V, part: &Part) -> Check {
    let found: Vec<_> =
        all::<Journals, V>(view)?.into_iter().map(|(key, row)| (key, (row.message().code, row.payload))).collect();
    let mut expected = BTreeMap::new();
    let under_way = part.invocations.iter().map(|(id, inv)| (id, &inv.journal));
    for (id, journal) in under_way.chain(part.kept.iter().map(|(id, kept)| (id, &kept.journal))) {
        for (index, entry) in (0_u32..).zip(journal) {
            expected.insert((*id, index), entry.clone());
        }
    }
    same(Invariant::I5JournalAppendOnly, part, "journals", &found, &pairs(&expected))
}

fn objects<V: View>(view: &V, part: &Part) -> Check<BTreeMap<ObjectId, ObjectRow>> {
    let mut queues = BTreeMap::new();
    for ((object, seq), slot) in all::<Mailboxes, V>(view)? {
        queues.entry(object).or_insert_with(Vec::new).push((seq, InvocationId::from_bytes(&slot.invocation)));
    }
    let rows: BTreeMap<_, _> = all::<Objects, V>(view)?.into_iter().collect();
    for (object, obj) in &part.objects {
        let row = rows.get(object).copied().unwrap_or_default();
        let version = row.version();
        check((version.version, version.writer) == obj.version, Invariant::I2Linearizable, || {
            format!("p{}: {object} has version {version:?}, expected {:?}", part.number, obj.version)
        })?;
        let found = queues.remove(object).unwrap_or_default();
        let seq = |id: &InvocationId| part.invocations.get(id).and_then(|inv| inv.seq).unwrap_or(0);
        let expected: Vec<_> = obj.queue.iter().map(|id| (seq(id), Some(*id))).collect();
        same(Invariant::I7Fifo, part, "mailbox", &found, &expected)?;
        let head = expected.first().map_or(row.tail, |(seq, _)| *seq);
        check(row.head == head && row.tail == obj.next_seq, Invariant::I7Fifo, || {
            format!("p{}: {object} spans {}..{}, expected {head}..{}", part.number, row.head, row.tail, obj.next_seq)
        })?;
        let (found, expected) = ((row.expires_at, row.state_ttl_ms), (obj.expires, obj.ttl));
        check(found == expected, Invariant::I20Expiry, || {
            format!("p{}: {object} expires {found:?}, expected {expected:?}", part.number)
        })?;
    }
    let lost = rows.keys().find(|object| !part.objects.contains_key(*object));
    check(lost.is_none(), Invariant::I20Expiry, || format!("p{}: {lost:?} should be forgotten", part.number))?;
    check(queues.is_empty(), Invariant::I7Fifo, || format!("p{}: mailboxes of nobody: {queues:?}", part.number))?;
    Ok(rows)
}

/// What is in the index is what will be forgotten, and when. The entry of a state may come early, as its row says.
fn expiries<V: View>(view: &V, part: &Part, rows: &BTreeMap<ObjectId, ObjectRow>) -> Check {
    let mut expected = Vec::new();
    let mut at = |due, what| expected.push(ExpiryKey { due: Millis(due), what });
    for (id, kept) in &part.kept {
        at(kept.until, Expiry::Completion(*id));
        if kept.journal_until != 0 {
            at(kept.journal_until, Expiry::Journal(*id));
        }
    }
    for (object, row) in rows {
        let fits =
            if row.expires_at == 0 { row.expiry_due == 0 } else { (1..=row.expires_at).contains(&row.expiry_due) };
        check(fits, Invariant::I20Expiry, || format!("p{}: {object} is indexed wrongly: {row:?}", part.number))?;
        if row.expiry_due != 0 {
            at(row.expiry_due, Expiry::State(object.clone()));
        }
    }
    expected.sort_unstable();
    let found = all::<Expiries, V>(view)?.into_iter().map(|(key, _)| key).collect();
    same(Invariant::I20Expiry, part, "expiries", &found, &expected)
}

fn letters<V: View>(view: &V, part: &Part) -> Check {
    same(Invariant::I19Letters, part, "letters", &all::<Letters, V>(view)?, &pairs(&part.letters))?;
    let expected = part.letter_counts.iter().map(|(service, (next, dropped))| {
        let count = part.letters.keys().filter(|key| key.0 == *service).count() as u64;
        (service.clone(), LetterBoundsRow { next: *next, count, dropped: *dropped })
    });
    same(Invariant::I19Letters, part, "letter bounds", &all::<LetterBounds, V>(view)?, &expected.collect())
}

fn schedules<V: View>(view: &V, part: &Part) -> Check {
    let expected = part.schedules.iter().map(|(id, sched)| (*id, schedule(sched))).collect();
    same(Invariant::I21Schedules, part, "schedules", &all::<Schedules, V>(view)?, &expected)?;
    for sched in part.schedules.values() {
        check(sched.runs + sched.skipped == sched.accounted, Invariant::I21Schedules, || {
            format!("schedule {} has {} times to account for: {sched:?}", sched.definition.name, sched.accounted)
        })?;
    }
    Ok(())
}

fn schedule(sched: &Sched) -> ScheduleRow {
    ScheduleRow {
        definition: Some(sched.definition.clone()),
        due: sched.due,
        firing: sched.firing,
        paused: sched.paused,
        created_at: sched.created_at,
        modified_at: sched.modified_at,
        runs: sched.runs,
        skipped: sched.skipped,
        last_run_at: sched.last_run_at,
        last_run: sched.last_run.clone(),
        active: sched.active.clone(),
        failed: sched.failed,
        last_fault: sched.last_fault.clone(),
        life: sched.life,
    }
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn all<T: Table, V: View>(view: &V) -> Check<Vec<(T::Key, T::Value)>> {
    let (from, to) = T::whole();
    let mut rows = Vec::new();
    view.scan_bytes::<T>(&from, &to, &mut |key, value| {
        rows.push((key, value));
        ControlFlow::Continue(())
    })
    .map_err(|error| Violation { invariant: Invariant::Stopped, text: error.to_string() })?;
    Ok(rows)
}

fn pairs<K: Clone, V: Clone>(map: &BTreeMap<K, V>) -> Vec<(K, V)> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn same<T: PartialEq + Debug>(
    invariant: Invariant,
    part: &Part,
    table: &str,
    found: &Vec<T>,
    expected: &Vec<T>,
) -> Check {
    check(found == expected, invariant, || {
        let at = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
        format!("p{}: table {table}: row {at} is {:?}, expected {:?}", part.number, found.get(at), expected.get(at))
    })
}
