//! What handler threads need of the tables: an object's state with its mailbox, an attempt with its journal.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use abide_host::{HostEvent, Queued, StartAttempt};
use abide_model::command::{Form, Priority};
use abide_model::effect::Work;
use abide_model::id::{ActivationId, InvocationId, Millis, ObjectId, PartitionId};
use abide_model::protocol::{Code, Input};
use abide_model::table::key::KeyWriter;
use abide_model::table::{
    InvocationRow, Invocations, JournalRow, Journals, Lane, Lanes, LetterBounds, MailboxRow, Mailboxes, ObjectRow,
    Objects, States, Status, Table, TimerKind, Timers,
};
use abide_model::view::{ReadError, View};
use bytes::Bytes;

/// Mailbox elements that travel with an object's state.
const QUEUE_MAX: usize = 256;
/// Inputs of these elements, in bytes; the first one travels whatever its size.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Due timers are counted up to here.
const TIMERS_COUNTED_MAX: u64 = 1_000;

/// An object's applied state, and the first of its mailbox.
pub(super) fn object<V: View>(view: &V, object: ObjectId, activation: ActivationId) -> Result<HostEvent, ReadError> {
    let row = view.get::<Objects>(&object)?.unwrap_or_default();
    let fields = fields(view, &object)?;
    let mut queue = Vec::new();
    let mut more = false;
    if !row.is_idle() {
        let mut ids = mailbox(view, &object, &row)?;
        if ids.len() > QUEUE_MAX {
            ids.truncate(QUEUE_MAX);
            more = true;
        }
        let mut bytes = 0;
        for id in ids {
            if bytes > QUEUE_BYTES_MAX {
                more = true;
                break;
            }
            let row = invocation(view, id)?;
            let is_flow = row.target.as_ref().is_some_and(|target| target.form() == Form::Flow);
            let held = is_flow || !matches!(row.status, Some(Status::Queued(_)));
            let work = work(view, id, &row)?;
            bytes += work.input.len();
            queue.push(Queued { work, held });
        }
    }
    Ok(HostEvent::Activated { object, activation, version: row.version(), fields, queue, more })
}

/// The first of the mailbox, in its order: who holds the key, then class by class. One more than [`QUEUE_MAX`] when there
/// are more.
fn mailbox<V: View>(view: &V, object: &ObjectId, row: &ObjectRow) -> Result<Vec<InvocationId>, ReadError> {
    let mut ids = Vec::new();
    let Some(holder) = row.holder() else { return Ok(ids) };
    let first = Priority::ORDER.into_iter().find(|class| !row.lane(*class).is_empty());
    let ahead = first != Some(holder.class);
    if ahead {
        lane_of(view, object, holder.class, Lane { head: holder.seq, tail: holder.seq + 1 }, &mut ids)?;
    }
    for class in Priority::ORDER {
        let mut lane = row.lane(class);
        lane.head += u64::from(ahead && class == holder.class);
        lane_of(view, object, class, lane, &mut ids)?;
    }
    Ok(ids)
}

/// Adds a lane in its order, until there are more than [`QUEUE_MAX`].
fn lane_of<V: View>(
    view: &V,
    object: &ObjectId,
    class: Priority,
    lane: Lane,
    ids: &mut Vec<InvocationId>,
) -> Result<(), ReadError> {
    if lane.is_empty() || ids.len() > QUEUE_MAX {
        return Ok(());
    }
    let mut add = |slot: MailboxRow| {
        ids.extend(InvocationId::from_bytes(&slot.invocation));
        if ids.len() > QUEUE_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if class == Priority::Normal {
        let key = |seq| Mailboxes::encode_key(&(object.clone(), seq));
        view.scan_bytes::<Mailboxes>(&key(lane.head), &key(lane.tail), &mut |_, slot| add(slot))
    } else {
        let key = |seq| Lanes::encode_key(&(object.clone(), class, seq));
        view.scan_bytes::<Lanes>(&key(lane.head), &key(lane.tail), &mut |_, slot| add(slot))
    }
}

/// An attempt that is due, or `None` when it no longer is.
pub(super) fn attempt<V: View>(
    view: &V,
    partition: PartitionId,
    id: InvocationId,
    term: u64,
) -> Result<Option<StartAttempt>, ReadError> {
    let Some(row) = view.get::<Invocations>(&id)? else { return Ok(None) };
    if !matches!(row.status, Some(Status::Running(_))) {
        return Ok(None);
    }
    let target = row.target.clone().unwrap_or_default();
    let object = target.object();
    let is_flow = target.form() == Form::Flow;
    let journal = journal(view, id, if is_flow { row.journal_len } else { 1 })?;
    let fields = match &object {
        Some(object) => fields(view, object)?,
        None => BTreeMap::new(),
    };
    let work = input(id, &row, journal.first())?;
    Ok(Some(StartAttempt {
        partition,
        work,
        object,
        term,
        attempt: row.attempt,
        version: row.version,
        failures: row.failures,
        journal: if is_flow { journal } else { Vec::new() },
        fields,
    }))
}

/// Timers that should have fired, for the metric. A view that fails to read stops the driver elsewhere.
pub(super) fn timers_due<V: View>(view: &V, from: Millis, now: Millis) -> u64 {
    let end = now.plus(1);
    let mut begin = KeyWriter::new(Timers::TAG);
    begin.u64(from.min(end).0);
    let mut to = KeyWriter::new(Timers::TAG);
    to.u64(end.0);
    let mut count = 0;
    let _ = view.scan_bytes::<Timers>(&begin.finish(), &to.finish(), &mut |key, _| {
        count += u64::from(key.kind != TimerKind::Expire);
        if count < TIMERS_COUNTED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    count
}

/// Dead letters of all services, for the metric.
pub(super) fn letters<V: View>(view: &V) -> u64 {
    let (from, to) = LetterBounds::whole();
    let mut count = 0;
    let _ = view.scan_bytes::<LetterBounds>(&from, &to, &mut |_, bounds| {
        count += bounds.count;
        ControlFlow::Continue(())
    });
    count
}

pub(super) fn fields<V: View>(view: &V, object: &ObjectId) -> Result<BTreeMap<String, Bytes>, ReadError> {
    let mut prefix = KeyWriter::new(States::TAG);
    prefix.text(&object.service);
    prefix.text(&object.key);
    let (from, to) = prefix.prefix_bounds();
    let mut fields = BTreeMap::new();
    view.scan_bytes::<States>(&from, &to, &mut |(_, field), row| {
        fields.insert(field, row.value);
        ControlFlow::Continue(())
    })?;
    Ok(fields)
}

fn journal<V: View>(view: &V, id: InvocationId, len: u32) -> Result<Vec<JournalRow>, ReadError> {
    (0..len)
        .map(|index| {
            view.get::<Journals>(&(id, index))?
                .ok_or_else(|| ReadError(format!("entry {index} is missing in the journal of {id}")))
        })
        .collect()
}

fn invocation<V: View>(view: &V, id: InvocationId) -> Result<InvocationRow, ReadError> {
    view.get::<Invocations>(&id)?.ok_or_else(|| ReadError(format!("invocation {id} is queued but has no row")))
}

fn work<V: View>(view: &V, id: InvocationId, row: &InvocationRow) -> Result<Work, ReadError> {
    let entry = view.get::<Journals>(&(id, 0))?;
    input(id, row, entry.as_ref())
}

fn input(id: InvocationId, row: &InvocationRow, entry: Option<&JournalRow>) -> Result<Work, ReadError> {
    let message = entry.ok_or_else(|| ReadError(format!("invocation {id} has no Input entry")))?.message();
    debug_assert_eq!(message.code, Code::INPUT);
    let input: Input = message.decode()?;
    Ok(Work {
        id,
        target: row.target.clone().unwrap_or_default(),
        input: input.value.map(|value| value.content).unwrap_or_default(),
        headers: input.headers,
        failures: row.failures,
        life: row.life,
    })
}
