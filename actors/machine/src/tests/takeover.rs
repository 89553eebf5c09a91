//! A new leader finds everything that the old one had to do.

use std::collections::{BTreeMap, BTreeSet};

use abide_model::command::{Form, Priority};
use abide_model::effect::Effect;
use abide_model::id::{InvocationId, ObjectId};
use abide_model::table::{
    Expiries, Invocations, Lanes, MailboxRow, Mailboxes, Objects, Outbox, Schedules, Status, Timers,
};
use proptest::prelude::*;

use super::arbitrary::{aim, commands};
use crate::testing::*;

/// Who holds the keys of objects with more than one lane.
fn holders(world: &World) -> Vec<(ObjectId, MailboxRow)> {
    let lanes = world.rows.all::<Lanes>();
    let objects: BTreeSet<_> = lanes.into_iter().map(|((object, _, _), _)| object).collect();
    let slot = |object: &ObjectId| {
        let row = world.rows.row::<Objects>(object).unwrap();
        match row.holding() {
            Priority::Normal => world.rows.row::<Mailboxes>(&(object.clone(), row.head)),
            Priority::High => world.rows.row::<Lanes>(&(object.clone(), Priority::High, row.high.unwrap().head)),
            Priority::Low => world.rows.row::<Lanes>(&(object.clone(), Priority::Low, row.low.unwrap().head)),
        }
    };
    objects.into_iter().map(|object| (object.clone(), slot(&object).unwrap())).collect()
}

/// What is to be done, read from the tables in a way of its own.
fn expected(world: &World) -> Vec<Effect> {
    let invocations: BTreeMap<_, _> = world.rows.all::<Invocations>().into_iter().collect();
    let mut effects = Vec::new();
    let mut last = None;
    let lanes = world.rows.all::<Lanes>();
    let plain = world.rows.all::<Mailboxes>().into_iter();
    let plain = plain.filter(|((object, _), _)| lanes.iter().all(|((other, _, _), _)| other != object));
    let firsts: Vec<_> = plain.map(|((object, _), slot)| (object, slot)).chain(holders(world)).collect();
    for (object, slot) in firsts {
        let id = InvocationId::from_bytes(&slot.invocation).unwrap();
        let row = &invocations[&id];
        let is_turn = row.target.as_ref().unwrap().form() == Form::Turn;
        if last.as_ref() != Some(&object) && is_turn && matches!(row.status, Some(Status::Queued(_))) {
            let input: abide_model::protocol::Input = world.journal(id)[0].decode().unwrap();
            let work = abide_model::effect::Work {
                id,
                target: row.target.clone().unwrap(),
                input: input.value.unwrap().content,
                headers: input.headers,
                failures: row.failures,
                life: row.life,
            };
            effects.push(Effect::Enqueued { object: object.clone(), work });
        }
        last = Some(object);
    }
    let running = invocations.iter().filter(|(_, row)| matches!(row.status, Some(Status::Running(_))));
    effects.extend(running.map(|(id, _)| start(*id)));
    let outbox = world.rows.all::<Outbox>();
    effects.extend(outbox.into_iter().map(|((to, seq), parcel)| Effect::Ship { to, seq, parcel }));
    let firing = world.rows.all::<Schedules>().into_iter().filter(|(_, row)| row.firing);
    effects.extend(firing.map(|(schedule, row)| Effect::ScheduleDue { schedule, row: Box::new(row) }));
    effects.extend(world.rows.all::<Timers>().first().map(|(timer, _)| Effect::TimerSet { due: timer.due }));
    effects.extend(world.rows.all::<Expiries>().first().map(|(key, _)| Effect::TimerSet { due: key.due }));
    effects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_new_leader_finds_all_work(commands in commands(60)) {
        let mut world = World::of(0, 2);
        let mut now = 1000;
        for (wait, body) in commands {
            now += wait;
            let body = aim(&world, body);
            world.at(now).apply(body);
        }
        let expected = expected(&world);
        let before = world.rows.clone();
        let term = world.machine.leader_term() + 1;
        prop_assert_eq!(world.apply(lead(term)), expected);
        // Only the numbers of attempts that are under way have changed.
        for (id, mut row) in before.all::<Invocations>() {
            if matches!(row.status, Some(Status::Running(_))) {
                row.attempt += 1;
                row.modified_at = now;
            }
            prop_assert_eq!(world.row(id), row);
        }
        prop_assert_eq!(before.0.len(), world.rows.0.len());
    }
}
