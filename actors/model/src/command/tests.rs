use super::*;
use crate::codec;

/// The persisted form of a batch; a change of these bytes breaks every existing log.
#[test]
fn golden_bytes() {
    let turn = Turn {
        id: Bytes::from_static(&[7; 24]),
        accept: None,
        activation: 3,
        base: Some(StateVersion { version: 4, writer: 3 }),
        changes: vec![FieldChange { field: "n".into(), value: Some(Bytes::from_static(b"5")) }],
        sends: vec![],
        outcome: Some(Outcome::success(Bytes::from_static(b"5"))),
        life: 0,
    };
    let entry = Entry {
        proposed_at: 1000,
        commands: vec![
            Command::new(Body::LeaderStart(LeaderStart { term: 2 })),
            Command { request: 9, body: Some(Body::Turn(turn)) },
            Command::new(Body::FireTimers(FireTimers {})),
        ],
    };
    let bytes = codec::encode(&entry);
    let mut expected = vec![1, 0x08, 0xe8, 0x07, 0x12, 4, 0x12, 2, 8, 2, 0x12, 47, 8, 9, 0x22, 43, 0x0a, 24];
    expected.extend([7; 24]);
    expected.extend([0x18, 3, 0x22, 4, 8, 4, 16, 3, 0x2a, 6, 0x0a, 1, b'n', 0x12, 1, b'5', 0x3a, 3, 0x0a, 1, b'5']);
    expected[11] = u8::try_from(expected.len() - 12).expect("short");
    expected[15] = expected[11] - 4;
    expected.extend([0x12, 2, 0x4a, 0]);
    assert_eq!(bytes.as_ref(), expected);
    assert_eq!(codec::decode::<Entry>("a log entry", &bytes), Ok(entry));
}

/// The persisted form of orders; a change of these bytes breaks every existing log.
#[test]
fn golden_bytes_of_orders() {
    let control = Control {
        target: Bytes::from_static(&[9]),
        verb: Verb::Restart as i32,
        new_id: Bytes::from_static(&[8]),
        keep: 2,
        version: Some(String::new()),
        execute_at: 3,
    };
    assert_eq!(control.encode_to_vec(), [0x0a, 1, 9, 16, 6, 0x1a, 1, 8, 32, 2, 0x2a, 0, 48, 3]);
    let letter = LetterOrder { service: "S".into(), seq: 1, redrive_as: Bytes::from_static(&[9]) };
    assert_eq!(letter.encode_to_vec(), [0x0a, 1, b'S', 16, 1, 0x1a, 1, 9]);
    let definition = ScheduleDefinition {
        name: "n".into(),
        spec: "s".into(),
        service: "S".into(),
        handler: "h".into(),
        key: Some("k".into()),
        input: Bytes::from_static(b"i"),
        headers: vec![Header { key: "a".into(), value: "b".into() }],
        catch_up: CatchUp::All as i32,
        overlap: Overlap::CancelOther as i32,
        first_due: 1,
        create_only: true,
        paused: true,
    };
    let mut put = vec![0x12, 36, 0x0a, 1, b'n', 0x12, 1, b's', 0x1a, 1, b'S', 0x22, 1, b'h', 0x2a, 1, b'k'];
    put.extend([0x32, 1, b'i', 0x3a, 6, 0x0a, 1, b'a', 0x12, 1, b'b', 64, 2, 72, 2, 80, 1, 88, 1, 96, 1]);
    let run = Invoke { id: Bytes::from_static(&[7]), ..Invoke::default() };
    let fire = ScheduleFire { due: 1, runs: vec![run.clone()], next: 2, skipped: 3, fault: "f".into() };
    for (action, expected) in [
        (ScheduleAction::Put(definition), put),
        (ScheduleAction::Pause(true), vec![24, 1]),
        (ScheduleAction::Resume(ScheduleNext { due: 5 }), vec![0x22, 2, 8, 5]),
        (ScheduleAction::Trigger(run), vec![0x2a, 3, 0x0a, 1, 7]),
        (ScheduleAction::Delete(true), vec![48, 1]),
        (ScheduleAction::Fire(fire), vec![0x3a, 14, 8, 1, 0x12, 3, 0x0a, 1, 7, 24, 2, 32, 3, 0x2a, 1, b'f']),
    ] {
        let order = ScheduleOrder { id: Bytes::from_static(&[9]), action: Some(action) };
        assert_eq!(order.encode_to_vec(), [&[0x0a, 1, 9], &expected[..]].concat());
        assert_eq!(ScheduleOrder::decode(order.encode_to_vec().as_slice()), Ok(order));
    }
    let letter = Command::new(Body::Letter(LetterOrder::default())).encode_to_vec();
    assert_eq!(letter, [0x62, 0]);
    assert_eq!(Command::new(Body::Schedule(ScheduleOrder::default())).encode_to_vec(), [0x6a, 0]);
}

/// Numbers of verbs and policies are persisted.
#[test]
fn numbers_of_orders_stay() {
    let verbs = (0..8).map(|verb| Verb::try_from(verb).expect("eight verbs"));
    use Verb::{Cancel, Kill, Pause, Purge, PurgeJournal, Reschedule, Restart, Resume};
    assert!(verbs.eq([Cancel, Kill, Resume, Pause, Purge, PurgeJournal, Restart, Reschedule]));
    let overlaps = [Overlap::Allow, Overlap::Skip, Overlap::CancelOther].map(|overlap| overlap as i32);
    let catch_ups = [CatchUp::Skip, CatchUp::One, CatchUp::All].map(|catch_up| catch_up as i32);
    assert_eq!((overlaps, catch_ups), ([0, 1, 2], [0, 1, 2]));
}

/// The commands and inputs that later builds brought; these bytes must never change.
#[test]
fn golden_later_fields() {
    let invoke = Invoke {
        target: Some(Target { access: Access::Workflow as i32, workflow: true, ..Target::default() }),
        sink: Some(Sink { caller: Bytes::from_static(&[7]), completion: 2, code: 0xFFFF, life: 3 }),
        chain: vec![Holder { service: "S".into(), key: "k".into(), invocation: Bytes::from_static(&[7]) }],
        journal_retention_ms: 2,
        state_ttl_ms: 3,
        one_way: true,
        schedule: "s".into(),
        restarted_from: Bytes::from_static(&[9]),
        ..Invoke::default()
    };
    let expected = [
        1, 0x12, 4, 32, 2, 48, 1, 0x42, 11, 0x0a, 1, 7, 16, 2, 24, 0xff, 0xff, 3, 32, 3, 0x52, 9, 0x0a, 1, b'S', 0x12,
        1, b'k', 0x1a, 1, 7, 88, 2, 96, 3, 104, 1, 0x72, 1, b's', 0x7a, 1, 9,
    ];
    assert_eq!(codec::encode(&invoke).as_ref(), expected);
    assert_eq!(codec::decode::<Invoke>("an invocation", &Bytes::copy_from_slice(&expected)), Ok(invoke));

    let append = Append { term: 1, life: 2, version: "v".into(), ..Append::default() };
    assert_eq!(append.encode_to_vec(), [16, 1, 48, 2, 0x3a, 1, b'v']);
    let failed = AttemptFailed { life: 2, uncounted: true, next: Some(Next::Pause(true)), ..Default::default() };
    assert_eq!(failed.encode_to_vec(), [56, 1, 72, 2, 80, 1]);
    assert_eq!(Turn { life: 2, ..Turn::default() }.encode_to_vec(), [64, 2]);

    // The input of an edit is without an envelope: it lies in a journal entry, which has one.
    let edit = StateEdit {
        expected: Some(StateVersion { version: 4, writer: 3 }),
        replace: true,
        changes: vec![
            FieldChange { field: "a".into(), value: Some(Bytes::new()) },
            FieldChange { field: "b".into(), value: None },
        ],
    };
    let expected = [0x0a, 4, 8, 4, 16, 3, 16, 1, 0x1a, 5, 0x0a, 1, b'a', 0x12, 0, 0x1a, 3, 0x0a, 1, b'b'];
    assert_eq!(edit.encode_to_vec(), expected);
    assert_eq!(StateEdit::decode(&expected[..]), Ok(edit));
}
