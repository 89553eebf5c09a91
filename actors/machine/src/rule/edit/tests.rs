use abide_model::command::{Body, FieldChange, Form, Invoke, Next, OutcomeKind, StateEdit, Verb};
use abide_model::effect::Effect;
use abide_model::id::ObjectId;
use abide_model::limits;
use abide_model::table::{Invocations, ObjectRow, Objects, States};
use bytes::Bytes;

use crate::testing::*;

fn remove(field: &str) -> FieldChange {
    FieldChange { field: field.into(), value: None }
}

fn set_to(changes: Vec<FieldChange>) -> StateEdit {
    StateEdit { changes, ..StateEdit::default() }
}

fn replace(changes: Vec<FieldChange>) -> StateEdit {
    StateEdit { changes, replace: true, ..StateEdit::default() }
}

fn edit_of_k(n: u128, what: &StateEdit) -> Body {
    invoked(edit(n, edit_on("k"), what))
}

/// The fields `a` and `b` at version 1 by activation 9.
fn with_state() -> World {
    let mut world = World::new();
    world.apply(Body::Turn(direct(50, version(0, 0), vec![set("a", "1"), set("b", "2")])));
    world
}

#[test]
fn an_idle_object_is_edited_at_once() {
    let mut world = with_state();
    let effects = world.ask(5, edit_of_k(1, &set_to(vec![set("a", "x"), remove("b"), set("c", "y")])));
    assert_eq!(effects, [accepted(5, id(1)), changed(object("k")), completed(id(1), ok("")), abort(id(1), Some("k"))]);
    assert_eq!((world.field("a"), world.field("b"), world.field("c")), (Some("x".into()), None, Some("y".into())));
    assert_eq!(world.object(), ObjectRow { state: Some(version(2, 0)), ..ObjectRow::default() });
    assert_eq!(world.status(id(1)), "unknown");
    // What an activation made of the state before does not fit any more.
    assert_eq!(world.apply(Body::Turn(direct(2, version(1, 9), vec![])))[0], rejected());
}

#[test]
fn replacing_removes_what_is_not_named() {
    let mut world = with_state();
    world.apply(edit_of_k(1, &replace(vec![set("b", "x")])));
    assert_eq!((world.field("a"), world.field("b")), (None, Some("x".into())));
    assert_eq!(world.object().version(), version(2, 0));
}

#[test]
fn a_result_is_kept_as_long_as_it_is_wanted() {
    let mut world = with_state();
    world.apply(invoked(Invoke { retention_ms: 5000, ..edit(1, edit_on("k"), &replace(vec![])) }));
    assert_eq!((world.status(id(1)), world.completion(id(1)).outcome), ("completed", Some(ok(""))));
    world.at(6000).apply(fire());
    assert!(world.rows.0.is_empty());
}

#[test]
fn an_expected_state_guards_it() {
    for (expected, fits) in [(version(1, 9), true), (version(1, 0), false), (version(2, 9), false)] {
        let mut world = with_state();
        let what = StateEdit { expected: Some(expected), ..set_to(vec![set("a", "x")]) };
        let effects = world.ask(5, edit_of_k(1, &what));
        assert_eq!(effects.contains(&changed(object("k"))), fits);
        assert_eq!(world.field("a"), Some(if fits { "x".into() } else { "1".into() }));
        let outcome = effects.iter().find_map(|effect| match effect {
            Effect::Completed { outcome, .. } => outcome.kind.clone(),
            _ => None,
        });
        match outcome.unwrap() {
            OutcomeKind::Success(value) => assert!(fits && value.is_empty()),
            OutcomeKind::Failure(failure) => {
                let names_both = failure.message.contains("version 1 by writer 9")
                    && failure.message.contains(&format!("version {} by writer {}", expected.version, expected.writer));
                assert!(!fits && failure.code == 409 && names_both, "{failure:?}");
            }
        }
    }
    // Nothing at all is a state as well.
    let mut world = World::new();
    world.apply(edit_of_k(1, &StateEdit { expected: Some(version(0, 0)), ..set_to(vec![set("a", "x")]) }));
    assert_eq!(world.field("a"), Some("x".into()));
}

#[test]
fn an_emptied_idle_object_leaves_nothing() {
    let mut world = with_state();
    world.apply(edit_of_k(1, &replace(vec![remove("a")])));
    assert!(world.rows.0.is_empty());
    // Behind something, too, when nothing is behind it.
    let mut world = with_state();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.apply(edit_of_k(2, &replace(vec![])));
    let what = StateEdit { expected: Some(version(7, 7)), ..StateEdit::default() };
    world.apply(edit_of_k(3, &what));
    world.apply(Body::Turn(from_mailbox(1, version(1, 9), vec![set("c", "3")])));
    assert!(world.rows.0.is_empty());
}

#[test]
fn an_emptied_object_with_work_keeps_its_mailbox() {
    let mut world = with_state();
    for n in [1, 3] {
        world.apply(invoked(invoke(n, turn_on("k"))));
        world.apply(edit_of_k(n + 1, &replace(vec![])));
    }
    world.apply(Body::Turn(from_mailbox(1, version(1, 9), vec![])));
    assert_eq!((world.object().head, world.object().version()), (2, version(2, 0)));
    // And one that wrote again afterwards keeps its row.
    world.apply(edit_of_k(5, &set_to(vec![set("a", "x")])));
    world.apply(Body::Turn(from_mailbox(3, version(2, 0), vec![])));
    assert_eq!((world.object().version(), world.field("a")), (version(4, 0), Some("x".into())));
}

#[test]
fn behind_turns_it_waits_for_its_place() {
    let mut world = with_state();
    world.apply(invoked(invoke(1, turn_on("k"))));
    // Not offered to the host, which could not run it.
    assert_eq!(world.ask(5, edit_of_k(2, &set_to(vec![set("a", "x")]))), [accepted(5, id(2))]);
    assert_eq!((world.status(id(2)), world.field("a")), ("pending", Some("1".into())));
    world.apply(edit_of_k(3, &set_to(vec![set("b", "y")])));
    world.apply(invoked(invoke(4, turn_on("k"))));
    let effects = world.apply(Body::Turn(from_mailbox(1, version(1, 9), vec![set("a", "t")])));
    // One record ends the turn and all edits behind it; the next turn is offered again, on the state they left.
    assert_eq!(
        others(&effects),
        [
            completed(id(1), ok("ok")),
            changed(object("k")),
            completed(id(2), ok("")),
            abort(id(2), Some("k")),
            changed(object("k")),
            completed(id(3), ok("")),
            abort(id(3), Some("k")),
        ]
    );
    assert_eq!((enqueued(&effects), world.object().version()), (vec![id(4)], version(4, 0)));
    assert_eq!((world.field("a"), world.field("b")), (Some("x".into()), Some("y".into())));
    // What ran ahead of the edit is void.
    assert_eq!(world.apply(Body::Turn(from_mailbox(4, version(2, 9), vec![]))), [rejected()]);
    world.apply(Body::Turn(from_mailbox(4, version(4, 0), vec![])));
    assert!(world.object().is_idle());
}

#[test]
fn between_flows_it_waits_for_its_place() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(edit_of_k(2, &set_to(vec![set("a", "x")])));
    world.apply(invoked(invoke(3, flow_on("k"))));
    let effects = world.append(flow, vec![set_state("a", "1"), output("x"), end()]);
    assert_eq!(effects[effects.len() - 3..], [completed(id(2), ok("")), abort(id(2), Some("k")), start(id(3))]);
    assert_eq!((world.field("a"), world.object().version()), (Some("x".into()), version(2, 0)));
}

#[test]
fn a_failed_edit_does_not_hold_the_key() {
    let mut world = with_state();
    world.apply(invoked(invoke(1, turn_on("k"))));
    world.apply(edit_of_k(2, &StateEdit { expected: Some(version(1, 9)), ..set_to(vec![set("a", "x")]) }));
    world.apply(invoked(invoke(3, turn_on("k"))));
    let effects = world.apply(Body::Turn(from_mailbox(1, version(1, 9), vec![set("a", "t")])));
    assert!(effects.contains(&abort(id(2), Some("k"))) && !effects.contains(&changed(object("k"))));
    assert_eq!(
        (enqueued(&effects), world.field("a"), world.object().version()),
        (vec![id(3)], Some("t".into()), version(2, 9))
    );
}

/// However many there are: the machine goes through them in a loop.
#[test]
fn many_in_a_row_are_carried_out() {
    let mut world = World::new();
    world.apply(invoked(invoke(0, turn_on("k"))));
    for n in 1..=300u128 {
        world.apply(edit_of_k(n, &set_to(vec![set("a", &n.to_string())])));
    }
    world.apply(order(id(0), Verb::Kill));
    assert_eq!((world.field("a"), world.object().version()), (Some("300".into()), version(300, 0)));
    assert!(world.object().is_idle() && world.rows.all::<Invocations>().is_empty());
}

#[test]
fn a_queued_or_scheduled_edit_ends_by_an_order() {
    for verb in [Verb::Cancel, Verb::Kill] {
        let mut world = with_state();
        world.apply(invoked(invoke(1, turn_on("k"))));
        world.apply(edit_of_k(2, &set_to(vec![set("a", "x")])));
        world.apply(invoked(Invoke { execute_at: 1500, ..edit(3, edit_on("k"), &set_to(vec![set("a", "y")])) }));
        for n in [2, 3] {
            world.apply(order(id(n), verb));
            assert_eq!(world.status(id(n)), "unknown");
        }
        world.apply(Body::Turn(from_mailbox(1, version(1, 9), vec![])));
        world.at(1500).apply(fire());
        assert_eq!((world.field("a"), world.object().version()), (Some("1".into()), version(1, 9)));
    }
}

#[test]
fn a_scheduled_edit_takes_its_place_when_its_time_has_come() {
    let mut world = with_state();
    world.apply(invoked(Invoke { execute_at: 1500, ..edit(1, edit_on("k"), &set_to(vec![set("a", "x")])) }));
    world.at(1499).apply(fire());
    assert_eq!(world.field("a"), Some("1".into()));
    world.at(1500).apply(fire());
    assert_eq!((world.field("a"), world.status(id(1))), (Some("x".into()), "unknown"));
}

#[test]
fn a_new_leader_finds_nothing_to_do_for_it() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    world.apply(edit_of_k(2, &set_to(vec![set("a", "x")])));
    assert_eq!(world.apply(lead(2)), [start(flow)]);
}

#[test]
fn malformed_edits_are_refused() {
    let long = "f".repeat(limits::NAME_BYTES_MAX + 1);
    let big = Some(Bytes::from(vec![0; limits::STATE_VALUE_BYTES_MAX + 1]));
    let fine = set_to(vec![set("a", "x")]);
    let reader = abide_model::command::Target { form: Form::Edit as i32, ..reader() };
    let nothing = abide_model::command::Target { key: None, ..edit_on("k") };
    for bad in [
        Invoke { input: Bytes::from_static(b"\xff"), ..edit(1, edit_on("k"), &fine) },
        edit(1, edit_on("k"), &set_to(vec![set(&long, "")])),
        edit(1, edit_on("k"), &set_to(vec![FieldChange { field: "f".into(), value: big }])),
        edit(1, reader, &fine),
        edit(1, nothing, &fine),
    ] {
        let mut world = with_state();
        assert_eq!(refusal(&world.changes_nothing(5, invoked(bad))), Some(400));
    }
}

/// It is no attempt of a handler, whatever a command says of it.
#[test]
fn it_cannot_fail_an_attempt() {
    for target in [edit_on("k"), edit_of("w")] {
        let mut world = World::new();
        world.apply(failed_call(edit(1, target, &set_to(vec![set("a", "x")])), Next::Pause(true)));
        assert_eq!((world.status(id(1)), world.rows.all::<States>().len()), ("unknown", 1));
    }
    let mut world = World::new();
    let accept = Some(edit(1, edit_on("k"), &set_to(vec![set("a", "x")])));
    world.apply(Body::Turn(record(id(1), accept, version(0, 0), vec![set("b", "void")])));
    assert_eq!((world.field("a"), world.field("b")), (Some("x".into()), None));
}

/// A workflow has no mailbox.
#[test]
fn a_workflow_is_edited_at_once() {
    let mut world = World::new();
    world.apply(invoked(run_call("w")));
    world.append(run_id("w"), vec![set_state("a", "1")]);
    let effects = world.ask(5, invoked(edit(1, edit_of("w"), &replace(vec![set("b", "2")]))));
    let object: ObjectId = workflow("w");
    let over = Effect::Abort { invocation: id(1), object: Some(object.clone()) };
    assert_eq!(effects, [accepted(5, id(1)), changed(object.clone()), completed(id(1), ok("")), over]);
    assert_eq!(world.status(run_id("w")), "running");
    assert_eq!(
        world.rows.all::<States>(),
        [((object.clone(), "b".to_owned()), abide_model::table::StateRow { value: "2".into() })]
    );
    assert_eq!(world.rows.row::<Objects>(&object).unwrap().version(), version(2, 0));
}
