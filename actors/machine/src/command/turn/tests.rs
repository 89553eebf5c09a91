use abide_model::command::{Body, FieldChange, Invoke, Next, Sink, Turn, Verb};
use abide_model::effect::Effect;
use abide_model::id::PartitionId;
use abide_model::limits;
use abide_model::protocol::{Code, SignalId};
use abide_model::table::{ObjectRow, Outbox};
use bytes::Bytes;

use crate::testing::*;

#[test]
fn a_direct_turn_on_the_applied_state_takes_effect() {
    let mut world = World::new();
    let changes = vec![set("n", "1"), set("m", "x")];
    let effects = world.ask(5, Body::Turn(direct(1, version(0, 0), changes)));
    assert_eq!(effects, [accepted(5, id(1)), completed(id(1), ok("ok"))]);
    assert_eq!(world.object(), ObjectRow { state: Some(version(1, 9)), ..ObjectRow::default() });
    assert_eq!((world.field("n"), world.status(id(1))), (Some("1".into()), "unknown"));
    // The next one of the activation ran on what this one left.
    let removal = FieldChange { field: "m".into(), value: None };
    let effects = world.ask(6, Body::Turn(direct(2, version(1, 9), vec![removal])));
    assert_eq!(effects, [accepted(6, id(2)), completed(id(2), ok("ok"))]);
    assert_eq!((world.field("m"), world.object().version()), (None, version(2, 9)));
}

#[test]
fn a_turn_that_changes_nothing_leaves_the_version() {
    let mut world = World::new();
    world.apply(Body::Turn(direct(1, version(0, 0), vec![])));
    assert!(world.rows.0.is_empty());
}

#[test]
fn an_error_is_an_outcome() {
    let mut world = World::new();
    let turn = Turn { outcome: Some(failure(500, "no")), ..direct(1, version(0, 0), vec![]) };
    assert_eq!(world.ask(5, Body::Turn(turn)), [accepted(5, id(1)), completed(id(1), failure(500, "no"))]);
}

/// The rejection comes before the place in the mailbox, so that the request is not run on the void state.
#[test]
fn a_direct_turn_on_another_state_goes_into_the_mailbox() {
    for base in [Some(version(1, 9)), Some(version(0, 9)), None] {
        let mut world = World::new();
        let turn = Turn { base, ..direct(1, version(0, 0), vec![set("n", "1")]) };
        let effects = world.ask(5, Body::Turn(turn));
        assert_eq!((effects[0].clone(), effects[1].clone()), (rejected(), accepted(5, id(1))));
        assert_eq!((enqueued(&effects[2..]), effects.len()), (vec![id(1)], 3));
        assert_eq!((world.status(id(1)), world.field("n")), ("pending", None));
    }
}

#[test]
fn a_direct_turn_overtakes_nothing() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    let effects = world.ask(5, Body::Turn(direct(2, version(0, 0), vec![set("n", "1")])));
    assert_eq!(effects[0], rejected());
    assert_eq!((world.object().tail, world.field("n")), (2, None));
    // A flow or a paused turn at the front is as much in the way.
    let mut world = World::new();
    world.start_flow(1, flow_on("k"));
    assert_eq!(world.apply(Body::Turn(direct(2, version(0, 0), vec![])))[0], rejected());
}

#[test]
fn a_repeated_direct_turn_is_answered_from_the_first() {
    let mut world = World::new();
    let turn = |n: &str, base| record(id(1), Some(keyed(1, turn_on("k"))), base, vec![set("n", n)]);
    world.ask(5, Body::Turn(turn("1", version(0, 0))));
    let effects = world.changes_nothing(6, Body::Turn(turn("2", version(1, 9))));
    let answer = kept(id(1), ok("ok"), 6000);
    assert_eq!(effects, [known(6, id(1)), answer, rejected()]);
    assert_eq!(world.field("n"), Some("1".into()));
}

#[test]
fn a_repeated_direct_turn_waits_for_the_one_in_the_mailbox() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, turn_on("k"))));
    let turn = record(id(1), Some(keyed(1, turn_on("k"))), version(0, 0), vec![set("n", "1")]);
    assert_eq!(world.changes_nothing(6, Body::Turn(turn)), [known(6, id(1)), rejected()]);
}

#[test]
fn turns_of_the_mailbox_take_effect_in_its_order() {
    let mut world = World::new();
    for n in 1..=3 {
        world.apply(invoked(keyed(n, turn_on("k"))));
    }
    // Not its turn yet.
    let effects = world.apply(Body::Turn(from_mailbox(2, version(0, 0), vec![set("n", "2")])));
    assert_eq!((effects, world.field("n")), (vec![rejected()], None));
    let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")])));
    // The host runs what follows by itself.
    assert_eq!(effects, [timer_set(6000), completed(id(1), ok("ok"))]);
    let effects = world.apply(Body::Turn(from_mailbox(2, version(1, 9), vec![set("n", "2")])));
    assert_eq!(effects, [timer_set(6000), completed(id(2), ok("ok"))]);
    assert_eq!((world.object().head, world.completion(id(2)).created_at), (2, 1000));
    // On the state before: void, it stays where it is.
    let effects = world.apply(Body::Turn(from_mailbox(3, version(1, 9), vec![set("n", "3")])));
    assert_eq!((effects, world.status(id(3)), world.field("n")), (vec![rejected()], "pending", Some("2".into())));
}

#[test]
fn a_flow_behind_a_turn_starts_when_the_turn_is_done() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.apply(invoked(invoke(2, flow_on("k"))));
    let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
    assert_eq!(effects, [completed(id(1), ok("ok")), start(id(2))]);
}

/// Invariant I6.
#[test]
fn a_second_record_of_a_turn_does_nothing() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, turn_on("k"))));
    world.apply(invoked(invoke(2, plain_turn())));
    world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")])));
    world.ignores(Body::Turn(from_mailbox(1, version(1, 9), vec![set("n", "2")])));
    // The same for one that is not exclusive, whose messages go out once.
    let sends = vec![invoke(30, plain_turn())];
    let turn = Turn { sends, base: None, ..record(id(2), None, version(0, 0), vec![]) };
    let effects = world.apply(Body::Turn(turn.clone()));
    assert_eq!(effects, [completed(id(2), ok("ok")), accepted(0, id(30)), start(id(30))]);
    world.ignores(Body::Turn(turn));
}

/// Two states of one version are told apart by who made them, so what ran on a void state never fits.
#[test]
fn nothing_that_ran_on_a_killed_turn_takes_effect() {
    let mut world = World::new();
    for n in 1..=3 {
        world.apply(invoked(invoke(n, turn_on("k"))));
    }
    let effects = world.apply(order(id(1), Verb::Kill));
    // Tells who holds answers that what an activation made of the invocation is void.
    assert!(effects.contains(&abort(id(1), Some("k"))));
    world.ignores(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "void")])));
    // The activation went on from it.
    assert_eq!(world.apply(Body::Turn(from_mailbox(2, version(1, 9), vec![set("n", "2")]))), [rejected()]);
    // Another activation makes version 1 as well, and the old one still does not fit.
    let other = Turn { activation: 10, ..from_mailbox(2, version(0, 0), vec![set("n", "other")]) };
    world.apply(Body::Turn(other));
    assert_eq!(world.apply(Body::Turn(from_mailbox(3, version(1, 9), vec![set("n", "3")]))), [rejected()]);
    assert_eq!((world.field("n"), world.object().version()), (Some("other".into()), version(1, 10)));
}

/// What a killed turn left unchanged is not void.
#[test]
fn what_ran_behind_a_killed_turn_that_changed_nothing_takes_effect() {
    let mut world = World::new();
    for n in 1..=2 {
        world.apply(invoked(invoke(n, turn_on("k"))));
    }
    world.apply(order(id(1), Verb::Kill));
    world.ignores(Body::Turn(from_mailbox(1, version(0, 0), vec![])));
    world.apply(Body::Turn(from_mailbox(2, version(0, 0), vec![set("n", "2")])));
    assert_eq!(world.field("n"), Some("2".into()));
}

#[test]
fn a_retried_turn_ends_by_its_record() {
    let mut world = World::new();
    for n in 1..=2 {
        world.apply(invoked(invoke(n, turn_on("k"))));
    }
    world.fail(id(1), Next::RetryAfter(10));
    // Backing off: nothing that an earlier execution says counts.
    assert_eq!(world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")]))), [rejected()]);
    world.at(1010).apply(fire());
    assert_eq!(world.status(id(1)), "running");
    // The state it ran on is the fence: on any other one it does not count.
    assert_eq!(world.apply(Body::Turn(from_mailbox(1, version(7, 7), vec![set("n", "1")]))), [rejected()]);
    assert_eq!(world.status(id(1)), "running");
    let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")])));
    assert_eq!((effects, world.field("n")), (vec![completed(id(1), ok("ok"))], Some("1".into())));
    assert_eq!(world.object().head, 1);
}

#[test]
fn a_paused_turn_takes_no_record() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.fail(id(1), Next::Pause(true));
    assert_eq!(world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")]))), [rejected()]);
    assert_eq!(world.status(id(1)), "paused");
}

#[test]
fn turns_that_are_not_exclusive_have_no_state_to_change() {
    for target in [reader(), plain_turn()] {
        let mut world = World::new();
        let turn =
            Turn { base: None, ..record(id(1), Some(keyed(1, target.clone())), version(0, 0), vec![set("n", "1")]) };
        let effects = world.ask(5, Body::Turn(turn));
        assert_eq!(effects, [accepted(5, id(1)), timer_set(6000), completed(id(1), ok("ok"))]);
        assert_eq!((world.field("n"), world.object()), (None, ObjectRow::default()));
    }
}

#[test]
fn sends_go_to_their_partitions_with_the_state() {
    let mut world = World::of(0, 2);
    let away = Invoke { id: bytes(far(31)), ..invoke(31, turn_on("q")) };
    let sends = vec![invoke(30, turn_on("q")), away.clone(), Invoke { execute_at: 1200, ..invoke(32, plain_turn()) }];
    let effects = world.ask(5, Body::Turn(Turn { sends, ..direct(1, version(0, 0), vec![set("n", "1")]) }));
    assert_eq!(enqueued(&effects), [id(30)]);
    let parcel = world.rows.row::<Outbox>(&(PartitionId(1), 1)).unwrap();
    let sent = Invoke { invoked_by: bytes(id(1)), ..away };
    assert_eq!(parcel, abide_model::command::Parcel::new(abide_model::command::ParcelBody::Invoke(sent)));
    assert!(effects.contains(&Effect::Ship { to: PartitionId(1), seq: 1, parcel }));
    assert_eq!((world.status(id(32)), world.row(id(30)).invoked_by), ("scheduled", bytes(id(1))));
}

/// A message to the own object stands behind the turn that sent it.
#[test]
fn a_turn_may_send_to_its_own_object() {
    let mut world = World::new();
    let sends = vec![invoke(30, turn_on("k"))];
    let effects = world.ask(5, Body::Turn(Turn { sends, ..direct(1, version(0, 0), vec![set("n", "1")]) }));
    assert_eq!((enqueued(&effects), others(&effects).len()), (vec![id(30)], 3));
    world.apply(Body::Turn(from_mailbox(30, version(1, 9), vec![set("n", "2")])));
    assert_eq!(world.field("n"), Some("2".into()));
}

#[test]
fn a_void_turn_sends_nothing() {
    let mut world = World::new();
    let sends = vec![invoke(30, plain_turn())];
    world.apply(Body::Turn(Turn { sends, ..direct(1, version(5, 5), vec![]) }));
    assert_eq!(world.status(id(30)), "unknown");
}

#[test]
fn a_caller_inside_the_cluster_is_answered() {
    let mut world = World::new();
    let caller = world.start_flow(11, plain_flow());
    let sink = Some(Sink::new(caller, 1, 2, Code::CALL_DONE));
    let accept = Some(Invoke { sink, ..invoke(1, turn_on("k")) });
    world.apply(Body::Turn(record(id(1), accept, version(0, 0), vec![])));
    assert_eq!(world.codes(caller), [Code::INPUT, Code::CALL_DONE]);
}

#[test]
fn malformed_direct_turns_are_refused_and_void() {
    let mut world = World::new();
    let good = direct(1, version(0, 0), vec![]);
    let turn = Turn { id: Bytes::new(), ..good.clone() };
    assert_eq!(refusal(&world.changes_nothing(5, Body::Turn(turn))), Some(400));
    let other = Turn { accept: Some(invoke(2, turn_on("k"))), ..good.clone() };
    let long = "x".repeat(limits::NAME_BYTES_MAX + 1);
    let input = Bytes::from(vec![0; limits::BODY_BYTES_MAX + 1]);
    let value = Some(Bytes::from(vec![0; limits::STATE_VALUE_BYTES_MAX + 1]));
    for (code, turn) in [
        (400, other),
        (400, Turn { accept: Some(Invoke { input, ..invoke(1, turn_on("k")) }), ..good.clone() }),
        (413, Turn { sends: vec![invoke(2, plain_turn()); limits::SENDS_PER_TURN_MAX + 1], ..good.clone() }),
        (413, Turn { changes: vec![set(&long, "")], ..good.clone() }),
        (413, Turn { changes: vec![FieldChange { field: "f".into(), value }], ..good.clone() }),
    ] {
        let effects = world.changes_nothing(5, Body::Turn(turn));
        assert_eq!((effects[0].clone(), refusal(&effects), effects.len()), (rejected(), Some(code), 2));
    }
}

/// It would do so again, so it ends; the activation that went on from it is void.
#[test]
fn a_turn_of_the_mailbox_that_breaks_a_limit_fails() {
    let mut world = World::new();
    for n in 1..=2 {
        world.apply(invoked(keyed(n, turn_on("k"))));
    }
    let changes = vec![set(&"x".repeat(limits::NAME_BYTES_MAX + 1), "")];
    let effects = world.apply(Body::Turn(from_mailbox(1, version(0, 0), changes)));
    assert_eq!(effects[0], rejected());
    let outcome = world.completion(id(1)).outcome.unwrap();
    assert!(matches!(&outcome.kind, Some(abide_model::command::OutcomeKind::Failure(failure)) if failure.code == 413));
    assert_eq!(others(&effects)[1..], [timer_set(6000), completed(id(1), outcome), abort(id(1), Some("k"))]);
    assert_eq!((enqueued(&effects), world.object().version()), (vec![id(2)], version(0, 0)));
}

#[test]
fn a_flow_cannot_end_by_a_record() {
    let mut world = World::new();
    world.start_flow(1, flow_on("k"));
    assert_eq!(world.apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("n", "1")]))), [rejected()]);
    let accept = Some(invoke(2, flow_on("q")));
    let effects = world.apply(Body::Turn(record(id(2), accept, version(0, 0), vec![])));
    assert!(matches!(effects[0], Effect::TurnRejected { .. }));
    assert_eq!(world.status(id(2)), "running");
}

#[test]
fn a_direct_turn_of_later_waits_for_its_time() {
    let mut world = World::new();
    let accept = Some(Invoke { execute_at: 1001, ..invoke(1, turn_on("k")) });
    world.apply(Body::Turn(record(id(1), accept, version(0, 0), vec![set("n", "1")])));
    assert_eq!((world.status(id(1)), world.field("n")), ("scheduled", None));
}

#[test]
fn a_signal_does_not_disturb_a_turn() {
    let mut world = World::new();
    world.apply(invoked(invoke(1, plain_turn())));
    world.apply(signal(id(1), SignalId::Index(17)));
    let effects = world.apply(Body::Turn(Turn { base: None, ..record(id(1), None, version(0, 0), vec![]) }));
    assert_eq!(effects, [completed(id(1), ok("ok"))]);
}
