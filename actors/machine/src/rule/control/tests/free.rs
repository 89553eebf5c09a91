//! A blocked key can be freed, whatever holds it.

use abide_model::command::{Form, Verb};

use crate::testing::*;

/// In every state that holds the key, some order ends the holder, and the next one gets its turn.
#[test]
fn every_holder_of_a_key_can_be_made_to_leave() {
    for form in [Form::Turn, Form::Flow] {
        for place in ["first", "running", "suspended", "backing-off", "paused"] {
            let Some(held) = placed(form, place) else { continue };
            for next in [turn_on("k"), flow_on("k")] {
                let orders: &[Verb] = if form == Form::Turn { &[Verb::Kill, Verb::Cancel] } else { &[Verb::Kill] };
                for verb in orders {
                    let mut world = held.clone();
                    world.apply(invoked(invoke(2, next.clone())));
                    assert_eq!(world.status(id(2)), "pending");
                    let effects = world.apply(order(id(1), *verb));
                    assert!(effects.contains(&abort(id(1), Some("k"))));
                    if next.form() == Form::Flow {
                        assert_eq!(world.status(id(2)), "running", "{form:?} {place} {verb:?}");
                        world.append(id(2), vec![output("x"), end()]);
                    } else {
                        assert_eq!(enqueued(&effects), [id(2)], "{form:?} {place} {verb:?}");
                        world.apply(abide_model::command::Body::Turn(from_mailbox(2, version(0, 0), vec![])));
                    }
                    assert!(world.object().is_idle());
                }
            }
        }
    }
}

/// A flow that swallows its cancellation goes on; the kill that follows does not ask.
#[test]
fn a_deaf_flow_can_be_killed() {
    let mut world = placed(Form::Flow, "suspended").unwrap();
    world.apply(order(id(1), Verb::Cancel));
    world.append(id(1), vec![suspend(&[2], &[17])]);
    assert_eq!(world.status(id(1)), "suspended");
    world.apply(order(id(1), Verb::Kill));
    assert!(world.object().is_idle());
}

/// Pausing does not free the key: the one behind it waits.
#[test]
fn a_paused_holder_keeps_its_key() {
    let mut world = placed(Form::Flow, "running").unwrap();
    world.apply(invoked(invoke(2, turn_on("k"))));
    assert_eq!(enqueued(&world.apply(order(id(1), Verb::Pause))), []);
    assert_eq!(world.status(id(2)), "pending");
    world.apply(order(id(1), Verb::Resume));
    assert_eq!(enqueued(&world.append(id(1), vec![output("x"), end()])), [id(2)]);
}
