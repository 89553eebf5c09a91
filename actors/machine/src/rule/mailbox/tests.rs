//! Classes: who holds the key, and who is next. The cases of one class are those of the commands.

use abide_model::command::{Body, Control, Form, Invoke, Next, StateEdit, Target, Turn, Verb};
use abide_model::effect::Effect;
use abide_model::error::MAILBOX_FULL;
use abide_model::limits::MAILBOX_MAX;
use abide_model::table::{Lane, Lanes, ObjectRow, Objects, Table};

use crate::testing::*;

const BASE: abide_model::command::StateVersion = abide_model::command::StateVersion { version: 0, writer: 0 };

/// The object `k`, busy with the turn 1, behind which stand the given ones.
fn busy(behind: &[(u128, Target)]) -> World {
    let mut world = World::new();
    world.apply(invoked(invoke(1, turn_on("k"))));
    for (n, target) in behind {
        world.apply(invoked(invoke(*n, target.clone())));
    }
    world
}

/// The record of the turn `n`, which changes nothing.
fn done(n: u128) -> Body {
    Body::Turn(Turn { changes: vec![], ..from_mailbox(n, BASE, vec![]) })
}

/// Ends turns in the order in which they get the key, until the object is idle.
fn order_of(world: &mut World) -> Vec<u128> {
    let mut order = Vec::new();
    while !world.object().is_idle() {
        let place = world.object().holder().unwrap();
        let (n, body) = (1..50)
            .filter(|n| world.status(id(*n)) == "pending" || world.status(id(*n)) == "running")
            .find_map(|n| {
                let row = world.row(id(n));
                (super::place(&row) == Some(place)).then(|| (n, done(n)))
            })
            .expect("somebody holds the key");
        if world.row(id(n)).target.unwrap().form() == Form::Flow {
            world.append(id(n), vec![output("ok"), end()]);
        } else {
            world.apply(body);
        }
        assert_eq!(world.status(id(n)), "unknown");
        order.push(n);
    }
    order
}

#[test]
fn classes_go_in_order_and_each_is_fifo() {
    let mut world = busy(&[
        (2, low(turn_on("k"))),
        (3, turn_on("k")),
        (4, high(turn_on("k"))),
        (5, low(turn_on("k"))),
        (6, high(flow_on("k"))),
        (7, turn_on("k")),
    ]);
    assert_eq!(world.object().queued(), 7);
    assert_eq!(order_of(&mut world), [1, 4, 6, 3, 7, 2, 5]);
    // Nothing is left of the lanes: the row is as it was without them.
    assert_eq!(world.object(), ObjectRow { head: 3, tail: 3, ..ObjectRow::default() });
}

#[test]
fn the_holder_goes_on() {
    for holder in [low(turn_on("k")), low(flow_on("k"))] {
        let mut world = World::new();
        world.apply(invoked(invoke(1, holder)));
        let before = world.object().holder();
        let effects = world.apply(invoked(invoke(2, high(turn_on("k")))));
        assert_eq!(enqueued(&effects), [id(2)]);
        assert_eq!((world.object().holder(), world.status(id(2))), (before, "pending"));
        // Not even while it waits for its next attempt.
        world.fail(id(1), Next::RetryAfter(100));
        world.apply(invoked(invoke(3, high(turn_on("k")))));
        assert_eq!(world.object().holder(), before);
        assert_eq!(world.apply(done(2)).first(), Some(&rejected()));
        assert_eq!(world.at(1100).apply(fire()), [start(id(1))]);
        assert_eq!(order_of(&mut world), [1, 2, 3]);
    }
}

#[test]
fn only_the_holder_has_a_say() {
    let mut world = busy(&[(2, turn_on("k")), (3, high(turn_on("k")))]);
    // The host ran 2 ahead, before 3 was there.
    world.apply(done(1));
    assert_eq!(world.apply(done(2)), [rejected()]);
    assert_eq!(world.status(id(2)), "pending");
    assert_eq!(others(&world.apply(done(3))), [completed(id(3), ok("ok"))]);
    assert_eq!(others(&world.apply(done(2))), [completed(id(2), ok("ok"))]);
}

#[test]
fn a_failure_that_was_overtaken_is_told() {
    let mut world = busy(&[(2, turn_on("k")), (3, high(turn_on("k")))]);
    world.ignores(failed(id(2), 0, 0, Next::Fail(true)));
    world.apply(done(1));
    for next in [Next::Fail(true), Next::RetryAfter(5)] {
        let effects = world.changes_nothing(0, failed(id(2), 0, 0, next));
        assert_eq!((others(&effects), enqueued(&effects)), (vec![abort(id(2), Some("k"))], vec![id(2)]));
    }
    assert_eq!(order_of(&mut world), [3, 2]);
}

#[test]
fn a_direct_turn_meets_a_busy_object() {
    let mut world = busy(&[(2, turn_on("k"))]);
    let direct = record(id(3), Some(invoke(3, high(turn_on("k")))), BASE, vec![]);
    let effects = world.apply(Body::Turn(direct));
    assert_eq!((others(&effects), enqueued(&effects)), (vec![rejected(), accepted(0, id(3))], vec![id(3)]));
    assert_eq!(order_of(&mut world), [1, 3, 2]);
    // On a free key it waits for nobody, whatever its class.
    let direct = record(id(4), Some(invoke(4, low(turn_on("k")))), BASE, vec![]);
    assert_eq!(world.apply(Body::Turn(direct)), [accepted(0, id(4)), completed(id(4), ok("ok"))]);
}

#[test]
fn orders_in_every_lane() {
    for verb in [Verb::Cancel, Verb::Kill] {
        for lane in [high, low, |target| target] {
            // One that waits: a hole, and the holder stays.
            let mut world = busy(&[(2, lane(turn_on("k"))), (3, lane(turn_on("k"))), (4, lane(turn_on("k")))]);
            let holder = world.object().holder();
            world.apply(order(id(2), verb));
            assert_eq!((world.object().holder(), world.status(id(2))), (holder, "unknown"));
            assert_eq!(order_of(&mut world), [1, 3, 4]);

            // The holder itself: the next one is told.
            let mut world = World::new();
            for (n, target) in [(1, lane(turn_on("k"))), (2, low(turn_on("k"))), (3, high(turn_on("k")))] {
                world.apply(invoked(invoke(n, target)));
            }
            assert_eq!(enqueued(&world.apply(order(id(1), verb))), [id(3)]);
            assert_eq!(order_of(&mut world), [3, 2]);

            // Everything that waits.
            let mut world = busy(&[(2, lane(turn_on("k"))), (3, lane(flow_on("k")))]);
            for n in 2..=3 {
                world.apply(order(id(n), Verb::Kill));
            }
            assert_eq!(order_of(&mut world), [1]);
            assert!(world.rows.all::<Lanes>().is_empty());
        }
    }
}

#[test]
fn a_new_leader_offers_who_holds_the_key() {
    let mut world = busy(&[(2, high(turn_on("k"))), (3, low(turn_on("k")))]);
    world.apply(invoked(invoke(10, low(turn_on("q")))));
    world.apply(invoked(invoke(11, high(turn_on("q")))));
    world.apply(invoked(invoke(12, turn_on("r"))));
    assert_eq!(enqueued(&world.apply(lead(2))), [id(12), id(1), id(10)]);
    world.apply(done(1));
    world.apply(done(10));
    assert_eq!(enqueued(&world.apply(lead(3))), [id(12), id(2), id(11)]);
    world.apply(done(2));
    world.apply(order(id(11), Verb::Kill));
    assert_eq!(enqueued(&world.apply(lead(4))), [id(12), id(3)]);
}

#[test]
fn edits_are_normal() {
    let change = StateEdit { changes: vec![set("n", "1")], ..StateEdit::default() };
    let mut world = busy(&[(2, low(turn_on("k")))]);
    world.apply(invoked(edit(3, high(edit_on("k")), &change)));
    world.apply(invoked(invoke(4, high(turn_on("k")))));
    world.apply(done(1));
    assert_eq!((world.status(id(3)), world.field("n")), ("pending", None));
    // It is carried out between the classes, and the one behind it is offered again.
    let effects = world.apply(done(4));
    assert_eq!((world.status(id(3)), world.field("n")), ("unknown", Some("1".into())));
    assert_eq!(enqueued(&effects), [id(2)]);
    // On a free key, at once.
    let mut world = World::new();
    world.apply(invoked(edit(3, low(edit_on("k")), &change)));
    assert_eq!(world.field("n"), Some("1".into()));
}

#[test]
fn a_delayed_one_joins_its_class_when_its_time_comes() {
    for by_order in [false, true] {
        let mut world = busy(&[(2, turn_on("k"))]);
        world.apply(invoked(Invoke { execute_at: 2000, ..invoke(3, high(turn_on("k"))) }));
        assert_eq!((world.status(id(3)), world.object().high), ("scheduled", None));
        if by_order {
            let now = Control { execute_at: 1, ..Control::new(id(3), Verb::Reschedule) };
            world.apply(Body::Control(now));
        } else {
            world.at(2000).apply(fire());
        }
        assert_eq!(world.object().high, Some(Lane { head: 0, tail: 1 }));
        assert_eq!(order_of(&mut world), [1, 3, 2]);
    }
}

#[test]
fn a_repetition_keeps_the_class() {
    let mut world = World::new();
    world.apply(invoked(keyed(1, low(flow_on("k")))));
    world.append(id(1), vec![output("ok"), end()]);
    world.apply(invoked(invoke(2, turn_on("k"))));
    let new_id = bytes(id(3));
    world.apply(Body::Control(Control { new_id, ..Control::new(id(1), Verb::Restart) }));
    assert_eq!(world.object().low, Some(Lane { head: 0, tail: 1 }));

    let one_way = Invoke { one_way: true, ..invoke(4, high(turn_on("q"))) };
    world.apply(invoked(one_way));
    world.fail(id(4), Next::Fail(true));
    world.apply(invoked(invoke(5, turn_on("q"))));
    let redrive_as = bytes(id(6));
    let redrive = abide_model::command::LetterOrder { service: "S".into(), seq: 0, redrive_as };
    world.apply(Body::Letter(redrive));
    assert_eq!(world.rows.row::<Objects>(&object("q")).unwrap().high, Some(Lane { head: 0, tail: 1 }));
}

#[test]
fn the_bound_counts_all_lanes() {
    let mut world = busy(&[]);
    let of_lanes = [MAILBOX_MAX - 3, 1, 1];
    let row = ObjectRow {
        head: 0,
        tail: of_lanes[0],
        high: Some(Lane { head: 4, tail: 4 + of_lanes[1] }),
        low: Some(Lane { head: 0, tail: of_lanes[2] }),
        ..ObjectRow::default()
    };
    let put = |world: &mut World, row: &ObjectRow| {
        world.rows.0.insert(Objects::encode_key(&object("k")), Objects::encode_value(row));
    };
    put(&mut world, &row);
    assert_eq!(refusal(&world.apply(invoked(invoke(2, low(turn_on("k")))))), None);
    for target in [high(turn_on("k")), turn_on("k"), low(turn_on("k"))] {
        let effects: Vec<Effect> = world.ask(7, invoked(invoke(3, target)));
        assert_eq!(refusal(&effects), Some(u32::from(MAILBOX_FULL.0)));
    }
}
