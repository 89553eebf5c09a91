use proptest::prelude::*;

use super::*;
use crate::command::{Access, Form, StateVersion, Target};
use crate::id::PartitionKey;
use crate::protocol::Failure;

fn id(n: u64) -> InvocationId {
    InvocationId { partition_key: PartitionKey(n), unique: u128::from(n) }
}

fn object(service: &str, key: &str) -> ObjectId {
    ObjectId { service: service.into(), key: key.into() }
}

/// Keys are persisted: these bytes must never change.
#[test]
fn golden_keys() {
    let mut invocation = vec![0, 0, 0, 0, 0, 0, 0, 7];
    invocation.extend([0; 15]);
    invocation.push(7);
    assert_eq!(Applied::encode_key(&()).as_ref(), [0x01]);
    assert_eq!(Invocations::encode_key(&id(7)).as_ref(), [&[0x02], &invocation[..]].concat());
    assert_eq!(Completions::encode_key(&id(7)).as_ref(), [&[0x03], &invocation[..]].concat());
    assert_eq!(Journals::encode_key(&(id(7), 258)).as_ref(), [&[0x04], &invocation[..], &[0, 0, 1, 2]].concat());
    assert_eq!(Objects::encode_key(&object("A", "k\0")).as_ref(), [0x05, b'A', 0, 0, b'k', 0, 0xFF, 0, 0]);
    assert_eq!(
        States::encode_key(&(object("A", "k"), "f".into())).as_ref(),
        [0x06, b'A', 0, 0, b'k', 0, 0, b'f', 0, 0]
    );
    assert_eq!(
        Mailboxes::encode_key(&(object("A", "k"), 1)).as_ref(),
        [0x07, b'A', 0, 0, b'k', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    );
    let timer = TimerKey { due: Millis(3), kind: TimerKind::Wake, invocation: id(7), completion: 4 };
    assert_eq!(
        Timers::encode_key(&timer).as_ref(),
        [&[0x08, 0, 0, 0, 0, 0, 0, 0, 3, 2], &invocation[..], &[0, 0, 0, 4]].concat()
    );
    assert_eq!(Outbox::encode_key(&(PartitionId(2), 3)).as_ref(), [0x09, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    assert_eq!(Sequences::encode_key(&(Direction::Taken, PartitionId(2))).as_ref(), [0x0A, 2, 0, 0, 0, 2]);
    assert_eq!(Ready::encode_key(&id(7)).as_ref(), [&[0x0B], &invocation[..]].concat());
}

/// Values are persisted: these bytes must never change.
#[test]
fn golden_values() {
    let applied = AppliedRow {
        index: 5,
        term: 2,
        log_time: 9,
        leader_term: 2,
        state_hash: 1,
        voters: vec![1],
        learners: vec![],
        lives: 0,
        forgotten_version: 7,
    };
    assert_eq!(
        Applied::encode_value(&applied).as_ref(),
        [1, 8, 5, 16, 2, 24, 9, 32, 2, 0x29, 1, 0, 0, 0, 0, 0, 0, 0, 0x32, 1, 1, 0x48, 7]
    );
    let object =
        ObjectRow { state: Some(StateVersion { version: 3, writer: 1 }), head: 4, tail: 5, ..ObjectRow::default() };
    assert_eq!(Objects::encode_value(&object).as_ref(), [1, 0x0a, 4, 8, 3, 16, 1, 16, 4, 24, 5]);
    assert_eq!(States::encode_value(&StateRow { value: Bytes::from_static(b"5") }).as_ref(), [1, 0x0a, 1, b'5']);
    assert_eq!(Mailboxes::encode_value(&MailboxRow { invocation: Bytes::from_static(&[9]) }).as_ref(), [1, 0x0a, 1, 9]);
    assert_eq!(Sequences::encode_value(&SequenceRow { last: 300 }).as_ref(), [1, 8, 0xac, 2]);
    let journal = JournalRow { code: 0x0411, payload: Bytes::from_static(&[0x58, 1]), appended_at: 1 };
    assert_eq!(Journals::encode_value(&journal).as_ref(), [1, 8, 0x91, 8, 0x12, 2, 0x58, 1, 24, 1]);
    assert_eq!(Ready::encode_value(&Empty {}).as_ref(), [1]);
    let row = InvocationRow {
        target: Some(Target {
            service: "S".into(),
            handler: "h".into(),
            key: Some("k".into()),
            access: Access::Exclusive as i32,
            form: Form::Flow as i32,
            ..Target::default()
        }),
        status: Some(Status::Suspended(Awaiting { completions: vec![1], signals: vec![1], names: vec![] })),
        attempt: 1,
        created_at: 2,
        modified_at: 3,
        journal_len: 4,
        sinks: vec![],
        invoked_by: Bytes::new(),
        idempotency_key: None,
        retention_ms: 5,
        failures: 6,
        last_failure: Some(Failure::new(500, "x")),
        mailbox_seq: Some(0),
        open_sleeps: 0,
        ..InvocationRow::default()
    };
    assert_eq!(
        Invocations::encode_value(&row).as_ref(),
        [
            1, 0x0a, 13, 0x0a, 1, b'S', 0x12, 1, b'h', 0x1a, 1, b'k', 32, 1, 40, 1, 0x32, 6, 0x0a, 1, 1, 0x12, 1, 1,
            64, 1, 72, 2, 80, 3, 88, 4, 120, 5, 128, 1, 6, 138, 1, 6, 8, 244, 3, 0x12, 1, b'x', 144, 1, 0
        ]
    );
    let completion = CompletionRow { created_at: 1, completed_at: 2, expires_at: 3, ..CompletionRow::default() };
    assert_eq!(Completions::encode_value(&completion).as_ref(), [1, 24, 1, 32, 2, 40, 3]);
}

#[test]
fn malformed_keys_are_refused() {
    for bytes in [&[][..], &[0x02], &[0x05, b'A', 0], &[0x05, b'A', 0, 7, 0, 0], &[0x01, 0]] {
        assert!(Invocations::decode_key(bytes).is_err());
        assert!(Objects::decode_key(bytes).is_err());
        assert!(Applied::decode_key(bytes).is_err());
    }
}

proptest! {
    #[test]
    fn state_keys_round_trip_and_keep_order(
        a in (".{0,8}", ".{0,8}", ".{0,8}"), b in (".{0,8}", ".{0,8}", ".{0,8}")
    ) {
        let key = |t: &(String, String, String)| (object(&t.0, &t.1), t.2.clone());
        let (left, right) = (States::encode_key(&key(&a)), States::encode_key(&key(&b)));
        prop_assert_eq!(States::decode_key(&left).unwrap(), key(&a));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
    }

    #[test]
    fn timer_keys_sort_by_time_first(a: u64, b: u64, completion: u32) {
        let key = |due| TimerKey { due: Millis(due), kind: TimerKind::Expire, invocation: id(1), completion };
        prop_assert_eq!(Timers::decode_key(&Timers::encode_key(&key(a))).unwrap(), key(a));
        prop_assert_eq!(Timers::encode_key(&key(a)).cmp(&Timers::encode_key(&key(b))), a.cmp(&b));
    }

    #[test]
    fn a_prefix_bounds_exactly_its_extensions(service in ".{0,6}", key in ".{0,6}", other in ".{0,6}", field in ".{0,6}") {
        let mut prefix = key::KeyWriter::new(States::TAG);
        prefix.text(&service);
        prefix.text(&key);
        let (from, to) = prefix.prefix_bounds();
        let inside = States::encode_key(&(object(&service, &key), field.clone()));
        prop_assert!(from <= inside && inside < to);
        if other != key {
            let outside = States::encode_key(&(object(&service, &other), field));
            prop_assert!(outside < from || outside >= to);
        }
    }
}
