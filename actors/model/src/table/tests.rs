use proptest::prelude::*;

use super::*;
use crate::command::{Access, Form, Holder, Next, NodeInfo, Priority, ScheduleDefinition, Sink, StateVersion, Target};
use crate::id::{NodeId, PartitionKey, ReplicaId};
use crate::protocol::{Failure, Header, PromiseResult, Value};

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
        voters_outgoing: vec![],
        learners_next: vec![],
        auto_leave: false,
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

/// Keys and values of the tables of failures, letters and schedules: these bytes must never change.
#[test]
fn golden_failures_letters_and_schedules() {
    let mut invocation = vec![0, 0, 0, 0, 0, 0, 0, 7];
    invocation.extend([0; 15]);
    invocation.push(7);
    assert_eq!(Failures::encode_key(&id(7)).as_ref(), [&[0x0E], &invocation[..]].concat());
    assert_eq!(Letters::encode_key(&("A".into(), 258)).as_ref(), [0x0F, b'A', 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    assert_eq!(LetterBounds::encode_key(&"A".into()).as_ref(), [0x10, b'A', 0, 0]);
    let schedule = ScheduleId::from_invocation(id(7));
    assert_eq!(Schedules::encode_key(&schedule).as_ref(), [&[0x11], &invocation[..]].concat());
    assert_eq!(Schedules::decode_key(&Schedules::encode_key(&schedule)).unwrap(), schedule);
    let timer = TimerKey { due: Millis(3), kind: TimerKind::Schedule, invocation: id(7), completion: 0 };
    assert_eq!(
        Timers::encode_key(&timer).as_ref(),
        [&[0x08, 0, 0, 0, 0, 0, 0, 0, 3, 5], &invocation[..], &[0, 0, 0, 0]].concat()
    );

    let attempt = FailedAttempt {
        attempt: 1,
        at: 2,
        failure: Some(Failure::new(500, "x")),
        journal_len: 3,
        next: Some(Next::RetryAfter(4)),
    };
    let failures = FailuresRow { attempts: vec![attempt], total: 5 };
    assert_eq!(
        Failures::encode_value(&failures).as_ref(),
        [1, 0x0a, 16, 8, 1, 16, 2, 0x1a, 6, 8, 244, 3, 0x12, 1, b'x', 32, 3, 48, 4, 16, 5]
    );
    let letter = LetterRow {
        invocation: Bytes::from_static(&[9]),
        target: Some(Target { service: "S".into(), ..Target::default() }),
        input: Bytes::from_static(b"i"),
        headers: vec![Header { key: "k".into(), value: "v".into() }],
        failure: Some(Failure::new(500, "x")),
        created_at: 1,
        failed_at: 2,
        attempt: 3,
        invoked_by: Bytes::from_static(&[8]),
        retention_ms: 4,
        journal_retention_ms: 5,
        state_ttl_ms: 6,
    };
    assert_eq!(
        Letters::encode_value(&letter).as_ref(),
        [
            1, 0x0a, 1, 9, 0x12, 3, 0x0a, 1, b'S', 0x1a, 1, b'i', 0x22, 6, 0x0a, 1, b'k', 0x12, 1, b'v', 0x2a, 6, 8,
            244, 3, 0x12, 1, b'x', 48, 1, 56, 2, 64, 3, 0x4a, 1, 8, 80, 4, 88, 5, 96, 6
        ]
    );
    let bounds = LetterBoundsRow { next: 3, count: 2, dropped: 1 };
    assert_eq!(LetterBounds::encode_value(&bounds).as_ref(), [1, 8, 3, 16, 2, 24, 1]);
    let schedule = ScheduleRow {
        definition: Some(ScheduleDefinition { name: "n".into(), ..ScheduleDefinition::default() }),
        due: 1,
        firing: true,
        paused: true,
        created_at: 2,
        modified_at: 3,
        runs: 4,
        skipped: 5,
        last_run_at: 6,
        last_run: Bytes::from_static(&[9]),
        active: vec![Bytes::from_static(&[8])],
        failed: 7,
        last_fault: "f".into(),
        life: 8,
    };
    assert_eq!(
        Schedules::encode_value(&schedule).as_ref(),
        [
            1, 0x0a, 3, 0x0a, 1, b'n', 16, 1, 24, 1, 32, 1, 40, 2, 48, 3, 56, 4, 64, 5, 72, 6, 0x52, 1, 9, 0x5a, 1, 8,
            96, 7, 0x6a, 1, b'f', 112, 8
        ]
    );
}

/// The tables for what workflows promise and for what is forgotten: these bytes must never change.
#[test]
fn golden_promises_and_expiries() {
    let mut invocation = vec![0, 0, 0, 0, 0, 0, 0, 7];
    invocation.extend([0; 15]);
    invocation.push(7);
    assert_eq!(
        Promises::encode_key(&(object("W", "k"), "p".into())).as_ref(),
        [0x0C, b'W', 0, 0, b'k', 0, 0, b'p', 0, 0]
    );
    let due = [0x0D, 0, 0, 0, 0, 0, 0, 0, 3];
    let key = |what| Expiries::encode_key(&ExpiryKey { due: Millis(3), what });
    assert_eq!(key(Expiry::Completion(id(7))).as_ref(), [&due[..], &[1], &invocation].concat());
    assert_eq!(key(Expiry::Journal(id(7))).as_ref(), [&due[..], &[2], &invocation].concat());
    assert_eq!(key(Expiry::State(object("A", "k"))).as_ref(), [&due[..], &[3, b'A', 0, 0, b'k', 0, 0]].concat());
    for what in [Expiry::Completion(id(7)), Expiry::Journal(id(7)), Expiry::State(object("A", "k"))] {
        let bytes = key(what.clone());
        assert_eq!(Expiries::decode_key(&bytes).unwrap(), ExpiryKey { due: Millis(3), what });
    }
    let mut unknown = key(Expiry::Completion(id(7))).into_vec();
    unknown[9] = 4;
    assert!(Expiries::decode_key(&unknown).is_err());

    let value = PromiseResult::Value(Value { content: Bytes::from_static(b"5") });
    let completed = PromiseRow { result: Some(value), listeners: vec![], completed_at: 9 };
    assert_eq!(Promises::encode_value(&completed).as_ref(), [1, 0x12, 3, 0x0a, 1, b'5', 40, 9]);
    let failure = PromiseResult::Failure(Failure::new(409, "x"));
    let failed = PromiseRow { result: Some(failure), listeners: vec![], completed_at: 9 };
    assert_eq!(Promises::encode_value(&failed).as_ref(), [1, 0x1a, 6, 8, 0x99, 3, 0x12, 1, b'x', 40, 9]);
    let sink = Sink { caller: Bytes::from_static(&[7]), completion: 2, code: 0x8009, life: 3 };
    let open = PromiseRow { listeners: vec![sink], ..PromiseRow::default() };
    assert_eq!(Promises::encode_value(&open).as_ref(), [1, 0x22, 11, 0x0a, 1, 7, 16, 2, 24, 0x89, 0x80, 2, 32, 3]);
    assert_eq!(Expiries::encode_value(&Empty {}).as_ref(), [1]);
}

/// Fields that came after the first build: these bytes must never change.
#[test]
fn golden_later_fields() {
    let object = ObjectRow { state_ttl_ms: 300, expiry_due: 6, expires_at: 7, ..ObjectRow::default() };
    assert_eq!(Objects::encode_value(&object).as_ref(), [1, 32, 7, 40, 0xac, 2, 48, 6]);
    let lanes = ObjectRow {
        high: Some(Lane { head: 1, tail: 3 }),
        low: Some(Lane { head: 0, tail: 1 }),
        holding: Priority::Low as i32,
        ..ObjectRow::default()
    };
    assert_eq!(Objects::encode_value(&lanes).as_ref(), [1, 0x3a, 4, 8, 1, 16, 3, 0x42, 2, 16, 1, 72, 2]);
    let target =
        Target { workflow: true, access: Access::Workflow as i32, form: Form::Edit as i32, ..Target::default() };
    let holder = Holder { service: "S".into(), key: "k".into(), invocation: Bytes::from_static(&[7]) };
    let row = InvocationRow {
        target: Some(target.clone()),
        life: 1,
        chain: vec![holder],
        journal_retention_ms: 2,
        state_ttl_ms: 3,
        one_way: true,
        version: Some(String::new()),
        schedule: "s".into(),
        restarted_from: Bytes::from_static(&[9]),
        has_failures: true,
        ..InvocationRow::default()
    };
    assert_eq!(
        Invocations::encode_value(&row).as_ref(),
        [
            1, 0x0a, 6, 32, 2, 40, 2, 48, 1, 0xa0, 1, 1, 0xaa, 1, 9, 0x0a, 1, b'S', 0x12, 1, b'k', 0x1a, 1, 7, 0xb0, 1,
            2, 0xb8, 1, 3, 0xc0, 1, 1, 0xca, 1, 0, 0xd2, 1, 1, b's', 0xda, 1, 1, 9, 0xe0, 1, 1
        ]
    );
    let completion = CompletionRow {
        idempotency_key: Some("i".into()),
        invoked_by: Bytes::from_static(&[7]),
        journal_len: 1,
        journal_expires_at: 2,
        attempt: 3,
        version: "v".into(),
        schedule: "s".into(),
        restarted_from: Bytes::from_static(&[9]),
        state_ttl_ms: 4,
        retention_ms: 5,
        journal_retention_ms: 6,
        one_way: true,
        ..CompletionRow::default()
    };
    assert_eq!(
        Completions::encode_value(&completion).as_ref(),
        [
            1, 0x32, 1, b'i', 0x3a, 1, 7, 64, 1, 72, 2, 80, 3, 0x5a, 1, b'v', 0x62, 1, b's', 0x6a, 1, 9, 112, 4, 120,
            5, 128, 1, 6, 136, 1, 1
        ]
    );
}

/// The table of lanes: these bytes must never change.
#[test]
fn golden_lanes() {
    for (class, byte) in [(Priority::High, 1), (Priority::Low, 2)] {
        let key = (object("A", "k"), class, 258);
        let bytes = Lanes::encode_key(&key);
        assert_eq!(bytes.as_ref(), [0x12, b'A', 0, 0, b'k', 0, 0, byte, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Lanes::decode_key(&bytes).unwrap(), key);
    }
    assert!(Lanes::decode_key(&[0x12, b'A', 0, 0, b'k', 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2]).is_err());
    assert_eq!(Lanes::encode_value(&MailboxRow { invocation: Bytes::from_static(&[9]) }).as_ref(), [1, 0x0a, 1, 9]);
}

/// The tables of the cluster: these bytes must never change.
#[test]
fn golden_cluster() {
    assert_eq!(Cluster::encode_key(&()).as_ref(), [0x13]);
    assert_eq!(Nodes::encode_key(&NodeId(258)).as_ref(), [0x14, 0, 0, 1, 2]);
    assert_eq!(Placements::encode_key(&PartitionId::META).as_ref(), [0x15, 0, 0, 3, 0xFF]);
    assert_eq!(Settings::encode_key(&"n".into()).as_ref(), [0x16, b'n', 0, 0]);
    assert_eq!(Nodes::decode_key(&[0x14, 0, 0, 1, 2]).unwrap(), NodeId(258));
    assert_eq!(Placements::decode_key(&[0x15, 0, 0, 3, 0xFF]).unwrap(), PartitionId::META);

    let cluster = ClusterRow { cluster_id: "c".into(), partitions: 8, last_node: 3, features: 2, created_at: 9 };
    assert_eq!(Cluster::encode_value(&cluster).as_ref(), [1, 0x0a, 1, b'c', 16, 8, 24, 3, 32, 2, 40, 9]);
    let info = NodeInfo { store_uuid: "u".into(), features: 2, ..NodeInfo::default() };
    let node = NodeRow { info: Some(info), state: NodeState::Removed as i32, joined_at: 9 };
    assert_eq!(Nodes::encode_value(&node).as_ref(), [1, 0x0a, 5, 0x0a, 1, b'u', 56, 2, 16, 2, 24, 9]);
    let placement = PlacementRow {
        replicas: vec![1, (1 << 32) | 2],
        incarnations: vec![Incarnation { node: 2, last: 1 }],
        pinned: 2,
        version: 3,
    };
    assert_eq!(
        Placements::encode_value(&placement).as_ref(),
        [1, 0x0a, 6, 1, 0x82, 0x80, 0x80, 0x80, 0x10, 0x12, 4, 8, 2, 16, 1, 24, 2, 32, 3]
    );
    let setting = SettingRow { value: "v".into(), changed_at: 9 };
    assert_eq!(Settings::encode_value(&setting).as_ref(), [1, 0x0a, 1, b'v', 16, 9]);
    let states = [NodeState::Active, NodeState::Draining, NodeState::Removed].map(|state| state as i32);
    assert_eq!(states, [0, 1, 2]);
}

#[test]
fn replicas_of_a_placement_have_numbers() {
    let row = PlacementRow {
        replicas: vec![1, (1 << 32) | 2],
        incarnations: vec![Incarnation { node: 2, last: 1 }, Incarnation { node: 3, last: u32::MAX }],
        ..PlacementRow::default()
    };
    let second = ReplicaId { node: NodeId(2), incarnation: 1 };
    assert_eq!((row.on(NodeId(2)), row.on(NodeId(3))), (Some(second), None));
    assert_eq!(row.next_on(NodeId(2)), Some(ReplicaId { incarnation: 2, ..second }));
    assert_eq!((row.next_on(NodeId(3)), row.next_on(NodeId(4))), (None, Some(ReplicaId::first(NodeId(4)))));
}

#[test]
fn lanes_have_one_holder() {
    let mut row = ObjectRow { head: 3, tail: 3, ..ObjectRow::default() };
    assert_eq!((row.is_idle(), row.holder(), row.queued()), (true, None, 0));
    row.set_lane(Priority::Low, Lane { head: 0, tail: 2 });
    row.holding = Priority::Low as i32;
    assert_eq!((row.holder(), row.queued()), (Some(Place { class: Priority::Low, seq: 0 }), 2));
    row.set_lane(Priority::Normal, Lane { head: 3, tail: 4 });
    assert_eq!((row.holder(), row.queued()), (Some(Place { class: Priority::Low, seq: 0 }), 3));
    row.set_lane(Priority::Low, Lane { head: 2, tail: 2 });
    row.holding = Priority::Normal as i32;
    assert_eq!((row.holder(), row.low), (Some(Place { class: Priority::Normal, seq: 3 }), None));
    assert_eq!(Objects::encode_value(&row).as_ref(), [1, 16, 3, 24, 4], "as objects without lanes");
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
