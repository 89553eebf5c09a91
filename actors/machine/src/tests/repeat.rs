//! Whatever a flow did, it can be repeated from any of its entries, or is refused.

use abide_model::command::{Body, Control, Next, Verb};
use abide_model::effect::{Answer, Effect};
use abide_model::id::InvocationId;
use abide_model::protocol::RawMessage;
use abide_model::table::{Completions, Invocations, Journals, Status};
use proptest::prelude::*;

use super::arbitrary::messages;
use crate::testing::*;

fn journal(world: &World, id: InvocationId, len: u32) -> Vec<RawMessage> {
    (0..len).map(|n| world.rows.row::<Journals>(&(id, n)).expect("a journal has no gaps").message()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_completed_flow_is_repeated_or_refused(
        steps in prop::collection::vec((prop::collection::vec(messages(), 0..4), prop_oneof![Just(0), 0..400u64]), 0..6),
        keep in 0..20u32,
        later in prop_oneof![Just(0), 0..1000u64],
    ) {
        let mut world = World::of(0, 2);
        let mut now = 1000;
        world.apply(invoked(keyed(1, flow_on("k"))));
        for (messages, wait) in steps {
            if world.status(id(1)) == "running" {
                world.append(id(1), messages);
            }
            now += wait;
            world.at(now).apply(fire());
            // The operator insists.
            if matches!(world.status(id(1)), "paused" | "suspended") {
                world.apply(order(id(1), Verb::Resume));
            }
        }
        if world.status(id(1)) == "running" {
            world.fail(id(1), Next::Fail(true));
        }
        now += later;
        world.at(now);
        let Some(old) = world.rows.row::<Completions>(&id(1)) else { return Ok(()) };
        let before = journal(&world, id(1), old.journal_len);
        let control = Control { new_id: bytes(id(50)), keep, ..Control::new(id(1), Verb::Restart) };
        let effects = world.ask(5, Body::Control(control));
        prop_assert_eq!(journal(&world, id(1), old.journal_len), before.clone());
        let Some(new) = world.rows.row::<Invocations>(&id(50)) else {
            prop_assert_eq!(refusal(&effects), Some(400));
            // The beginning is always there.
            prop_assert!(keep > 1);
            return Ok(());
        };
        let answer = effects.last().cloned();
        prop_assert_eq!(answer, Some(Effect::Answered { request: 5, answer: Answer::Created(id(50)) }));
        let kept = keep.max(1) as usize;
        let after = journal(&world, id(50), new.journal_len);
        prop_assert_eq!(&after[..kept], &before[..kept]);
        prop_assert!(after[kept..].iter().all(|message| message.code.is_notification()));
        // Behind those that it sent to its own key itself.
        prop_assert!(matches!(new.status, Some(Status::Running(_) | Status::Queued(_))));
        // Nothing of it is left behind ([`World::ask`] looks after every command).
        world.at(now + 300).apply(fire());
        world.apply(order(id(50), Verb::Kill));
        prop_assert!(world.timers().iter().all(|timer| timer.invocation != id(50)));
    }
}
