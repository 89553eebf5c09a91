use abide_model::command::{Body, Invoke, OutboxAck, Turn};
use abide_model::id::PartitionId;
use abide_model::table::{Direction, Outbox, Sequences};

use crate::testing::*;

fn ack(by: u32, up_to: u64) -> Body {
    Body::OutboxAck(OutboxAck { by, up_to })
}

fn send(world: &mut World, n: u128) {
    let sends = vec![Invoke { id: bytes(far(n)), ..invoke(n, plain_turn()) }];
    world.apply(Body::Turn(Turn {
        sends,
        base: None,
        ..record(id(n), Some(invoke(n, plain_turn())), version(0, 0), vec![])
    }));
}

fn numbers(world: &World) -> Vec<u64> {
    world.rows.all::<Outbox>().into_iter().map(|((_, seq), _)| seq).collect()
}

#[test]
fn what_was_taken_leaves() {
    let mut world = World::of(0, 2);
    for n in 1..=4 {
        send(&mut world, n);
    }
    assert_eq!(world.apply(ack(1, 2)), []);
    assert_eq!(numbers(&world), [3, 4]);
    // Old news, and news of another partition.
    world.ignores(ack(1, 1));
    world.ignores(ack(0, 4));
    world.ignores(ack(1, 0));
    world.apply(ack(1, u64::MAX));
    assert_eq!(numbers(&world), []);
    // Numbers are never given out again.
    send(&mut world, 5);
    assert_eq!(numbers(&world), [5]);
    assert_eq!(world.rows.row::<Sequences>(&(Direction::Sent, PartitionId(1))).unwrap().last, 5);
}
