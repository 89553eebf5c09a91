//! The property that everything is found again after any history is in `crate::tests::takeover`.

use abide_model::command::{Body, Invoke, Next, Turn};
use abide_model::effect::Effect;
use abide_model::id::PartitionId;

use crate::testing::*;

#[test]
fn an_empty_partition_needs_nothing() {
    World::new().ignores(lead(2));
}

#[test]
fn attempts_are_made_again_under_new_numbers() {
    let mut world = World::new();
    let flow = world.start_flow(1, flow_on("k"));
    let turn = world.start_flow(2, plain_turn());
    assert_eq!(world.apply(lead(2)), [start(flow), start(turn)]);
    assert_eq!((world.row(flow).attempt, world.row(turn).attempt), (2, 2));
    // What the attempt before still says is not heard.
    world.ignores(appended(flow, 1, 1, 1, vec![output("x"), end()]));
    world.ignores(appended(flow, 2, 1, 1, vec![output("x"), end()]));
    world.append(flow, vec![output("x"), end()]);
    assert_eq!(world.status(flow), "unknown");
}

#[test]
fn what_rests_goes_on_resting() {
    for place in ["suspended", "backing-off", "paused", "scheduled", "completed"] {
        let mut world = placed(abide_model::command::Form::Flow, place).unwrap();
        let before = world.rows.clone();
        let effects = world.apply(lead(2));
        assert!(effects.iter().all(|effect| matches!(effect, Effect::TimerSet { .. })), "{place}: {effects:?}");
        assert_eq!(world.rows, before);
    }
}

#[test]
fn the_first_turn_of_every_mailbox_is_offered() {
    let mut world = World::new();
    for (n, target) in [(1, turn_on("a")), (2, turn_on("a")), (3, flow_on("b")), (4, turn_on("b")), (5, turn_on("c"))] {
        world.apply(invoked(invoke(n, target)));
    }
    world.fail(id(5), Next::Pause(true));
    let effects = world.apply(lead(2));
    assert_eq!((enqueued(&effects), others(&effects)), (vec![id(1)], vec![start(id(3))]));
    // As it is behind a hole.
    world.apply(invoked(invoke(6, turn_on("a"))));
    world.apply(order(id(2), abide_model::command::Verb::Kill));
    world.apply(order(id(1), abide_model::command::Verb::Kill));
    assert_eq!(enqueued(&world.apply(lead(3))), [id(6)]);
}

#[test]
fn messages_are_shipped_again_and_the_next_timer_is_told() {
    let mut world = World::of(0, 2);
    let sends: Vec<_> = (30..32).map(|n| Invoke { id: bytes(far(n)), ..invoke(n, plain_turn()) }).collect();
    let sent = world.apply(Body::Turn(Turn { sends, ..direct(1, version(0, 0), vec![]) }));
    for (n, due) in [(7, 3000), (8, 2000)] {
        world.apply(invoked(Invoke { execute_at: due, ..invoke(n, plain_turn()) }));
    }
    let effects = world.apply(lead(2));
    let shipped = |effects: &[Effect]| -> Vec<Effect> {
        effects.iter().filter(|effect| matches!(effect, Effect::Ship { to: PartitionId(1), .. })).cloned().collect()
    };
    assert_eq!((shipped(&effects).len(), shipped(&effects)), (2, shipped(&sent)));
    assert_eq!(effects.last(), Some(&timer_set(2000)));
    assert_eq!(effects.len(), 3);
}

#[test]
fn the_term_only_grows() {
    let mut world = World::new();
    world.apply(lead(7));
    world.apply(lead(5));
    assert_eq!(world.machine.leader_term(), 7);
}
