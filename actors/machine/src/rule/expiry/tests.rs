use abide_model::command::{Body, Invoke};
use abide_model::id::InvocationId;
use abide_model::limits::{EXPIRED_ROWS_PER_COMMAND_SOFT_MAX, EXPIRIES_PER_COMMAND_MAX, JOURNAL_ENTRIES_MAX};
use abide_model::protocol::RawMessage;
use abide_model::table::{
    CompletionRow, Completions, Empty, Expiries, Expiry, ExpiryKey, JournalRow, Journals, Table, Timers,
};

use crate::testing::*;

/// A flow that ended at 1,000 with three entries, its result kept for `result` ms and its journal for `journal` ms.
fn ended(result: u64, journal: u64) -> World {
    let mut world = World::new();
    let invoke = Invoke { retention_ms: result, journal_retention_ms: journal, ..invoke(1, plain_flow()) };
    world.apply(invoked(invoke));
    world.append(id(1), vec![run(1), output("x"), end()]);
    world
}

fn entries(world: &World) -> usize {
    world.rows.all::<Journals>().len()
}

#[test]
fn a_journal_goes_before_its_result() {
    let mut world = ended(5000, 1000);
    let row = world.completion(id(1));
    assert_eq!((row.expires_at, row.journal_expires_at, row.journal_len, entries(&world)), (6000, 2000, 3, 3));
    assert_eq!((row.retention_ms, row.journal_retention_ms), (5000, 1000));
    let before = world.rows.clone();
    assert_eq!(world.at(1999).apply(fire()), [timer_set(2000)]);
    assert_eq!(world.rows, before);
    world.at(2000).apply(fire());
    let row = world.completion(id(1));
    assert_eq!((row.journal_expires_at, row.journal_len, entries(&world)), (0, 0, 0));
    assert_eq!(row.outcome, Some(ok("x")));
    world.at(5999).apply(fire());
    assert_eq!(world.status(id(1)), "completed");
    world.at(6000).apply(fire());
    assert!(world.rows.0.is_empty());
}

#[test]
fn a_journal_keeps_its_record_along() {
    for (result, journal) in [(0, 1000), (500, 1000), (1000, 1000)] {
        let mut world = ended(result, journal);
        let row = world.completion(id(1));
        assert_eq!((row.expires_at, row.journal_expires_at, entries(&world)), (2000, 0, 3));
        assert_eq!(world.rows.all::<Expiries>().len(), 1);
        world.at(1999).apply(fire());
        assert_eq!(entries(&world), 3);
        world.at(2000).apply(fire());
        assert!(world.rows.0.is_empty(), "{result} {journal}");
    }
}

#[test]
fn what_nobody_wants_is_not_kept() {
    assert!(ended(0, 0).rows.0.is_empty());
    let world = ended(1000, 0);
    assert_eq!((world.completion(id(1)).journal_len, entries(&world)), (0, 0));
}

/// A downtime over both times: the entry of the journal is found first, or goes with the result.
#[test]
fn both_may_be_due_at_once() {
    let mut world = ended(5000, 1000);
    world.at(9000).apply(fire());
    assert!(world.rows.0.is_empty());
}

/// Never started, so there is nothing to look at later.
#[test]
fn what_never_started_leaves_nothing() {
    let mut world = World::new();
    let later = Invoke { execute_at: 2000, retention_ms: 5000, journal_retention_ms: 5000, ..invoke(1, plain_flow()) };
    world.apply(invoked(later));
    world.apply(order(id(1), abide_model::command::Verb::Kill));
    assert!(world.rows.0.is_empty());
}

/// A turn that brings its request has no journal.
#[test]
fn a_record_without_a_journal_expires_too() {
    let mut world = World::new();
    let accept = Invoke { retention_ms: 500, journal_retention_ms: 1000, ..invoke(1, turn_on("k")) };
    world.apply(Body::Turn(record(id(1), Some(accept), version(0, 0), vec![])));
    assert_eq!((world.completion(id(1)).expires_at, world.completion(id(1)).journal_len), (2000, 0));
    world.at(2000).apply(fire());
    assert!(world.rows.0.is_empty());
}

/// A completed invocation with a journal as long as a journal can be, as the rules leave it behind.
fn huge(world: &mut World, id: InvocationId) {
    let row = CompletionRow { expires_at: 2000, journal_len: JOURNAL_ENTRIES_MAX, ..CompletionRow::default() };
    world.rows.0.insert(Completions::encode_key(&id), Completions::encode_value(&row));
    let key = ExpiryKey { due: abide_model::id::Millis(2000), what: Expiry::Completion(id) };
    world.rows.0.insert(Expiries::encode_key(&key), Expiries::encode_value(&Empty {}));
    let input = RawMessage::new(abide_model::protocol::Code::INPUT, &abide_model::protocol::Input::default());
    let entry = Journals::encode_value(&JournalRow::new(input, abide_model::id::Millis(1)));
    for index in 0..JOURNAL_ENTRIES_MAX {
        world.rows.0.insert(Journals::encode_key(&(id, index)), entry.clone());
    }
}

#[test]
fn one_command_forgets_a_bounded_number_of_rows() {
    let mut world = World::new();
    for n in 1..=3 {
        huge(&mut world, id(n));
    }
    assert!(JOURNAL_ENTRIES_MAX as usize > EXPIRED_ROWS_PER_COMMAND_SOFT_MAX);
    for left in [2, 1] {
        // The leader is told that there is more.
        assert_eq!(world.at(2000).apply(fire()), [timer_set(2000)]);
        assert_eq!(
            (world.rows.all::<Completions>().len(), entries(&world)),
            (left, left * JOURNAL_ENTRIES_MAX as usize)
        );
    }
    assert_eq!(world.apply(fire()), []);
    assert!(world.rows.0.is_empty());
}

#[test]
fn many_results_are_forgotten_in_portions() {
    let mut world = World::new();
    let count = EXPIRIES_PER_COMMAND_MAX + 5;
    for n in 0..count {
        world.apply(Body::Turn(record(id(n as u128), Some(keyed(n as u128, turn_on("k"))), version(0, 0), vec![])));
    }
    assert_eq!(world.at(6000).apply(fire()), [timer_set(6000)]);
    assert_eq!(world.rows.all::<Completions>().len(), 5);
    world.apply(fire());
    assert!(world.rows.0.is_empty());
}

/// What people wait for comes first.
#[test]
fn timers_come_before_expiries() {
    let mut world = ended(1000, 0);
    let many = abide_model::limits::TIMERS_PER_COMMAND_MAX as u128;
    for n in 0..many {
        world.apply(invoked(Invoke { execute_at: 2000, ..invoke(10 + n, plain_turn()) }));
    }
    let effects = world.at(2000).apply(fire());
    assert_eq!((effects.len(), effects.last()), (many as usize + 1, Some(&timer_set(2000))));
    assert_eq!((world.rows.all::<Timers>().len(), world.status(id(1))), (0, "completed"));
    world.apply(fire());
    assert_eq!(world.status(id(1)), "unknown");
}

/// The next time is told whichever table it stands in.
#[test]
fn the_leader_is_told_of_the_next_expiry() {
    let mut world = ended(5000, 0);
    world.apply(invoked(Invoke { execute_at: 7000, ..invoke(2, plain_turn()) }));
    assert_eq!(world.at(1500).apply(fire()), [timer_set(6000)]);
    assert_eq!(world.at(6000).apply(fire()), [timer_set(7000)]);
}
