//! Commands of all kinds, well-formed or not, about a few invocations and objects, so that they get into each other's
//! way.

use abide_model::command::{
    Append, Attach, AttemptFailed, Body, Control, Deliver, FieldChange, FireTimers, FlowMessage, Form, Invoke,
    LeaderStart, LetterOrder, MetaAction, MetaOrder, Next, OutboxAck, Outcome, Parcel, ParcelBody, RaiseFeatures,
    Response, ScheduleAction, ScheduleDefinition, ScheduleFire, ScheduleNext, ScheduleOrder, Signal, Sink, StateEdit,
    StateVersion, Target, Turn, Verb,
};
use abide_model::id::{AwakeableId, InvocationId, PartitionId, PartitionKey, ScheduleId};
use abide_model::protocol::{
    Code, Failure, InvocationTarget, Output, OutputResult, SendSignal, SignalId, SignalResult, Value,
};
use abide_model::table::{Direction, Invocations, Objects, Schedules, Sequences};
use bytes::Bytes;
use proptest::bool::weighted;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use crate::testing::*;

/// A command, and by how much time moves before it.
pub(super) type Timed = (u64, Body);

pub(super) fn commands(most: usize) -> impl Strategy<Value = Vec<Timed>> {
    prop::collection::vec((prop_oneof![3 => Just(0), 1 => 0..300u64], body()), 1..most)
}

/// Numbers that a command has to know, where it has [`KNOWN`], become those of the world: most commands come from somebody
/// who is up to date.
pub(super) fn aim(world: &World, mut body: Body) -> Body {
    let row = |id: &Bytes| InvocationId::from_bytes(id).and_then(|id| world.rows.row::<Invocations>(&id));
    let term_and_attempt = |id: &Bytes, term: &mut u64, attempt: &mut u32| {
        if *term == u64::from(KNOWN) {
            *term = world.machine.leader_term();
        }
        if *attempt == KNOWN {
            *attempt = row(id).map_or(0, |row| row.attempt);
        }
    };
    let life = |id: &Bytes, life: &mut u64| {
        if *life == u64::from(KNOWN) {
            *life = row(id).map_or(1, |row| row.life);
        }
    };
    let sink = |sink: &mut Option<Sink>| {
        if let Some(sink) = sink {
            life(&sink.caller, &mut sink.life);
        }
    };
    match &mut body {
        Body::Invoke(it) => sink(&mut it.sink),
        Body::Append(it) => {
            term_and_attempt(&it.id, &mut it.term, &mut it.attempt);
            life(&it.id, &mut it.life);
        }
        Body::AttemptFailed(it) => {
            term_and_attempt(&it.id, &mut it.term, &mut it.attempt);
            life(&it.id, &mut it.life);
        }
        Body::Schedule(it) => {
            let row = ScheduleId::from_bytes(&it.id).and_then(|id| world.rows.row::<Schedules>(&id));
            if let (Some(ScheduleAction::Fire(fire)), Some(row)) = (&mut it.action, row)
                && fire.due == u64::from(KNOWN)
            {
                fire.due = row.due;
            }
        }
        Body::Turn(it) => {
            life(&it.id, &mut it.life);
            let target = match &it.accept {
                Some(invoke) => invoke.target.clone(),
                None => row(&it.id).and_then(|row| row.target),
            };
            if let (Some(base), Some(object)) = (&mut it.base, target.and_then(|target| target.object()))
                && base.version == u64::from(KNOWN)
            {
                *base = world.rows.row::<Objects>(&object).unwrap_or_default().version();
            }
        }
        Body::Deliver(it) if it.first == u64::from(KNOWN) => {
            let taken = (Direction::Taken, it.from_partition());
            it.first = world.rows.row::<Sequences>(&taken).unwrap_or_default().last + 1;
            for parcel in &mut it.messages {
                match &mut parcel.body {
                    Some(ParcelBody::Invoke(it)) => sink(&mut it.sink),
                    Some(ParcelBody::Response(it)) => sink(&mut it.sink),
                    Some(ParcelBody::Attach(it) | ParcelBody::Peek(it)) => sink(&mut it.sink),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    body
}

/// Stands for the number that is right.
const KNOWN: u32 = 77;

fn terms() -> impl Strategy<Value = u64> {
    prop_oneof![9 => Just(u64::from(KNOWN)), 1 => 0..4u64]
}

fn lives() -> impl Strategy<Value = u64> {
    prop_oneof![9 => Just(u64::from(KNOWN)), 1 => 0..4u64]
}

fn attempts() -> impl Strategy<Value = u32> {
    prop_oneof![9 => Just(KNOWN), 1 => 0..4u32]
}

fn body() -> impl Strategy<Value = Body> {
    let fail = (ids(), option::weighted(0.3, invokes()), terms(), attempts(), next(), lives(), any::<bool>()).prop_map(
        |(id, accept, term, attempt, next, life, uncounted)| {
            // Mostly the same id, as it should be.
            let id = accept.as_ref().map_or(id, |invoke| invoke.id.clone());
            let failure = Some(Failure::new(500, "boom"));
            Body::AttemptFailed(AttemptFailed { id, accept, term, attempt, failure, next, life, uncounted })
        },
    );
    let done = (prop::collection::vec(messages(), 0..6), weighted(0.2));
    let append = (ids(), terms(), attempts(), done, 0..6u32, lives(), "v?").prop_map(
        |(id, term, attempt, (mut messages, ends), seen, life, version)| {
            if ends {
                messages.extend([output("y"), end()]);
            }
            Body::Append(Append { id, term, attempt, messages, seen, life, version })
        },
    );
    let firsts = prop_oneof![6 => Just(u64::from(KNOWN)), 2 => 0..6u64, 1 => Just(u64::MAX)];
    let deliver = (0..3u32, firsts, prop::collection::vec(parcels(), 0..4))
        .prop_map(|(from, first, messages)| Body::Deliver(Deliver { from, first, messages }));
    prop_oneof![
        1 => (1..4u64).prop_map(|term| Body::LeaderStart(LeaderStart { term })),
        6 => invokes().prop_map(Body::Invoke),
        6 => turns().prop_map(Body::Turn),
        12 => append,
        4 => fail,
        3 => signals().prop_map(Body::Signal),
        8 => controls().prop_map(Body::Control),
        2 => letter_orders().prop_map(Body::Letter),
        5 => schedule_orders().prop_map(Body::Schedule),
        1 => (0..3u32).prop_map(|level| Body::Meta(MetaOrder::new(MetaAction::RaiseFeatures(RaiseFeatures { level })))),
        4 => Just(Body::FireTimers(FireTimers {})),
        3 => deliver,
        1 => (0..3u32, prop_oneof![0..4u64, Just(u64::MAX)])
            .prop_map(|(by, up_to)| Body::OutboxAck(OutboxAck { by, up_to })),
    ]
}

/// A key whose runs live in the partition of the world.
const WORKFLOW: &str = "w2";

#[test]
fn the_workflow_is_at_home() {
    assert_eq!(PartitionId::of(PartitionKey::of(WORKFLOW), 2), PartitionId(0));
}

fn ids() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        12 => (1..7u128).prop_map(|n| bytes(id(n))),
        3 => Just(bytes(run_id(WORKFLOW))),
        2 => (1..3u128).prop_map(|n| bytes(far(n))),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Bytes::from),
    ]
}

fn targets() -> impl Strategy<Value = Option<Target>> {
    let some = prop::sample::select(vec![
        turn_on("k"),
        turn_on("k"),
        high(turn_on("k")),
        low(turn_on("k")),
        turn_on("q"),
        flow_on("k"),
        high(flow_on("k")),
        low(flow_on("k")),
        flow_on("q"),
        reader(),
        watcher(),
        plain_turn(),
        plain_flow(),
        run_of(WORKFLOW),
        run_of(WORKFLOW),
        beside(WORKFLOW),
        beside(WORKFLOW),
        edit_on("k"),
        edit_on("k"),
        edit_on("q"),
        edit_of(WORKFLOW),
    ]);
    prop_oneof![30 => some.prop_map(Some), 1 => Just(None), 1 => any::<(i32, i32, i32)>()
        .prop_map(|(access, form, priority)| Some(Target { access, form, priority, ..turn_on("k") }))]
}

fn sinks() -> impl Strategy<Value = Sink> {
    let code = prop_oneof![Just(u32::from(Code::CALL_DONE.0)), any::<u32>()];
    let of_invocation = (ids(), 0..5u32, code, 1..9u64).prop_map(|(caller, completion, code, life)| Sink {
        caller,
        completion,
        code,
        life,
    });
    let of_schedule = (schedule_ids(), 1..9u64).prop_map(|(caller, life)| {
        let code = u32::from(Code::SCHEDULED_RUN_DONE.0);
        Sink { caller, completion: 0, code, life }
    });
    prop_oneof![4 => of_invocation, 1 => of_schedule]
}

/// The names of two schedules: the first one's home is here, the second one's is not.
fn schedule_names() -> impl Strategy<Value = String> {
    let of = |partition| {
        let here = |name: &String| PartitionId::of(ScheduleId::of(name).partition_key(), 2) == partition;
        let name = ('a'..='z').map(String::from).find(here).expect("some letter is the name of a schedule there");
        Just(name)
    };
    prop_oneof![9 => of(PartitionId(0)), 1 => of(PartitionId(1))]
}

/// Ids that nobody has, mostly.
fn new_ids() -> impl Strategy<Value = Bytes> {
    prop_oneof![9 => (40..60u128).prop_map(|n| bytes(id(n))), 1 => ids()]
}

fn schedule_ids() -> impl Strategy<Value = Bytes> {
    schedule_names().prop_map(|name| Bytes::copy_from_slice(&ScheduleId::of(&name).to_bytes()))
}

fn schedule_orders() -> impl Strategy<Value = ScheduleOrder> {
    let times = || prop_oneof![1 => Just(0), 6 => 900..1800u64, 1 => Just(u64::MAX)];
    let put = (schedule_names(), "h|h|h|", times(), (weighted(0.1), weighted(0.2)), 0..3i32, 0..3i32).prop_map(
        |(name, handler, first_due, (create_only, paused), overlap, catch_up)| {
            let (spec, service) = ("every 1 from 1".into(), "S".into());
            ScheduleDefinition {
                name,
                spec,
                service,
                handler,
                first_due,
                create_only,
                paused,
                overlap,
                catch_up,
                ..ScheduleDefinition::default()
            }
        },
    );
    let due = prop_oneof![6 => Just(u64::from(KNOWN)), 1 => 900..1800u64];
    let fire = (due, prop::collection::vec(invokes(), 0..4), times(), 0..3u64, "x?")
        .prop_map(|(due, runs, next, skipped, fault)| ScheduleFire { due, runs, next, skipped, fault });
    // Mostly the id that the name gives it, as it should be.
    let puts = (put, option::weighted(0.05, ids())).prop_map(|(definition, id)| {
        let id = id.unwrap_or_else(|| Bytes::copy_from_slice(&ScheduleId::of(&definition.name).to_bytes()));
        ScheduleOrder { id, action: Some(ScheduleAction::Put(definition)) }
    });
    let others = prop_oneof![
        1 => Just(ScheduleAction::Pause(true)),
        1 => times().prop_map(|due| ScheduleAction::Resume(ScheduleNext { due })),
        2 => invokes().prop_map(ScheduleAction::Trigger),
        1 => Just(ScheduleAction::Delete(true)),
        4 => fire.prop_map(ScheduleAction::Fire),
    ];
    let others = (schedule_ids(), others).prop_map(|(id, action)| ScheduleOrder { id, action: Some(action) });
    prop_oneof![3 => puts, 4 => others]
}

fn letter_orders() -> impl Strategy<Value = LetterOrder> {
    (0..4u64, option::weighted(0.7, new_ids())).prop_map(|(seq, redrive_as)| LetterOrder {
        service: "S".into(),
        seq,
        redrive_as: redrive_as.unwrap_or_default(),
    })
}

/// On the heap, as it is used many times in one strategy, which would not fit a stack.
fn invokes() -> BoxedStrategy<Invoke> {
    some_invoke().boxed()
}

prop_compose! {
    fn some_invoke()(
        id in ids(),
        target in targets(),
        execute_at in prop_oneof![4 => Just(0), 1 => 0..2000u64, 1 => Just(u64::MAX)],
        retention_ms in prop_oneof![2 => Just(0), 2 => 1..500u64, 1 => Just(u64::MAX)],
        journal_retention_ms in prop_oneof![1 => Just(0), 2 => 1..500u64, 1 => Just(u64::MAX)],
        state_ttl_ms in prop_oneof![2 => Just(0), 2 => 1..400u64, 1 => Just(u64::MAX)],
        (keyed, one_way) in any::<(bool, bool)>(),
        state_edit in edits(),
        sink in option::weighted(0.3, sinks()),
    ) -> Invoke {
        let idempotency_key = keyed.then(|| "ik".to_owned());
        let is_run = target.as_ref().is_some_and(|target| target.run_object().is_some());
        let is_edit = target.as_ref().is_some_and(|target| target.form() == Form::Edit);
        Invoke {
            // Mostly right, as it should be.
            id: if is_run && keyed { bytes(run_id(WORKFLOW)) } else { id },
            target,
            input: if is_edit { state_edit } else { Bytes::new() },
            execute_at,
            retention_ms,
            idempotency_key,
            sink,
            journal_retention_ms,
            state_ttl_ms,
            one_way,
            ..Invoke::default()
        }
    }
}

fn edits() -> impl Strategy<Value = Bytes> {
    let expected = option::weighted(0.3, (0..4u64, Just(0)));
    let edit = (expected, any::<bool>(), prop::collection::vec(("[ab]", option::of(0..9u8)), 0..3)).prop_map(
        |(expected, replace, changes)| {
            let expected = expected.map(|(version, writer)| StateVersion { version, writer });
            StateEdit { expected, replace, changes: changes.into_iter().map(change).collect() }.encode_to_vec().into()
        },
    );
    prop_oneof![20 => edit, 1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)]
}

fn change((field, value): (String, Option<u8>)) -> FieldChange {
    FieldChange { field, value: value.map(|byte| Bytes::from(vec![byte])) }
}

fn next() -> impl Strategy<Value = Option<Next>> {
    prop_oneof![
        3 => prop_oneof![0..300u64, Just(u64::MAX)].prop_map(|ms| Some(Next::RetryAfter(ms))),
        1 => Just(Some(Next::Pause(true))),
        1 => Just(Some(Next::Fail(true))),
        1 => Just(None),
    ]
}

prop_compose! {
    fn turns()(
        (id, accept) in (ids(), option::weighted(0.5, invokes())),
        activation in 9..11u64,
        base in option::weighted(0.9, (prop_oneof![4 => Just(u64::from(KNOWN)), 1 => 0..4u64], 0..11u64)),
        changes in prop::collection::vec(("[ab]", option::of(0..9u8)), 0..3),
        sends in prop::collection::vec(invokes(), 0..3),
        outcome in option::of(prop_oneof![2 => Just(ok("ok")), 1 => Just(failure(500, "no"))]),
        life in lives(),
    ) -> Turn {
        let id = accept.as_ref().map_or(id, |invoke| invoke.id.clone());
        let base = base.map(|(version, writer)| StateVersion { version, writer: if version == 0 { 0 } else { writer } });
        Turn { id, accept, activation, base, changes: changes.into_iter().map(change).collect(), sends, outcome, life }
    }
}

fn signal_ids() -> impl Strategy<Value = Option<SignalId>> {
    prop_oneof![
        4 => prop::sample::select(vec![1u32, 17]).prop_map(|index| Some(SignalId::Index(index))),
        1 => Just(Some(SignalId::Name("s".into()))),
        1 => Just(None),
    ]
}

fn signals() -> impl Strategy<Value = Signal> {
    (ids(), signal_ids(), option::of(Just(SignalResult::Value(Value::default()))))
        .prop_map(|(target, signal, result)| Signal { target, signal, result })
}

fn controls() -> impl Strategy<Value = Control> {
    let times = prop_oneof![Just(0), 900..1800u64, Just(u64::MAX)];
    // Restarts more often than others: most find something that keeps them from it.
    let verbs = prop_oneof![3 => 0..8i32, 1 => Just(Verb::Restart as i32)];
    (ids(), verbs, new_ids(), 0..8u32, option::of("v?"), times).prop_map(
        |(target, verb, new_id, keep, version, execute_at)| Control { target, verb, new_id, keep, version, execute_at },
    )
}

fn parcels() -> impl Strategy<Value = Parcel> {
    let attach = || (ids(), option::weighted(0.9, sinks())).prop_map(|(target, sink)| Attach { target, sink });
    let outcome = option::of(prop_oneof![Just(Outcome::default()), Just(failure(500, "no"))]);
    prop_oneof![
        invokes().prop_map(ParcelBody::Invoke),
        (option::weighted(0.9, sinks()), outcome, ids())
            .prop_map(|(sink, outcome, callee)| ParcelBody::Response(Response { sink, outcome, callee })),
        signals().prop_map(ParcelBody::Signal),
        controls().prop_map(ParcelBody::Control),
        attach().prop_map(ParcelBody::Attach),
        attach().prop_map(ParcelBody::Peek),
    ]
    .prop_map(Parcel::new)
}

pub(super) fn messages() -> BoxedStrategy<FlowMessage> {
    let about = |code: Code| {
        (1..7u128, 0..5u32).prop_map(move |(n, completion)| {
            let invocation_id = id(n).to_string();
            message(code, &InvocationTarget { invocation_id, result_completion_id: completion, ..Default::default() })
        })
    };
    let send_signal = (1..7u128, signal_ids()).prop_map(|(n, signal_id)| {
        let target_invocation_id = id(n).to_string();
        message(Code::SEND_SIGNAL, &SendSignal { target_invocation_id, signal_id, ..SendSignal::default() })
    });
    let awakeable = (1..7u128).prop_map(|n| {
        let awakeable_id = AwakeableId { invocation: id(n), signal: 17 }.to_string();
        let command = abide_model::protocol::CompleteAwakeable { awakeable_id, ..Default::default() };
        message(Code::COMPLETE_AWAKEABLE, &command)
    });
    let wild = (prop_oneof![0..0x0420u32, 0x8000..0x8014u32, any::<u32>()], prop::collection::vec(any::<u8>(), 0..12))
        .prop_map(|(code, payload)| FlowMessage { code, payload: payload.into(), callee: None });
    prop_oneof![
        3 => Just(output("x")),
        1 => Just(message(Code::OUTPUT, &Output {
            result: Some(OutputResult::Failure(Failure::new(409, "no"))),
            ..Output::default()
        })),
        1 => Just(end()),
        4 => (0..5u32).prop_map(run),
        4 => (0..5u32).prop_map(|completion| ran(completion, "r")),
        4 => (prop::sample::select(vec![900u64, 1200, 1500]), 0..5u32).prop_map(|(until, completion)| sleep(until, completion)),
        4 => "[ab]".prop_map(|field| set_state(&field, "f")),
        1 => Just(message(Code::CLEAR_ALL_STATE, &abide_model::protocol::PlainCommand::default())),
        1 => Just(message(Code::GET_LAZY_STATE_KEYS, &abide_model::protocol::PlainCommand::default())),
        4 => (invokes(), 0..5u32).prop_map(|(callee, first)| call(callee, first)),
        2 => (invokes(), 0..5u32).prop_map(|(callee, first)| one_way(callee, first)),
        2 => (prop::collection::vec(0..5u32, 0..3), prop::collection::vec(prop::sample::select(vec![1u32, 17]), 0..2))
            .prop_map(|(completions, signals)| suspend(&completions, &signals)),
        3 => ("[pq]", 0..5u32).prop_map(|(name, completion)| get_promise(&name, completion)),
        1 => ("[pq]", 0..5u32).prop_map(|(name, completion)| peek_promise(&name, completion)),
        2 => ("[pq]", 0..5u32).prop_map(|(name, completion)| complete_promise(&name, "v", completion)),
        1 => about(Code::ATTACH_INVOCATION),
        1 => about(Code::GET_INVOCATION_OUTPUT),
        1 => send_signal,
        1 => awakeable,
        1 => wild,
    ]
    .boxed()
}
