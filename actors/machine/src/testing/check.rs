//! What holds of the tables between any two commands.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{Form, Priority};
use abide_model::id::{InvocationId, ScheduleId};
use abide_model::limits::{LETTERS_MAX, SCHEDULE_ACTIVE_MAX, SCHEDULE_FAULT_BYTES_MAX, SINKS_MAX};
use abide_model::protocol::{Code, Input};
use abide_model::table::{
    Completions, Direction, Expiries, Expiry, Failures, Invocations, Journals, Lanes, LetterBounds, Letters, Mailboxes,
    Objects, Outbox, Place, Promises, Ready, Schedules, Sequences, States, Status, TimerKind, Timers,
};

use super::Rows;
use crate::rule::mailbox;

mod cluster;

pub(super) fn structure(rows: &Rows) {
    cluster::structure(rows);
    let invocations: BTreeMap<_, _> = rows.all::<Invocations>().into_iter().collect();

    // Journals: from 0 without a gap, and of nothing else.
    let mut lengths: BTreeMap<InvocationId, u32> = BTreeMap::new();
    for ((id, index), entry) in rows.all::<Journals>() {
        let length = lengths.entry(id).or_default();
        assert_eq!(index, *length, "the journal of {id} has a gap");
        *length += 1;
        if index == 0 {
            assert_eq!(entry.message().code, Code::INPUT);
            entry.message().decode::<Input>().unwrap();
        }
    }
    let kept = rows.all::<Completions>().into_iter().filter(|(_, row)| row.journal_len > 0);
    let expected: BTreeMap<_, _> = invocations
        .iter()
        .map(|(id, row)| (*id, row.journal_len))
        .chain(kept.map(|(id, row)| (id, row.journal_len)))
        .collect();
    assert_eq!(lengths, expected, "journals and invocations do not match");

    // Ready: exactly what is running.
    let ready: BTreeSet<_> = rows.all::<Ready>().into_iter().map(|(id, _)| id).collect();
    let running: BTreeSet<_> = invocations
        .iter()
        .filter(|(_, row)| matches!(row.status, Some(Status::Running(_))))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(ready, running, "ready rows and running invocations do not match");

    // Mailboxes: within the bounds of their lane, of invocations that know their place; the holder is there, it is the
    // first of its lane, and only it may have begun.
    let objects: BTreeMap<_, _> = rows.all::<Objects>().into_iter().collect();
    let mut placed = BTreeSet::new();
    let mut firsts = BTreeMap::new();
    let normal =
        rows.all::<Mailboxes>().into_iter().map(|((object, seq), slot)| ((object, Priority::Normal, seq), slot));
    for ((object, class, seq), slot) in normal.chain(rows.all::<Lanes>()) {
        let bounds = objects.get(&object).expect("a mailbox without its object");
        let (lane, place) = (bounds.lane(class), Place { class, seq });
        assert!((lane.head..lane.tail).contains(&seq), "{object} has {place:?} outside of {bounds:?}");
        let id = InvocationId::from_bytes(&slot.invocation).unwrap();
        let row = invocations.get(&id).unwrap_or_else(|| panic!("{id} is in the mailbox of {object} without a row"));
        assert_eq!(mailbox::place(row), Some(place));
        assert_eq!(row.target.as_ref().unwrap().exclusive_object(), Some(object.clone()));
        assert!(placed.insert(id), "{id} is in a mailbox twice");
        firsts.entry((object.clone(), class as i32)).or_insert(seq);
        let begun = !matches!(row.status, Some(Status::Queued(_)));
        let holds = mailbox::holds(bounds, row);
        assert!(!begun || holds, "{id} began behind another invocation of {object}");
        let form = row.target.as_ref().unwrap().form();
        assert!(begun || !holds || form != Form::Flow, "the flow {id} holds the key of {object}, but is not started");
        assert!(!holds || form != Form::Edit, "the edit {id} rests at the front of {object}");
    }
    for (object, bounds) in &objects {
        for class in Priority::ORDER {
            let (lane, first) = (bounds.lane(class), firsts.get(&(object.clone(), class as i32)));
            assert!(lane.head <= lane.tail);
            let holds = bounds.holder().is_some_and(|holder| holder.class == class);
            assert!(!holds || first == Some(&lane.head), "the holder of {object}: {bounds:?}");
        }
        let lanes = [bounds.high, bounds.low];
        assert!(lanes.iter().flatten().all(|lane| !lane.is_empty()), "an empty lane of {object} is kept");
        assert!(!bounds.is_idle() || bounds.holding() == Priority::Normal, "{object} is idle: {bounds:?}");
    }
    for (id, row) in &invocations {
        let queues = row.mailbox_seq.is_some() || matches!(row.status, Some(Status::Queued(_)));
        assert_eq!(queues, placed.contains(id), "{id} and its place in a mailbox do not match");
        let exclusive = row.target.as_ref().unwrap().exclusive_object().is_some();
        let scheduled = matches!(row.status, Some(Status::Scheduled(_)));
        assert_eq!(queues, exclusive && !scheduled, "{id} is where its kind does not belong");
        assert!(row.status.is_some());
        let is_edit = row.target.as_ref().unwrap().form() == Form::Edit;
        assert!(
            !is_edit || matches!(row.status, Some(Status::Scheduled(_) | Status::Queued(_))),
            "the edit {id} began"
        );
        assert!(row.sinks.len() <= SINKS_MAX);
    }

    // States: of objects with a version. Promises: completed, or awaited.
    for ((object, field), _) in rows.all::<States>() {
        let version = objects.get(&object).map_or(0, |row| row.version().version);
        assert!(version > 0, "field {field} of {object} without a version");
    }
    for (key, row) in rows.all::<Promises>() {
        assert_eq!(row.result.is_some(), row.listeners.is_empty(), "promise {key:?}: {row:?}");
        assert_eq!(row.result.is_none(), row.completed_at == 0, "promise {key:?}");
        assert!(row.listeners.len() <= SINKS_MAX);
    }

    // Timers: exactly those that somebody waits for.
    let completions: BTreeMap<_, _> = rows.all::<Completions>().into_iter().collect();
    let mut sleeps: BTreeMap<InvocationId, u32> = BTreeMap::new();
    let (mut starts, mut retries, mut expiries) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut schedules = BTreeMap::new();
    for (timer, _) in rows.all::<Timers>() {
        let (id, due) = (timer.invocation, timer.due.0);
        let twice = match timer.kind {
            TimerKind::Wake => {
                *sleeps.entry(id).or_default() += 1;
                None
            }
            TimerKind::Start => starts.insert(id, due),
            TimerKind::Retry => retries.insert(id, due),
            TimerKind::Expire => expiries.insert(id, due),
            TimerKind::Schedule => schedules.insert(id, due),
        };
        assert_eq!(twice, None, "two timers of one kind for {id}");
    }
    let mut waiting = BTreeMap::new();
    for (id, row) in rows.all::<Schedules>() {
        assert_eq!(id, ScheduleId::of(&row.definition.as_ref().unwrap().name));
        assert!(!(row.paused && (row.firing || row.due != 0)), "{id} is paused and due");
        assert!(!row.firing || row.due != 0, "{id} fires what is not due");
        assert!(row.active.len() <= SCHEDULE_ACTIVE_MAX && row.last_fault.len() <= SCHEDULE_FAULT_BYTES_MAX);
        assert!(row.life > 0);
        if row.due != 0 && !row.firing {
            waiting.insert(id.as_invocation(), row.due);
        }
    }
    assert_eq!(schedules, waiting, "schedules and their timers");
    let (mut journals, mut states) = (BTreeMap::new(), BTreeMap::new());
    for (key, _) in rows.all::<Expiries>() {
        let twice = match key.what {
            Expiry::Completion(id) => expiries.insert(id, key.due.0),
            Expiry::Journal(id) => journals.insert(id, key.due.0),
            Expiry::State(object) => states.insert(object, key.due.0),
        };
        assert_eq!(twice, None, "two expiries of one thing");
    }
    let of = |pick: fn(&Status) -> Option<u64>| -> BTreeMap<_, _> {
        let due = invocations.iter().filter_map(|(id, row)| row.status.as_ref().and_then(pick).map(|due| (*id, due)));
        due.collect()
    };
    assert_eq!(starts, of(|status| if let Status::Scheduled(due) = status { Some(*due) } else { None }));
    assert_eq!(retries, of(|status| if let Status::BackingOff(due) = status { Some(*due) } else { None }));
    assert_eq!(expiries, completions.iter().map(|(id, row)| (*id, row.expires_at)).collect());
    let early = completions.iter().filter(|(_, row)| row.journal_expires_at > 0);
    assert_eq!(journals, early.map(|(id, row)| (*id, row.journal_expires_at)).collect());
    for row in completions.values().filter(|row| row.journal_expires_at > 0) {
        assert!(row.journal_len > 0 && row.journal_expires_at < row.expires_at);
    }
    let mortal = objects.iter().filter(|(_, row)| row.expiry_due > 0);
    assert_eq!(states, mortal.map(|(object, row)| (object.clone(), row.expiry_due)).collect());
    for (object, row) in &objects {
        assert!(row.expiry_due <= row.expires_at, "{object} expires later than it should");
        assert_eq!((row.expiry_due > 0, row.expires_at > 0), (row.state_ttl_ms > 0, row.state_ttl_ms > 0), "{object}");
    }
    let open: BTreeMap<_, _> =
        invocations.iter().filter(|(_, row)| row.open_sleeps > 0).map(|(id, row)| (*id, row.open_sleeps)).collect();
    assert_eq!(sleeps, open, "timers and open sleeps do not match");
    assert!(completions.keys().all(|id| !invocations.contains_key(id)), "under way and completed at once");

    let mut journals = BTreeMap::new();
    for (key, _) in rows.all::<Expiries>() {
        if let Expiry::Journal(id) = key.what {
            assert_eq!(journals.insert(id, key.due.0), None, "two expiries of the journal of {id}");
        }
    }
    let journals_go_first = completions.iter().filter(|(_, row)| row.journal_expires_at != 0);
    assert_eq!(journals, journals_go_first.map(|(id, row)| (*id, row.journal_expires_at)).collect());

    // Failed attempts: of those who know of them.
    let failures: BTreeSet<_> = rows.all::<Failures>().into_iter().map(|(id, _)| id).collect();
    let failed = invocations.iter().filter(|(_, row)| row.has_failures).map(|(id, _)| *id);
    assert_eq!(failures, failed.collect(), "failed attempts and invocations do not match");

    // Dead letters: counted, bounded, below the next number.
    let mut letters: BTreeMap<String, u64> = BTreeMap::new();
    let bounds: BTreeMap<_, _> = rows.all::<LetterBounds>().into_iter().collect();
    for ((service, seq), letter) in rows.all::<Letters>() {
        assert!(bounds.get(&service).is_some_and(|bounds| seq < bounds.next), "letter {seq} of {service}");
        assert_eq!(letter.target.unwrap().service, service);
        *letters.entry(service).or_default() += 1;
    }
    for (service, bounds) in &bounds {
        assert_eq!(letters.get(service).copied().unwrap_or_default(), bounds.count, "letters of {service}");
        assert!(bounds.count <= LETTERS_MAX);
    }

    // Outbox: nothing beyond the numbers that were given out.
    let sequences: BTreeMap<_, _> = rows.all::<Sequences>().into_iter().collect();
    for ((to, seq), _) in rows.all::<Outbox>() {
        assert!(sequences.get(&(Direction::Sent, to)).is_some_and(|row| (1..=row.last).contains(&seq)));
    }
}
