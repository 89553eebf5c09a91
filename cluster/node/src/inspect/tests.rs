use std::collections::BTreeMap;

use abide_model::command::{Access, Form, Outcome, Target};
use abide_model::id::{InvocationId, Millis, ObjectId, PartitionId, PartitionKey};
use abide_model::protocol::{Code, Failure, Input, RawMessage};
use abide_model::table::{
    Awaiting, CompletionRow, Completions, Empty, InvocationRow, Invocations, JournalRow, Journals, LetterRow, Letters,
    StateRow, States, Status, TimerKey, TimerKind, Timers,
};
use bytes::Bytes;

use super::*;

#[derive(Default)]
struct Rows(BTreeMap<Box<[u8]>, Bytes>);

impl Rows {
    fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) {
        self.0.insert(T::encode_key(key), T::encode_value(value));
    }
}

impl RawView for Rows {
    fn get_raw(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.get(key).cloned())
    }

    fn scan_raw(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        assert!(from < to, "stores may panic when the bounds are the wrong way round");
        for (key, value) in &self.0 {
            if key.as_ref() >= from && key.as_ref() < to && visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn id(n: u64) -> InvocationId {
    InvocationId { partition_key: PartitionKey(n), unique: 1 }
}

fn target(key: &str) -> Option<Target> {
    Some(Target {
        service: "Account".into(),
        handler: "pay".into(),
        key: Some(key.into()),
        access: Access::Exclusive as i32,
        form: Form::Flow as i32,
        ..Target::default()
    })
}

fn active(status: Status, created_at: u64) -> InvocationRow {
    InvocationRow { target: target("a"), status: Some(status), created_at, ..InvocationRow::default() }
}

/// Collects a list through pages of `limit` and as many looks as it takes.
fn all(rows: &Rows, filter: &str, now: u64, limit: usize) -> Vec<InvocationId> {
    let plan = Plan::new(Filter::parse(filter).unwrap(), Millis(now));
    let mut found = Vec::new();
    let mut place = Place::Start;
    loop {
        let step = step(rows, &plan, place, limit).unwrap();
        assert!(step.found.len() <= limit && step.rows <= LOOK_ROWS_MAX);
        found.extend(step.found.into_iter().map(|invocation| invocation.id));
        let Some(next) = step.next else { return found };
        let cursor = Cursor { partition: PartitionId(3), place: next };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        place = next;
    }
}

#[test]
fn lists_are_filtered_and_paged() {
    let mut rows = Rows::default();
    rows.put::<Invocations>(&id(1), &active(Status::Running(Empty {}), 1_000));
    rows.put::<Invocations>(&id(2), &active(Status::Paused(Empty {}), 2_000));
    let other = InvocationRow {
        target: target("b"),
        schedule: "nightly".into(),
        version: Some("v1".into()),
        idempotency_key: Some("i".into()),
        ..active(Status::Suspended(Awaiting::default()), 3_000)
    };
    let b = InvocationId { partition_key: PartitionKey::of("b"), unique: 9 };
    rows.put::<Invocations>(&b, &other);
    let done = |outcome| CompletionRow { target: target("a"), outcome: Some(outcome), ..CompletionRow::default() };
    rows.put::<Completions>(&id(1 << 20), &done(Outcome::success("1".into())));
    rows.put::<Completions>(&id(1 << 21), &done(Outcome::failure(Failure::new(500, "no"))));
    let (first, second) = (id(1 << 20), id(1 << 21));
    for limit in 1..7 {
        for (filter, found) in [
            ("", vec![id(1), id(2), b, first, second]),
            ("status=running", vec![id(1)]),
            ("status=running,paused", vec![id(1), id(2)]),
            ("status=completed", vec![first, second]),
            ("status=paused,completed", vec![id(2), first, second]),
            ("service=Account handler=pay", vec![id(1), id(2), b, first, second]),
            ("service=Nobody", vec![]),
            ("key=b", vec![b]),
            ("key=a", vec![]),
            ("schedule=nightly", vec![b]),
            ("version=v1", vec![b]),
            ("idempotency-key=i", vec![b]),
            ("result=failure", vec![second]),
            ("older=7s", vec![id(1), id(2), first, second]),
            ("newer=7500ms", vec![b]),
        ] {
            assert_eq!(all(&rows, filter, 10_000, limit), found, "{filter} {limit}");
        }
        assert_eq!(all(&rows, &format!("id={}", id(2)), 10_000, limit), [id(2)]);
        assert_eq!(all(&rows, &format!("id={first}"), 10_000, limit), [first]);
        assert_eq!(all(&rows, &format!("id={}", &b.to_string()[..20]), 10_000, limit), [b]);
    }
}

#[test]
fn scheduled_ones_come_in_the_order_of_their_times() {
    let mut rows = Rows::default();
    for (n, due) in [(5, 100), (4, 200), (3, 300)] {
        rows.put::<Invocations>(&id(n), &active(Status::Scheduled(due), 0));
        let timer = |kind| TimerKey { due: Millis(due), kind, invocation: id(n), completion: 0 };
        for kind in [TimerKind::Start, TimerKind::Wake, TimerKind::Retry] {
            rows.put::<Timers>(&timer(kind), &Empty {});
        }
    }
    for limit in 1..4 {
        assert_eq!(all(&rows, "status=scheduled", 0, limit), [id(5), id(4), id(3)]);
        assert_eq!(all(&rows, "status=scheduled handler=pay", 0, limit), [id(5), id(4), id(3)]);
        assert_eq!(all(&rows, "status=scheduled,running", 0, limit), [id(3), id(4), id(5)]);
    }
}

/// However many rows there are, one look reads a bounded number of them, and all are seen in the end.
#[test]
fn a_look_is_bounded() {
    let mut rows = Rows::default();
    for n in 0..5_000 {
        rows.put::<Invocations>(&id(n), &active(Status::Running(Empty {}), 0));
        // Many timers at one time are no trap for the cursor.
        let timer = TimerKey { due: Millis(1), kind: TimerKind::Wake, invocation: id(n), completion: 1 };
        rows.put::<Timers>(&timer, &Empty {});
    }
    let plan = Plan::new(Filter::parse("status=paused").unwrap(), Millis(0));
    let first = step(&rows, &plan, Place::Start, 10).unwrap();
    assert!(first.found.is_empty() && first.next.is_some() && first.rows == LOOK_ROWS_MAX);
    assert_eq!(all(&rows, "status=paused", 0, 10), []);
    assert_eq!(all(&rows, "status=scheduled", 0, 10), []);
    assert_eq!(all(&rows, "", 0, 5_000).len(), 5_000);
}

#[test]
fn a_cursor_behind_the_end_finds_nothing() {
    let mut rows = Rows::default();
    rows.put::<Invocations>(&id(1), &active(Status::Running(Empty {}), 0));
    let last = InvocationId { partition_key: PartitionKey(u64::MAX), unique: u128::MAX };
    for filter in ["", "key=a", "status=completed", &format!("id={}", id(1))] {
        let plan = Plan::new(Filter::parse(filter).unwrap(), Millis(0));
        for place in [Place::Active(last), Place::Completed(last)] {
            let step = step(&rows, &plan, place, 10).unwrap();
            assert!(step.found.is_empty() && step.next.is_none(), "{filter}");
        }
    }
}

#[test]
fn a_cursor_belongs_to_its_filter() {
    let plan = |filter: &str| Plan::new(Filter::parse(filter).unwrap(), Millis(0));
    let at = |partition, place| Cursor { partition: PartitionId(partition), place };
    let timer = TimerKey { due: Millis(1), kind: TimerKind::Start, invocation: id(1), completion: 0 };
    assert!(plan("status=scheduled").continues(&at(3, Place::Timer(timer)), 4));
    assert!(!plan("status=scheduled").continues(&at(3, Place::Active(id(1))), 4));
    assert!(!plan("").continues(&at(3, Place::Timer(timer)), 4));
    assert!(plan("").continues(&at(3, Place::Start), 4) && !plan("").continues(&at(4, Place::Start), 4));
    let of_key = plan("key=a").partition(4).unwrap();
    for partition in 0..4 {
        assert_eq!(plan("key=a").continues(&at(partition, Place::Start), 4), of_key == PartitionId(partition));
    }
}

#[test]
fn cursors_of_others_are_refused() {
    for text in ["", "p", "p1", "p1.x", "p1.a", "p1.a.inv_1", "x.s", "p1.t.AAAA", "p1.t.!", "p1.s.s"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
    for text in ["", "p1", "p1.x", "q.s"] {
        assert!(text.parse::<KeyCursor>().is_err(), "{text}");
        assert!(text.parse::<LetterCursor>().is_err(), "{text}");
    }
}

#[test]
fn an_invocation_is_described_with_the_first_of_its_journal() {
    let mut rows = Rows::default();
    assert_eq!(describe(&rows, id(1)).unwrap(), None);
    assert_eq!(journal_page(&rows, id(1), 0, 10).unwrap(), None);
    let row = InvocationRow { journal_len: 3, ..active(Status::BackingOff(7), 1) };
    rows.put::<Invocations>(&id(1), &row);
    let entry = JournalRow::new(RawMessage::new(Code::INPUT, &Input::default()), Millis(1));
    assert!(describe(&rows, id(1)).is_err(), "a gap in a journal is damage");
    for index in 0..3 {
        rows.put::<Journals>(&(id(1), index), &entry);
    }
    let details = describe(&rows, id(1)).unwrap().unwrap();
    assert_eq!((details.status, details.next_retry_at), ("backing-off", Some(Millis(7))));
    assert_eq!((details.journal.len(), details.journal_len), (3, 3));
    let page = journal_page(&rows, id(1), 1, 1).unwrap().unwrap();
    assert_eq!((page.from, page.entries.len(), page.len), (1, 1, 3));
    assert!(journal_page(&rows, id(1), 9, 1).unwrap().unwrap().entries.is_empty());
}

#[test]
fn keys_with_state_are_listed_once() {
    let mut rows = Rows::default();
    let object = |service: &str, key: &str| ObjectId { service: service.into(), key: key.into() };
    let value = StateRow { value: Bytes::from_static(b"1") };
    for key in ["a", "ab", "a\0b", "b"] {
        for field in ["x", "y", "z"] {
            rows.put::<States>(&(object("S", key), field.into()), &value);
        }
    }
    rows.put::<States>(&(object("Sa", "a"), "x".into()), &value);
    let list = |prefix: &str, limit| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (keys, more) = keys(&rows, "S", prefix, after.as_deref(), limit).unwrap();
            assert!(keys.len() <= limit);
            all.extend(keys);
            if !more {
                return all;
            }
            after = all.last().cloned();
            let cursor = KeyCursor { partition: PartitionId(1), key: after.clone() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    };
    for limit in 1..6 {
        assert_eq!(list("", limit), ["a", "a\0b", "ab", "b"]);
        assert_eq!(list("a", limit), ["a", "a\0b", "ab"]);
        assert_eq!(list("a\0", limit), ["a\0b"]);
        assert_eq!(list("c", limit), [""; 0]);
    }
    assert_eq!(keys(&rows, "S", "a", Some("z"), 1).unwrap(), (vec![], false));
    assert_eq!(keys(&rows, "S", "b", Some("a"), 1).unwrap(), (vec!["b".to_owned()], true));
    let state = object_state(&rows, &object("S", "a\0b")).unwrap();
    assert_eq!(state.fields.keys().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(object_state(&rows, &object("S", "none")).unwrap(), ObjectState::default());
}

#[test]
fn letters_are_listed_by_service() {
    let mut rows = Rows::default();
    for (service, seq) in [("A", 1), ("A", 2), ("B", 1)] {
        rows.put::<Letters>(&(service.into(), seq), &LetterRow { attempt: 1, ..LetterRow::default() });
    }
    let list = |service: Option<&str>, limit| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (found, next) = letters(&rows, PartitionId(2), service, after.as_ref(), limit).unwrap();
            all.extend(found.into_iter().map(|letter| (letter.at.service, letter.at.seq)));
            after = next;
            let Some(last) = &after else { return all };
            let cursor = LetterCursor { partition: PartitionId(2), last: Some(last.clone()) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    };
    for limit in 1..5 {
        assert_eq!(list(None, limit), [("A".into(), 1), ("A".into(), 2), ("B".into(), 1)]);
        assert_eq!(list(Some("A"), limit), [("A".into(), 1), ("A".into(), 2)]);
        assert_eq!(list(Some("C"), limit), []);
    }
    assert_eq!(letters(&rows, PartitionId(2), Some("A"), Some(&("Z".into(), 1)), 1).unwrap(), (vec![], None));
    let at = LetterAddress { service: "A".into(), partition: PartitionId(2), seq: 2 };
    assert_eq!(letter(&rows, &at).unwrap().unwrap().at, at);
    assert_eq!(letter(&rows, &LetterAddress { seq: 3, ..at }).unwrap(), None);
}
