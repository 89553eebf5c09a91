use abide_model::command::{Body, Invoke, StateEdit, Turn, Verb};
use abide_model::id::Millis;
use abide_model::table::{Expiries, Expiry, ExpiryKey, ObjectRow};

use crate::testing::*;

/// A direct turn on `k` with a TTL that sets the field `a`.
fn turn(n: u128, base: abide_model::command::StateVersion, ttl: u64) -> Body {
    let accept = Some(Invoke { state_ttl_ms: ttl, ..invoke(n, turn_on("k")) });
    Body::Turn(record(id(n), accept, base, vec![set("a", "1")]))
}

/// The entry of `k` in the index.
fn entry(world: &World) -> Option<u64> {
    let rows = world.rows.all::<Expiries>();
    let due = rows.iter().find(|(key, _)| key.what == Expiry::State(object("k"))).map(|(key, _)| key.due.0);
    assert_eq!(due.unwrap_or(0), world.object().expiry_due);
    due
}

fn expires_at(world: &World) -> u64 {
    world.object().expires_at
}

#[test]
fn state_that_nobody_changes_expires() {
    let mut world = World::new();
    let effects = world.apply(turn(1, version(0, 0), 500));
    assert!(effects.contains(&timer_set(1500)));
    assert_eq!((expires_at(&world), entry(&world)), (1500, Some(1500)));
    let before = world.rows.clone();
    assert_eq!(world.at(1499).apply(fire()), [timer_set(1500)]);
    assert_eq!(world.rows, before);
    assert_eq!(world.at(1500).apply(fire()), [changed(object("k"))]);
    assert!(world.rows.0.is_empty());
}

#[test]
fn a_change_moves_the_end_but_not_the_entry() {
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), 500));
    for n in 1..5u64 {
        world.at(1000 + n * 100).apply(turn(u128::from(n) + 1, version(n, 9), 500));
        assert_eq!((expires_at(&world), entry(&world)), (1500 + n * 100, Some(1500)));
    }
    // One move per TTL.
    assert_eq!(world.at(1500).apply(fire()), [timer_set(1900)]);
    assert_eq!((world.field("a").is_some(), entry(&world)), (true, Some(1900)));
    world.at(1900).apply(fire());
    assert!(world.rows.0.is_empty());
}

#[test]
fn every_kind_of_change_counts() {
    // A turn of the mailbox.
    let mut world = World::new();
    world.apply(invoked(Invoke { state_ttl_ms: 500, ..invoke(1, turn_on("k")) }));
    world.at(1100).apply(Body::Turn(from_mailbox(1, version(0, 0), vec![set("a", "1")])));
    assert_eq!(entry(&world), Some(1600));
    // A flow.
    let mut world = World::new();
    world.apply(invoked(Invoke { state_ttl_ms: 500, ..invoke(1, flow_on("k")) }));
    assert_eq!(entry(&world), None);
    world.append(id(1), vec![set_state("a", "1")]);
    assert_eq!(entry(&world), Some(1500));
    world.at(1100).append(id(1), vec![set_state("a", "2"), output("x"), end()]);
    assert_eq!((expires_at(&world), entry(&world)), (1600, Some(1500)));
    // An edit.
    let what = StateEdit { changes: vec![set("a", "1")], ..StateEdit::default() };
    world.at(1200).apply(invoked(Invoke { state_ttl_ms: 500, ..edit(2, edit_on("k"), &what) }));
    assert_eq!((expires_at(&world), entry(&world)), (1700, Some(1500)));
    // No change, no matter.
    let accept = Some(Invoke { state_ttl_ms: 9000, ..invoke(3, turn_on("k")) });
    let base = world.object().version();
    world.apply(Body::Turn(Turn { accept, ..record(id(3), None, base, vec![]) }));
    assert_eq!(expires_at(&world), 1700);
}

#[test]
fn a_change_without_a_ttl_makes_it_stay() {
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), 500));
    world.apply(turn(2, version(1, 9), 0));
    assert_eq!(world.object(), ObjectRow { state: Some(version(2, 9)), ..ObjectRow::default() });
    assert_eq!(entry(&world), None);
    world.at(9000).ignores(fire());
}

#[test]
fn a_shorter_ttl_counts_from_the_change_that_has_it() {
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), 5000));
    world.at(1100).apply(turn(2, version(1, 9), 500));
    assert_eq!((expires_at(&world), entry(&world)), (1600, Some(1600)));
    world.at(1600).apply(fire());
    assert!(world.rows.0.is_empty());
    // And one without end in numbers never comes.
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), u64::MAX));
    assert_eq!((expires_at(&world), world.at(1 << 60).apply(fire())), (u64::MAX, vec![timer_set(u64::MAX)]));
}

#[test]
fn nothing_expires_under_somebodys_feet() {
    for target in [turn_on("k"), flow_on("k")] {
        let mut world = World::new();
        world.apply(turn(1, version(0, 0), 500));
        world.apply(invoked(invoke(2, target)));
        assert_eq!(world.at(1500).apply(fire()), [timer_set(2000)]);
        assert_eq!((expires_at(&world), entry(&world), world.field("a").is_some()), (2000, Some(2000), true));
        world.apply(order(id(2), Verb::Kill));
        world.at(1999).apply(fire());
        assert!(world.field("a").is_some());
        world.at(2000).apply(fire());
        assert!(world.rows.0.is_empty());
    }
}

#[test]
fn a_workflow_that_runs_keeps_its_state() {
    let mut world = World::new();
    world.apply(invoked(Invoke { state_ttl_ms: 500, ..run_call("w") }));
    world.append(run_id("w"), vec![set_state("a", "1"), sleep(9000, 1)]);
    world.at(1500).apply(fire());
    assert_eq!(world.rows.all::<abide_model::table::States>().len(), 1);
    world.append(run_id("w"), vec![output("x"), end()]);
    assert!(world.at(2000).apply(fire()).contains(&changed(workflow("w"))));
    assert!(world.rows.all::<abide_model::table::States>().is_empty());
}

#[test]
fn an_edit_that_empties_takes_the_entry_along() {
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), 500));
    let what = StateEdit { replace: true, ..StateEdit::default() };
    world.apply(invoked(Invoke { state_ttl_ms: 500, ..edit(2, edit_on("k"), &what) }));
    assert!(world.rows.0.is_empty());
}

/// An entry that the object does not know of, as only a bug could leave it, does nothing.
#[test]
fn a_stray_entry_does_nothing() {
    let mut world = World::new();
    world.apply(turn(1, version(0, 0), 0));
    let stray = ExpiryKey { due: Millis(1200), what: Expiry::State(object("k")) };
    use abide_model::table::Table;
    let row = abide_model::table::Empty {};
    world.rows.0.insert(Expiries::encode_key(&stray), Expiries::encode_value(&row));
    assert_eq!(world.at(1200).apply(fire()), []);
    assert!(world.field("a").is_some());
}

/// What ran on a state that is forgotten does not fit the states that come after it, whoever forgets and whoever writes.
#[test]
fn a_version_never_names_two_states() {
    let edit_to = |n, what: &StateEdit, ttl| invoked(Invoke { state_ttl_ms: ttl, ..edit(n, edit_on("k"), what) });
    let a_is = |value: &str| StateEdit { changes: vec![set("a", value)], ..StateEdit::default() };
    for by_time in [true, false] {
        let mut world = World::new();
        world.apply(edit_to(1, &a_is("1"), 500));
        let seen = world.object().version();
        if by_time {
            world.at(1500).apply(fire());
        } else {
            world.apply(edit_to(2, &StateEdit { replace: true, ..StateEdit::default() }, 0));
        }
        assert!(world.rows.0.is_empty());
        world.apply(edit_to(3, &a_is("2"), 0));
        assert!(world.object().version().version > seen.version);
        // A turn that ran ahead on the forgotten state, and an edit that expects it.
        assert!(world.apply(turn(4, seen, 0)).contains(&rejected()));
        world.apply(order(id(4), Verb::Kill));
        world.apply(edit_to(5, &StateEdit { expected: Some(seen), ..a_is("3") }, 0));
        assert_eq!(world.field("a"), Some("2".into()));
    }
}
