//! The tables against the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;

use abide_model::id::{InvocationId, PartitionId};
use abide_model::protocol::NotificationId;
use abide_model::table::{
    Completions, Direction, InvocationRow, Invocations, Journals, Mailboxes, Objects, Outbox, Ready, Sequences, States,
    Status as RowStatus, Table, Timers,
};
use abide_model::view::View;

use super::{Inv, Part, Status};
use crate::violation::{Check, Invariant, Violation, check};

/// Finds the first difference between a partition's tables and the model.
pub(crate) fn compare<V: View>(view: &V, part: &Part) -> Check {
    let rows = all::<Invocations, V>(view)?;
    let ids: Vec<_> = rows.iter().map(|(id, _)| *id).collect();
    same(Invariant::I1NoLostWork, part, "invocations", &ids, &part.invocations.keys().copied().collect())?;
    for (id, row) in &rows {
        if let Some(inv) = part.invocations.get(id) {
            invocation(part, *id, row, inv)?;
        }
    }
    journals(view, part)?;

    let found: Vec<_> = all::<Completions, V>(view)?
        .into_iter()
        .map(|(id, row)| (id, (row.outcome.unwrap_or_default(), row.expires_at)))
        .collect();
    same(Invariant::I3Idempotent, part, "completions", &found, &pairs(&part.kept))?;

    let found: Vec<_> = all::<States, V>(view)?.into_iter().map(|(key, row)| (key, row.value)).collect();
    let mut expected = BTreeMap::new();
    for (object, obj) in &part.objects {
        for (field, value) in &obj.fields {
            expected.insert((object.clone(), field.clone()), value.clone());
        }
    }
    same(Invariant::I2Linearizable, part, "state", &found, &pairs(&expected))?;
    objects(view, part)?;

    let found: Vec<_> = all::<Timers, V>(view)?
        .into_iter()
        .map(|(key, _)| (key.due.0, key.kind as u8, key.invocation, key.completion))
        .collect();
    same(Invariant::I13Timers, part, "timers", &found, &part.timers.iter().copied().collect())?;

    let ready: Vec<_> = all::<Ready, V>(view)?.into_iter().map(|(id, _)| id).collect();
    let running = part.invocations.iter().filter(|(_, inv)| inv.status == Status::Running).map(|(id, _)| *id);
    same(Invariant::I1NoLostWork, part, "ready", &ready, &running.collect())?;

    let found: Vec<_> = all::<Outbox, V>(view)?.into_iter().map(|((to, seq), parcel)| ((to.0, seq), parcel)).collect();
    same(Invariant::I16Exchange, part, "outbox", &found, &pairs(&part.outbox))?;
    let mut expected: Vec<_> =
        part.sent.iter().map(|(to, last)| ((Direction::Sent, PartitionId(*to)), *last)).collect();
    expected.extend(part.taken.iter().map(|(from, last)| ((Direction::Taken, PartitionId(*from)), *last)));
    let mut found: Vec<_> = all::<Sequences, V>(view)?.into_iter().map(|(key, row)| (key, row.last)).collect();
    found.retain(|(_, last)| *last > 0);
    same(Invariant::I16Exchange, part, "sequences", &found, &expected)
}

fn invocation(part: &Part, id: InvocationId, row: &InvocationRow, inv: &Inv) -> Check {
    let status = match &row.status {
        Some(RowStatus::Scheduled(at)) => Status::Scheduled(*at),
        Some(RowStatus::Queued(_)) => Status::Queued,
        Some(RowStatus::Running(_)) => Status::Running,
        Some(RowStatus::BackingOff(at)) => Status::BackingOff(*at),
        Some(RowStatus::Suspended(awaiting)) => {
            let mut ids = Vec::new();
            ids.extend(awaiting.completions.iter().map(|id| NotificationId::Completion(*id)));
            ids.extend(awaiting.signals.iter().map(|id| NotificationId::SignalIndex(*id)));
            ids.extend(awaiting.names.iter().map(|name| NotificationId::SignalName(name.clone())));
            Status::Suspended(ids)
        }
        Some(RowStatus::Paused(_)) | None => Status::Paused,
    };
    let found = (status, row.attempt, row.failures, row.journal_len as usize, row.sinks.len(), row.created_at);
    let expected = (inv.status.clone(), inv.attempt, inv.failures, inv.journal.len(), inv.sinks.len(), inv.created_at);
    check(found == expected && row.sinks == inv.sinks, Invariant::I4EffectOnce, || {
        format!("p{}: {id} is {found:?}, expected {expected:?}", part.number)
    })
}

fn journals<V: View>(view: &V, part: &Part) -> Check {
    let found: Vec<_> =
        all::<Journals, V>(view)?.into_iter().map(|(key, row)| (key, (row.message().code, row.payload))).collect();
    let mut expected = BTreeMap::new();
    for (id, inv) in &part.invocations {
        for (index, entry) in (0_u32..).zip(&inv.journal) {
            expected.insert((*id, index), entry.clone());
        }
    }
    same(Invariant::I5JournalAppendOnly, part, "journals", &found, &pairs(&expected))
}

fn objects<V: View>(view: &V, part: &Part) -> Check {
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
    }
    check(queues.is_empty(), Invariant::I7Fifo, || format!("p{}: mailboxes of nobody: {queues:?}", part.number))
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
